"""Decoded images on disk, each file complete and intact or made again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import zlib
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np

from engine.datasets.encode import Bytes
from engine.errors import UnreadableFile

logger = logging.getLogger(__name__)

Facts = dict[str, Any]


class PixelCache:
    """uint8 arrays by key, and the digests of the files they came from.

    A full or read-only disk costs speed only: what cannot be stored is made again.

    Args:
        folder: Made when needed; None stores nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._digests: dict[tuple[str, int, int], str] = {}
        self._told = False

    def read(self, key: str) -> tuple[Bytes, Facts] | None:
        """The array of a key and its facts; None where it is absent or damaged."""
        if self._folder is None:
            return None
        try:
            data = self._place(key).read_bytes()
            head, _, body = data.partition(b"\n")
            stated = json.loads(head)
            if zlib.crc32(body) != stated["crc"]:
                raise ValueError("checksum")
            array = np.frombuffer(body, np.uint8).reshape(stated["shape"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            logger.warning("a cached image is damaged and is decoded again")
            return None
        return array, stated["facts"]

    def keep(self, key: str, array: Bytes, facts: Facts) -> None:
        """Store an array, so that a reader sees all of it or nothing."""
        if self._folder is None:
            return
        body = np.ascontiguousarray(array).tobytes()
        head = {"shape": list(array.shape), "facts": facts, "crc": zlib.crc32(body)}
        self._write(self._place(key), json.dumps(head).encode() + b"\n" + body)

    def digest(self, path: Path) -> str:
        """SHA-256 of a file, hexadecimal; read again only when its size or time changed.

        Raises:
            UnreadableFile: It is no file, or cannot be opened.
        """
        try:
            stat = path.stat()
            if not S_ISREG(stat.st_mode):
                raise OSError("not a file")
            name = (str(path), stat.st_size, stat.st_mtime_ns)
            known = self._digests.get(name) or self._stamped(name)
            if known is None:
                with path.open("rb") as stream:
                    known = hashlib.file_digest(stream, "sha256").hexdigest()
                if self._folder is not None:
                    self._write(self._stamp(name), known.encode())
        except OSError:
            raise UnreadableFile("This file cannot be opened.") from None
        self._digests[name] = known
        return known

    def _stamped(self, name: tuple[str, int, int]) -> str | None:
        if self._folder is None:
            return None
        try:
            text = self._stamp(name).read_text("ascii")
        except (OSError, ValueError):
            return None
        return text if len(text) == 64 else None

    def _stamp(self, name: tuple[str, int, int]) -> Path:
        return self._place(hashlib.sha256(repr(name).encode()).hexdigest(), ".sha256")

    def _place(self, key: str, suffix: str = ".u8") -> Path:
        assert self._folder is not None
        return self._folder / key[:2] / f"{key[2:]}{suffix}"

    def _write(self, path: Path, data: bytes) -> None:
        partial = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            if not self._told:
                logger.warning("decoded images cannot be stored; they are decoded each time")
            self._told = True
