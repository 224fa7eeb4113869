"""Model files in and out, in portions.

Files never travel through Gradio's own upload and download, which know no users. Each portion is a
call of its own: the gate limits its size, and the user's role is checked anew.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.auth import User
from app.errors import InvalidInput, NotFound, StorageFailed
from app.services import Services

PORTION = 900_000
"""Bytes of one portion; its base64 form stays below what the gate takes at once."""
MOST_BYTES = 8 * 1024**3
"""Largest model file, bytes; models are larger than the uploads of images may be."""

LIFE_SECONDS = 3600.0
FOLDER = "uploads"
SUFFIX = ".lightbox.zip"

BROKEN = "The transfer broke off; please start it again."
FULL = "The file could not be stored; the disk may be full."


@dataclass
class _Open:
    """A transfer under way."""

    who: str
    path: Path
    size: int
    folder: Path | None = None
    begun: float = field(default_factory=time.monotonic)

    def end(self) -> None:
        """Remove its temporary file."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.parent.rmdir()  # only where it is empty


class Transfers:
    """Functions that the Models page calls; one argument each, as Gradio passes them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._open: dict[str, _Open] = {}
        self._lock = threading.Lock()

    def export_begin(self, user: User, name: str) -> dict[str, Any]:
        """Pack a model into one file; its size, and the token by which its portions are asked."""
        path = self._services.registry.export(user, str(name))
        token = self._keep(_Open(user.name, path, path.stat().st_size))
        plain = "".join(c for c in str(name) if c.isalnum() or c in "-_.")[:64]
        size = self._open[token].size
        return {"token": token, "size": size, "filename": f"{plain or 'model'}{SUFFIX}"}

    def export_part(self, user: User, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The bytes from `offset` on, base64."""
        found = self._known(user, asked.get("token"))
        with found.path.open("rb") as stream:
            stream.seek(_whole(asked.get("offset")))
            return {"data": base64.b64encode(stream.read(PORTION)).decode("ascii")}

    def export_end(self, user: User, token: str) -> dict[str, Any]:
        """Remove the packed file."""
        self._forget(user, token).end()
        return {}

    def import_begin(self, user: User, size: int) -> dict[str, Any]:
        """Make room for a file of `size` bytes."""
        size = _whole(size)
        if not 0 < size <= MOST_BYTES:
            raise InvalidInput(f"A model file may have at most {MOST_BYTES // 1024**3} GB.")
        try:
            parent = self._services.settings.workspace / FOLDER
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=parent))
        except OSError:
            raise StorageFailed(FULL) from None
        path = folder / f"model{SUFFIX}"
        path.touch(mode=0o600)
        return {"token": self._keep(_Open(user.name, path, size, folder))}

    def import_part(self, user: User, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Take the bytes from `offset` on; portions come one after another."""
        found = self._known(user, asked.get("token"))
        try:
            data = base64.b64decode(str(asked.get("data", "")), validate=True)
        except binascii.Error:
            raise InvalidInput(BROKEN) from None
        offset = _whole(asked.get("offset"))
        if offset != found.path.stat().st_size or offset + len(data) > found.size:
            raise InvalidInput(BROKEN)
        try:
            with found.path.open("ab") as stream:
                stream.write(data)
        except OSError:
            raise StorageFailed(FULL) from None
        return {"received": offset + len(data)}

    def import_end(self, user: User, token: str) -> dict[str, Any]:
        """Install the file that has come; the name of the model."""
        found = self._forget(user, token)
        try:
            if found.path.stat().st_size != found.size:
                raise InvalidInput(BROKEN)
            return {"model": self._services.registry.import_file(user, found.path).name}
        finally:
            found.end()

    def _keep(self, made: _Open) -> str:
        """Note a transfer; those that were never ended are removed."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            now = time.monotonic()
            stale = [t for t, each in self._open.items() if now - each.begun > LIFE_SECONDS]
            for old in stale:
                self._open.pop(old).end()
            self._open[token] = made
        return token

    def _known(self, user: User, token: object) -> _Open:
        found = self._open.get(str(token))
        if found is None or found.who != user.name:
            raise NotFound(BROKEN)
        return found

    def _forget(self, user: User, token: object) -> _Open:
        found = self._known(user, token)
        with self._lock:
            self._open.pop(str(token), None)
        return found


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidInput(BROKEN)
    return value
