"""The statistics of any number of raters on one table: value, standard error, interval, notes.

Intervals by default: Student's where agreement is all or nothing (BCa for AC1 of two raters below
100 cases, whose Student's interval covers 92 % at 20); with partial credit a bootstrap
over cases, studentised for coefficients whose chance is fixed or nearly so, else BCa, which two
raters, fewer than ten cases, and Light's kappa always have. From 500 cases on they all coincide,
and Student's is used. How well they cover: docs/agreement.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from engine.metrics import agreement_alpha as alphas
from engine.metrics import agreement_chance as chance
from engine.metrics.agreement_benchmark import benchmark
from engine.metrics.agreement_estimate import (
    NO_VARIATION,
    paradox_notes,
    shortage,
    single_case,
    size_notes,
)
from engine.metrics.agreement_interval import Interval, corrected, student, studentised
from engine.metrics.agreement_many import ignored_notes, wilson
from engine.metrics.agreement_pairs import NO_PAIR
from engine.metrics.agreement_ratings import Ratings
from engine.metrics.agreement_statistic import Statistic
from engine.metrics.agreement_sums import Array, Patterns, Sums, compress
from engine.metrics.agreement_weights import Weights, weights_name

FEW = 10
SOME = 20
ENOUGH_OF_TWO = 100
MANY = 500
STEP = 1e-3
NEGATIVE_RATIO = "The ratio level needs scores of 0 or more, and the scale has negative ones."
FREE = ("percent_agreement", "gwet_ac", "brennan_prediger")
COEFFICIENTS = {
    "percent_agreement": (chance.observed, chance.observed_terms),
    "fleiss_kappa": (chance.fleiss, chance.fleiss_terms),
    "conger_kappa": (chance.conger, chance.conger_terms),
    "light_kappa": (chance.light, chance.light_terms),
    "gwet_ac": (chance.gwet_ac, chance.gwet_ac_terms),
    "brennan_prediger": (chance.brennan_prediger, chance.brennan_prediger_terms),
}
Key = tuple[str, str | None, str | None]
Wanted = Callable[[str, str | None, str | None], bool]


@dataclass(frozen=True)
class Drawing:
    """How intervals are bootstrapped.

    Args:
        draws: Resamples of the cases.
        seed: Of the resamples.
        always: Bootstrap every interval, also those that have a closed form.
    """

    draws: int = 2000
    seed: int = 0
    always: bool = False


@dataclass(frozen=True, eq=False)
class Job:
    """One coefficient of one table.

    Args:
        statistic: Its name. weights: Name of its weights. level: Of measurement, of alpha.
        value: The coefficient of sums.
        spread: Influence of a case of each pattern, (P,), mean 0, and the standard error.
        errors: Values and standard errors of resamples, of the coefficients in `FREE`.
    """

    statistic: str
    weights: str | None
    level: str | None
    value: Callable[[Sums], Array]
    spread: Callable[[float], tuple[Array, float | None]]
    errors: Callable[[Array], tuple[Array, Array]] | None = None

    @property
    def key(self) -> Key:
        """Name, weights and level."""
        return self.statistic, self.weights, self.level


def keys(weights: Sequence[Weights]) -> Iterator[Key]:
    """Statistic, weights and level of everything that `several` gives."""
    for weighting in weights:
        for name in (*COEFFICIENTS, "krippendorff_alpha_gwet"):
            yield name, weights_name(weighting), None
    for level in alphas.LEVELS:
        yield "krippendorff_alpha", None, level


def several(
    ratings: Ratings, weights: Sequence[Weights], drawing: Drawing, wanted: Wanted
) -> tuple[Statistic, ...]:
    """The chance-corrected coefficients of a table, with percent agreement.

    Args:
        ratings: Of any number of raters.
        weights: Agreement weights; every coefficient but alpha is given with each.
        drawing: How intervals are bootstrapped.
        wanted: Whether a statistic of that name, weights and level is asked for.
    """
    if reason := shortage(ratings):
        return tuple(blank(*key, ratings, reason) for key in keys(weights) if wanted(*key))
    if not any(wanted(*key) for key in keys(weights)):
        return ()
    p = compress(ratings)
    jobs = [job for job in _jobs(p, weights) if wanted(*job.key)]
    values = {job.key: float(job.value(p.whole)[0]) for job in jobs}
    refused = {job.key: _refusal(job, values[job.key], p, ratings) for job in jobs}
    bootstrapped = [j for j in jobs if not refused[j.key] and _needs(j, ratings, drawing)]
    drawn = _drawn(bootstrapped, p, drawing)
    context = _context(ratings, p)
    return tuple(
        blank(*job.key, ratings, refused[job.key])
        if refused[job.key]
        else _finished(job, values[job.key], p, context, drawn.get(job.key), drawing)
        for job in jobs
    )


def blank(
    statistic: str,
    weights: str | None,
    level: str | None,
    ratings: Ratings,
    reason: str = "",
    cases: int | None = None,
) -> Statistic:
    """A statistic without a value, with the numbers of the table it would rest on."""
    return Statistic(
        statistic, weights, level, None, None, None, None, reason,
        cases=ratings.shared if cases is None else cases,
        raters=ratings.raters, ratings=ratings.number, missing=ratings.missing,
    )  # fmt: skip


@dataclass(frozen=True)
class _Context:
    """What the notes and intervals of every coefficient of one table need."""

    ratings: Ratings
    shared: int
    rated: int
    exact: float
    dominant: float
    ignored: tuple[str, ...]
    unused: tuple[str, ...]
    pairs: tuple[str, ...]


def _context(ratings: Ratings, p: Patterns) -> _Context:
    plain = chance.credit("identity", p)
    exact = float(chance.observed(p.whole, plain)[0])
    dominant = float((p.whole.shares[0] / p.whole.cases[0]).max())
    left = len(ratings.codes) - ratings.shared
    unused = (f"Cases with fewer than two ratings, left out: {left}.",) if left else ()
    lost = int((~np.isfinite(chance.pair_kappas(p.whole, plain))).sum())
    pairs = (f"Pairs of raters without a kappa of their own, left out: {lost}.",) if lost else ()
    rated = round(float(p.whole.cases[0]))
    ignored = ignored_notes(ratings)
    return _Context(ratings, ratings.shared, rated, exact, dominant, ignored, unused, pairs)


def _jobs(p: Patterns, weights: Sequence[Weights]) -> Iterator[Job]:
    for weighting in weights:
        c = chance.credit(weighting, p)
        for name, (value, terms) in COEFFICIENTS.items():
            errors = partial(chance.drawn_errors, p, c, name)
            spread = partial(_spread, p, c, terms)
            yield Job(name, c.name, None, partial(value, c=c), spread, errors)
        yield Job(
            "krippendorff_alpha_gwet",
            c.name,
            None,
            partial(alphas.alpha_of_weights, c=c),
            partial(_alpha_spread, p, c.w),
        )
    for level in alphas.LEVELS:
        value = partial(alphas.alpha, level=level, scores=p.scores)
        if level == "ordinal":
            yield Job("krippendorff_alpha", None, level, value, partial(_by_differences, p, value))
            continue
        d2 = alphas.distances(level, p.scores, p.whole.shares)
        w = 1 - d2 / (d2.max() or 1.0)
        yield Job("krippendorff_alpha", None, level, value, partial(_alpha_spread, p, w))


def _refusal(job: Job, value: float, p: Patterns, ratings: Ratings) -> str:
    """Why a coefficient is undefined; empty otherwise."""
    if job.level == "ratio" and min(p.scale) < 0:
        return NEGATIVE_RATIO
    if job.statistic in FREE:
        return ""
    if reason := single_case(ratings.shared):
        return reason
    if np.isfinite(value):
        return ""
    light = job.statistic == "light_kappa" and len(p.scores) > 1
    return NO_PAIR if light else NO_VARIATION


def _needs(job: Job, ratings: Ratings, drawing: Drawing) -> bool:
    """Whether an interval is bootstrapped."""
    if drawing.always:
        return True
    all_or_nothing = job.weights == "identity" or len(ratings.scale) == 2
    if job.statistic == "gwet_ac" and all_or_nothing and ratings.raters == 2:
        return ratings.shared < ENOUGH_OF_TWO
    if job.statistic in FREE or ratings.shared >= MANY:
        return False
    if ratings.raters == 2 or ratings.shared < FEW or job.statistic == "light_kappa":
        return True
    return job.weights != "identity" and job.level != "nominal"


def _drawn(jobs: Sequence[Job], p: Patterns, drawing: Drawing) -> dict[Key, Array]:
    """Values in the same resamples of the cases, (D,) each."""
    if not jobs:
        return {}
    parts: dict[Key, list[Array]] = {job.key: [] for job in jobs}
    for sums in p.resampled(drawing.draws, drawing.seed):
        for job in jobs:
            parts[job.key].append(job.value(sums))
    return {key: np.concatenate(blocks) for key, blocks in parts.items()}


def _finished(
    job: Job, value: float, p: Patterns, context: _Context, draws: Array | None, drawing: Drawing
) -> Statistic:
    plain = job.statistic == "percent_agreement"
    terms, se = job.spread(value)
    if context.shared < 2:  # one case cannot tell how cases differ
        se, draws = None, None
    if draws is None and job.errors is not None and _skew(job, context):
        pairs = [job.errors(times) for times in p.times_drawn(drawing.draws, drawing.seed)]
        values, errors = (np.concatenate(each) for each in zip(*pairs, strict=True))
        interval = studentised(value, se, values, errors, drawing.seed)
        if plain and interval.low is not None:
            interval = replace(interval, low=max(interval.low, 0.0))
    elif draws is None:
        interval = _interval(job, value, se, context)
    else:
        interval = corrected(value, draws, terms, p.times, drawing.seed)
    paradox = paradox_notes(value, context.exact, context.dominant)
    label = None if plain else benchmark(value, se)
    empty = blank(*job.key, context.ratings)
    return replace(
        empty,
        value=value,
        se=se,
        low=interval.low,
        high=interval.high,
        notes=(
            *(() if job.statistic in FREE else paradox),
            *(() if plain else size_notes(context.ratings.raters, context.shared)),
            *(context.unused if job.statistic.startswith("krippendorff") else context.ignored),
            *(context.pairs if job.statistic == "light_kappa" else ()),
            *interval.notes,
        ),
        interval=interval.how,
        benchmark=label.label if label else "",
    )


def _skew(job: Job, context: _Context) -> bool:
    """Whether partial credit makes the coefficient too skew for Student's interval."""
    partial_credit = job.weights != "identity" and len(context.ratings.scale) > 2
    return job.statistic in FREE and partial_credit and SOME <= context.shared < MANY


