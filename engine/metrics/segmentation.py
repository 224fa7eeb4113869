"""How well an outline fits: overlap, and surface distance in millimetres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from engine.errors import EmptyMask, ShapeMismatch


def dice(guess: ArrayLike, truth: ArrayLike) -> float:
    """2 |A and B| / (|A| + |B|), 0 to 1.

    1 where both are empty: nothing was to be found, and nothing was. 0 where one of them is.

    Args:
        guess, truth: Masks of one shape.

    Raises:
        ShapeMismatch: They differ in shape.
    """
    first, second = _pair(guess, truth)
    total = int(first.sum() + second.sum())
    return 1.0 if total == 0 else 2 * int((first & second).sum()) / total


def jaccard(guess: ArrayLike, truth: ArrayLike) -> float:
    """|A and B| / |A or B|, 0 to 1; of empty masks as `dice`.

    Raises:
        ShapeMismatch: They differ in shape.
    """
    first, second = _pair(guess, truth)
    union = int((first | second).sum())
    return 1.0 if union == 0 else int((first & second).sum()) / union


def hausdorff(
    guess: ArrayLike, truth: ArrayLike, spacing: Sequence[float], percentile: float = 95.0
) -> float:
    """Percentile of the surface distances, the larger of both directions, millimetres.

    Args:
        guess, truth: Masks of one shape. spacing: Of each axis, mm.
        percentile: 95 for HD95, 100 for the Hausdorff distance.

    Raises:
        ShapeMismatch: They differ in shape.
        EmptyMask: One of them is empty, so that no distance exists; count such cases apart.

    Source:
        As MONAI: surfaces are the pixels of a mask that its erosion by the cross lacks.
    """
    first, second = _pair(guess, truth)
    if not first.any() or not second.any():
        raise EmptyMask("A surface distance needs two outlines, and one of them is empty.")
    each = (_distances(first, second, spacing), _distances(second, first, spacing))
    return float(max(np.percentile(values, percentile) for values in each))


def _pair(guess: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first, second = np.asarray(guess, bool), np.asarray(truth, bool)
    if first.shape != second.shape:
        raise ShapeMismatch(f"masks of shape {first.shape} and {second.shape}")
    return first, second


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inner: NDArray[np.bool_] = binary_erosion(mask)
    return mask & ~inner


def _distances(
    mask: NDArray[np.bool_], other: NDArray[np.bool_], spacing: Sequence[float]
) -> NDArray[np.float64]:
    """Distance of each surface pixel of a mask to the surface of the other."""
    away = distance_transform_edt(~_surface(other), sampling=tuple(spacing))
    values: NDArray[np.float64] = away[_surface(mask)]
    return values
