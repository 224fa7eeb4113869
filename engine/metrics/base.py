"""What every metric of explanations shares: the registry, checked maps, and scores made from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError, ShapeMismatch
from engine.metrics.catalogue import METRICS, Metric
from engine.records import Score

__all__ = ["METRICS", "Metric", "checked_map", "scored"]

Values = NDArray[np.float64]


def scored(
    metric: str, value: float | None, n: int, *, chance: float | None = None, note: str = ""
) -> Score:
    """A score with the unit and the direction of its metric.

    Args:
        metric: Registry name.
        value: The number; None where it is undefined.
        n: Sample size.
        chance: What a map without information is expected to get.
        note: Settings, or why there is no number.

    Raises:
        UnknownName: There is no such metric.
    """
    known = METRICS[metric]
    number = None if value is None else float(value)
    expected = None if chance is None else float(chance)
    return Score(metric, number, known.unit, known.better, expected, n, note)


def checked_map(heat: NDArray[np.floating]) -> Values:
    """A heat map as float64, (H, W).

    Raises:
        ShapeMismatch: It has not exactly two axes, or no pixel.
        EngineError: It holds values that are not numbers.
    """
    values = np.asarray(heat, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise ShapeMismatch("A heat map must have rows and columns.")
    if not np.isfinite(values).all():
        raise EngineError("The heat map holds values that are not numbers, so it has no score.")
    return values
