"""Intervals of 95 %: normal, Student's, Student's on a log scale, and of the bootstrap.

Source: Efron, "Better bootstrap confidence intervals", J Am Stat Assoc 1987 (BCa); Hesterberg,
"What teachers should know about the bootstrap", Am Stat 2015 (levels widened for small samples).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from engine.metrics.agreement_estimate import CONFIDENCE, TINY
from engine.metrics.agreement_sums import Array

NOT_ESTIMABLE = "not estimable"
TOO_ALIKE = "The cases do not differ enough to estimate an interval."
MOSTLY_UNDEFINED = (
    "Most resamples of the cases leave the coefficient undefined: no interval is given."
)


@dataclass(frozen=True)
class Interval:
    """Ends of an interval, or why there is none.

    Args:
        low: Lower end; None where there is none. high: Upper end.
        how: How it was made.
        notes: What a reader must know, one sentence each.
    """

    low: float | None
    high: float | None
    how: str
    notes: tuple[str, ...] = ()


NONE = Interval(None, None, NOT_ESTIMABLE)


def bounded(low: float, high: float, how: str, notes: tuple[str, ...] = ()) -> Interval:
    """An interval capped at 1; one of no width would claim certainty, so it is left out."""
    if high - low < TINY:
        return Interval(None, None, NOT_ESTIMABLE, (*notes, TOO_ALIKE))
    return Interval(low, min(high, 1.0), how, notes)


def normal(value: float, se: float | None) -> Interval:
    """value ± z SE."""
    return _margin(value, se, float(stats.norm.ppf((1 + CONFIDENCE) / 2)), "z")


def student(value: float, se: float | None, freedom: int) -> Interval:
    """value ± t SE, with so many degrees of freedom."""
    if freedom < 1:
        return NONE
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    return _margin(value, se, quantile, f"t, {freedom} df")


def studentised(value: float, se: float | None, draws: Array, errors: Array, seed: int) -> Interval:
    """Bootstrap-t: value - q SE, with q quantiles of how far resamples lie off, in their SE.

    Args:
        value: Of the cases as they are. se: Its standard error.
        draws: Of the resamples, (D,). errors: Their standard errors, (D,).
        seed: Of the resamples, printed with the interval.
    """
    usable = np.isfinite(draws) & (errors > TINY)
    if not se or 2 * usable.sum() < draws.size:
        return Interval(None, None, NOT_ESTIMABLE, (TOO_ALIKE,))
    off = (draws[usable] - value) / errors[usable]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(off, [tail, 1 - tail])
    how = _how("studentised", draws, seed)
    return bounded(value - float(high) * se, value - float(low) * se, how)


def percentile(draws: Array, seed: int) -> Interval:
    """Quantiles of the resamples, (D,); NaN where a resample leaves the value undefined."""
    defined, notes = _defined(draws)
    if not defined.size:
        return Interval(None, None, NOT_ESTIMABLE, notes)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return bounded(float(low), float(high), _how("percentile", draws, seed), notes)


def corrected(value: float, draws: Array, terms: Array, times: Array, seed: int) -> Interval:
    """Bias-corrected and accelerated quantiles of the resamples, widened for small samples.

    Args:
        value: Of the cases as they are.
        draws: Of the resamples, (D,); NaN where undefined.
        terms: Influence of one case of each pattern on the value, (P,), mean 0 over the cases.
        times: How many cases look so, (P,).
        seed: Of the resamples, printed with the interval.
    """
    defined, notes = _defined(draws)
    if not defined.size:
        return Interval(None, None, NOT_ESTIMABLE, notes)
    if defined.min() > value - TINY or defined.max() < value + TINY:
        return Interval(None, None, NOT_ESTIMABLE, (*notes, TOO_ALIKE))
    below = (defined < value - TINY).sum() + (np.abs(defined - value) <= TINY).sum() / 2
    share = float(below) / defined.size
    squares = float(times @ terms**2)
    if not 0 < share < 1 or squares <= TINY:
        return percentile(draws, seed)
    bias = float(stats.norm.ppf(share))
    pull = float(times @ terms**3) / (6 * squares**1.5)
    z = np.array([-1.0, 1.0]) * _widened(float(times.sum()))
    levels = stats.norm.cdf(bias + (bias + z) / (1 - pull * (bias + z)))
    low, high = np.quantile(defined, levels)
    return bounded(float(low), float(high), _how("BCa", draws, seed), notes)


def _widened(cases: float) -> float:
    """Normal quantile at the level that a t quantile and the divisor n - 1 ask for."""
    return float(np.sqrt(cases / (cases - 1)) * stats.t.ppf((1 + CONFIDENCE) / 2, cases - 1))


def _defined(draws: Array) -> tuple[Array, tuple[str, ...]]:
    defined = draws[np.isfinite(draws)]
    lost = draws.size - defined.size
    if 2 * lost > draws.size or not draws.size:
        return defined[:0], (MOSTLY_UNDEFINED,)
    if lost:
        note = f"{lost} of {draws.size} bootstrap draws held no variation and were left out."
        return defined, (note,)
    return defined, ()


def _how(kind: str, draws: Array, seed: int) -> str:
    return f"{kind} bootstrap, {draws.size} draws, seed {seed}"


def _margin(value: float, se: float | None, quantile: float, how: str) -> Interval:
    if se is None:
        return NONE
    return bounded(value - quantile * se, value + quantile * se, how)
