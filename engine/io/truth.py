"""What is known about a case from outside: truth.json and lesion.png beside the mammogram."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.io.limits import Limits
from engine.io.readers import read_image
from engine.io.seam import decoding
from engine.io.source import load
from engine.records import BoolArray, Box, Image, Truth

BAD_TRUTH = "The truth file beside this case cannot be understood, so it was left out."
BAD_MASK = "The lesion mask beside this case does not fit its mammogram, so it was left out."
TRUTH, LESION = "truth.json", "lesion.png"
_LIMITS = Limits(max_bytes=1 << 20)


def read_truth(folder: Path, mammogram: Image) -> tuple[Truth | None, tuple[str, ...]]:
    """Truth stored beside a mammogram, and warnings about what could not be used.

    Args:
        folder: May hold truth.json ({"label", "grade", "box": [x, y, w, h], "source"}) and
            lesion.png (8-bit mask in the pixels of the mammogram).
        mammogram: The image that box and mask refer to.
    """
    warnings: list[str] = []
    truth, mask = None, None
    if (folder / TRUTH).is_file():
        try:
            truth = _stated(folder / TRUTH, mammogram)
        except EngineError:
            warnings.append(BAD_TRUTH)
    if (folder / LESION).is_file():
        mask = _mask(folder / LESION, mammogram)
        if mask is None:
            warnings.append(BAD_MASK)
    if mask is not None:
        known = truth or Truth("lesion", source="mask beside the mammogram")
        truth = Truth(known.label, known.grade, known.box or _around(mask), mask, known.source)
    return truth, tuple(warnings)


def _stated(path: Path, mammogram: Image) -> Truth:
    """Truth of a truth.json.

    Raises:
        UnreadableFile: A field is absent or of the wrong kind.
    """
    with decoding(sentence=BAD_TRUTH):
        fields = json.loads(load(path, _LIMITS).data)
        grade = fields.get("grade")
        if grade is not None and (isinstance(grade, bool) or grade != int(grade) or grade < 0):
            raise ValueError("grade")
        return Truth(
            label=_words(fields["label"], 64),
            grade=None if grade is None else int(grade),
            box=_box(fields.get("box"), mammogram),
            source=_words(fields.get("source") or "", 200),
        )


def _words(value: Any, longest: int) -> str:
    """Text on one line, of plain words."""
    if not isinstance(value, str) or len(value) > longest:
        raise ValueError("text")
    return re.sub(r"[^\w .,;:()+\-]", " ", value).strip()


def _box(value: Any, mammogram: Image) -> Box | None:
    if value is None:
        return None
    x, y, width, height = (float(number) for number in value)
    inside = x >= 0 and y >= 0 and width > 0 and height > 0
    inside = inside and x + width <= mammogram.width and y + height <= mammogram.height
    if not (inside and all(math.isfinite(number) for number in (x, y, width, height))):
        raise ValueError("box")
    return Box(x, y, width, height)


def _mask(path: Path, mammogram: Image) -> BoolArray | None:
    try:
        image = read_image(path)
    except EngineError:
        return None
    mask = (image.pixels[0] > image.pixels.max() / 2).any(axis=-1)
    fits = mask.shape == (mammogram.height, mammogram.width) and bool(mask.any())
    return mask if fits else None


def _around(mask: BoolArray) -> Box:
    """Smallest box around a mask with at least one pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return Box(left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1)
