"""Agreement of several raters, with missing ratings: percent agreement and Fleiss' kappa.

Source: Gwet, "Handbook of Inter-Rater Reliability", 4th edition, 2014. Letters as there:
n cases with a rating, n' with two or more, q categories, r_ik raters who put case i in k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from engine.metrics.agreement_estimate import (
    CONFIDENCE,
    DRAWS,
    NO_VARIATION,
    TINY,
    Estimate,
    blank,
    paradox_notes,
    shortage,
    single_case,
    size_notes,
    with_bootstrap,
    with_interval,
    with_student,
)
from engine.metrics.agreement_ratings import FIVE_POINTS, Ratings, read_ratings
from engine.metrics.agreement_weights import Weights, weight_matrix, weights_name

SMALL_SAMPLE = 10


@dataclass(frozen=True, eq=False)
class Frame:
    """The n rated cases in Gwet's frame.

    Args:
        agreement: Agreement among the raters of each case (p_a,i), (n,); 0 where rated once.
        paired: Whether a case has two or more ratings, (n,).
        shares: Share of its ratings in each category (r_ik / r_i), (n, q).
        weights: Agreement weights, (q, q).
    """

    agreement: NDArray[np.float64]
    paired: NDArray[np.bool_]
    shares: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def observed(self) -> float:
        """Mean agreement over the cases with two or more ratings (p_a)."""
        return float(self.agreement[self.paired].mean())

    @property
    def categories(self) -> NDArray[np.float64]:
        """Share of each category, averaged over the cases (pi_k), (q,)."""
        return self.shares.mean(axis=0)


def frame(ratings: Ratings, weights: Weights) -> Frame:
    """Put ratings into Gwet's frame; at least one case must have two ratings."""
    w = weight_matrix(weights, ratings.scale)
    counts = ratings.counts[ratings.given.any(axis=1)]
    raters = counts.sum(axis=1)
    pairs = raters * (raters - 1)
    together = (counts * (counts @ w.T - 1)).sum(axis=1)
    agreement = np.where(pairs > 0, together / np.where(pairs > 0, pairs, 1), 0.0)
    return Frame(agreement, raters >= 2, counts / raters[:, None], w)


def category_shares(ratings: ArrayLike, scale: Sequence[float] = FIVE_POINTS) -> tuple[float, ...]:
    """Share of each score, each case counting once, in the order of the scale.

    Args:
        ratings: Scores, (N, m), NaN where missing.
        scale: Declared scores, ascending.

    Returns:
        q shares that sum to 1; empty when there are no ratings.
    """
    table = read_ratings(ratings, scale)
    if table.number == 0:
        return ()
    return tuple(float(share) for share in frame(table, "identity").categories)


def percent_agreement(
    ratings: ArrayLike, scale: Sequence[float] = FIVE_POINTS, weights: Weights = "identity"
) -> Estimate:
    """Share of pairs of ratings of the same case that agree, without correction for chance.

    The interval is Wilson's for two raters without weights, and a t interval over cases else.

    Args:
        ratings: Scores, (N, m), NaN where missing.
        scale: Declared scores, ascending.
        weights: Agreement weights.

    Returns:
        A proportion, 0 to 1.
    """
    table = read_ratings(ratings, scale)
    name = weights_name(weights)
    result = blank("Percent agreement", name, table, shortage(table))
    if result.reason:
        return result
    g = frame(table, weights)
    value = g.observed
    result = replace(result, value=value, notes=ignored_notes(table))
    if table.raters == 2 and name == "identity":
        low, high = wilson(value, table.shared)
        se = float(np.sqrt(max(value * (1 - value), 0.0) / table.shared))
        return with_interval(replace(result, se=se), low, high, "Wilson")
    if table.shared == 1:
        return replace(result, interval="not estimable")
    result = replace(result, se=_standard_error(g.agreement[g.paired], value))
    result = with_student(result, table.shared - 1)
    return result if result.low is None else replace(result, low=max(result.low, 0.0))


