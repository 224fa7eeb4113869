"""Arrays in files: smallest exact type, written whole or not at all, verified when read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from app.errors import StorageFailed
from app.store.failures import translated

Array = NDArray[Any]

DAMAGED = "A stored image or map is damaged; please store the case again."
MISSING = "A stored image or map is missing; please store the case again."
DRAFT = ".draft-"
DRAFT_SECONDS = 24 * 3600
MOST_VERIFIED = 4096
SMALL_TYPES = (np.uint8, np.int8, np.uint16, np.int16)


def smallest_exact(values: Array) -> Array:
    """The same values in the smallest type that holds each of them exactly.

    Args:
        values: Finite numbers, or bool.

    Returns:
        bool as it is; whole numbers as 8 or 16 bit integers where they fit; else float32.
    """
    if values.dtype == np.bool_ or values.size == 0:
        return values
    low, high = values.min(), values.max()
    for kind in SMALL_TYPES:
        bounds = np.iinfo(kind)
        if bounds.min <= low and high <= bounds.max:
            small = values.astype(kind)
            return small if np.array_equal(small, values) else values.astype(np.float32)
    return values.astype(np.float32, copy=False)


def write_array(path: Path, values: Array, drafts: Path | None = None) -> str:
    """Write a .npy file whole or not at all, safe against loss of power.

    Args:
        path: Final name.
        values: The array.
        drafts: Folder of the unfinished file, on the same disk; that of `path` when None.

    Returns:
        SHA-256 of the file, hexadecimal.

    Raises:
        StorageFailed: The disk is full or cannot be written; nothing is left behind.
    """
    draft = (drafts or path.parent) / f"{DRAFT}{secrets.token_hex(8)}"
    with translated():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            digest = _write(draft, np.ascontiguousarray(values))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
    return digest


class Verifier:
    """Reads arrays, and compares each file with its digest at the first reading."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int, int, str]] = set()

    def read(self, path: Path, digest: str, *, mapped: bool = False) -> Array:
        """The array of a file.

        Args:
            path: The .npy file.
            digest: SHA-256 that the file had when it was written.
            mapped: True for a read-only view that loads only what is looked at.

        Raises:
            StorageFailed: The file is missing, or differs from its digest.
        """
        try:
            with translated():
                self._verify(path, digest)
                return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        except (ValueError, EOFError):
            raise StorageFailed(DAMAGED) from None

    def _verify(self, path: Path, digest: str) -> None:
        if not path.is_file():
            raise StorageFailed(MISSING)
        facts = path.stat()
        key = (str(path), facts.st_mtime_ns, facts.st_size, digest)
        if key in self._seen:
            return
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != digest:
                raise StorageFailed(DAMAGED)
        if len(self._seen) >= MOST_VERIFIED:
            self._seen.clear()
        self._seen.add(key)


@contextmanager
def draft_folder(parent: Path) -> Iterator[Path]:
    """A new folder that is removed at the end unless it was renamed."""
    folder = parent / f"{DRAFT}{secrets.token_hex(8)}"
    with translated():
        folder.mkdir(mode=0o700, parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def claim_folder(draft: Path, name: str) -> str:
    """Give a filled draft folder its name; a name that is taken gets a random ending.

    Returns:
        The name it has now.
    """
    for candidate in (name, f"{name}-{secrets.token_hex(8)}"):
        if _is_renamed(draft, draft.with_name(candidate)):
            sync_folder(draft.parent)
            return candidate
    raise StorageFailed("The case could not be given a folder of its own; please try again.")


def _is_renamed(draft: Path, target: Path) -> bool:
    """Rename a folder; False when the name is taken, even if only just now."""
    if target.exists():
        return False
    try:
        draft.rename(target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True


def sweep_drafts(parent: Path) -> None:
    """Remove drafts that a killed process left behind more than a day ago."""
    with translated():
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in parent.glob(f"{DRAFT}*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime <= DRAFT_SECONDS:
                    continue
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename within a folder last through loss of power, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, values: Array) -> str:
    with path.open("xb") as stream:
        hashing = _Hashing(stream)
        np.lib.format.write_array(hashing, values, allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())
    return hashing.digest.hexdigest()


class _Hashing:
    """A file that takes the digest of what is written to it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._stream.write(data)
