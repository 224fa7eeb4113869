"""How far raters agree: the coefficients shown on the agreement page, from one table of ratings.

Agreement is not correctness: raters can agree and all be wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from engine.metrics.agreement_benchmark import SCALES, Benchmark, benchmark
from engine.metrics.agreement_estimate import DRAWS, Estimate, blank, shortage
from engine.metrics.agreement_icc import FORMS
from engine.metrics.agreement_many import (
    category_shares,
    fleiss_kappa,
    fleiss_of,
    percent_agreement,
)
from engine.metrics.agreement_measured import of_complete
from engine.metrics.agreement_null import NullTest, fleiss_by_category, fleiss_null_test
from engine.metrics.agreement_pair import of_two
from engine.metrics.agreement_pairs import KappaMatrix, light_kappa, light_of, pairwise_kappas
from engine.metrics.agreement_ratings import FIVE_POINTS, OutOfScale, Ratings, read_ratings
from engine.metrics.agreement_several import Drawing, Key, Wanted, several
from engine.metrics.agreement_statistic import STATISTICS, Statistic
from engine.metrics.agreement_two import (
    BinaryIndices,
    TwoRaterAnalysis,
    analyse_table,
    binary_indices,
    cohen_kappa,
    cohen_of,
)
from engine.metrics.agreement_weights import WEIGHTS, Weights, weight_matrix

__all__ = [
    "FIVE_POINTS",
    "SCALES",
    "STATISTICS",
    "WEIGHTS",
    "Benchmark",
    "BinaryIndices",
    "Estimate",
    "KappaMatrix",
    "NullTest",
    "OutOfScale",
    "Statistic",
    "TwoRaterAnalysis",
    "Weights",
    "analyse_table",
    "benchmark",
    "binary_indices",
    "category_shares",
    "cohen_kappa",
    "fleiss_by_category",
    "fleiss_kappa",
    "fleiss_null_test",
    "headline",
    "light_kappa",
    "pairwise_kappas",
    "percent_agreement",
    "statistics",
    "summarise",
    "weight_matrix",
]

NEEDS_NUMBERS = "The scale is of labels, not numbers, and this statistic needs their distances."


def statistics(
    ratings: ArrayLike,
    scale: Sequence[float] = FIVE_POINTS,
    *,
    seed: int = 0,
    draws: int = DRAWS,
    weights: Sequence[Weights] = WEIGHTS,
    level_of_interest: float | None = None,
    numeric: bool = True,
    bootstrap: bool = False,
    only: Collection[str] | None = None,
) -> tuple[Statistic, ...]:
    """Every agreement statistic of one question, in the order of `STATISTICS`.

    Statistics of two raters are those of the two, or of each pair where there are more.

    Args:
        ratings: Scores, (N cases, m raters); NaN where a rater did not or could not judge.
        scale: Declared scores, ascending.
        seed: Seed of every bootstrap.
        draws: Resamples of every bootstrap.
        weights: Agreement weights: names of `WEIGHTS`, or own matrices (q, q).
        level_of_interest: On a scale of two scores, the one called positive; the first if None.
        numeric: Whether the scores are numbers, not places of labels in their order; without,
            there are no statistics of distances: alpha of the interval and ratio levels, ICC.
        bootstrap: Bootstrap also the intervals that have a closed form.
        only: Names of `STATISTICS` to give; all if None.

    Returns:
        One entry a statistic, kind of weights and level, with a value or a reason.

    Raises:
        ShapeMismatch: the ratings are not a table, or own weights do not fit the scale.
        OutOfScale: a rating, or the level of interest, is not on the scale.
    """
    table = read_ratings(ratings, scale)
    if level_of_interest is not None and level_of_interest not in table.scale:
        raise OutOfScale(f"The score of interest, {level_of_interest:g}, is not on the scale.")
    drawing = Drawing(draws, seed, bootstrap)

    def wanted(statistic: str, weighting: str | None, level: str | None) -> bool:
        return only is None or statistic in only

    found = _of_all(table, weights, drawing, numeric, wanted)
    pairs = _of_pairs(table, weights, drawing, wanted, level_of_interest)
    order = {name: place for place, name in enumerate(STATISTICS)}
    return tuple(sorted((*found, *pairs), key=lambda one: order[one.statistic]))


def headline(
    ratings: ArrayLike, scale: Sequence[float] = FIVE_POINTS, seed: int = 0, draws: int = DRAWS
) -> tuple[Statistic, ...]:
    """The primary statistics of one question.

    Args:
        ratings: Scores, (N cases, m raters); NaN where missing.
        scale: Declared scores, ascending.
        seed: Seed of every bootstrap.
        draws: Resamples of every bootstrap.

    Returns:
        Percent agreement; kappa with quadratic weights and without (Cohen's of two raters,
        Fleiss' of more); AC2 with quadratic weights; ordinal alpha; ICC(2,1).
    """
    table = read_ratings(ratings, scale)
    kappa = "cohen_kappa" if table.raters == 2 else "fleiss_kappa"
    wanted: list[Key] = [
        ("percent_agreement", "identity", None),
        (kappa, "quadratic", None),
        (kappa, "identity", None),
        ("gwet_ac", "quadratic", None),
        ("krippendorff_alpha", None, "ordinal"),
        ("icc_2_1", None, None),
    ]
    drawing = Drawing(draws, seed)
    weights = ("identity", "quadratic")
    found = _of_all(table, weights, drawing, True, lambda *key: key in wanted)
    if table.raters == 2:
        found = (*found, *of_two(table.active(), weights, drawing, lambda *key: key in wanted))
    return tuple(
        sorted(found, key=lambda one: wanted.index((one.statistic, one.weights, one.level)))
    )


def summarise(
    ratings: ArrayLike, scale: Sequence[float] = FIVE_POINTS, seed: int = 0
) -> tuple[Estimate, ...]:
    """The five coefficients of one question.

    Args:
        ratings: Scores, (N cases, m raters); NaN where a rater did not or could not judge.
        scale: Declared scores, ascending.
        seed: Seed of every bootstrap.

    Returns:
        Percent agreement; kappa of two raters (Cohen), or its mean over pairs (Light), plain
        and with quadratic weights; Fleiss' kappa, plain and with quadratic weights.

    Raises:
        ShapeMismatch: the ratings are not a table.
        OutOfScale: a rating is not on the scale.
    """
    table = read_ratings(ratings, scale)
    return (
        percent_agreement(ratings, scale),
        _between_two(table, "identity", seed),
        _between_two(table, "quadratic", seed),
        fleiss_of(table, "identity", seed),
        fleiss_of(table, "quadratic", seed),
    )


def _of_all(
    table: Ratings, weights: Sequence[Weights], drawing: Drawing, numeric: bool, wanted: Wanted
) -> tuple[Statistic, ...]:
    """The statistics of all raters together."""
    found = (*several(table, weights, drawing, wanted), *of_complete(table, drawing, wanted))
    if numeric:
        return found
    return tuple(_without_distances(one) for one in found)


def _without_distances(one: Statistic) -> Statistic:
    if one.level not in ("interval", "ratio") and one.statistic not in FORMS:
        return one
    return replace(
        one, value=None, se=None, low=None, high=None, reason=one.reason or NEEDS_NUMBERS,
        notes=(), interval="", benchmark="",
    )  # fmt: skip


def _of_pairs(
    table: Ratings,
    weights: Sequence[Weights],
    drawing: Drawing,
    wanted: Wanted,
    positive: float | None,
) -> tuple[Statistic, ...]:
    """The statistics of two raters: of the only two, or of each pair of several."""
    active = [int(column) for column in np.flatnonzero(table.given.any(axis=0))]
    if len(active) <= 2:
        columns = [*active, *(c for c in range(table.codes.shape[1]) if c not in active)][:2]
        return of_two(table.columns(*columns), weights, drawing, wanted, positive)
    return tuple(
        replace(one, raters_named=(i, j))
        for i, j in combinations(active, 2)
        for one in of_two(table.columns(i, j), weights, drawing, wanted, positive)
    )


def _between_two(table: Ratings, weights: str, seed: int) -> Estimate:
    """Cohen's kappa where two raters answered, Light's where more did."""
    if table.raters > 2:
        return light_of(table, weights, seed)
    if table.raters == 2:
        return cohen_of(table.active(), weights, seed)
    name = "Cohen kappa" if weights == "identity" else "Cohen weighted kappa"
    return blank(name, weights, table, shortage(table))