def _interval(job: Job, value: float, se: float | None, context: _Context) -> Interval:
    """The closed form."""
    plain = job.statistic == "percent_agreement"
    binary = job.weights == "identity" or len(context.ratings.scale) == 2
    if plain and binary and context.ratings.raters == 2:
        low, high = wilson(value, context.shared)
        return Interval(low, high, "Wilson")
    of_pairs = plain or job.statistic.startswith("krippendorff")
    freedom = (context.shared if of_pairs else context.rated) - 1
    found = student(value, se, freedom)
    if plain and found.low is not None:
        return replace(found, low=max(found.low, 0.0))
    return found


def _spread(
    p: Patterns, c: chance.Credit, terms: Callable[[Patterns, chance.Credit], Array], value: float
) -> tuple[Array, float | None]:
    """Influence and standard error from the terms of a coefficient."""
    each = terms(p, c)
    return each - value, chance.error_of(each, value, p.times)


def _alpha_spread(p: Patterns, w: Array, value: float) -> tuple[Array, float | None]:
    """The same for alpha with fixed weights; cases rated once do not count."""
    each, centre = alphas.alpha_terms(p, w)
    times = np.where(p.number >= 2, p.times, 0)
    return np.where(times > 0, each - centre, 0), chance.error_of(each, centre, times)


def _by_differences(
    p: Patterns, coefficient: Callable[[Sums], Array], value: float
) -> tuple[Array, float | None]:
    """Influence by moving the number of times that each pattern occurs."""
    n = float(p.whole.paired[0])
    terms = np.zeros(len(p.times))
    for (block, more), (_, less) in zip(p.moved(STEP), p.moved(-STEP), strict=True):
        terms[block] = n * (coefficient(more) - coefficient(less)) / (2 * STEP)
    times = np.where(p.number >= 2, p.times, 0)
    return terms, chance.error_of(terms, float(times @ terms) / n, times)