def fleiss_kappa(
    ratings: ArrayLike,
    scale: Sequence[float] = FIVE_POINTS,
    weights: Weights = "identity",
    seed: int = 0,
) -> Estimate:
    """Fleiss' (weighted) kappa of any number of raters; missing ratings are left missing.

    The interval is Student's over cases; with two raters or fewer than ten cases, a percentile
    bootstrap over cases.

    Args:
        ratings: Scores, (N, m), NaN where missing.
        scale: Declared scores, ascending.
        weights: Agreement weights.
        seed: Seed of the bootstrap.

    Raises:
        ShapeMismatch: the ratings are not a table.
        OutOfScale: a rating is not on the scale.

    Source:
        Fleiss 1971; missing ratings, weights and variance: Gwet 2014.
    """
    return fleiss_of(read_ratings(ratings, scale), weights, seed)


def fleiss_of(ratings: Ratings, weights: Weights, seed: int) -> Estimate:
    """`fleiss_kappa` of ratings already read."""
    name = "Fleiss kappa" if weights_name(weights) == "identity" else "Fleiss weighted kappa"
    result = blank(name, weights_name(weights), ratings)
    reason = shortage(ratings) or single_case(ratings.shared)
    if reason:
        return replace(result, reason=reason)
    g = frame(ratings, weights)
    value = float(_fleiss(g, np.ones((1, len(g.paired))))[0])
    if not np.isfinite(value):
        return replace(result, reason=NO_VARIATION)
    exact = frame(ratings, "identity").observed
    notes = (
        *paradox_notes(value, exact, float(g.categories.max())),
        *size_notes(ratings.raters, ratings.shared),
        *ignored_notes(ratings),
    )
    result = replace(result, value=value, se=_fleiss_error(g, value), notes=notes)
    if ratings.raters > 2 and ratings.shared >= SMALL_SAMPLE:
        return with_student(result, len(g.paired) - 1)
    return with_bootstrap(result, _fleiss(g, resamples(len(g.paired), seed)), seed)


def resamples(cases: int, seed: int) -> NDArray[np.float64]:
    """How often each case is drawn in each bootstrap resample, (D, cases)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(cases, np.full(cases, 1 / cases), size=DRAWS).astype(np.float64)


def _fleiss(g: Frame, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fleiss' kappa with case i counted times[:, i], (D, n) to (D,); NaN where undefined."""
    paired = times @ g.paired
    observed = times @ g.agreement / np.where(paired > 0, paired, 1)
    pi = times @ g.shares / times.sum(axis=1, keepdims=True)
    room = 1 - np.einsum("dk,kl,dl->d", pi, g.weights, pi)
    defined = (room > TINY) & (paired > 0)
    return np.where(defined, 1 - (1 - observed) / np.where(defined, room, 1), np.nan)


def _fleiss_error(g: Frame, value: float) -> float:
    """Gwet's linearised standard error: cases sampled, raters fixed."""
    pi = g.categories
    expected = pi @ g.weights @ pi
    by_case = g.shares @ (g.weights @ pi + pi @ g.weights) / 2
    n = len(g.paired)
    k = n / g.paired.sum() * (g.agreement - expected * g.paired) / (1 - expected)
    return _standard_error(k - 2 * (1 - value) * (by_case - expected) / (1 - expected), value)


def _standard_error(terms: NDArray[np.float64], value: float) -> float:
    n = len(terms)
    squares = float(((terms - value) ** 2).sum())
    return float(np.sqrt(squares / (n * (n - 1)))) if squares > TINY else 0.0


def wilson(share: float, cases: int) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927)."""
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    centre = (share + z**2 / (2 * cases)) / (1 + z**2 / cases)
    variance = share * (1 - share) / cases + z**2 / (4 * cases**2)
    margin = z * float(np.sqrt(variance)) / (1 + z**2 / cases)
    return min(max(centre - margin, 0.0), share), max(min(centre + margin, 1.0), share)


def ignored_notes(ratings: Ratings) -> tuple[str, ...]:
    """What became of cases with fewer than two ratings."""
    number = ratings.given.sum(axis=1)
    once, never = int((number == 1).sum()), int((number == 0).sum())
    codes = ratings.codes[number >= 2]
    same = once > 0 and len(np.unique(codes[codes >= 0])) == 1
    return (
        *((f"Cases rated once, counted in the shares of scores only: {once}.",) if once else ()),
        *((f"Cases without a rating, left out: {never}.",) if never else ()),
        *(("All cases with two or more ratings have one and the same score.",) if same else ()),
    )
