"""What a file is, told from its first bytes, and never from its name."""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.errors import UnreadableFile
from engine.io.limits import Limits

NOT_AN_IMAGE = "This file is not an image Lightbox can read."
HEAD = 4096


class Format(StrEnum):
    """Kinds of file that Lightbox tells apart."""

    DICOM = "DICOM"
    PNG = "PNG"
    JPEG = "JPEG"
    TIFF = "TIFF"
    NIFTI = "NIfTI"
    METAIMAGE = "MetaImage"
    NRRD = "NRRD"
    ZIP = "zip"
    ARCHIVE = "archive"
    ENCRYPTED = "encrypted"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Source:
    """The bytes of one file, and their SHA-256 (hexadecimal)."""

    data: bytes
    digest: str


_MAGIC: tuple[tuple[int, bytes, Format], ...] = (
    (128, b"DICM", Format.DICOM),
    (0, b"\x89PNG\r\n\x1a\n", Format.PNG),
    (0, b"\xff\xd8\xff", Format.JPEG),
    (0, b"II*\x00", Format.TIFF),
    (0, b"MM\x00*", Format.TIFF),
    (0, b"II+\x00", Format.TIFF),
    (0, b"MM\x00+", Format.TIFF),
    (0, b"NRRD000", Format.NRRD),
    (0, b"PK\x03\x04", Format.ZIP),
    (0, b"PK\x05\x06", Format.ZIP),
    (257, b"ustar", Format.ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", Format.ARCHIVE),
    (0, b"Rar!\x1a\x07", Format.ARCHIVE),
    (0, b"\xfd7zXZ\x00", Format.ARCHIVE),
    (0, b"BZh9", Format.ARCHIVE),
    (0, b"Salted__", Format.ENCRYPTED),
    (0, b"-----BEGIN PGP MESSAGE", Format.ENCRYPTED),
    (0, b"age-encryption.org/", Format.ENCRYPTED),
)
_META_IMAGE = re.compile(rb"\s*(ObjectType\s*=\s*Image|NDims\s*=\s*\d)")
_ENVELOPED = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"  # CMS EnvelopedData (secure DICOM)
_EXPLICIT = re.compile(
    rb"AE|AS|AT|CS|DA|DS|DT|FD|FL|IS|LO|LT|OB|OD|OF|OL|OV|OW|PN|SH|SL|SQ|SS|ST|SV|TM|UC|UI|UL"
    rb"|UN|UR|US|UT|UV"
)


def load(path: Path, limits: Limits) -> Source:
    """Read a file.

    Raises:
        UnreadableFile: The file cannot be opened.
        LimitExceeded: The file is too large.
    """
    try:
        size = path.stat().st_size
        limits.check_bytes(size)
        data = path.read_bytes()
    except OSError:
        raise UnreadableFile("This file cannot be opened.") from None
    return Source(data, hashlib.sha256(data).hexdigest())


def head(path: Path) -> bytes:
    """The first bytes of a file; empty when it cannot be opened."""
    try:
        with path.open("rb") as handle:
            return handle.read(HEAD)
    except OSError:
        return b""


def sniff(data: bytes) -> Format:
    """The kind of a file whose first bytes (at least 4096, or all) are `data`."""
    for offset, magic, kind in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return kind
    if data[:2] == b"\x1f\x8b":
        return Format.NIFTI if _is_nifti(_gunzip_head(data)) else Format.ARCHIVE
    if _is_nifti(data):
        return Format.NIFTI
    if _META_IMAGE.match(data[:256]):
        return Format.METAIMAGE
    if is_bare_dicom(data):
        return Format.DICOM
    if data[:1] == b"\x30" and _ENVELOPED in data[:32]:
        return Format.ENCRYPTED
    return Format.UNKNOWN


def is_bare_dicom(data: bytes) -> bool:
    """Whether the bytes look like DICOM elements without preamble and "DICM"."""
    if len(data) < 16:
        return False
    little, big = struct.unpack_from("<HH", data), struct.unpack_from(">HH", data)
    explicit = _EXPLICIT.fullmatch(data[4:6]) is not None
    implicit = struct.unpack_from("<I", data, 4)[0] <= 1024
    return (_opens(little) and (explicit or implicit)) or (_opens(big) and explicit)


def _opens(tag: tuple[int, ...]) -> bool:
    """Whether a tag may open a DICOM file."""
    group, element = tag
    return group in (0x0002, 0x0008) and element <= 0x0100


def _is_nifti(data: bytes) -> bool:
    size = {int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big")}
    if 348 in size:
        return data[344:348] in (b"n+1\0", b"ni1\0")
    return 540 in size and data[4:8] in (b"n+2\0", b"ni2\0")


def _gunzip_head(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(data[:HEAD], 1024)
    except zlib.error:
        return b""
