"""The statistics of complete tables whose scores are measurements or ranks: ICC, Kendall's W."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy import stats

from engine.metrics.agreement_estimate import NO_VARIATION, shortage, size_notes
from engine.metrics.agreement_icc import (
    FORMS,
    MODELS,
    UNITS,
    Squares,
    drawn_squares,
    icc,
    icc_interval,
    mean_squares,
    moved_squares,
)
from engine.metrics.agreement_interval import NONE, Interval, bounded, corrected, percentile
from engine.metrics.agreement_ranks import kendall_w
from engine.metrics.agreement_ratings import Ratings
from engine.metrics.agreement_several import FEW, SOME, STEP, Drawing, Wanted, blank
from engine.metrics.agreement_statistic import Statistic
from engine.metrics.agreement_sums import Array, Patterns, compress

FEW_COMPLETE = "Only {} cases rated by every rater: interval very wide."
NO_COMPLETE = "No case was rated by every rater, which this statistic needs."
ONE_COMPLETE = "Only one case was rated by every rater, and this statistic needs at least two."
SAME_CASES = "The mean ratings of the cases do not differ, so this form is undefined."
NO_ORDER = "Every rater gave all cases the same score, so there is no order to compare."


def of_complete(ratings: Ratings, drawing: Drawing, wanted: Wanted) -> tuple[Statistic, ...]:
    """The six intraclass correlations and Kendall's W, over the cases that every rater rated.

    Args:
        ratings: Of any number of raters; those without a rating are left out.
        drawing: How the interval of W is bootstrapped.
        wanted: Whether a statistic of that name, weights and level is asked for.
    """
    names = [name for name in (*FORMS, "kendall_w") if wanted(name, None, None)]
    if not names:
        return ()
    active = ratings.active()
    full = active.given.all(axis=1)
    complete = Ratings(active.codes[full], ratings.scale)
    cases = len(complete.codes)
    if reason := shortage(ratings) or _shortage(cases):
        return tuple(blank(name, None, None, ratings, reason, cases) for name in names)
    p = compress(complete)
    left = len(active.codes) - cases
    notes = (f"Cases not rated by every rater, left out: {left}.",) if left else ()
    found = [*_iccs(ratings, p, cases, drawing, [name for name in names if name in FORMS])]
    if "kendall_w" in names:
        found.append(_kendall(ratings, p, cases, drawing))
    return tuple(replace(one, notes=(*one.notes, *notes)) for one in found)


def _size_notes(ratings: Ratings, cases: int) -> tuple[str, ...]:
    few = (FEW_COMPLETE.format(cases),) if cases < FEW else ()
    return (*few, *size_notes(ratings.raters, max(cases, FEW)))


def _shortage(cases: int) -> str:
    return "" if cases > 1 else ONE_COMPLETE if cases else NO_COMPLETE


def _iccs(
    ratings: Ratings, p: Patterns, cases: int, drawing: Drawing, names: list[str]
) -> Iterator[Statistic]:
    # In units of the declared scale, so that what counts as zero does not depend on its units.
    low, high = ratings.scale[0], ratings.scale[-1]
    scores = (p.scores[p.codes] - low) / (high - low)
    squares = mean_squares(scores, p.times)
    drawn = cases >= SOME or drawing.always
    resamples = _squares_drawn(p, scores, drawing) if drawn and not squares.flat else []
    for name in names:
        empty = blank(name, None, None, ratings, cases=cases)
        value = float("nan") if squares.flat else icc(name, squares)
        if not np.isfinite(value):
            yield replace(empty, reason=NO_VARIATION if squares.flat else SAME_CASES)
            continue
        if resamples:
            draws = np.concatenate([icc(name, each) for each in resamples])
            terms = _influence(name, scores, p.times)
            interval = corrected(value, draws, terms, p.times, drawing.seed)
        else:
            interval = _f_interval(name, squares)
        form = f"{MODELS[name[4]]}, {UNITS[name[-1]]}"
        yield replace(
            empty, value=value, low=interval.low, high=interval.high, interval=interval.how,
            notes=(f"{form[0].upper()}{form[1:]}.", *_size_notes(ratings, cases), *interval.notes),
        )  # fmt: skip


def _squares_drawn(p: Patterns, scores: Array, drawing: Drawing) -> list[Squares]:
    """Mean squares of resamples of the cases, block by block."""
    centred = scores - float(p.times @ scores.mean(axis=1) / p.times.sum())
    times = p.times_drawn(drawing.draws, drawing.seed)
    return [drawn_squares(centred, each) for each in times]


def _influence(name: str, scores: Array, times: Array) -> Array:
    """Influence of a case of each pattern on a form, (P,), by differences."""
    centred = scores - float(times @ scores.mean(axis=1) / times.sum())
    more, less = (icc(name, moved_squares(centred, times, step)) for step in (STEP, -STEP))
    return np.nan_to_num(times.sum() * (more - less) / (2 * STEP))


def _f_interval(name: str, squares: Squares) -> Interval:
    ends = icc_interval(name, squares)
    return NONE if ends is None else bounded(*ends, "F")


def _kendall(ratings: Ratings, p: Patterns, cases: int, drawing: Drawing) -> Statistic:
    """W with a bootstrap interval and the chi-squared test of no common order."""
    empty = blank("kendall_w", None, None, ratings, cases=cases)
    q, m = len(p.scores), p.raters
    value = float(kendall_w(p.codes, p.times[None], q)[0])
    if not np.isfinite(value):
        return replace(empty, reason=NO_ORDER)
    draws = [kendall_w(p.codes, times, q) for times in p.times_drawn(drawing.draws, drawing.seed)]
    interval = percentile(np.concatenate(draws), drawing.seed)
    chi = m * (cases - 1) * value
    chance = float(stats.chi2.sf(chi, cases - 1))
    test = f"Test of no common order: chi-squared {chi:.2f}, {cases - 1} df, p {chance:.3g}."
    return replace(
        empty, value=value, low=interval.low, high=interval.high, interval=interval.how,
        notes=(test, *interval.notes),
    )  # fmt: skip
