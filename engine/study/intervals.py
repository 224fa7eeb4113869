"""Small inference shared by the parts of an analysis: means with intervals, Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95
TINY = 1e-12

Interval = tuple[float | None, float | None]


def student(values: ArrayLike) -> Interval:
    """t interval of a mean of independent values (N,); no ends with fewer than two values."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.size < 2:
        return None, None
    se = float(sample.std(ddof=1) / np.sqrt(sample.size))
    return around(float(sample.mean()), se, sample.size - 1)


def around(centre: float, se: float, freedom: float) -> Interval:
    """centre ± t SE; no ends without a spread, since an interval of no width claims certainty."""
    if se <= TINY:
        return None, None
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * se
    return centre - margin, centre + margin


def clustered(values: NDArray[np.float64], clusters: NDArray[np.int64]) -> Interval:
    """Interval of the mean of all values, whose clusters are the independent units.

    Args:
        values: (N,). clusters: Number of the cluster of each value, (N,).

    Returns:
        t interval with G - 1 degrees of freedom for G clusters; with equal clusters it is the
        t interval of their means. No ends with fewer than two clusters.

    Source:
        Liang and Zeger 1986, for a mean; correction G / (G - 1).
    """
    numbers = np.unique(clusters)
    if numbers.size < 2:
        return None, None
    centre = float(values.mean())
    sums = np.bincount(np.searchsorted(numbers, clusters), weights=values - centre)
    G = numbers.size
    se = float(np.sqrt(G / (G - 1) * (sums**2).sum())) / values.size
    return around(centre, se, G - 1)


def percentiles(draws: NDArray[np.float64]) -> Interval:
    """Middle 95 % of bootstrap draws (D,); no ends where most draws are undefined (NaN)."""
    defined = draws[np.isfinite(draws)]
    if 2 * defined.size < draws.size or defined.size == 0:
        return None, None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return (float(low), float(high)) if high - low > TINY else (None, None)


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """p-values corrected for their number by Holm's steps; None stays, and does not count.

    Source:
        Holm, "A simple sequentially rejective multiple test procedure", Scand J Stat 1979.
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    reached = 0.0
    for step, (p, i) in enumerate(known):
        reached = max(reached, min(1.0, (len(known) - step) * p))
        corrected[i] = reached
    return tuple(corrected)


def resampled(cases: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Cases drawn with replacement, (draws, cases) numbers of cases."""
    return np.random.default_rng(seed).integers(0, cases, size=(draws, cases))
