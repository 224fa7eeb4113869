"""Tiles: one image under one map, all of one size, window and crop, for comparison by eye."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInput
from engine.records import FloatArray, Image
from engine.render import blend, display, fit, relative

Bytes = NDArray[np.uint8]

SIDE = 448
"""Longer side of a tile, pixels."""
OPACITY = 0.6
MOST_SMOOTHING = 100.0
SCALES = ("own", "common")
GRID_SIDE = 28
"""Longer side of a stored map of the sanity check, cells."""
DIGITS = 4


@dataclass(frozen=True)
class Look:
    """How the heat of a tile is drawn.

    Args:
        smooth: Sigma of a Gaussian, millimetres where the pitch is known and source pixels
            otherwise; 0 for none.
        native: Whether cells of the method's own grid are drawn, without interpolation; then
            nothing is smoothed.
        scale: "own", from the map's smallest to its largest value; or "common", by ranks, from the
            median (clear) to the hottest pixel, so that every map covers as much of the image.
    """

    smooth: float = 0.0
    native: bool = False
    scale: str = "own"


def look(smooth: str = "", native: str = "", scale: str = "") -> Look:
    """The look that the words of an address ask for.

    Raises:
        InvalidInput: A word is none of those known, or a number out of range.
    """
    try:
        sigma = round(float(smooth or 0), 2)
    except ValueError:
        raise InvalidInput("The smoothing must be a number.") from None
    if not 0 <= sigma <= MOST_SMOOTHING:
        raise InvalidInput(f"The smoothing must lie between 0 and {MOST_SMOOTHING:g}.")
    if native not in ("", "0", "1") or scale not in ("", *SCALES):
        raise InvalidInput("There is no such way to draw a map.")
    return Look(sigma, native == "1", scale or "own")


def tile_size(image: Image) -> tuple[int, int]:
    """Rows and columns of the tiles of an image, at its true aspect."""
    height, width = float(image.height), float(image.width)
    if image.spacing is not None:
        height, width = height * image.spacing.row_mm, width * image.spacing.column_mm
    scale = SIDE / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def picture(image: Image, frame: int) -> Bytes:
    """One frame as a tile without heat, (h, w, 3) RGB, in the image's first window."""
    return fit(display(image, frame), *tile_size(image))


def shrunken(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """A map at a size (rows, columns): averaged when made smaller, linear when made larger."""
    shrinks = size[0] < values.shape[0] or size[1] < values.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    made = cv2.resize(np.asarray(values, np.float32), (size[1], size[0]), interpolation=way)
    return np.asarray(made, dtype=np.float32)


def cells(
    values: FloatArray, grid: tuple[int, int], area: Sequence[float] | None, size: tuple[int, int]
) -> FloatArray:
    """A map as blocks of its method's own grid, at a size (rows, columns).

    Args:
        values: The enlarged map, (H, W), in source pixels.
        grid: Rows and columns of the grid.
        area: Top, left, height and width of the rectangle that the grid covers, source pixels; it
            may reach beyond the image. The whole image when None.
        size: Rows and columns of the tile.

    Returns:
        Each cell with the value at its centre; the smallest value where no cell lies.
    """
    height, width = values.shape
    top, left, tall, wide = area if area is not None else (0.0, 0.0, height, width)
    rows, columns = max(1, grid[0]), max(1, grid[1])
    if tall <= 0 or wide <= 0:
        return shrunken(values, size)
    y = _inside(top + (np.arange(rows) + 0.5) * tall / rows, height)
    x = _inside(left + (np.arange(columns) + 0.5) * wide / columns, width)
    own = np.asarray(values[np.ix_(y, x)], dtype=np.float32)
    centre_y = (np.arange(size[0]) + 0.5) * height / size[0]
    centre_x = (np.arange(size[1]) + 0.5) * width / size[1]
    row = np.floor((centre_y - top) * rows / tall).astype(int)
    column = np.floor((centre_x - left) * columns / wide).astype(int)
    in_y, in_x = (row >= 0) & (row < rows), (column >= 0) & (column < columns)
    made = own[np.ix_(row.clip(0, rows - 1), column.clip(0, columns - 1))]
    return np.where(in_y[:, None] & in_x[None, :], made, own.min()).astype(np.float32)


def _inside(places: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    return np.floor(places).astype(np.int64).clip(0, count - 1)


def smoothed(values: FloatArray, image: Image, sigma: float) -> FloatArray:
    """A map at tile size under a Gaussian whose sigma is given in the image's own units."""
    if sigma <= 0:
        return values
    spacing = image.spacing
    pitch = (1.0, 1.0) if spacing is None else (spacing.row_mm, spacing.column_mm)
    rows = sigma / pitch[0] * values.shape[0] / image.height
    columns = sigma / pitch[1] * values.shape[1] / image.width
    if max(rows, columns) < 1e-3:
        return values
    made = cv2.GaussianBlur(
        values,
        (0, 0),
        sigmaX=max(columns, 1e-3),
        sigmaY=max(rows, 1e-3),
        borderType=cv2.BORDER_REPLICATE,
    )
    return np.asarray(made, dtype=np.float32)


def ranked(values: FloatArray) -> FloatArray:
    """Heat by rank, 0 to 1: 0 up to the median, then by the share of pixels that are colder."""
    flat = values.ravel()
    colder = np.searchsorted(np.sort(flat), flat, side="left") / max(1, flat.size - 1)
    return np.clip(2 * colder - 1, 0, 1).astype(np.float32).reshape(values.shape)


def heated(base: Bytes, values: FloatArray, *, signed: bool, scale: str) -> Bytes:
    """A tile under a map of its size.

    Args:
        base: The tile, (h, w, 3). values: The map, (h, w).
        signed: Whether values below zero speak against the class; then they stay clear.
        scale: See `Look`.
    """
    shown = np.maximum(values, 0) if signed else values
    heat = relative(shown)
    if scale == "common" and heat.any():
        heat = ranked(shown)
    return blend(base, heat, opacity=OPACITY)


def small_grid(values: FloatArray) -> list[list[float]]:
    """A map as rows of few digits, its longer side at most `GRID_SIDE` cells."""
    height, width = values.shape
    scale = min(1.0, GRID_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return [[_short(v) for v in row] for row in shrunken(values, size).astype(float).tolist()]


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else 0.0
