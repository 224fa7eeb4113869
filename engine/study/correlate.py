"""Whether maps that score better are rated higher: ratings against scores of the same maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from engine.study.intervals import TINY, percentiles
from engine.study.records import StudyFacts
from engine.study.results import Correlation
from engine.study.table import Table

LEAST = 4
CHUNK = 250
FEW = "Fewer than four maps have both a rating and this score."
CONSTANT = "The ratings, or the scores, are the same for every map."


def correlations(
    rows: Table, facts: StudyFacts, question: str, seed: int, draws: int
) -> tuple[Correlation, ...]:
    """Spearman's correlation of mean rating and each score of the maps, over maps.

    The bootstrap draws cases, with all their maps.

    Args:
        rows: First readings. facts: Holds the scores of the maps.
    """
    names = sorted({name for scores in facts.map_scores.values() for name in scores})
    return tuple(_correlation(rows, facts, question, name, seed, draws) for name in names)


def _correlation(
    rows: Table, facts: StudyFacts, question: str, name: str, seed: int, draws: int
) -> Correlation:
    number = rows.given.sum(axis=1)
    means = np.nansum(rows.values, axis=1) / np.maximum(number, 1)
    scores = np.array(
        [facts.map_scores.get(item, {}).get(name, np.nan) for item in rows.items], dtype=float
    )
    kept = (number > 0) & np.isfinite(scores)
    n = int(kept.sum())
    if n < LEAST:
        return Correlation(question, name, None, None, None, n, FEW)
    at: dict[str, int] = {}
    case = np.array([at.setdefault(c, len(at)) for c, keep in zip(rows.cases, kept, strict=True)
                     if keep])  # fmt: skip
    x, y = means[kept], scores[kept]
    rho = spearman(x, y)
    if rho is None:
        return Correlation(question, name, None, None, None, n, CONSTANT)
    low, high = percentiles(_draws(x, y, case, draws, seed))
    return Correlation(question, name, rho, low, high, n)


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    """Correlation of ranks, ties at their mean rank; None where one side is constant."""
    a, b = rankdata(x.round(12)), rankdata(y.round(12))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / size) if size > TINY else None


def _draws(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    case: NDArray[np.int64],
    draws: int,
    seed: int,
) -> NDArray[np.float64]:
    """Correlation in resamples of the cases, (draws,); NaN where a side is constant."""
    cases = int(case.max()) + 1
    rng = np.random.default_rng(seed)
    values = []
    for start in range(0, draws, CHUNK):
        size = min(CHUNK, draws - start)
        times = rng.multinomial(cases, np.full(cases, 1 / cases), size=size)[:, case]
        values.append(_repeated(_ranks(x, times), _ranks(y, times), times))
    return np.concatenate(values)


def _ranks(values: NDArray[np.float64], times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rank of each value, (D, n), where value i occurs times[:, i] times; ties at their mean."""
    levels, level = np.unique(values.round(12), return_inverse=True)
    number = np.stack([times[:, level == k].sum(axis=1) for k in range(levels.size)], axis=1)
    middle = np.cumsum(number, axis=1) - (number - 1) / 2
    return np.asarray(middle[:, level], dtype=np.float64)


def _repeated(
    a: NDArray[np.float64], b: NDArray[np.float64], times: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Pearson's correlation of a and b, (D, n) each, value i counted times[:, i]; to (D,)."""
    total = times.sum(axis=1, keepdims=True)
    a = a - (a * times).sum(axis=1, keepdims=True) / total
    b = b - (b * times).sum(axis=1, keepdims=True) / total
    size = np.sqrt((times * a**2).sum(axis=1) * (times * b**2).sum(axis=1))
    together = (times * a * b).sum(axis=1)
    return np.where(size > TINY, together / np.where(size > TINY, size, 1), np.nan)
