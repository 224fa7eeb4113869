"""Volumes of NIfTI, MetaImage and NRRD: bounded unpacking, and the way from voxels to frames."""

from __future__ import annotations

import bz2
import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import LimitExceeded, UnreadableFile
from engine.records import Spacing

CUT_SHORT = "The image data of this file are cut short."
NO_PITCH = "The file states a voxel size of zero or below, so lengths cannot be measured."
DETACHED = "This file is only a header: its image data are in a second file. Save both as one file."
SEVERAL = "This file holds several volumes; save the one you want as a file of its own."


def to_frames(data: NDArray[Any]) -> NDArray[Any]:
    """Frames (F, H, W, C) from voxels (X, Y, Z, C): data[c, r, k] is row r, column c of frame k."""
    return data.transpose(2, 1, 0, 3)


def spacing_of(
    pitch: Sequence[float], frames: int, source: str
) -> tuple[Spacing | None, tuple[str, ...]]:
    """Spacing from the voxel size along X, Y and Z, mm; None and a warning for a senseless one."""
    if len(pitch) < 2 or not all(math.isfinite(step) and step > 0 for step in pitch[:2]):
        return None, (NO_PITCH,)
    slice_mm = None
    if frames > 1 and len(pitch) > 2 and math.isfinite(pitch[2]) and pitch[2] > 0:
        slice_mm = float(pitch[2])
    return Spacing(float(pitch[1]), float(pitch[0]), slice_mm, source), ()


def affine_of(axes: NDArray[np.float64], origin: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """(4, 4) voxel (column, row, frame) to LPS mm, from step vectors in columns (3, 3) and origin.

    None when a number is not finite or the axes do not span space.
    """
    if not (np.isfinite(axes).all() and np.isfinite(origin).all()):
        return None
    if abs(float(np.linalg.det(axes))) < 1e-12:
        return None
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, origin
    return affine


def assemble(
    positions: NDArray[np.float64], axes: NDArray[np.float64], pitch: Spacing, thickness: float
) -> NDArray[np.float64] | None:
    """Affine of parallel planes.

    Args:
        positions: (F, 3) first voxel of each frame, LPS mm, in frame order.
        axes: (2, 3) directions along a row, and down a column.
        pitch: Pixel pitch.
        thickness: Step used for one plane alone, mm.
    """
    if len(positions) > 1:
        steps = np.diff(positions, axis=0)
        step = steps.mean(axis=0)
        length = float(np.linalg.norm(step))
        if length < 1e-6 or not np.allclose(steps, step, atol=max(1e-3, 0.01 * length)):
            return None
    else:
        step = np.cross(axes[0], axes[1]) * (thickness if thickness > 0 else 1.0)
    result = np.eye(4)
    result[:3, 0], result[:3, 1] = axes[0] * pitch.column_mm, axes[1] * pitch.row_mm
    result[:3, 2], result[:3, 3] = step, positions[0]
    return result if abs(float(np.linalg.det(result))) > 1e-12 else None


def inflate(data: bytes, size: int) -> bytes:
    """The first `size` bytes of a gzip or zlib stream, of one or several members.

    Raises:
        UnreadableFile: The stream ends earlier.
    """
    parts, missing = [], size
    while data and missing > 0:
        decoder = zlib.decompressobj(wbits=47)
        part = decoder.decompress(data, missing)
        parts.append(part)
        missing -= len(part)
        if not decoder.eof:
            break
        data = decoder.unused_data.lstrip(b"\0")
    if missing > 0:
        raise UnreadableFile(CUT_SHORT)
    return b"".join(parts)


def unbzip(data: bytes, size: int) -> bytes:
    """The first `size` bytes of a bzip2 stream.

    Raises:
        UnreadableFile: The stream ends earlier.
    """
    return exactly(bz2.BZ2Decompressor().decompress(data, size), size)


def exactly(data: bytes, size: int) -> bytes:
    """The first `size` bytes.

    Raises:
        UnreadableFile: There are fewer.
    """
    if len(data) < size:
        raise UnreadableFile(CUT_SHORT)
    return data[:size]


def check_size(size: int, max_bytes: int) -> None:
    """Refuse image data of `size` bytes before they are unpacked.

    Raises:
        LimitExceeded: They are larger than `max_bytes`.
    """
    if size > max_bytes:
        raise LimitExceeded("The image data of this file are larger than Lightbox reads.")


def bits_of(dtype: np.dtype[Any]) -> int:
    """Bits that hold values of an integer type; 32 for floating point."""
    return 32 if dtype.kind == "f" else min(32, 8 * dtype.itemsize)
