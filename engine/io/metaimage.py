"""MetaImage files (MHA) to pictures.

The format is a short text header and raw or zlib data, so it is read here rather than by ITK,
which takes file names from the header and opens them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import UnreadableFile, UnsupportedImage
from engine.io.channels import drop_alpha, scaled_colour
from engine.io.limits import Limits
from engine.io.picture import Picture
from engine.io.source import Source
from engine.io.volume import (
    DETACHED,
    SEVERAL,
    affine_of,
    bits_of,
    check_size,
    exactly,
    inflate,
    spacing_of,
)

ERRORS: tuple[type[Exception], ...] = ()
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_HEADER_BYTES = 65_536


@dataclass(frozen=True)
class _Header:
    fields: dict[str, str]
    length: int

    def numbers(self, *keys: str) -> list[float]:
        """Numbers of the first key that is present; empty when none is."""
        text = next((self.fields[key] for key in keys if key in self.fields), "")
        return [float(word) for word in text.split()]

    def true(self, *keys: str) -> bool:
        """Whether one of the keys is present and true."""
        return any(self.fields.get(key, "").lower() in ("true", "1") for key in keys)


def read(source: Source, limits: Limits) -> Picture:
    """A MetaImage file of one plane or volume; its third axis becomes the frames.

    Raises:
        UnreadableFile: The file is damaged, or only a header (MHD).
        UnsupportedImage: It holds several volumes, or a pixel type that cannot be shown.
        LimitExceeded: The image is too large.
    """
    header = _parse(source.data)
    shape = [int(side) for side in header.numbers("DimSize")]
    if len(shape) < 2 or any(side > 1 for side in shape[3:]):
        raise UnsupportedImage(SEVERAL)
    columns, rows, frames = (*shape[:3], 1)[:3]
    limits.check_plane(rows, columns, frames)
    channels = int((header.numbers("ElementNumberOfChannels") or [1])[0])
    if channels not in (1, 3, 4):
        raise UnsupportedImage("This MetaImage file has channels that are not grey or RGB.")
    name = _TYPES.get(header.fields.get("ElementType", "").removesuffix("_ARRAY"))
    if name is None:
        raise UnsupportedImage("This MetaImage file uses a pixel type Lightbox does not read.")
    big = header.true("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    dtype = np.dtype(name).newbyteorder(">" if big else "<")
    size = frames * rows * columns * channels * dtype.itemsize
    check_size(size, limits.max_bytes)
    pixels = np.frombuffer(_payload(header, source.data, size), dtype)
    return _picture(header, pixels.reshape(frames, rows, columns, channels))


def _parse(data: bytes) -> _Header:
    """Fields up to "ElementDataFile = LOCAL", and where the data start."""
    fields: dict[str, str] = {}
    position = 0
    while position < min(len(data), _HEADER_BYTES):
        end = data.find(b"\n", position, _HEADER_BYTES)
        if end < 0:
            break
        key, _, value = data[position:end].decode("latin-1").partition("=")
        fields[key.strip()] = value.strip()
        position = end + 1
        if key.strip() == "ElementDataFile":
            if value.strip().upper() != "LOCAL":
                raise UnreadableFile(DETACHED)
            return _Header(fields, position)
    raise UnreadableFile("The header of this MetaImage file is damaged or cut short.")


def _payload(header: _Header, data: bytes, size: int) -> bytes:
    """Raw image data, unpacked."""
    if header.fields.get("BinaryData", "True").lower() in ("false", "0"):
        raise UnsupportedImage("This MetaImage file holds its pixels as text; save it as binary.")
    if header.true("CompressedData"):
        return inflate(data[header.length :], size)
    skipped = int((header.numbers("HeaderSize") or [0])[0])
    start = len(data) - size if skipped == -1 else header.length + max(0, skipped)
    return exactly(data[max(0, start) :], size)


def _picture(header: _Header, pixels: NDArray[np.generic]) -> Picture:
    frames = pixels.shape[0]
    dtype = pixels.dtype
    pitch = header.numbers("ElementSpacing", "ElementSize")
    spacing, warnings = spacing_of(pitch, frames, "MetaImage header") if pitch else (None, ())
    pixels, alpha = drop_alpha(pixels)
    if pixels.shape[3] == 3:
        pixels = scaled_colour(pixels, 0 if dtype.kind == "f" else 8 * dtype.itemsize)
    return Picture(
        pixels,
        spacing=spacing,
        bits=bits_of(dtype),
        affine=_affine(header, pitch),
        facts={"format": "MetaImage", "type": dtype.newbyteorder("=").name},
        warnings=(*warnings, *alpha),
    )


def _affine(header: _Header, pitch: list[float]) -> NDArray[np.float64] | None:
    """Voxel to LPS mm: rows of TransformMatrix are the directions of the axes."""
    matrix = header.numbers("TransformMatrix", "Rotation", "Orientation")
    origin = header.numbers("Offset", "Position", "Origin")
    if len(matrix) < 9 or len(origin) < 3 or len(pitch) < 3:
        return None
    directions = np.array(matrix[:9], dtype=np.float64).reshape(3, 3).T
    return affine_of(directions * np.array(pitch[:3]), np.array(origin[:3]))
