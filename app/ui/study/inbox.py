"""Tables that come in portions and are looked at for a while; kept in memory, each for one user.

Files never travel through Gradio's own upload, which knows no users. Each portion is a call of its
own: the gate limits its size, and the user's role is checked anew.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.auth import User
from app.errors import InvalidInput, NotFound

MOST_BYTES = 64 * 1024**2
"""Largest table, bytes: about a million ratings."""
LIFE_SECONDS = 3600.0
MOST_KEPT = 8

BROKEN = "The transfer broke off; please choose the file again."
GONE = "The table is no longer there; please choose the file again."


@dataclass
class _Kept:
    """A table of one user, whole once it has as many bytes as were announced."""

    who: str
    size: int
    data: bytearray = field(default_factory=bytearray)
    begun: float = field(default_factory=time.monotonic)


class Inbox:
    """Functions that the Import page calls; one argument each, as Gradio passes them."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def begin(self, user: User, size: Any) -> dict[str, Any]:
        """Make room for a table of `size` bytes; one user keeps one table."""
        if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= MOST_BYTES:
            raise InvalidInput(f"A table may have at most {MOST_BYTES // 1024**2} MB.")
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._sweep(user)
            self._kept[token] = _Kept(user.name, size)
        return {"token": token}

    def part(self, user: User, asked: Any) -> dict[str, Any]:
        """Take the bytes from `offset` on; portions come one after another."""
        if not isinstance(asked, Mapping):
            raise InvalidInput(BROKEN)
        try:
            data = base64.b64decode(str(asked.get("data", "")), validate=True)
        except binascii.Error:
            raise InvalidInput(BROKEN) from None
        with self._lock:
            found = self._found(user, asked.get("token"))
            if asked.get("offset") != len(found.data) or len(found.data) + len(data) > found.size:
                raise InvalidInput(BROKEN)
            found.data += data
            return {"received": len(found.data)}

    def table(self, user: User, token: object) -> bytes:
        """A whole table.

        Raises:
            NotFound: It is not there, or not this user's. InvalidInput: It did not come whole.
        """
        with self._lock:
            found = self._found(user, token)
            if len(found.data) != found.size:
                raise InvalidInput(BROKEN)
            return bytes(found.data)

    def forget(self, user: User, token: object) -> None:
        """Remove a table."""
        with self._lock:
            if self._kept.get(str(token), _Kept("", 0)).who == user.name:
                self._kept.pop(str(token))

    def _found(self, user: User, token: object) -> _Kept:
        found = self._kept.get(str(token))
        if found is None or found.who != user.name:
            raise NotFound(GONE)
        return found

    def _sweep(self, user: User) -> None:
        """Remove what is old, what this user has sent before, and the oldest of too many."""
        now = time.monotonic()
        for token, each in list(self._kept.items()):
            if each.who == user.name or now - each.begun > LIFE_SECONDS:
                self._kept.pop(token)
        while len(self._kept) >= MOST_KEPT:
            self._kept.pop(next(iter(self._kept)))
