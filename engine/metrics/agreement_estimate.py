"""The typed result of an agreement coefficient: a value with its interval, or a reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from engine.metrics.agreement_ratings import Ratings

CONFIDENCE = 0.95
DRAWS = 2000
TINY = 1e-12
NO_VARIATION = (
    "No variation: every rating is identical, so chance-corrected agreement is undefined."
)


@dataclass(frozen=True)
class Estimate:
    """One agreement coefficient, or why there is none.

    Args:
        name: Coefficient, such as "Fleiss kappa".
        weights: Agreement weights, such as "quadratic".
        value: The coefficient, at most 1 (with missing ratings, Fleiss' kappa can be below -1);
            None where it is undefined.
        low: Lower end of the 95 % interval; None where there is none.
        high: Upper end, at most 1.
        se: Standard error; None where it is undefined.
        cases: Cases with ratings from two or more raters: those that can agree.
        raters: Raters with at least one rating.
        ratings: Ratings given.
        missing: Cells of the table of cases by raters without a rating.
        reason: Why there is no value, in one sentence; empty otherwise.
        notes: What a reader of the value must know, one sentence each.
        interval: How the interval was made, with the seed where one was drawn.
    """

    name: str
    weights: str
    value: float | None
    low: float | None
    high: float | None
    se: float | None
    cases: int
    raters: int
    ratings: int
    missing: int
    reason: str = ""
    notes: tuple[str, ...] = ()
    interval: str = ""


def shortage(ratings: Ratings, shared: int | None = None) -> str:
    """Why no agreement at all can be computed; empty when it can."""
    if ratings.number == 0:
        return "There are no ratings yet, so agreement cannot be computed."
    if ratings.raters < 2:
        return "There is only one rater, and agreement needs at least two."
    if (ratings.shared if shared is None else shared) == 0:
        return "No case was rated by two raters, so agreement cannot be computed."
    return ""


def single_case(shared: int) -> str:
    """Why one shared case does not allow a chance-corrected coefficient; empty otherwise."""
    if shared > 1:
        return ""
    return (
        "Only one case was rated by two or more raters, "
        "so chance-corrected agreement cannot be estimated."
    )


def blank(name: str, weights: str, ratings: Ratings, reason: str = "") -> Estimate:
    """An estimate with its numbers of cases, raters and ratings, and no value."""
    return Estimate(
        name,
        weights,
        value=None,
        low=None,
        high=None,
        se=None,
        cases=ratings.shared,
        raters=ratings.raters,
        ratings=ratings.number,
        missing=ratings.missing,
        reason=reason,
    )


def with_interval(estimate: Estimate, low: float, high: float, how: str) -> Estimate:
    """Add an interval capped at 1; one of no width would claim certainty, so it is left out."""
    if high - low < TINY:
        note = "The cases do not differ enough to estimate an interval."
        return replace(estimate, notes=(*estimate.notes, note), interval="not estimable")
    return replace(estimate, low=low, high=min(high, 1.0), interval=how)


def with_normal(estimate: Estimate) -> Estimate:
    """Add the interval value ± z SE."""
    return _with_margin(estimate, float(stats.norm.ppf((1 + CONFIDENCE) / 2)), "z")


def with_student(estimate: Estimate, freedom: int) -> Estimate:
    """Add the interval value ± t SE, with so many degrees of freedom."""
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    return _with_margin(estimate, quantile, f"t, {freedom} df")


def with_bootstrap(estimate: Estimate, draws: NDArray[np.float64], seed: int) -> Estimate:
    """Add a percentile interval.

    Args:
        estimate: With its value.
        draws: The coefficient in each resample of the cases, (D,); NaN where it is undefined.
        seed: Seed of the resamples, printed with the interval.
    """
    defined = draws[np.isfinite(draws)]
    lost = draws.size - defined.size
    if 2 * lost > draws.size:
        note = "Most resamples of the cases leave the coefficient undefined: no interval is given."
        return replace(estimate, notes=(*estimate.notes, note), interval="not estimable")
    if lost:
        note = f"{lost} of {draws.size} bootstrap draws held no variation and were left out."
        estimate = replace(estimate, notes=(*estimate.notes, note))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    how = f"percentile bootstrap, {draws.size} draws, seed {seed}"
    return with_interval(estimate, float(low), float(high), how)


def size_notes(raters: int, shared: int) -> tuple[str, ...]:
    """Warnings about a small study."""
    notes = []
    if shared < 10:
        cases = "1 case" if shared == 1 else f"{shared} cases"
        notes.append(f"Only {cases} with two or more ratings: interval very wide.")
    if raters == 2:
        notes.append("Only two raters: interval very wide as a statement about other raters.")
    return tuple(notes)


def paradox_notes(value: float, exact: float, dominant: float) -> tuple[str, ...]:
    """The kappa paradox, explained where it strikes.

    Args:
        value: The coefficient.
        exact: Percent agreement without weights, 0 to 1.
        dominant: Share of the most frequent score, 0 to 1.

    Source:
        Feinstein and Cicchetti, "High agreement but low kappa", J Clin Epidemiol 1990.
    """
    if value >= 0.4 or exact < 0.75 or dominant < 0.6:
        return ()
    return (
        f"Kappa paradox: raters agree in {exact:.0%} of comparisons, but {dominant:.0%} of ratings "
        "are the same score, so agreement by chance is high too and the coefficient stays low.",
    )


def _with_margin(estimate: Estimate, quantile: float, how: str) -> Estimate:
    if estimate.value is None or estimate.se is None:
        return estimate
    margin = quantile * estimate.se
    return with_interval(estimate, estimate.value - margin, estimate.value + margin, how)
