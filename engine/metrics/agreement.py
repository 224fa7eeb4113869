"""How far raters agree: the coefficients shown on the agreement page, from one table of ratings.

Agreement is not correctness: raters can agree and all be wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from engine.metrics.agreement_benchmark import SCALES, Benchmark, benchmark
from engine.metrics.agreement_estimate import Estimate, blank, shortage
from engine.metrics.agreement_many import (
    category_shares,
    fleiss_kappa,
    fleiss_of,
    percent_agreement,
)
from engine.metrics.agreement_null import NullTest, fleiss_by_category, fleiss_null_test
from engine.metrics.agreement_pairs import KappaMatrix, light_kappa, light_of, pairwise_kappas
from engine.metrics.agreement_ratings import FIVE_POINTS, OutOfScale, Ratings, read_ratings
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
    "WEIGHTS",
    "Benchmark",
    "BinaryIndices",
    "Estimate",
    "KappaMatrix",
    "NullTest",
    "OutOfScale",
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
    "light_kappa",
    "pairwise_kappas",
    "percent_agreement",
    "summarise",
    "weight_matrix",
]


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


def _between_two(table: Ratings, weights: str, seed: int) -> Estimate:
    """Cohen's kappa where two raters answered, Light's where more did."""
    if table.raters > 2:
        return light_of(table, weights, seed)
    if table.raters == 2:
        return cohen_of(table.active(), weights, seed)
    name = "Cohen kappa" if weights == "identity" else "Cohen weighted kappa"
    return blank(name, weights, table, shortage(table))
