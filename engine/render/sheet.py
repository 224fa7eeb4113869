"""Small multiples: pictures of one size in a grid, each with its title."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from engine.records import FloatArray
from engine.render.encode import fit

GAP = 8
LINE = 15
"""Height of one line of a title, pixels."""
LINES = 3
SMALL = 12
COARSE = 64
"""Cells along a side up to which a map is drawn as it is."""


def legible(heat: FloatArray, grid: tuple[int, int]) -> FloatArray:
    """A map of single pixels as it can be seen in a small picture; coarser maps as they are.

    A gradient by pixel has few extreme values, beside which all others would stay invisible: each
    pixel is averaged with its surroundings, and the scale ends where 0.5 % of the pixels begin.

    Args:
        heat: (H, W), larger is more relevant. grid: Rows and columns before it was enlarged.
    """
    if min(grid) <= COARSE:
        return heat
    spread = max(heat.shape) / COARSE / 2
    smooth = cv2.GaussianBlur(np.asarray(heat, np.float32), (0, 0), spread)
    low, high = float(smooth.min()), float(np.percentile(smooth, 99.5))
    return np.clip(smooth, low, high) if high > low else heat


def gallery(
    panels: Sequence[tuple[str, NDArray[np.uint8]]], side: int = 224, columns: int = 0
) -> NDArray[np.uint8]:
    """Pictures with titles in rows; a row is as high as its highest picture and title ask.

    Args:
        panels: Title and picture (H, W, 3) of each, at least one. side: Longer side of a picture,
            pixels.
        columns: Pictures in a row; when 0, as many as make the sheet about as wide as high.

    Returns:
        (H, W, 3) uint8 on white.
    """
    font = ImageFont.load_default(SMALL)
    pictures = [_fitted(picture, side) for _, picture in panels]
    breadth = max(side // 2, *(picture.width for picture in pictures))
    titles = [_wrapped(title, breadth, font) for title, _ in panels]
    shown, cell = list(zip(titles, pictures, strict=True)), breadth + GAP
    columns = columns or _columns(shown, cell)
    rows = [shown[n : n + columns] for n in range(0, len(shown), columns)]
    heights = [max(_height(*panel) for panel in row) for row in rows]
    width = min(columns, len(shown)) * cell + GAP
    sheet = Picture.new("RGB", (width, sum(heights) + GAP), "white")
    pen, top = ImageDraw.Draw(sheet), GAP
    for row, height in zip(rows, heights, strict=True):
        words = max(len(lines) for lines, _ in row) * LINE
        for n, (lines, picture) in enumerate(row):
            left = GAP + n * cell
            pen.multiline_text((left, top), "\n".join(lines), fill="black", font=font, spacing=2)
            sheet.paste(picture, (left, top + words + GAP // 2))
        top += height
    return np.asarray(sheet)


Panel = tuple[list[str], Picture.Image]


def _height(lines: list[str], picture: Picture.Image) -> int:
    return len(lines) * LINE + GAP // 2 + picture.height + GAP


def _columns(shown: Sequence[Panel], cell: int) -> int:
    """How many in a row make the sheet about as wide as high, with few places left empty."""
    count, usual = len(shown), max(_height(*panel) for panel in shown)
    wanted = min(max(1, math.ceil(math.sqrt(count * usual / cell))), count)
    near = range(max(1, wanted - 1), min(count, wanted + 1) + 1)
    return min(near, key=lambda columns: (-count % columns, abs(columns - wanted)))


def _wrapped(title: str, breadth: int, font: Any) -> list[str]:
    """The title in lines that fit the width, pixels; what is left out ends in an ellipsis."""
    letters = max(8, int(breadth / font.getlength("n")))
    return textwrap.wrap(title, letters, max_lines=LINES, placeholder=" …") or [""]


def _fitted(picture: NDArray[np.uint8], side: int) -> Picture.Image:
    scale = side / max(picture.shape[:2])
    height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
    return Picture.fromarray(fit(picture, height, width))
