"""Agreement of two raters: Cohen's kappa, weighted kappa, and what explains them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from engine.errors import ShapeMismatch
from engine.metrics.agreement_estimate import (
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
    with_normal,
)
from engine.metrics.agreement_ratings import FIVE_POINTS, Ratings, read_ratings
from engine.metrics.agreement_weights import Weights, weight_matrix, weights_name

LARGE_SAMPLE = 50
CONSTANT_RATER = (
    "One rater gave the same score to every case: "
    "Cohen's kappa is then 0, whatever the other rater says."
)


@dataclass(frozen=True)
class TwoRaterAnalysis:
    """What a contingency table of two raters says; None where a number is undefined.

    Args:
        cases: Cases rated by both.
        observed: Observed weighted agreement, 0 to 1.
        expected: Agreement expected by chance from the margins.
        kappa: Cohen's (weighted) kappa.
        se: Its standard error, for intervals.
        null_se: Its standard error where kappa is 0, for the test only.
        z: Test statistic of kappa = 0.
        p_value: Two-sided.
        maximum: Largest kappa that the margins allow; identity weights only.
        pabak: Prevalence- and bias-adjusted kappa (Brennan-Prediger, unweighted).
    """

    cases: int
    observed: float
    expected: float
    kappa: float | None
    se: float | None
    null_se: float | None
    z: float | None
    p_value: float | None
    maximum: float | None
    pabak: float


def analyse_table(
    table: ArrayLike, weights: Weights = "identity", scale: Sequence[float] | None = None
) -> TwoRaterAnalysis:
    """Kappa of a contingency table, with its variances.

    Args:
        table: Cases by score of the first rater (rows) and of the second (columns), (q, q).
        weights: Agreement weights.
        scale: The q scores; 1 to q by default.

    Raises:
        ShapeMismatch: the table is not square, is empty, or does not fit the scale.

    Source:
        Fleiss, Cohen, Everitt, "Large sample standard errors of kappa and weighted kappa",
        Psychol Bull 1969.
    """
    counts = np.asarray(table, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.sum() <= 0:
        raise ShapeMismatch("Two raters are compared by a square table with at least one case.")
    q, cases = len(counts), counts.sum()
    w = weight_matrix(weights, scale if scale is not None else range(1, q + 1))
    if w.shape != counts.shape:
        raise ShapeMismatch("The table of two raters does not fit the declared scale.")
    p = counts / cases
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    observed, expected = float((w * p).sum()), float(rows @ w @ columns)
    kappa = _kappa(p, w)
    pabak = float((q * np.trace(p) - 1) / (q - 1))
    if not np.isfinite(kappa):
        return TwoRaterAnalysis(
            int(cases), observed, expected, None, None, None, None, None, None, pabak
        )
    se, null_se = _errors(p, w, float(kappa), float(cases))
    z = float(kappa) / null_se if null_se > 0 else None
    identity = np.array_equal(w, np.eye(q))
    limit = float((np.minimum(rows, columns).sum() - expected) / (1 - expected))
    return TwoRaterAnalysis(
        int(cases),
        observed,
        expected,
        float(kappa),
        se,
        null_se,
        z,
        None if z is None else float(2 * stats.norm.sf(abs(z))),
        limit if identity else None,
        pabak,
    )


def cohen_kappa(
    ratings: ArrayLike,
    scale: Sequence[float] = FIVE_POINTS,
    weights: Weights = "identity",
    seed: int = 0,
) -> Estimate:
    """Cohen's kappa of two raters, over the cases that both rated.

    The interval is normal from 50 cases, and a percentile bootstrap over cases below.

    Args:
        ratings: Scores, (N, 2), NaN where missing.
        scale: Declared scores, ascending.
        weights: Agreement weights.
        seed: Seed of the bootstrap.

    Raises:
        ShapeMismatch: there are not exactly two columns.
        OutOfScale: a rating is not on the scale.

    Source:
        Cohen 1960 and 1968.
    """
    table = read_ratings(ratings, scale)
    if table.codes.shape[1] != 2:
        raise ShapeMismatch("Cohen's kappa compares exactly two raters.")
    return cohen_of(table, weights, seed)


def cohen_of(ratings: Ratings, weights: Weights, seed: int) -> Estimate:
    """`cohen_kappa` of ratings already read, (N, 2)."""
    name = "Cohen kappa" if weights_name(weights) == "identity" else "Cohen weighted kappa"
    result = blank(name, weights_name(weights), ratings)
    reason = shortage(ratings) or single_case(ratings.shared)
    if reason:
        return replace(result, reason=reason)
    counts = cross_table(ratings)
    analysis = analyse_table(counts, weights, ratings.scale)
    if analysis.kappa is None:
        return replace(result, reason=NO_VARIATION)
    result = replace(
        result,
        value=analysis.kappa,
        se=analysis.se,
        notes=_notes(counts, analysis.kappa, ratings),
    )
    if analysis.cases >= LARGE_SAMPLE:
        return with_normal(result)
    w = weight_matrix(weights, ratings.scale)
    return with_bootstrap(result, _draws(counts, w, seed), seed)


def cross_table(ratings: Ratings) -> NDArray[np.float64]:
    """Cases by score of the first and of the second rater, (q, q); complete pairs only."""
    q = len(ratings.scale)
    first, second = ratings.codes[ratings.given.all(axis=1)].T
    return np.bincount(first * q + second, minlength=q * q).reshape(q, q).astype(np.float64)


def kappas(tables: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kappa of many tables of counts, (D, q, q) to (D,); NaN where undefined."""
    cases = tables.sum(axis=(-2, -1), keepdims=True)
    return _kappa(tables / np.where(cases > 0, cases, 1), w)


