"""The statistics of two raters: Cohen's kappa and its maximum, Scott's pi, and binary indices.

Only cases that both raters rated count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import stats

from engine.metrics import agreement_chance as chance
from engine.metrics.agreement_benchmark import benchmark
from engine.metrics.agreement_estimate import (
    CONFIDENCE,
    NO_VARIATION,
    paradox_notes,
    shortage,
    single_case,
    size_notes,
)
from engine.metrics.agreement_interval import Interval, bounded, corrected, normal, student
from engine.metrics.agreement_many import wilson
from engine.metrics.agreement_ratings import Ratings
from engine.metrics.agreement_second import second_opinion
from engine.metrics.agreement_several import MANY, Drawing, Key, Wanted, blank
from engine.metrics.agreement_statistic import Statistic
from engine.metrics.agreement_sums import Array, Patterns, compress
from engine.metrics.agreement_two import (
    CONSTANT_RATER,
    TwoRaterAnalysis,
    analyse_table,
    binary_indices,
    cross_table,
)
from engine.metrics.agreement_weights import Weights, weight_matrix, weights_name

LARGE_SAMPLE = 100
INDICES = ("prevalence_index", "bias_index", "p_pos", "p_neg")
NOT_BINARY = "This index is of a scale of two scores, and the scale has more."
NOBODY = "Neither rater ever gave this score, so agreement on it is undefined."
BOUND = "The largest kappa that the two raters' shares of scores allow; a bound, not an estimate."


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two raters: the complete cases, their table, and how intervals are drawn."""

    ratings: Ratings
    patterns: Patterns
    table: Array
    drawing: Drawing
    notes: tuple[str, ...]

    def statistic(self, name: str, weights: str | None, reason: str = "") -> Statistic:
        """One without a value, with the numbers of the two raters."""
        return blank(name, weights, None, self.ratings, reason, int(self.table.sum()))


def of_two(
    ratings: Ratings,
    weights: Sequence[Weights],
    drawing: Drawing,
    wanted: Wanted,
    positive: float | None = None,
) -> tuple[Statistic, ...]:
    """The statistics of two raters.

    Args:
        ratings: (N, 2).
        weights: Agreement weights of Cohen's kappa and Scott's pi.
        drawing: How intervals are bootstrapped.
        wanted: Whether a statistic of that name, weights and level is asked for.
        positive: On a scale of two scores, the one called positive; the first if None.
    """
    names = [weights_name(each) for each in weights]
    keys = [key for key in _keys(names) if wanted(*key)]
    if not keys:
        return ()
    both = Ratings(ratings.codes[ratings.given.all(axis=1)], ratings.scale)
    if reason := shortage(ratings, both.shared):
        return tuple(blank(*key, ratings, reason, both.shared) for key in keys)
    table = cross_table(both)
    left = len(ratings.codes) - both.shared
    notes = (f"Cases not rated by both raters, left out: {left}.",) if left else ()
    pair = _Pair(ratings, compress(both), table, drawing, notes)
    asked = {(name, own) for name, own, _ in keys}
    pis = [each for each in weights if ("scott_pi", weights_name(each)) in asked]
    kappas = [each for each in weights if ("cohen_kappa", weights_name(each)) in asked]
    found = [*_kappas(pair, kappas), *_maximum(pair, asked), *_pis(pair, pis)]
    indices = [name for name in INDICES if (name, None) in asked]
    return (*found, *(_index(pair, name, positive) for name in indices))


def _keys(names: Sequence[str]) -> Iterator[Key]:
    yield from (("cohen_kappa", name, None) for name in names)
    yield "kappa_max", "identity", None
    yield from (("scott_pi", name, None) for name in names)
    yield from ((name, None, None) for name in INDICES)


def _kappas(pair: _Pair, weights: Sequence[Weights]) -> Iterator[Statistic]:
    """Cohen's kappa with each of the weights."""
    few = pair.table.sum() < LARGE_SAMPLE or pair.drawing.always
    credits = [chance.credit(each, pair.patterns) for each in weights]
    draws = _draws(pair, [partial(chance.light, c=c) for c in credits]) if few else None
    for number, (weighting, c) in enumerate(zip(weights, credits, strict=True)):
        analysis = analyse_table(pair.table, weighting, pair.ratings.scale)
        empty = pair.statistic("cohen_kappa", c.name, _obstacle(pair, analysis.kappa))
        if empty.reason or analysis.kappa is None:
            yield empty
            continue
        if draws is None:
            interval = normal(analysis.kappa, analysis.se)
        else:
            terms = chance.light_terms(pair.patterns, c) - analysis.kappa
            interval = _corrected(pair, analysis.kappa, draws[number], terms)
        check = second_opinion(pair.table, weight_matrix(weighting, pair.ratings.scale), analysis)
        yield _with(pair, empty, analysis.kappa, analysis.se, interval, check)


