"""Intraclass correlations of a complete table, six forms, with F intervals.

Scores are taken as measurements: on a rating scale a companion, not the headline. Letters as in
the sources: N cases, m raters, BMS, JMS, WMS and EMS the mean squares of cases, raters, within
cases, and residual.

Source: Shrout and Fleiss, "Intraclass correlations", Psychol Bull 1979; McGraw and Wong, "Forming
inferences about some intraclass correlation coefficients", Psychol Methods 1996.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from engine.metrics.agreement_estimate import CONFIDENCE

FORMS: tuple[str, ...] = ("icc_1_1", "icc_2_1", "icc_3_1", "icc_1_k", "icc_2_k", "icc_3_k")
MODELS = {
    "1": "one-way random",
    "2": "two-way random, absolute agreement",
    "3": "two-way mixed, consistency",
}
UNITS = {"1": "a single rater", "k": "the mean of all raters"}
SMALL = 1e-10


@dataclass(frozen=True)
class Squares:
    """Mean squares of N cases by m raters; of one table, or of many resamples, (B,) each.

    Args:
        cases: N, two or more. raters: m, two or more.
        bms: Between cases. jms: Between raters. wms: Within cases. ems: Residual.
    """

    cases: Any
    raters: int
    bms: Any
    jms: Any
    wms: Any
    ems: Any

    @cached_property
    def flat(self) -> bool:
        """Whether neither cases nor errors vary, so that nothing can be said."""
        return max(self.bms, self.wms) <= SMALL


def mean_squares(scores: NDArray[np.float64], times: NDArray[np.float64] | None = None) -> Squares:
    """Mean squares of a complete table.

    Args:
        scores: (P, m), no NaN.
        times: How many cases look so, (P,); one each if None.
    """
    weight = np.ones(len(scores)) if times is None else times
    N, m = round(float(weight.sum())), scores.shape[1]
    centred = scores - weight @ scores.mean(axis=1) / N
    of_cases = centred.mean(axis=1)
    of_raters = weight @ centred / N
    between = m * float(weight @ of_cases**2)
    judges = N * float((of_raters**2).sum())
    within = float(weight @ ((centred - of_cases[:, None]) ** 2).sum(axis=1))
    left = float(weight @ ((centred - of_cases[:, None] - of_raters) ** 2).sum(axis=1))
    freedom = (N - 1) * (m - 1)
    return Squares(
        N, m, between / (N - 1), judges / (m - 1), within / (N * (m - 1)), left / freedom
    )


def drawn_squares(scores: NDArray[np.float64], times: NDArray[np.float64]) -> Squares:
    """`mean_squares` of many resamples at once, every number an array (B,).

    Args:
        scores: (P, m), no NaN, best near 0.
        times: How many cases look so, (B, P); not necessarily whole numbers.
    """
    sums = np.column_stack([scores.sum(axis=1) ** 2, (scores**2).sum(axis=1), scores])
    return _squares(times.sum(axis=1), times @ sums)


def moved_squares(scores: NDArray[np.float64], times: NDArray[np.float64], step: float) -> Squares:
    """The same after one pattern, each in turn, is counted `step` more; times is (P,)."""
    sums = np.column_stack([scores.sum(axis=1) ** 2, (scores**2).sum(axis=1), scores])
    return _squares(np.full(len(times), times.sum() + step), times @ sums + step * sums)


def _squares(n: NDArray[np.float64], sums: NDArray[np.float64]) -> Squares:
    """Mean squares from sums over cases: of squared totals, of squares, and of each rater."""
    m = sums.shape[1] - 2
    mean = sums[:, 2:].sum(axis=1) ** 2 / (n * m)
    between = np.maximum(sums[:, 0] / m - mean, 0.0)
    judges = np.maximum((sums[:, 2:] ** 2).sum(axis=1) / n - mean, 0.0)
    total = sums[:, 1] - mean
    within, left = np.maximum(total - between, 0.0), np.maximum(total - between - judges, 0.0)
    return Squares(
        n, m, between / (n - 1), judges / (m - 1), within / (n * (m - 1)),
        left / ((n - 1) * (m - 1)),
    )  # fmt: skip


def icc(form: str, s: Squares) -> Any:
    """Value of one of `FORMS`, a number or (B,); NaN where its denominator is zero."""
    N, m = s.cases, s.raters
    error = s.wms if form[4] == "1" else s.ems
    judges = m * (s.jms - s.ems) / N if form[4] == "2" else 0.0
    single = form.endswith("_1")
    below = np.asarray(s.bms + ((m - 1) * error + judges if single else judges / m))
    defined = below > SMALL
    return np.where(defined, (s.bms - error) / np.where(defined, below, 1.0), np.nan)[()]


def icc_interval(form: str, s: Squares) -> tuple[float, float] | None:
    """The 95 % interval of one of `FORMS`; None where the residual is zero, where an end
    for one rater has none for the mean of several, or where the approximation fails."""
    error = s.wms if form[4] == "1" else s.ems
    if error <= SMALL or s.bms <= SMALL:
        return None
    m = s.raters
    if form[4] == "2":
        low, high = _absolute(s)
    else:
        freedom = s.cases * (m - 1) if form[4] == "1" else (s.cases - 1) * (m - 1)
        ratio = s.bms / error
        down = ratio / _quantile(s.cases - 1, freedom)
        up = ratio * _quantile(freedom, s.cases - 1)
        low, high = (down - 1) / (down + m - 1), (up - 1) / (up + m - 1)
    if form.endswith("_k"):
        if 1 + (m - 1) * min(low, high) <= SMALL:  # below -1 / (m - 1) the mean has no reliability
            return None
        low, high = _stepped(low, m), _stepped(high, m)
    # Satterthwaite's approximation breaks down where raters differ far more than cases do.
    holds = low - SMALL <= icc(form, s) <= high + SMALL
    return (low, high) if holds else None


def _absolute(s: Squares) -> tuple[float, float]:
    """Interval of ICC(2,1), after Satterthwaite."""
    N, m = s.cases, s.raters
    rho = icc("icc_2_1", s)
    ratio = s.jms / s.ems
    middle = N * (1 + (m - 1) * rho) - m * rho
    v = (m - 1) * (N - 1) * (m * rho * ratio + middle) ** 2
    v /= (N - 1) * m**2 * rho**2 * ratio**2 + middle**2
    f1, f2 = _quantile(N - 1, v), _quantile(v, N - 1)
    rest = m * N - m - N
    low = N * (s.bms - f1 * s.ems) / (f1 * (m * s.jms + rest * s.ems) + N * s.bms)
    high = N * (f2 * s.bms - s.ems) / (m * s.jms + rest * s.ems + N * f2 * s.bms)
    return low, high


def _quantile(over: float, under: float) -> float:
    return float(stats.f.ppf((1 + CONFIDENCE) / 2, over, under))


def _stepped(single: float, m: int) -> float:
    """Reliability of the mean of m raters from that of one (Spearman and Brown)."""
    return m * single / (1 + (m - 1) * single)
