"""What readers answered: distribution, mean with its interval, leniency, every pair of readers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from engine.study.agree import cohen, primary
from engine.study.intervals import clustered
from engine.study.records import QuestionKind, StudyQuestion
from engine.study.results import PairResult, QuestionResult
from engine.study.table import RATED, Table

UNRATED = "Texts and marks are not compared by coefficients."
POOLED = (
    "All conditions together: each case in each condition is an item, and items of one case are "
    "not independent, so the intervals are too narrow; quote the result of one condition."
)
LIMITS = 1.96


def question_result(
    rows: Table, question: StudyQuestion, arm: str, group: str, seed: int, draws: int
) -> QuestionResult:
    """All about one question in one part of the data.

    Args:
        rows: First readings of the part.
        arm, group: What the part is limited to; "" for all.
        seed, draws: Of the bootstraps.
    """
    is_rated = question.kind in RATED
    pooled = not arm and len({name for _, name in rows.items}) > 1
    mean, median, sd, low, high = _centre(rows, question)
    return QuestionResult(
        question.id,
        arm,
        group,
        statistics=primary(rows.values, question, seed, draws) if is_rated else (),
        counts=_counts(rows.rated, question),
        cannot_judge=int(rows.cannot_judge.sum()),
        missing=int((rows.asked & ~rows.given).sum()) if is_rated else 0,
        mean=mean,
        median=median,
        mean_low=low,
        mean_high=high,
        sd=sd,
        readers_mean=_leniency(rows) if is_ordered(question) else {},
        pairs=pairs(rows, question, seed, draws) if is_rated else (),
        kind=str(question.kind),
        scale=question.scale,
        labels=question.choices or question.anchors,
        cases=int(rows.given.any(axis=1).sum()) if is_rated else len(rows.items),
        readers=int(rows.given.any(axis=0).sum()) if is_rated else len(rows.readers),
        ratings=int(rows.given.sum()) if is_rated else int(rows.asked.sum()),
        reason="" if is_rated else UNRATED,
        notes=(POOLED,) if pooled and is_rated else (),
    )


def is_ordered(question: StudyQuestion) -> bool:
    """Whether a mean of the answers says something."""
    if question.kind is QuestionKind.CHOICE:
        return question.ordered
    return question.kind in RATED


def pairs(rows: Table, question: StudyQuestion, seed: int, draws: int) -> tuple[PairResult, ...]:
    """Every pair of readers, on the items that both judged."""
    return tuple(
        _pair(rows, question, i, j, seed, draws)
        for i, j in combinations(range(len(rows.readers)), 2)
    )


def _pair(
    rows: Table, question: StudyQuestion, i: int, j: int, seed: int, draws: int
) -> PairResult:
    both = rows.values[:, [i, j]]
    both = both[~np.isnan(both).any(axis=1)]
    kappa = cohen(both, question, seed, draws)
    mean = low = high = None
    points: tuple[tuple[float, float, int], ...] = ()
    if is_ordered(question) and len(both):
        mean, low, high, points = _bland_altman(both)
    return PairResult(
        rows.readers[i], rows.readers[j], len(both), kappa.value, kappa.low, kappa.high,
        mean, low, high, points, kappa.reason,
    )  # fmt: skip


def _bland_altman(
    both: NDArray[np.float64],
) -> tuple[float, float | None, float | None, tuple[tuple[float, float, int], ...]]:
    """Mean difference, limits of agreement, and the points of the plot, of (N, 2)."""
    difference = both[:, 0] - both[:, 1]
    mean = float(difference.mean())
    placed, number = np.unique(
        np.stack([both.mean(axis=1), difference], axis=1), axis=0, return_counts=True
    )
    points = tuple((float(x), float(y), int(n)) for (x, y), n in zip(placed, number, strict=True))
    if len(both) < 2:
        return mean, None, None, points
    margin = LIMITS * float(difference.std(ddof=1))
    return mean, mean - margin, mean + margin, points


def _centre(
    rows: Table, question: StudyQuestion
) -> tuple[float | None, float | None, float | None, float | None, float | None]:
    values = rows.rated
    if not is_ordered(question) or values.size == 0:
        return None, None, None, None, None
    columns = np.nonzero(rows.given)[1]
    low, high = clustered(values, columns)
    if question.scale:
        low = None if low is None else max(low, question.scale[0])
        high = None if high is None else min(high, question.scale[-1])
    sd = float(values.std(ddof=1)) if values.size > 1 else None
    return float(values.mean()), float(np.median(values)), sd, low, high


def _counts(values: NDArray[np.float64], question: StudyQuestion) -> dict[float, int]:
    scores = question.scale or tuple(float(v) for v in np.unique(values))
    return {score: int((values == score).sum()) for score in scores}


def _leniency(rows: Table) -> dict[str, float]:
    return {
        reader: float(column[~np.isnan(column)].mean())
        for reader, column in zip(rows.readers, rows.values.T, strict=True)
        if not np.isnan(column).all()
    }
