"""The test of Fleiss' kappa against 0, overall and for each score; never a basis for intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from engine.metrics.agreement_estimate import NO_VARIATION, shortage
from engine.metrics.agreement_ratings import FIVE_POINTS, Ratings, read_ratings


@dataclass(frozen=True)
class NullTest:
    """A test of kappa = 0.

    Args:
        kappa: The coefficient; None where undefined.
        se: Its standard error where kappa is 0.
        z: Test statistic.
        p_value: Two-sided.
        reason: Why there is no test, in one sentence; empty otherwise.
    """

    kappa: float | None
    se: float | None
    z: float | None
    p_value: float | None
    reason: str = ""


def fleiss_null_test(ratings: ArrayLike, scale: Sequence[float] = FIVE_POINTS) -> NullTest:
    """Test Fleiss' unweighted kappa against 0; complete tables only.

    Args:
        ratings: Scores, (N, m).
        scale: Declared scores, ascending.

    Source:
        Fleiss, Nee, Landis, "Large sample variance of kappa in the case of different sets of
        raters", Psychol Bull 1979.
    """
    table = read_ratings(ratings, scale)
    reason = _obstacle(table)
    if reason:
        return _without(reason)
    counts = table.counts
    N, m = table.codes.shape
    p = counts.sum(axis=0) / (N * m)
    spread = float((p * (1 - p)).sum())
    if spread == 0:
        return _without(NO_VARIATION)
    inner = spread**2 - float((p * (1 - p) * (1 - 2 * p)).sum())
    apart = (counts * (m - counts)).sum() / (N * m * (m - 1))
    se = np.sqrt(2 * inner / (N * m * (m - 1))) / spread
    return _test(1 - float(apart) / spread, float(se))


def fleiss_by_category(
    ratings: ArrayLike, scale: Sequence[float] = FIVE_POINTS
) -> tuple[NullTest, ...]:
    """Fleiss' kappa of each score against all others, in the order of the scale.

    Args:
        ratings: Scores, (N, m), complete.
        scale: Declared scores, ascending.

    Returns:
        q tests; each without a value, and with a reason, where nobody or everybody gave the score.
    """
    table = read_ratings(ratings, scale)
    reason = _obstacle(table)
    if reason:
        return (_without(reason),) * len(table.scale)
    N, m = table.codes.shape
    se = float(np.sqrt(2 / (N * m * (m - 1))))
    tests = []
    for r in table.counts.T:
        p = r.sum() / (N * m)
        if p in (0, 1):
            given = "Nobody" if p == 0 else "Everybody"
            tests.append(_without(f"{given} gave this score, so its kappa is undefined."))
            continue
        apart = (r * (m - r)).sum() / (N * m * (m - 1) * p * (1 - p))
        tests.append(_test(1 - float(apart), se))
    return tuple(tests)


def _obstacle(table: Ratings) -> str:
    if reason := shortage(table):
        return reason
    if table.missing:
        return "This test needs every rater to rate every case, and some ratings are missing."
    return ""


def _test(kappa: float, se: float) -> NullTest:
    z = kappa / se
    return NullTest(kappa, se, z, float(2 * stats.norm.sf(abs(z))))


def _without(reason: str) -> NullTest:
    return NullTest(None, None, None, None, reason)
