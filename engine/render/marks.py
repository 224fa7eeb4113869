"""Outlines of lesions: exact polygons of a mask, and marks visible on any grey.

Coordinates are source pixel edges: pixel (row, column) covers x in [column, column + 1] and
y in [row, row + 1]. A mark is a dark line with a light core.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.records import BoolArray, Box, FloatArray

Bytes = NDArray[np.uint8]

DARK = (0, 0, 0)
LIGHT = (255, 255, 255)
_SHIFT = 4
"""Fractional bits of OpenCV's sub-pixel coordinates."""

_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Right, down, left, up, as (dx, dy); the next one is a turn to the right."""


def contours(mask: BoolArray) -> list[FloatArray]:
    """Closed outlines of a mask along pixel edges, corners only.

    Args:
        mask: (H, W) bool.

    Returns:
        One (K, 2) float32 array of (x, y) per outline, first corner not repeated; the mask lies
        on the right of the direction of travel, so holes run the other way. Diagonal neighbours
        are separate.
    """
    edges = _edges(np.asarray(mask, dtype=bool))
    outlines = []
    while edges:
        start = next(iter(edges))
        outlines.append(_follow(start, edges))
    return outlines


def _edges(mask: BoolArray) -> dict[tuple[int, int], list[int]]:
    """Unit edges between mask and background: start corner (x, y) to the directions leaving it."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1]
    found: dict[tuple[int, int], list[int]] = {}
    sides = (
        (~padded[:-2, 1:-1], (0, 0)),  # top edge runs right from the upper left corner
        (~padded[1:-1, 2:], (1, 0)),  # right edge runs down
        (~padded[2:, 1:-1], (1, 1)),  # bottom edge runs left
        (~padded[1:-1, :-2], (0, 1)),  # left edge runs up
    )
    for direction, (outside, (dx, dy)) in enumerate(sides):
        rows, columns = np.nonzero(inner & outside)
        for x, y in zip((columns + dx).tolist(), (rows + dy).tolist(), strict=True):
            found.setdefault((x, y), []).append(direction)
    return found


def _follow(start: tuple[int, int], edges: dict[tuple[int, int], list[int]]) -> FloatArray:
    """Take one closed outline out of the edges, turning right where two ways are open."""
    corners: list[tuple[int, int]] = []
    point, heading = start, -1
    while point in edges:
        ways = edges[point]
        right = (heading + 1) % 4
        way = right if heading >= 0 and right in ways else ways[0]
        ways.remove(way)
        if not ways:
            del edges[point]
        if way != heading:
            corners.append(point)
        heading = way
        point = (point[0] + _STEPS[way][0], point[1] + _STEPS[way][1])
        if point == start and len(corners) > 3:
            break
    if len(corners) > 4 and _straight(corners[-1], corners[0], corners[1]):
        corners = corners[1:]
    return np.asarray(corners, dtype=np.float32)


def _straight(first: tuple[int, int], second: tuple[int, int], third: tuple[int, int]) -> bool:
    return first[0] == second[0] == third[0] or first[1] == second[1] == third[1]


def draw_box(picture: Bytes, box: Box, scale: float = 1.0) -> Bytes:
    """A copy of the picture with a box on it.

    Args:
        picture: (H, W, 3) uint8.
        box: Box in source pixels.
        scale: Picture pixels per source pixel.
    """
    right, bottom = box.x + box.width, box.y + box.height
    corners = ((box.x, box.y), (right, box.y), (right, bottom), (box.x, bottom))
    return draw_contour(picture, np.asarray(corners, dtype=np.float32), scale)


def draw_contour(
    picture: Bytes, outline: FloatArray | list[FloatArray], scale: float = 1.0
) -> Bytes:
    """A copy of the picture with closed outlines on it, dark with a light core.

    Args:
        picture: (H, W, 3) uint8.
        outline: (K, 2) corners (x, y) at source pixel edges, or a list of such.
        scale: Picture pixels per source pixel.
    """
    drawn = np.ascontiguousarray(picture).copy()
    outlines = outline if isinstance(outline, list) else [outline]
    points = [_subpixel(corners, scale) for corners in outlines if len(corners)]
    thin = max(1, round(min(drawn.shape[:2]) / 500))
    for colour, thickness in ((DARK, 3 * thin), (LIGHT, thin)):
        cv2.polylines(drawn, points, True, colour, thickness, cv2.LINE_AA, _SHIFT)
    return drawn


def _subpixel(corners: FloatArray, scale: float) -> NDArray[np.int32]:
    """Edge coordinates to OpenCV's: pixel centres are whole numbers, in 1/16 of a pixel."""
    centred = np.asarray(corners, dtype=np.float64) * scale - 0.5
    return np.floor(centred * 2**_SHIFT + 0.5).astype(np.int32)[:, None, :]
