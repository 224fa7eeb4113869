"""The files of a batch: folders walked, archives unpacked, clutter left out, limits kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError, LimitExceeded, UnreadableFile
from engine.io.archive import unpack
from engine.io.limits import Limits, in_words
from engine.io.source import Format, head, sniff

CANNOT_OPEN = "This file cannot be opened."
NOTHING = "There is no image in this folder or archive."
_TEXT_SUFFIXES = {".csv", ".tsv", ".json", ".txt", ".md", ".rst", ".toml", ".yaml", ".yml", ".log"}
_TEXT_NAMES = ("readme", "license", "licence", "copying")
_CLUTTER = {"thumbs.db", "desktop.ini", "dicomdir"}


@dataclass(frozen=True)
class Item:
    """One file of a batch, or one reason why something could not be listed.

    Args:
        position: Place in the expanded list, from 1.
        path: Where its bytes are.
        source: The path the caller gave or would know: the archive, for a file within one.
        folder: Folder it was found in; None for a file that was named by itself.
        error: Why it cannot be read; None otherwise.
    """

    position: int
    path: Path
    source: Path
    folder: Path | None = None
    error: EngineError | None = None


@dataclass(frozen=True)
class _Found:
    path: Path
    source: Path
    folder: Path | None = None
    error: EngineError | None = None


def expand(paths: Sequence[Path], workspace: Path, limits: Limits) -> list[Item]:
    """All files of a batch in order, with archives unpacked below `workspace`.

    A batch beyond the limits ends with an item that says so.
    """
    items: list[Item] = []
    total = 0
    for found in _found(paths, workspace, limits):
        position = len(items) + 1
        total += _size(found.path) if found.error is None else 0
        error = _beyond(position, total, limits)
        items.append(Item(position, found.path, found.source, found.folder, error or found.error))
        if error is not None:
            break
    return items


def _found(paths: Sequence[Path], workspace: Path, limits: Limits) -> Iterator[_Found]:
    for path in paths:
        if path.is_dir():
            inside = list(_walk(path))
            for file in inside:
                yield from _opened(file, file, file.parent, workspace, limits)
            if not inside:
                yield _Found(path, path, error=UnreadableFile(NOTHING))
        elif path.is_file():
            yield from _opened(path, path, None, workspace, limits)
        else:
            yield _Found(path, path, error=UnreadableFile(CANNOT_OPEN))


def _opened(
    path: Path, source: Path, folder: Path | None, workspace: Path, limits: Limits
) -> Iterator[_Found]:
    """The file itself, or what is in it when it is an archive."""
    if sniff(head(path)) is not Format.ZIP:
        yield _Found(path, source, folder)
        return
    into = workspace / f"{len(list(workspace.iterdir())):06d}"
    into.mkdir(mode=0o700)
    try:
        unpack(path, into, limits)
    except EngineError as error:
        yield _Found(path, source, error=error)
        return
    inside = list(_walk(into))
    for file in inside:
        yield _Found(file, source, file.parent)
    if not inside:
        yield _Found(path, source, error=UnreadableFile(NOTHING))


def _walk(folder: Path) -> Iterator[Path]:
    """Regular files that may be images, sorted, without hidden files and accompanying text."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for name in sorted(files):
            path = Path(parent) / name
            if not name.startswith(".") and path.is_file() and not _accompanies(path):
                yield path


def _accompanies(path: Path) -> bool:
    """Whether a file is a table, a text or clutter beside the images."""
    name = path.name.lower()
    if name in _CLUTTER:
        return True
    text = path.suffix.lower() in _TEXT_SUFFIXES or name.startswith(_TEXT_NAMES)
    return text and sniff(head(path)) is Format.UNKNOWN


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _beyond(count: int, total: int, limits: Limits) -> LimitExceeded | None:
    if count > limits.max_files:
        return LimitExceeded(
            f"The batch holds more than {limits.max_files} files; this one and those after it "
            "were not read."
        )
    if total > limits.max_total_bytes:
        return LimitExceeded(
            f"The batch is larger than {in_words(limits.max_total_bytes)}; this file and those "
            "after it were not read."
        )
    return None
