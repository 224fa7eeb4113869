"""Cases that an adjudicator should look at: readers far apart, or most of them without an answer.

An adjudicated outcome is kept beside the answers, never over them: statistics use the answers as
they were given.
"""

from __future__ import annotations

import numpy as np

from engine.study.distribution import is_ordered
from engine.study.records import StudyFacts, StudyQuestion
from engine.study.results import Flag
from engine.study.table import RATED, Table, by_question, per_case, table

FAR_APART = 2.0
MISSING = "Most readers could not, or did not, answer."


def flagged(facts: StudyFacts) -> tuple[Flag, ...]:
    """Items to adjudicate, in the order of cases, arms and questions.

    A scale or ordered choice is flagged where answers lie two or more points apart; a choice
    without an order where no answer has a majority; any where most handed-in readings have none.
    Numbers are flagged for missing answers only.
    """
    answers = by_question(facts)
    flags = [
        flag
        for question in per_case(facts.protocol)
        if question.kind in RATED
        for flag in _of_question(table(facts, answers.get(question.id, ())), question)
    ]
    order = {case: i for i, case in enumerate(facts.protocol.cases)}
    arms = {arm.id: i for i, arm in enumerate(facts.protocol.arms)}
    last = len(order) + len(arms)
    return tuple(
        sorted(flags, key=lambda f: (order.get(f.case, last), f.case, arms.get(f.arm, last)))
    )


def _of_question(rows: Table, question: StudyQuestion) -> list[Flag]:
    flags = []
    for i, (case, arm) in enumerate(rows.items):
        values = rows.values[i][rows.given[i]]
        asked = int(rows.asked[i].sum())
        missing = asked - values.size
        spread = float(values.max() - values.min()) if _spreads(question, values.size) else None
        reason = _reason(question, values, spread, missing, asked)
        if reason:
            flags.append(Flag(case, arm, question.id, spread, missing, reason, asked))
    return flags


def _spreads(question: StudyQuestion, number: int) -> bool:
    return number >= 2 and is_ordered(question)


def _reason(
    question: StudyQuestion,
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    spread: float | None,
    missing: int,
    asked: int,
) -> str:
    reasons = []
    if spread is not None and question.scale and spread >= FAR_APART:
        reasons.append(f"Answers lie {spread:g} points apart.")
    if not is_ordered(question) and values.size >= 2:
        most = int(np.unique(values, return_counts=True)[1].max())
        if 2 * most <= values.size:
            reasons.append("No answer has a majority.")
    if 2 * missing > asked:
        reasons.append(MISSING)
    return " ".join(reasons)