def _pis(pair: _Pair, weights: Sequence[Weights]) -> Iterator[Statistic]:
    """Scott's pi with each of the weights: Fleiss' kappa of the complete pairs."""
    credits = [chance.credit(each, pair.patterns) for each in weights]
    few = pair.table.sum() < MANY or pair.drawing.always
    draws = _draws(pair, [partial(chance.fleiss, c=c) for c in credits]) if few else None
    for number, c in enumerate(credits):
        value = float(chance.fleiss(pair.patterns.whole, c)[0])
        empty = pair.statistic("scott_pi", c.name, _obstacle(pair, value))
        if empty.reason:
            yield empty
            continue
        terms = chance.fleiss_terms(pair.patterns, c)
        se = chance.error_of(terms, value, pair.patterns.times)
        if draws is None:
            interval = student(value, se, round(float(pair.table.sum())) - 1)
        else:
            interval = _corrected(pair, value, draws[number], terms - value)
        yield _with(pair, empty, value, se, interval)


def _maximum(pair: _Pair, asked: set[tuple[str, str | None]]) -> Iterator[Statistic]:
    if ("kappa_max", "identity") not in asked:
        return
    analysis: TwoRaterAnalysis = analyse_table(pair.table, "identity", pair.ratings.scale)
    empty = pair.statistic("kappa_max", "identity", _obstacle(pair, analysis.maximum))
    if empty.reason:
        yield empty
        return
    yield replace(empty, value=analysis.maximum, notes=(BOUND, *pair.notes))


def _index(pair: _Pair, name: str, positive: float | None) -> Statistic:
    """Prevalence or bias index, or agreement on one of two scores, with its interval."""
    if len(pair.ratings.scale) != 2:
        return pair.statistic(name, None, NOT_BINARY)
    table = pair.table if positive in (None, pair.ratings.scale[0]) else pair.table[::-1, ::-1]
    (a, b), (c, d) = table.tolist()
    found = binary_indices(table)
    n, apart = a + b + c + d, b + c
    empty = pair.statistic(name, None)
    if name in ("p_pos", "p_neg"):
        value = found.positive if name == "p_pos" else found.negative
        together = a if name == "p_pos" else d
        if value is None:
            return replace(empty, reason=NOBODY)
        low, high = wilson(together / (together + apart), round(together + apart))
        se = float(2 * np.sqrt(together * apart * (together + apart)) / (2 * together + apart) ** 2)
        interval = bounded(2 * low / (1 + low), 2 * high / (1 + high), "Wilson")
    else:
        value = found.prevalence if name == "prevalence_index" else found.bias
        moved = a + d if name == "prevalence_index" else apart
        se = float(np.sqrt(max(moved / n - value**2, 0.0) / n))
        interval = _clipped(value, se)
    return replace(
        empty, value=value, se=se, low=interval.low, high=interval.high,
        interval=interval.how, notes=(*pair.notes, *interval.notes),
    )  # fmt: skip


def _clipped(value: float, se: float) -> Interval:
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    return bounded(max(value - z * se, -1.0), value + z * se, "z")


def _obstacle(pair: _Pair, value: float | None) -> str:
    """Why a coefficient of the pair is undefined; empty otherwise."""
    if reason := single_case(int(pair.table.sum())):
        return reason
    return NO_VARIATION if value is None or not np.isfinite(value) else ""


def _draws(pair: _Pair, coefficients: Sequence[chance.Bound]) -> list[Array]:
    """Each coefficient in the same resamples of the cases, (D,) each."""
    if not coefficients:
        return []
    blocks = [
        [coefficient(sums) for coefficient in coefficients]
        for sums in pair.patterns.resampled(pair.drawing.draws, pair.drawing.seed)
    ]
    return [np.concatenate(each) for each in zip(*blocks, strict=True)]


def _corrected(pair: _Pair, value: float, draws: Array, terms: Array) -> Interval:
    return corrected(value, draws, terms, pair.patterns.times, pair.drawing.seed)


def _with(
    pair: _Pair,
    empty: Statistic,
    value: float,
    se: float | None,
    interval: Interval,
    check: tuple[str, ...] = (),
) -> Statistic:
    """A kappa with its interval, its label and what explains it."""
    rows, columns = pair.table.sum(axis=1), pair.table.sum(axis=0)
    n = float(pair.table.sum())
    constant = empty.statistic == "cohen_kappa" and max(rows.max(), columns.max()) == n
    exact, dominant = float(np.trace(pair.table) / n), float((rows + columns).max() / (2 * n))
    label = benchmark(value, se)
    notes = (
        *((CONSTANT_RATER,) if constant else ()),
        *paradox_notes(value, exact, dominant),
        *size_notes(2, round(n)),
        *pair.notes,
        *interval.notes,
        *check,
    )
    return replace(
        empty, value=value, se=se, low=interval.low, high=interval.high, notes=notes,
        interval=interval.how, benchmark=label.label if label else "",
    )  # fmt: skip
