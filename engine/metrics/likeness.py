"""Five likenesses of two sets of maps at once, as the sanity check compares them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeMismatch
from engine.metrics.similarity import HOG_SIDE, SSIM_SIDE, hog_spearman, spearman, ssim
from engine.records import BoolArray

Heat = NDArray[np.floating]
Maps = tuple[Heat, ...]


class Likeness(NamedTuple):
    """How like two maps are, or many pairs on average; None where that is undefined.

    Args:
        correlation: Spearman correlation, -1 to 1.
        strength: The same, the sign ignored before any mean is taken, 0 to 1: a map turned inside
            out shows the same structure.
        magnitude_correlation: Spearman correlation of the magnitudes of the maps.
        structure: SSIM of the maps scaled from 0 to 1.
        edges: Spearman correlation of the edge histograms.
    """

    correlation: float | None
    strength: float | None
    magnitude_correlation: float | None
    structure: float | None
    edges: float | None


def likenesses(first: Maps, second: Maps, seen: Sequence[BoolArray] | None) -> list[Likeness]:
    """Likeness of each map to its counterpart, on the pixels to compare.

    Args:
        first, second: (H, W) each, of one size pair by pair.
        seen: (H, W) bool each; everything when None.

    Raises:
        ShapeMismatch: Number or sizes differ.
    """
    masks = seen if seen is not None else [np.ones(heat.shape, dtype=bool) for heat in first]
    if not len(first) == len(second) == len(masks):
        raise ShapeMismatch("The number of maps changed between two computations.")
    return [_likeness(*three) for three in zip(first, second, masks, strict=True)]


def mean_likeness(rows: Sequence[Likeness]) -> Likeness:
    """Mean of each likeness over the pairs for which it is defined."""
    return Likeness(*(mean_known(column) for column in zip(*rows, strict=True)))


def mean_known(values: Iterable[float | None]) -> float | None:
    """Mean of the numbers that are there; None when there is none."""
    known = [value for value in values if value is not None and not np.isnan(value)]
    return float(np.mean(known)) if known else None


def _likeness(a: Heat, b: Heat, seen: BoolArray) -> Likeness:
    if not a.shape == b.shape == seen.shape or not seen.any():
        raise ShapeMismatch("The maps to compare differ in size, or there is none.")
    one, two = a[seen][None], b[seen][None]
    if not (_speaks(one) and _speaks(two)):
        return Likeness(None, None, None, None, None)
    rank = spearman(one, two)
    first, second = np.where(seen, a, one.min()), np.where(seen, b, two.min())
    side = min(a.shape)
    return Likeness(
        rank,
        abs(rank),
        spearman(one, two, magnitude=True),
        ssim(first, second) if side >= SSIM_SIDE else None,
        hog_spearman(first, second) if side >= HOG_SIDE else None,
    )


def _speaks(values: Heat) -> bool:
    """Neither flat nor broken: destroyed networks may overflow."""
    return bool(np.isfinite(values).all() and np.ptp(values) > 0)
