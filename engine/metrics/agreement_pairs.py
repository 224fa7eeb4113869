"""Agreement of every pair of raters, and its mean: Light's kappa."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.metrics.agreement_estimate import (
    NO_VARIATION,
    Estimate,
    blank,
    paradox_notes,
    shortage,
    single_case,
    size_notes,
    with_bootstrap,
)
from engine.metrics.agreement_many import frame, resamples
from engine.metrics.agreement_ratings import FIVE_POINTS, Ratings, read_ratings
from engine.metrics.agreement_two import cohen_of, cross_table, kappas
from engine.metrics.agreement_weights import Weights, weight_matrix, weights_name

NO_PAIR = "No pair of raters shares two cases on which their ratings vary."

KappaMatrix = tuple[tuple[Estimate | None, ...], ...]


def pairwise_kappas(
    ratings: ArrayLike,
    scale: Sequence[float] = FIVE_POINTS,
    weights: Weights = "identity",
    seed: int = 0,
) -> KappaMatrix:
    """Cohen's kappa of each pair of raters, over the cases that both rated.

    Args:
        ratings: Scores, (N, m), NaN where missing.
        scale: Declared scores, ascending.
        weights: Agreement weights, symmetric.
        seed: Seed of each pair's bootstrap.

    Returns:
        m rows of m estimates, symmetric, each with its number of cases; None on the diagonal.
    """
    table = read_ratings(ratings, scale)
    m = table.codes.shape[1]
    pairs = {
        (i, j): cohen_of(table.columns(i, j), weights, seed) for i, j in combinations(range(m), 2)
    }
    return tuple(tuple(pairs.get((min(i, j), max(i, j))) for j in range(m)) for i in range(m))


def light_kappa(
    ratings: ArrayLike,
    scale: Sequence[float] = FIVE_POINTS,
    weights: Weights = "identity",
    seed: int = 0,
) -> Estimate:
    """Light's kappa: the mean of the kappas of all pairs of raters, with a bootstrap interval.

    Pairs without a kappa (no shared variation, fewer than two shared cases) are left out, and
    their number is noted.

    Args:
        ratings: Scores, (N, m), NaN where missing.
        scale: Declared scores, ascending.
        weights: Agreement weights.
        seed: Seed of the bootstrap over cases.

    Source:
        Light, "Measures of response agreement for qualitative data", Psychol Bull 1971.
    """
    return light_of(read_ratings(ratings, scale), weights, seed)


def light_of(ratings: Ratings, weights: Weights, seed: int) -> Estimate:
    """`light_kappa` of ratings already read."""
    name = "Light kappa" if weights_name(weights) == "identity" else "Light weighted kappa"
    reason = shortage(ratings) or single_case(ratings.shared)
    result = blank(name, weights_name(weights), ratings, reason)
    if reason:
        return result
    active = ratings.active()
    w = weight_matrix(weights, ratings.scale)
    pairs = [active.columns(i, j) for i, j in combinations(range(active.raters), 2)]
    usable = [pair for pair in pairs if pair.shared > 1 and np.isfinite(_kappa(pair, w))]
    if not usable:
        same = len(np.unique(ratings.codes[ratings.given])) == 1
        return replace(result, reason=NO_VARIATION if same else NO_PAIR)
    value = float(np.mean([_kappa(pair, w) for pair in usable]))
    plain = frame(ratings, "identity")
    paradox = paradox_notes(value, plain.observed, float(plain.categories.max()))
    notes = (*paradox, *_notes(ratings, usable, len(pairs)))
    result = replace(result, value=value, notes=notes)
    draws = _draws(usable, w, seed)
    spread = float(np.nanstd(draws, ddof=1)) if np.isfinite(draws).sum() > 1 else None
    result = with_bootstrap(result, draws, seed)
    return result if result.low is None else replace(result, se=spread)


def _kappa(pair: Ratings, w: NDArray[np.float64]) -> float:
    return float(kappas(cross_table(pair)[None], w)[0])


def _draws(pairs: list[Ratings], w: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Mean of the pairs' kappas in each resample of the cases, (D,); NaN where none is defined."""
    times = resamples(len(pairs[0].codes), seed)
    total, defined = np.zeros(len(times)), np.zeros(len(times))
    q = len(w)
    for pair in pairs:
        both = pair.given.all(axis=1)
        cells = np.eye(q * q)[pair.codes[both] @ np.array([q, 1])]
        value = kappas((times[:, both] @ cells).reshape(-1, q, q), w)
        total += np.nan_to_num(value)
        defined += np.isfinite(value)
    return np.where(defined > 0, total / np.maximum(defined, 1), np.nan)


def _notes(ratings: Ratings, usable: list[Ratings], pairs: int) -> tuple[str, ...]:
    shared = [pair.shared for pair in usable]
    low, high = min(shared), max(shared)
    span = f"{low}" if low == high else f"{low} to {high}"
    left_out = pairs - len(usable)
    return (
        f"Mean over {len(usable)} of {pairs} pairs of raters, each with {span} shared cases.",
        *((f"Pairs without a kappa of their own, left out: {left_out}.",) if left_out else ()),
        *size_notes(ratings.raters, ratings.shared),
    )
