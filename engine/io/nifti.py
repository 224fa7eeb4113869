"""NIfTI-1 and NIfTI-2 files, plain or gzipped, to pictures."""

from __future__ import annotations

import math
from io import BytesIO
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, ImageDataError
from numpy.typing import NDArray

from engine.errors import UnreadableFile, UnsupportedImage
from engine.io.channels import drop_alpha, scaled_colour
from engine.io.limits import Limits
from engine.io.picture import Picture
from engine.io.source import Source
from engine.io.volume import (
    CUT_SHORT,
    DETACHED,
    SEVERAL,
    affine_of,
    bits_of,
    check_size,
    exactly,
    inflate,
    spacing_of,
    to_frames,
)

ERRORS: tuple[type[Exception], ...] = (ImageFileError, HeaderDataError, ImageDataError)
_UNITS_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def read(source: Source, limits: Limits) -> Picture:
    """A NIfTI file of one volume; its third axis becomes the frames.

    The first NIfTI axis runs along the columns and the second along the rows: frame k has
    data[c, r, k] at row r, column c. Values are scaled as the header says.

    Raises:
        UnreadableFile: The file is damaged, or only a header.
        UnsupportedImage: It holds several volumes, or complex numbers.
        LimitExceeded: The volume is too large.
    """
    packed = source.data[:2] == b"\x1f\x8b"
    start = inflate(source.data, 348) if packed else source.data[:544]
    kind, length = _kind(start)
    if packed:
        start = inflate(source.data, length)
    # unchecked, since nibabel would replace a pitch of zero by one millimetre
    header = kind.header_class.from_fileobj(BytesIO(exactly(start, length)), check=False)
    if bytes(header["magic"])[:2] != b"n+":
        raise UnreadableFile(DETACHED)
    shape = _shape(header)
    limits.check_plane(shape[1], shape[0], shape[2])
    size = _size(header, shape)
    check_size(size, limits.max_bytes)
    whole = inflate(source.data, size) if packed else exactly(source.data, size)
    image = kind.from_bytes(whole)
    voxels = _voxels(image, shape)
    return _picture(header, voxels)


def _kind(start: bytes) -> tuple[Any, int]:
    """Image class, and length of its header in bytes."""
    first = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}
    return (nibabel.Nifti2Image, 540) if 540 in first else (nibabel.Nifti1Image, 348)


def _shape(header: Any) -> tuple[int, int, int]:
    shape = tuple(int(side) for side in header.get_data_shape())
    if len(shape) > 3 and any(side > 1 for side in shape[3:]):
        raise UnsupportedImage(SEVERAL)
    padded = (*shape[:3], 1, 1)
    if len(shape) < 2:
        raise UnsupportedImage("This NIfTI file holds a row of numbers, not a picture.")
    return padded[0], padded[1], padded[2]


def _size(header: Any, shape: tuple[int, int, int]) -> int:
    offset = header.get_data_offset()
    if not 0 <= offset <= 1 << 28:
        raise UnreadableFile(CUT_SHORT)
    return int(offset) + math.prod(shape) * int(header.get_data_dtype().itemsize)


def _voxels(image: Any, shape: tuple[int, int, int]) -> NDArray[Any]:
    """Scaled values, (X, Y, Z, C)."""
    dtype = image.get_data_dtype()
    if dtype.kind == "c":
        raise UnsupportedImage("This NIfTI file holds complex numbers, which cannot be shown.")
    values = np.asanyarray(image.dataobj)
    if dtype.fields:
        values = np.stack([values[name] for name in dtype.names], axis=-1)
    return values.reshape(*shape, -1)


def _picture(header: Any, voxels: NDArray[Any]) -> Picture:
    pixels, alpha = drop_alpha(to_frames(voxels))
    unit = header.get_xyzt_units()[0]
    scale = _UNITS_MM.get(unit, 1.0)
    source = "NIfTI header" if unit in _UNITS_MM else "NIfTI header, unit taken as millimetres"
    zooms = [float(zoom) * scale for zoom in header["pixdim"][1:4]]
    spacing, warnings = spacing_of(zooms, pixels.shape[0], source)
    if pixels.shape[3] == 3:
        pixels = scaled_colour(pixels, 8)
    return Picture(
        pixels,
        spacing=spacing,
        bits=bits_of(pixels.dtype),
        affine=_affine(header, scale),
        facts={"format": "NIfTI", "type": str(header.get_data_dtype().name)[:12]},
        warnings=(*warnings, *alpha),
    )


def _affine(header: Any, scale: float) -> NDArray[np.float64] | None:
    """Voxel to LPS mm, where the header states one."""
    matrix, code = header.get_sform(coded=True)
    if not code:
        matrix, code = header.get_qform(coded=True)
    if not code:
        return None
    matrix = np.asarray(matrix, dtype=np.float64) * scale
    return affine_of(_RAS_TO_LPS @ matrix[:3, :3], _RAS_TO_LPS @ matrix[:3, 3])
