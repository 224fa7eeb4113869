"""Small multiples: pictures of one size in a grid, each with its title."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from engine.render.encode import fit

GAP = 8
TITLE = 44
SMALL = 12


def gallery(
    panels: Sequence[tuple[str, NDArray[np.uint8]]], side: int = 224, columns: int = 0
) -> NDArray[np.uint8]:
    """Pictures with titles in rows.

    Args:
        panels: Title and picture (H, W, 3) of each. side: Longer side of a picture, pixels.
        columns: Pictures in a row; about as many as rows when 0.

    Returns:
        (H, W, 3) uint8 on white.
    """
    columns = columns or math.ceil(math.sqrt(len(panels)))
    rows = math.ceil(len(panels) / columns)
    width, height = columns * (side + GAP) + GAP, rows * (side + TITLE + GAP) + GAP
    sheet = Picture.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(SMALL)
    for n, (title, picture) in enumerate(panels):
        left = GAP + (n % columns) * (side + GAP)
        top = GAP + (n // columns) * (side + TITLE + GAP)
        lines = textwrap.wrap(title, max(8, side // 6))[:3]
        pen.multiline_text((left, top), "\n".join(lines), fill="black", font=font, spacing=2)
        scale = side / max(picture.shape[:2])
        shape = (round(picture.shape[0] * scale), round(picture.shape[1] * scale))
        fitted = Picture.fromarray(fit(picture, max(1, shape[0]), max(1, shape[1])))
        sheet.paste(fitted, (left + (side - fitted.width) // 2, top + TITLE))
    return np.asarray(sheet)