@dataclass(frozen=True)
class BinaryIndices:
    """What moves kappa in a 2 x 2 table; agreement on a class is None where nobody named it."""

    prevalence: float
    bias: float
    positive: float | None
    negative: float | None


def binary_indices(table: ArrayLike) -> BinaryIndices:
    """Prevalence and bias index, positive and negative agreement of a 2 x 2 table.

    Args:
        table: [[a, b], [c, d]], counts; a is positive by both raters.

    Raises:
        ShapeMismatch: the table is not 2 x 2, or is empty.

    Source:
        Byrt, Bishop, Carlin 1993; Cicchetti and Feinstein 1990.
    """
    counts = np.asarray(table, dtype=np.float64)
    if counts.shape != (2, 2) or counts.sum() <= 0:
        raise ShapeMismatch("These indices need a two by two table with at least one case.")
    (a, b), (c, d) = counts.tolist()
    total = a + b + c + d
    return BinaryIndices(
        prevalence=(a - d) / total,
        bias=(b - c) / total,
        positive=2 * a / (2 * a + b + c) if a + b + c else None,
        negative=2 * d / (2 * d + b + c) if b + c + d else None,
    )


def _kappa(p: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kappa of proportions (..., q, q); NaN where undefined, 0 exactly with a constant rater."""
    rows, columns = p.sum(axis=-1), p.sum(axis=-2)
    observed = (w * p).sum(axis=(-2, -1))
    expected = np.einsum("...k,kl,...l->...", rows, w, columns)
    room = 1 - expected
    defined = (room > TINY) & (rows.sum(axis=-1) > 0)
    value = np.where(defined, (observed - expected) / np.where(defined, room, 1), np.nan)
    constant = ((rows > 0).sum(axis=-1) == 1) | ((columns > 0).sum(axis=-1) == 1)
    return np.where(defined & constant, 0.0, value)


def _errors(
    p: NDArray[np.float64], w: NDArray[np.float64], kappa: float, cases: float
) -> tuple[float, float]:
    """Standard errors at kappa and at 0; letters as in the source."""
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    expected = rows @ w @ columns
    S = (w @ columns)[:, None] + (rows @ w)[None, :]
    spread = (p * (w - S * (1 - kappa)) ** 2).sum() - (kappa - expected * (1 - kappa)) ** 2
    null = (np.outer(rows, columns) * (w - S) ** 2).sum() - expected**2
    divisor = cases * (1 - expected) ** 2
    return _root(spread, divisor), _root(null, divisor)


def _root(spread: float, divisor: float) -> float:
    """Root of a variance, with what is only rounding error taken as 0."""
    return float(np.sqrt(spread / divisor)) if spread > TINY else 0.0


def _draws(counts: NDArray[np.float64], w: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Kappa in resamples of the cases: a resample of cases is a multinomial draw of cells."""
    cases = int(counts.sum())
    cells = np.random.default_rng(seed).multinomial(cases, counts.ravel() / cases, size=DRAWS)
    return kappas(cells.reshape(DRAWS, *counts.shape).astype(np.float64), w)


def _notes(counts: NDArray[np.float64], kappa: float, ratings: Ratings) -> tuple[str, ...]:
    cases = counts.sum()
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    constant = rows.max() == cases or columns.max() == cases
    dominant = float((rows + columns).max() / (2 * cases))
    exact = float(np.trace(counts) / cases)
    ignored = len(ratings.codes) - int(cases)
    return (
        *((CONSTANT_RATER,) if constant else ()),
        *paradox_notes(kappa, exact, dominant),
        *size_notes(2, int(cases)),
        *((f"Cases not rated by both raters, left out: {ignored}.",) if ignored else ()),
    )
