"""NRRD files to pictures.

The format is a short text header and raw, gzip or bzip2 data, so it is read here: the usual
libraries take file names from the header and open them.
"""

from __future__ import annotations

import math
import re
from typing import Any

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
    to_frames,
    unbzip,
)

ERRORS: tuple[type[Exception], ...] = ()
_TYPES = {
    "i1": "signed char,int8,int8_t",
    "u1": "uchar,unsigned char,uint8,uint8_t",
    "i2": "short,short int,signed short,signed short int,int16,int16_t",
    "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
    "i4": "int,signed int,int32,int32_t",
    "u4": "uint,unsigned int,uint32,uint32_t",
    "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
    "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
    "f4": "float",
    "f8": "double",
}
_BY_NAME = {name: code for code, names in _TYPES.items() for name in names.split(",")}
_COLOUR_KINDS = ("rgb-color", "rgba-color", "vector", "3-color", "4-color", "list", "3-vector")
_TO_LPS = {
    "left-posterior-superior": (1.0, 1.0, 1.0), "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0), "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0), "las": (1.0, -1.0, 1.0),
}  # fmt: skip
_HEADER_BYTES = 1 << 20
_DAMAGED = "The header of this NRRD file is damaged or cut short."


def read(source: Source, limits: Limits) -> Picture:
    """A NRRD file of one plane or volume; its third axis in space becomes the frames.

    Raises:
        UnreadableFile: The file is damaged, or only a header.
        UnsupportedImage: It holds several volumes, or a coding that cannot be read.
        LimitExceeded: The image is too large.
    """
    fields, start = _parse(source.data)
    sizes = [int(word) for word in fields.get("sizes", "").split()]
    if not sizes or len(sizes) != int(fields.get("dimension", "0")):
        raise UnreadableFile(_DAMAGED)
    channel_axis = _channel_axis(fields, sizes)
    space = [side for axis, side in enumerate(sizes) if axis != channel_axis]
    if len(space) < 2 or any(side > 1 for side in space[3:]):
        raise UnsupportedImage(SEVERAL)
    columns, rows, frames = (*space[:3], 1)[:3]
    limits.check_plane(rows, columns, frames)
    code = _BY_NAME.get(fields.get("type", "").lower())
    if code is None:
        raise UnsupportedImage("This NRRD file uses a pixel type Lightbox does not read.")
    dtype = np.dtype(code).newbyteorder(">" if fields.get("endian", "").lower() == "big" else "<")
    size = math.prod(sizes) * dtype.itemsize
    check_size(size, limits.max_bytes)
    voxels = np.frombuffer(_payload(fields, source.data[start:], size), dtype)
    voxels = voxels.reshape(sizes, order="F")
    if channel_axis is not None:
        voxels = np.moveaxis(voxels, channel_axis, -1)
    return _picture(fields, voxels.reshape(columns, rows, frames, -1), channel_axis)


def _parse(data: bytes) -> tuple[dict[str, str], int]:
    """Fields of the header, keys in lower case, and where the data start."""
    blank = re.search(rb"\r?\n\r?\n", data[:_HEADER_BYTES])
    header = data[: blank.start() if blank else _HEADER_BYTES].decode("latin-1")
    fields: dict[str, str] = {}
    for line in header.splitlines()[1:]:
        key, separator, value = line.partition(": ")
        if separator and not line.startswith("#") and ":=" not in key:
            fields[key.strip().lower()] = value.strip()
    if "data file" in fields or "datafile" in fields:
        raise UnreadableFile(DETACHED)
    if blank is None:
        raise UnreadableFile(_DAMAGED)
    return fields, blank.end()


def _channel_axis(fields: dict[str, str], sizes: list[int]) -> int | None:
    """Axis that holds colours, or None."""
    kinds = fields.get("kinds", "").lower().split()
    for axis, kind in enumerate(kinds[: len(sizes)]):
        if kind in _COLOUR_KINDS and sizes[axis] in (3, 4):
            return axis
    return None


def _payload(fields: dict[str, str], data: bytes, size: int) -> bytes:
    """Raw image data, unpacked."""
    skip_keys = ("byte skip", "byteskip", "line skip", "lineskip")
    if any(fields.get(key, "0") != "0" for key in skip_keys):
        raise UnsupportedImage("This NRRD file skips part of its data; save it again without.")
    encoding = fields.get("encoding", "").lower()
    if encoding == "raw":
        return exactly(data, size)
    if encoding in ("gzip", "gz"):
        return inflate(data, size)
    if encoding in ("bzip2", "bz2"):
        return unbzip(data, size)
    raise UnsupportedImage("This NRRD file uses a coding Lightbox does not read.")


def _picture(fields: dict[str, str], voxels: NDArray[Any], channel_axis: int | None) -> Picture:
    pixels = to_frames(voxels)
    dtype = pixels.dtype
    axes = _axes(fields)
    pitch = [float(np.linalg.norm(axis)) for axis in axes]
    if not pitch and "spacings" in fields:
        words = fields["spacings"].split()
        pitch = [float(w) for axis, w in enumerate(words) if axis != channel_axis]
    spacing, warnings = spacing_of(pitch, pixels.shape[0], "NRRD header") if pitch else (None, ())
    pixels, alpha = drop_alpha(pixels)
    if pixels.shape[3] == 3:
        pixels = scaled_colour(pixels, 0 if dtype.kind == "f" else 8 * dtype.itemsize)
    return Picture(
        pixels,
        spacing=spacing,
        bits=bits_of(dtype),
        affine=_affine(fields, axes),
        facts={"format": "NRRD", "type": dtype.newbyteorder("=").name},
        warnings=(*warnings, *alpha),
    )


def _axes(fields: dict[str, str]) -> list[list[float]]:
    """Step vectors of the axes in space, in the frame of the file."""
    vectors = re.findall(r"\(([^)]*)\)", fields.get("space directions", ""))
    return [[float(word) for word in vector.split(",")] for vector in vectors]


def _affine(fields: dict[str, str], axes: list[list[float]]) -> NDArray[np.float64] | None:
    """Voxel to LPS mm, where the file states an anatomical frame."""
    signs = _TO_LPS.get(fields.get("space", "").lower())
    words = re.findall(r"[^(),\s]+", fields.get("space origin", ""))
    if signs is None or len(axes) != 3 or len(words) != 3 or any(len(a) != 3 for a in axes):
        return None
    flip = np.diag(signs)
    return affine_of(flip @ np.array(axes).T, flip @ np.array([float(word) for word in words]))
