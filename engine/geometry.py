"""Where a model's input lies in the source image, and the way back.

Coordinates are continuous and count from the top-left corner of the image: pixel (row r, column c)
covers [c, c + 1) x [r, r + 1), its centre is (c + 0.5, r + 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.records import BoolArray, Box, FloatArray


@dataclass(frozen=True)
class Placement:
    """A crop of the source, enlarged or reduced, centred on a square canvas of `size` pixels.

    Args:
        source: Height and width of the source image, pixels.
        top, left, height, width: The crop, source pixels (whole numbers).
        size: Side of the canvas, pixels.
        inner: Height and width of the resized crop on the canvas.
        offset: Row and column of its top-left corner on the canvas.
    """

    source: tuple[int, int]
    top: int
    left: int
    height: int
    width: int
    size: int
    inner: tuple[int, int]
    offset: tuple[int, int]

    @property
    def covered(self) -> tuple[float, float, float, float]:
        """The whole canvas in source pixels: top, left, height, width; may reach beyond it."""
        down, across = self.height / self.inner[0], self.width / self.inner[1]
        return (
            self.top - self.offset[0] * down,
            self.left - self.offset[1] * across,
            self.size * down,
            self.size * across,
        )

    @property
    def seen(self) -> BoolArray:
        """Source pixels that lie in the crop, (H, W) bool."""
        mask = np.zeros(self.source, dtype=bool)
        mask[self.top : self.top + self.height, self.left : self.left + self.width] = True
        return mask

    def to_canvas(self, pixels: FloatArray, fill: float = 0.0) -> FloatArray:
        """Crop, resize and pad; (H, W) or (H, W, C) to (size, size) or (size, size, C)."""
        crop = pixels[self.top : self.top + self.height, self.left : self.left + self.width]
        shrinks = self.inner[0] < self.height or self.inner[1] < self.width
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(
            np.ascontiguousarray(crop), (self.inner[1], self.inner[0]), interpolation=method
        )
        canvas = np.full((self.size, self.size, *pixels.shape[2:]), fill, dtype=np.float32)
        row, column = self.offset
        canvas[row : row + self.inner[0], column : column + self.inner[1]] = resized.reshape(
            *self.inner, *pixels.shape[2:]
        )
        return canvas

    def inside(self, cells: int | tuple[int, int]) -> BoolArray:
        """Cells of a grid over the canvas whose centre lies on the source, (h, w) bool."""
        rows, columns = (cells, cells) if isinstance(cells, int) else cells
        y = (np.arange(rows) + 0.5) * self.size / rows - self.offset[0]
        x = (np.arange(columns) + 0.5) * self.size / columns - self.offset[1]
        keep_y = (y >= 0) & (y <= self.inner[0])
        keep_x = (x >= 0) & (x <= self.inner[1])
        return keep_y[:, None] & keep_x[None, :]

    def to_source(self, grid: FloatArray, outside: float | None = 0.0) -> FloatArray:
        """Enlarge a grid over the canvas to the source image, bilinear with half-pixel centres.

        Cells of the padding, whose centre lies beside the crop, take no part.

        Args:
            grid: (h, w), any real scale.
            outside: Value outside the crop, which the model did not see; None for the smallest
                value inside, so that the range of a map is that of what was seen.

        Returns:
            (H, W) float32.
        """
        rows, columns = grid.shape
        y = (np.arange(self.height) + 0.5) * self.inner[0] / self.height + self.offset[0]
        x = (np.arange(self.width) + 0.5) * self.inner[1] / self.width + self.offset[1]
        small = np.asarray(grid, dtype=np.float32)
        down = _within(y * rows / self.size - 0.5, rows, self.size, self.offset[0], self.inner[0])
        across = _within(
            x * columns / self.size - 0.5, columns, self.size, self.offset[1], self.inner[1]
        )
        wide = _stretched(small.T, across).T
        placed = _stretched(np.ascontiguousarray(wide), down)
        fill = float(placed.min()) if outside is None else outside
        out = np.full(self.source, fill, dtype=np.float32)
        out[self.top : self.top + self.height, self.left : self.left + self.width] = placed
        return out

    def box_to_source(self, box: Box) -> Box:
        """A box in canvas pixels, in source pixels, clipped to the source."""
        scale_y, scale_x = self.height / self.inner[0], self.width / self.inner[1]
        left = (box.x - self.offset[1]) * scale_x + self.left
        top = (box.y - self.offset[0]) * scale_y + self.top
        right, bottom = left + box.width * scale_x, top + box.height * scale_y
        left, right = (float(np.clip(v, 0, self.source[1])) for v in (left, right))
        top, bottom = (float(np.clip(v, 0, self.source[0])) for v in (top, bottom))
        return Box(left, top, right - left, bottom - top)

    def box_to_canvas(self, box: Box) -> Box:
        """A box in source pixels, in canvas pixels (not clipped)."""
        scale_y, scale_x = self.inner[0] / self.height, self.inner[1] / self.width
        return Box(
            (box.x - self.left) * scale_x + self.offset[1],
            (box.y - self.top) * scale_y + self.offset[0],
            box.width * scale_x,
            box.height * scale_y,
        )


def _within(
    positions: NDArray[np.float64], cells: int, size: int, offset: int, inner: int
) -> NDArray[np.float64]:
    """Positions held among the cells whose centre lies on the source: padding never bleeds in."""
    centres = (np.arange(cells) + 0.5) * size / cells - offset
    own = np.flatnonzero((centres >= 0) & (centres <= inner))
    if not len(own):
        return positions
    held: NDArray[np.float64] = np.clip(positions, own[0], own[-1])
    return held


def _stretched(values: FloatArray, positions: NDArray[np.float64]) -> FloatArray:
    """Rows of (n, m) at fractional positions, linear between neighbours, ends repeated."""
    held = np.clip(positions, 0, len(values) - 1)
    low = held.astype(np.intp)
    slopes = np.diff(values, axis=0, append=values[-1:])
    stretched: FloatArray = slopes[low]
    stretched *= (held - low).astype(np.float32)[:, None]
    stretched += values[low]
    return stretched


def place(
    source: tuple[int, int], size: int, crop: tuple[int, int, int, int] | None = None
) -> Placement:
    """Fit a crop into a square canvas without distortion.

    Args:
        source: Height and width of the source, pixels, >= 1.
        size: Side of the canvas, pixels.
        crop: Top, left, height, width in source pixels; None for the whole image.
    """
    top, left, height, width = crop if crop is not None else (0, 0, *source)
    scale = size / max(height, width)
    inner = (max(1, round(height * scale)), max(1, round(width * scale)))
    offset = ((size - inner[0]) // 2, (size - inner[1]) // 2)
    return Placement(source, top, left, height, width, size, inner, offset)


def foreground_box(pixels: FloatArray, margin: float = 0.02) -> tuple[int, int, int, int]:
    """Bounding box of the largest bright object, such as the breast on a mammogram.

    Args:
        pixels: (H, W), bright object on a dark ground.
        margin: Added on each side, share of the longer side.

    Returns:
        Top, left, height, width; the whole image where no object covers 5 % of it.
    """
    height, width = pixels.shape
    step = max(1, max(height, width) // 512)
    small = pixels[::step, ::step]
    low, high = np.percentile(small, (0.5, 99.5))
    if high <= low:
        return 0, 0, height, width
    grey = (np.clip((small - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    level, _ = cv2.threshold(cv2.GaussianBlur(grey, (5, 5), 0), 0, 255, cv2.THRESH_OTSU)
    bright = (grey > max(4, 0.35 * level)).astype(np.uint8)
    bright = cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(bright)
    if count < 2:
        return 0, 0, height, width
    best = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if stats[best, cv2.CC_STAT_AREA] < 0.05 * bright.size:
        return 0, 0, height, width
    pad = round(margin * max(height, width))
    top = max(0, int(stats[best, cv2.CC_STAT_TOP]) * step - pad)
    left = max(0, int(stats[best, cv2.CC_STAT_LEFT]) * step - pad)
    bottom = min(
        height, (stats[best, cv2.CC_STAT_TOP] + stats[best, cv2.CC_STAT_HEIGHT]) * step + pad
    )
    right = min(
        width, (stats[best, cv2.CC_STAT_LEFT] + stats[best, cv2.CC_STAT_WIDTH]) * step + pad
    )
    return top, left, int(bottom) - top, int(right) - left
