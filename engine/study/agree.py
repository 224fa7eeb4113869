"""The one seam between reader studies and the agreement statistics of engine.metrics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.metrics import agreement as ag
from engine.metrics.agreement_icc import icc, icc_interval, mean_squares
from engine.metrics.agreement_pair import of_two
from engine.metrics.agreement_ratings import read_ratings
from engine.metrics.agreement_several import Drawing, several
from engine.metrics.agreement_statistic import Statistic
from engine.study.records import QuestionKind, StudyQuestion

NO_SCORES = "Numbers have no declared scores, so there is no kappa; see ICC."
ONE_READER = "There is only one reader, and agreement needs at least two."
FEW = "Fewer than two cases were judged by every reader, which ICC needs."
FLAT = "No variation: every answer is identical, so agreement is undefined."
ABSOLUTE = "Two-way random, absolute agreement, a single rater."
F_INTERVAL = "F, after Satterthwaite"

Ratings = NDArray[np.float64]


def primary(
    ratings: Ratings, question: StudyQuestion, seed: int, draws: int
) -> tuple[Statistic, ...]:
    """The primary set of one table of ratings.

    Args:
        ratings: (N, m), NaN where missing.
        question: A scale or ordered choice has the headline set; a choice without an order percent
            agreement, kappa, AC1 and nominal alpha; a number ICC(2,1).
        seed, draws: Of every bootstrap.
    """
    if len(question.scale) < 2:
        return (icc_of_numbers(ratings),)
    if weights_of(question) == "quadratic":
        return ag.headline(ratings, question.scale, seed, draws)
    wanted = {
        ("percent_agreement", "identity", None),
        ("gwet_ac", "identity", None),
        ("krippendorff_alpha", None, "nominal"),
    }
    first, *rest = several(
        read_ratings(ratings, question.scale),
        ("identity",),
        Drawing(draws, seed),
        lambda *key: key in wanted,
    )
    return first, kappa(ratings, question, seed, draws), *rest


def kappa(ratings: Ratings, question: StudyQuestion, seed: int, draws: int) -> Statistic:
    """The headline kappa alone: Cohen's of two readers, Fleiss' of more.

    Quadratic weights; without weights for choices that have no order.
    """
    weights = weights_of(question)
    if len(question.scale) < 2:
        return Statistic("fleiss_kappa", weights, None, None, None, None, None, NO_SCORES)
    table = read_ratings(ratings, question.scale)
    drawing = Drawing(draws, seed)
    if table.raters == 2:
        key = ("cohen_kappa", weights, None)
        return of_two(table.active(), (weights,), drawing, lambda *k: k == key)[0]
    key = ("fleiss_kappa", weights, None)
    return several(table, (weights,), drawing, lambda *k: k == key)[0]


def cohen(both: Ratings, question: StudyQuestion, seed: int, draws: int) -> Statistic:
    """Cohen's kappa of two columns, (N, 2), weighted as `kappa`."""
    weights = weights_of(question)
    if len(question.scale) < 2:
        return Statistic("cohen_kappa", weights, None, None, None, None, None, NO_SCORES)
    key = ("cohen_kappa", weights, None)
    table = read_ratings(both.reshape(-1, 2), question.scale)
    return of_two(table, (weights,), Drawing(draws, seed), lambda *k: k == key)[0]


def weights_of(question: StudyQuestion) -> str:
    """Agreement weights that a question bears."""
    is_ordered = question.kind is not QuestionKind.CHOICE or question.ordered
    return "quadratic" if is_ordered else "identity"


def icc_of_numbers(ratings: Ratings) -> Statistic:
    """ICC(2,1) of the cases that every reader judged, (N, m), with its F interval."""
    given = ~np.isnan(ratings)
    active = ratings[:, given.any(axis=0)]
    complete = active[~np.isnan(active).any(axis=1)]
    empty = {
        "cases": len(complete),
        "raters": active.shape[1],
        "ratings": int(given.sum()),
        "missing": int((~given).sum()),
    }
    reason = ONE_READER if active.shape[1] < 2 else FEW if len(complete) < 2 else ""
    if not reason and np.ptp(complete) == 0:
        reason = FLAT
    if reason:
        return Statistic("icc_2_1", None, None, None, None, None, None, reason, **empty)
    # In units of the range, so that what counts as no variation does not depend on the unit.
    squares = mean_squares((complete - complete.min()) / np.ptp(complete))
    value = icc("icc_2_1", squares)
    if not np.isfinite(value):
        return Statistic("icc_2_1", None, None, None, None, None, None, FLAT, **empty)
    low, high = icc_interval("icc_2_1", squares) or (None, None)
    left = len(ratings) - len(complete)
    notes = (f"Cases not judged by every reader, left out: {left}.",) if left else ()
    how = F_INTERVAL if low is not None else "not estimable"
    return Statistic(
        "icc_2_1", None, None, float(value), None, low, high, "", (ABSOLUTE, *notes), how, **empty
    )
