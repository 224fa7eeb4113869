"""Agreement weights: how much credit a near miss on the scale earns, from 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeMismatch, UnknownName

WEIGHTS: tuple[str, ...] = ("identity", "linear", "quadratic", "ordinal")
Weights = str | NDArray[np.floating[Any]]


def weight_matrix(weights: Weights, scale: Sequence[float]) -> NDArray[np.float64]:
    """Credit for every pair of scores, (q, q), 1 on the diagonal.

    Args:
        weights: One of `WEIGHTS`, or an own (q, q) array.
        scale: Declared scores, ascending; linear and quadratic use their distances, ordinal
            only their order.

    Raises:
        UnknownName: no weights of that name.
        ShapeMismatch: an own array does not have one row and one column per score.

    Source:
        Cohen 1968; ordinal weights: Gwet, "Handbook of Inter-Rater Reliability", 2014.
    """
    scores = np.asarray(scale, dtype=np.float64)
    if not isinstance(weights, str):
        own = np.asarray(weights, dtype=np.float64)
        if own.shape != (scores.size, scores.size):
            raise ShapeMismatch("Agreement weights need one row and one column per score.")
        return own
    distance = np.abs(scores[:, None] - scores) / (scores[-1] - scores[0])
    if weights == "identity":
        return np.eye(scores.size)
    if weights == "linear":
        return 1 - distance
    if weights == "quadratic":
        return 1 - distance**2
    if weights == "ordinal":
        rank = np.arange(scores.size)
        steps = np.abs(rank[:, None] - rank)
        return 1 - steps * (steps + 1) / (scores.size * (scores.size - 1))
    raise UnknownName(f"No agreement weights are called {weights}; known: {', '.join(WEIGHTS)}.")


def weights_name(weights: Weights) -> str:
    """Name printed beside a coefficient."""
    return weights if isinstance(weights, str) else "own"
