"""A word for an agreement coefficient that its uncertainty can bear: probabilistic benchmarking."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from scipy import stats

from engine.errors import UnknownName

REQUIRED = 0.95

# Labels from the best down, each with its lower bound; the upper bound is the one above.
SCALES: dict[str, tuple[tuple[str, float], ...]] = {
    "landis-koch": (
        ("almost perfect", 0.8),
        ("substantial", 0.6),
        ("moderate", 0.4),
        ("fair", 0.2),
        ("slight", 0.0),
        ("poor", -1.0),
    ),
    "altman": (
        ("very good", 0.8),
        ("good", 0.6),
        ("moderate", 0.4),
        ("fair", 0.2),
        ("poor", -1.0),
    ),
    "fleiss": (("excellent", 0.75), ("intermediate to good", 0.4), ("poor", -1.0)),
    "cicchetti-sparrow": (("excellent", 0.75), ("good", 0.6), ("fair", 0.4), ("poor", -1.0)),
}


@dataclass(frozen=True)
class Benchmark:
    """A label, and how sure it is.

    Args:
        label: The best label that the coefficient reaches with probability 0.95 or more.
        scale: Name of the scale, to be printed with the label.
        cumulative: Every label from the best down, with the probability of it or a better one.
    """

    label: str
    scale: str
    cumulative: tuple[tuple[str, float], ...]


def benchmark(
    value: float | None, se: float | None, scale: str = "landis-koch"
) -> Benchmark | None:
    """Label a coefficient by what its standard error supports, not by the value alone.

    Args:
        value: Coefficient, at most 1; below -1 counts as -1. None where undefined.
        se: Its standard error; None where undefined.
        scale: One of `SCALES`.

    Returns:
        The label; None without a value or a positive standard error, since a point cannot be
        benchmarked.

    Raises:
        UnknownName: no scale of that name.

    Source:
        Gwet, "Handbook of Inter-Rater Reliability", 2014, chapter on benchmarking; labels of
        Landis and Koch 1977, Altman 1991, Fleiss 1981, Cicchetti and Sparrow 1981.
    """
    if scale not in SCALES:
        raise UnknownName(f"No agreement scale is called {scale}; known: {', '.join(SCALES)}.")
    if value is None or not se:
        return None
    labels = [label for label, _ in SCALES[scale]]
    bounds = np.array([1.0, *(low for _, low in SCALES[scale])])
    # From the distribution truncated to -1 .. 1: mass between each bound and the next one down.
    upper_tail = stats.norm.cdf((max(value, -1.0) - bounds) / se)
    masses = [float(low - high) for high, low in pairwise(upper_tail)]
    whole = float(upper_tail[-1] - upper_tail[0])
    reached = [min(total / whole, 1.0) for total in accumulate(masses)]
    best = next(i for i, total in enumerate(reached) if total >= REQUIRED)
    return Benchmark(labels[best], scale, tuple(zip(labels, reached, strict=True)))
