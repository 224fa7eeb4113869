"""Zip archives, unpacked with suspicion into a private folder."""

from __future__ import annotations

import re
import stat
import zipfile
from pathlib import Path

from engine.errors import LimitExceeded, UnreadableFile, UnsupportedImage
from engine.io.limits import Limits, in_words
from engine.io.seam import decoding
from engine.io.source import Format, head, sniff

DAMAGED = "This zip archive is damaged, so nothing was read from it."
OUTSIDE = "This zip archive tries to write outside its own folder, so nothing was read from it."
LINKS = "This zip archive holds links, so nothing was read from it."
ENCRYPTED = "This zip archive is encrypted; unpack it first."
NESTED = "This zip archive holds another archive; unpack it first."
BOMB = "This zip archive unpacks to far more than its own size, so nothing was read from it."
_CHUNK = 1 << 20
_ENCRYPTED_FLAGS = 0x1 | 0x40
_AES = 99
_DRIVE = re.compile(r"[A-Za-z]:")


def unpack(path: Path, into: Path, limits: Limits) -> None:
    """Unpack a zip archive into an empty private folder; all checks before the first byte.

    Raises:
        UnreadableFile: The archive is damaged or encrypted.
        UnsupportedImage: It holds links, other archives, or paths outside its folder.
        LimitExceeded: It holds too many files or bytes, or is a decompression bomb.
    """
    with decoding(sentence=DAMAGED), zipfile.ZipFile(path) as archive:
        members = [each for each in archive.infolist() if not each.is_dir()]
        _check(members, path.stat().st_size, limits)
        for member in members:
            if not _is_clutter(member.filename):
                _extract(archive, member, into, limits)


def _check(members: list[zipfile.ZipInfo], size: int, limits: Limits) -> None:
    """Refuse the archive on what its directory says."""
    if len(members) > limits.max_files:
        raise LimitExceeded(f"This zip archive holds more than {limits.max_files} files.")
    for member in members:
        if _leaves_folder(member.filename) or _leaves_folder(member.orig_filename):
            raise UnsupportedImage(OUTSIDE)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise UnsupportedImage(LINKS)
        if member.flag_bits & _ENCRYPTED_FLAGS or member.compress_type == _AES:
            raise UnreadableFile(ENCRYPTED)
    total = sum(member.file_size for member in members)
    if total > limits.max_zip_ratio * max(size, 1):
        raise LimitExceeded(BOMB)
    if total > limits.max_total_bytes:
        raise LimitExceeded(
            f"This zip archive unpacks to more than {in_words(limits.max_total_bytes)}."
        )


def _leaves_folder(name: str) -> bool:
    """Whether a member name is absolute or climbs upwards, on any system."""
    parts = re.split(r"[/\\]", name)
    return parts[0] == "" or ".." in parts or _DRIVE.match(name) is not None


def _is_clutter(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, into: Path, limits: Limits) -> None:
    """Write one member, counting its bytes."""
    target = into / member.filename.replace("\\", "/")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    written = 0
    with archive.open(member) as packed, target.open("xb") as file:
        while chunk := packed.read(_CHUNK):
            written += len(chunk)
            if written > member.file_size:
                raise LimitExceeded(BOMB)
            limits.check_bytes(written)
            file.write(chunk)
    if sniff(head(target)) in (Format.ZIP, Format.ARCHIVE):
        raise UnsupportedImage(NESTED)
