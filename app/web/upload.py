"""A multipart body becomes files below a private folder, under names that cannot escape it."""

from __future__ import annotations

import shutil
import tempfile
import time
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from anyio import CancelScope, to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from app.errors import InvalidInput, StorageFailed
from engine.errors import LimitExceeded

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FOLDER = "uploads"
STALE_SECONDS = 86_400.0
DEEPEST = 8
LONGEST = 100
MANY_BYTES = 1 << 20

BROKEN = "The upload broke off or is damaged; please try again."
EMPTY = "Please choose at least one file."
FULL = "The upload could not be stored; the disk may be full."


@dataclass(frozen=True)
class UploadLimits:
    """How much one upload may bring: bytes of all files together, and their number."""

    max_bytes: int
    max_files: int


@asynccontextmanager
async def private_folder(workspace: Path) -> AsyncIterator[Path]:
    """A fresh folder of mode 0700 below the workspace, removed in any case.

    Raises:
        StorageFailed: It cannot be made.
    """
    try:
        parent = workspace / FOLDER
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
    except OSError:
        raise StorageFailed(FULL) from None
    try:
        yield folder
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))


def sweep(workspace: Path) -> None:
    """Remove what an earlier process that was killed left behind a day ago or longer."""
    now = time.time()
    for left in (workspace / FOLDER).glob("*"):
        if now - left.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


async def keep_files(request: Request, folder: Path, limits: UploadLimits) -> int:
    """Stream the files of a multipart request into `folder`; their number.

    Raises:
        InvalidInput: The body is no multipart form, is broken off, or holds no file.
        LimitExceeded: There are too many files or bytes.
        StorageFailed: The disk is full.
    """
    parts = _Parts(folder, limits)
    try:
        parser = MultipartParser(_boundary(request), parts.callbacks())
        async for chunk in _chunks(request):
            await to_thread.run_sync(parser.write, chunk)
    except (FormParserError, ClientDisconnect):
        raise InvalidInput(BROKEN) from None
    except OSError:
        raise StorageFailed(FULL) from None
    finally:
        parts.close()
    if not parts.is_complete:
        raise InvalidInput(BROKEN)
    if not parts.count:
        raise InvalidInput(EMPTY)
    return parts.count


def safe_components(name: str) -> tuple[str, ...]:
    """A client's relative path as harmless folder and file names; empty when none is left.

    Drive letters, roots, `.` and `..`, control characters and what file systems reserve are
    taken out; at most the last eight components are kept, 100 bytes each.
    """
    parts = name.replace("\\", "/").split("/")
    cleaned = (_component(part) for part in parts)
    return tuple(part for part in cleaned if part)[-DEEPEST:]


def _component(part: str) -> str:
    text = unicodedata.normalize("NFC", part)
    text = "".join("_" if mark in '<>:"|?*' else mark for mark in text if _is_visible(mark))
    text = text.strip(" ")
    if not text.strip(". "):
        return ""
    stem, dot, suffix = text.rpartition(".")
    if not dot or len(suffix.encode()) > 12:
        return _cut(text, LONGEST)
    return _cut(stem, LONGEST - len(suffix.encode()) - 1) + dot + suffix


def _is_visible(mark: str) -> bool:
    """False for control, format, surrogate and unassigned characters."""
    return not unicodedata.category(mark).startswith("C")


def _cut(text: str, size: int) -> str:
    """The longest start of a text that needs at most `size` bytes."""
    return text.encode("utf-8")[:size].decode("utf-8", "ignore")


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidInput(BROKEN)
    return boundary


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces of about a megabyte, so that few changes of thread are needed."""
    gathered = bytearray()
    async for chunk in request.stream():
        gathered += chunk
        if len(gathered) >= MANY_BYTES:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


class _Parts:
    """Receives the events of the multipart parser, and writes the files."""

    def __init__(self, folder: Path, limits: UploadLimits) -> None:
        self._folder, self._limits = folder, limits
        self._field, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._file: BinaryIO | None = None
        self._bytes = 0
        self.count = 0
        self.is_complete = False

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._open,
            "on_part_data": self._write,
            "on_part_end": self.close,
            "on_end": self._finish,
        }

    def close(self) -> None:
        """Close the file that is being written, if any."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        self._disposition = b""

    def _header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            return
        components = safe_components(options[b"filename"].decode("utf-8", "replace"))
        if not components:
            return
        self.count += 1
        if self.count > self._limits.max_files:
            raise LimitExceeded(
                f"The upload holds more than {self._limits.max_files} files; please send fewer."
            )
        self._file = self._fresh(components)

    def _fresh(self, components: tuple[str, ...]) -> BinaryIO:
        """A new file; one whose name is taken goes into a numbered folder of its own."""
        try:
            return _create(self._folder.joinpath(*components))
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            return _create(self._folder / f"again-{self.count:05d}" / components[-1])

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            return
        self._bytes += end - start
        if self._bytes > self._limits.max_bytes:
            megabytes = self._limits.max_bytes // 1_000_000
            raise LimitExceeded(f"The upload is larger than {megabytes} MB; please send less.")
        self._file.write(data[start:end])

    def _finish(self) -> None:
        self.is_complete = True


def _create(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path.open("xb")
