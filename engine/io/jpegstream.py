"""Headers of JPEG, JPEG-LS and JPEG 2000 streams: size before decoding, and orientation."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from engine.errors import UnreadableFile

CUT_SHORT = "This JPEG picture is cut short."
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _APP1 = 0xDA, 0xE1
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class StreamHeader:
    """Size of the picture within a compressed stream."""

    rows: int
    columns: int
    samples: int
    bits: int


def jpeg_header(data: bytes) -> StreamHeader:
    """Header of a JPEG or JPEG-LS stream.

    Raises:
        UnreadableFile: No frame header is found before the first scan.
    """
    for marker, start, end in _segments(data):
        if marker in _FRAME_HEADERS and end - start >= 6 and end <= len(data):
            bits, rows, columns, samples = struct.unpack_from(">BHHB", data, start)
            return StreamHeader(rows, columns, samples, bits)
    raise UnreadableFile(CUT_SHORT)


def check_jpeg_end(data: bytes) -> None:
    """Refuse a JPEG file without an end, which decoders would fill up with grey.

    Raises:
        UnreadableFile: No end of image follows the first scan.
    """
    scan = next((start for marker, start, _ in _segments(data) if marker == _START_OF_SCAN), None)
    if scan is None or data.rfind(b"\xff\xd9") < scan:
        raise UnreadableFile(CUT_SHORT)


def j2k_header(data: bytes) -> StreamHeader | None:
    """Header of a JPEG 2000 code stream, bare or inside a JP2 box; None when not found."""
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0 or len(data) < start + 45:
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    samples, depth = struct.unpack_from(">HB", data, start + 40)
    return StreamHeader(bottom - top, right - left, samples, (depth & 0x7F) + 1)


def exif_orientation(data: bytes) -> int:
    """EXIF orientation of a JPEG file, 1 to 8; 1 when not stated."""
    for marker, start, end in _segments(data):
        if marker == _START_OF_SCAN:
            break
        if marker == _APP1 and data[start : start + 6] == b"Exif\0\0":
            return _tiff_orientation(data[start + 6 : end])
    return 1


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the payload of each segment, to the first scan."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        yield marker, position + 4, position + 2 + length
        if marker == _START_OF_SCAN:
            return
        position += 2 + max(2, length)


def _tiff_orientation(block: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 10:
        return 1
    (start,) = struct.unpack_from(order + "I", block, 4)
    if start + 2 > len(block):
        return 1
    (count,) = struct.unpack_from(order + "H", block, start)
    for index in range(min(count, (len(block) - start - 2) // 12)):
        tag, _, _, value = struct.unpack_from(order + "HHIH", block, start + 2 + 12 * index)
        if tag == _ORIENTATION:
            return int(value) if 1 <= value <= 8 else 1
    return 1
