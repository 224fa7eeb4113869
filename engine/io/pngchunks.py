"""Chunks of a PNG file: checked, and stripped of everything but the picture."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from engine.errors import UnreadableFile

CUT_SHORT = "This PNG picture is cut short."
DAMAGED = "This PNG picture is damaged."
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_STEP = 1 << 20


def picture_only(data: bytes) -> bytes:
    """The same PNG file without texts, profiles and other additions.

    Decoders only warn where a checksum is wrong, and show what they have; so the checksums are
    verified here.

    Raises:
        UnreadableFile: A chunk or the compressed picture is damaged, or the end is missing.
    """
    kept, packed = [SIGNATURE], []
    for name, chunk in _chunks(data):
        if name in _KEPT:
            kept.append(chunk)
        if name == b"IDAT":
            packed.append(chunk[8:-4])
    _verify(b"".join(packed))
    return b"".join(kept)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and bytes of each chunk, to the end of the picture."""
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        chunk = data[position : position + 12 + length]
        if len(chunk) < 12 + length:
            raise UnreadableFile(CUT_SHORT)
        name = chunk[4:8]
        if name in _KEPT and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise UnreadableFile(DAMAGED)
        yield name, chunk
        if name == b"IEND":
            return
        position += len(chunk)
    raise UnreadableFile(CUT_SHORT)


def _verify(packed: bytes) -> None:
    """Unpack and forget the picture, so that its own checksum is compared."""
    decoder = zlib.decompressobj()
    while packed and not decoder.eof:
        decoder.decompress(packed, _STEP)
        packed = decoder.unconsumed_tail
    if not decoder.eof:
        raise UnreadableFile(CUT_SHORT)
