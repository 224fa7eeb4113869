"""Regions as they travel: lengths of runs, unmarked and marked in turn, in source pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.errors import InvalidInput
from engine.records import BoolArray, Box

MOST_RUNS = 100_000
"""Runs of the largest region accepted; a hand-drawn one has a few thousand."""

DAMAGED = "The marked region does not fit this image; please mark it again."
EMPTY = "Nothing is marked yet. Mark a region first; it is what will be removed."
ALL = "The whole image is marked. Leave some of it, so that something remains to be read."
RAGGED = "The marked region has too many small pieces; please mark it more simply."


def encode(mask: BoolArray) -> list[int]:
    """Lengths of the runs of a mask, row by row; the first is unmarked and may be 0.

    Args:
        mask: (H, W) bool.
    """
    flat = np.asarray(mask, dtype=bool).ravel()
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate(([0], turns, [flat.size]))
    runs = np.diff(bounds).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def decode(runs: Any, height: int, width: int) -> BoolArray:
    """The mask (H, W) of runs that came from a page.

    Raises:
        InvalidInput: They are not runs, do not fit the image, or mark nothing or everything.
    """
    lengths = _lengths(runs, height * width)
    marks = np.arange(len(lengths)) % 2 == 1
    mask: BoolArray = np.repeat(marks, lengths).reshape(height, width)
    if not mask.any():
        raise InvalidInput(EMPTY)
    if mask.all():
        raise InvalidInput(ALL)
    return mask


def _lengths(runs: Any, total: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    if not isinstance(runs, Sequence) or isinstance(runs, str | bytes) or not runs:
        raise InvalidInput(EMPTY if not runs else DAMAGED)
    if len(runs) > MOST_RUNS:
        raise InvalidInput(RAGGED)
    if not all(type(run) is int and 0 <= run <= total for run in runs):
        raise InvalidInput(DAMAGED)
    if sum(runs) != total:
        raise InvalidInput(DAMAGED)
    return np.asarray(runs, dtype=np.int64)


def box_mask(box: Box, height: int, width: int) -> BoolArray:
    """The pixels (H, W) whose centres lie in a box, at least one.

    Raises:
        InvalidInput: The box lies outside the image.
    """
    left, top = max(0.0, box.x), max(0.0, box.y)
    right, bottom = min(width, box.x + box.width), min(height, box.y + box.height)
    if not (right > left and bottom > top):
        raise InvalidInput("The box lies outside the image.")
    mask = np.zeros((height, width), dtype=bool)
    rows = slice(min(round(top), height - 1), max(round(bottom), min(round(top), height - 1) + 1))
    columns = slice(min(round(left), width - 1), max(round(right), min(round(left), width - 1) + 1))
    mask[rows, columns] = True
    return mask
