"""How far readers agree with themselves: hidden repeats, never mixed with first readings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.study.agree import cohen, icc_of_numbers
from engine.study.distribution import is_ordered
from engine.study.records import StudyFacts, StudyQuestion
from engine.study.results import IntraResult
from engine.study.table import RATED, by_question, per_case, table

NONE = "No case was judged twice by this reader."


def intra(facts: StudyFacts, seed: int, draws: int) -> tuple[IntraResult, ...]:
    """Each reader and question with repeats, then all readers together (reader "")."""
    answers = by_question(facts)
    results = []
    for question in per_case(facts.protocol):
        if question.kind not in RATED:
            continue
        first = table(facts, answers.get(question.id, ()), 1)
        second = table(facts, answers.get(question.id, ()), 2)
        if not second.items:
            continue
        at = {item: i for i, item in enumerate(first.items)}
        column = {reader: i for i, reader in enumerate(first.readers)}
        twice = {
            reader: _twice(first.values, second.values[:, k], second.items, at, column.get(reader))
            for k, reader in enumerate(second.readers)
        }
        results += [_result(reader, question, both, seed, draws) for reader, both in twice.items()]
        if len(twice) > 1:
            results.append(_result("", question, np.concatenate(list(twice.values())), seed, draws))
    return tuple(results)


def _twice(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    items: tuple[tuple[str, str], ...],
    at: dict[tuple[str, str], int],
    column: int | None,
) -> NDArray[np.float64]:
    """First and second judgement of the items that one reader judged twice, (pairs, 2)."""
    if column is None:
        return np.empty((0, 2))
    both = [(first[at[item], column], value) for item, value in zip(items, second, strict=True)
            if item in at]  # fmt: skip
    pairs = np.array(both, dtype=np.float64).reshape(-1, 2)
    return pairs[~np.isnan(pairs).any(axis=1)]


def _result(
    reader: str, question: StudyQuestion, both: NDArray[np.float64], seed: int, draws: int
) -> IntraResult:
    if not len(both):
        return IntraResult(reader, question.id, 0, None, None, None, (NONE,))
    kappa = cohen(both, question, seed, draws)
    icc = spread = None
    reason = ""
    if is_ordered(question):
        statistic = icc_of_numbers(both)
        icc, reason = statistic.value, statistic.reason
        spread = float(np.sqrt(((both[:, 0] - both[:, 1]) ** 2).mean() / 2))
    reasons = tuple(dict.fromkeys(text for text in (kappa.reason, reason) if text))
    return IntraResult(
        reader, question.id, len(both), kappa.value, icc, spread, reasons, kappa.low, kappa.high
    )
