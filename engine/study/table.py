"""From answers to tables: one row per case and arm, one column per reader, NaN where missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.study.records import (
    Protocol,
    QuestionKind,
    ReadStatus,
    StudyAnswer,
    StudyFacts,
    StudyQuestion,
)

RATED = (QuestionKind.SCALE, QuestionKind.CHOICE, QuestionKind.NUMBER)


@dataclass(frozen=True, eq=False)
class Table:
    """The first readings of one question.

    Args:
        values: (N items, m readers), NaN where a reader gave no value.
        items: (case, arm) of each row. readers: Code of each column.
        asked: Whether the reader handed the question in, with a value or not, (N, m).
        cannot_judge: Whether the reader could not judge, (N, m).
    """

    values: NDArray[np.float64]
    items: tuple[tuple[str, str], ...]
    readers: tuple[str, ...]
    asked: NDArray[np.bool_]
    cannot_judge: NDArray[np.bool_]

    @property
    def given(self) -> NDArray[np.bool_]:
        """Whether there is a value, (N, m)."""
        return ~np.isnan(self.values)

    @property
    def rated(self) -> NDArray[np.float64]:
        """All values, (ratings,), row by row."""
        return self.values[self.given]

    @property
    def cases(self) -> tuple[str, ...]:
        """Case of each row."""
        return tuple(case for case, _ in self.items)

    def rows(self, chosen: NDArray[np.bool_]) -> Table:
        """The rows where `chosen` (N,) holds."""
        items = tuple(item for item, keep in zip(self.items, chosen, strict=True) if keep)
        return replace(
            self,
            values=self.values[chosen],
            items=items,
            asked=self.asked[chosen],
            cannot_judge=self.cannot_judge[chosen],
        )

    def without(self, reader: str) -> Table:
        """Without the column of one reader."""
        keep = np.array([name != reader for name in self.readers])
        return replace(
            self,
            values=self.values[:, keep],
            readers=tuple(name for name in self.readers if name != reader),
            asked=self.asked[:, keep],
            cannot_judge=self.cannot_judge[:, keep],
        )

    def arm(self, arm: str) -> Table:
        """The rows of one arm."""
        return self.rows(np.array([name == arm for _, name in self.items], dtype=bool))

    def within(self, cases: Iterable[str]) -> Table:
        """The rows of some cases."""
        wanted = set(cases)
        return self.rows(np.array([case in wanted for case in self.cases], dtype=bool))


def by_question(facts: StudyFacts) -> dict[str, tuple[StudyAnswer, ...]]:
    """Answers to the questions asked per case, replicate 1 and 2, by question."""
    sorted_out: dict[str, list[StudyAnswer]] = defaultdict(list)
    for answer in facts.answers:
        if answer.case:
            sorted_out[answer.question].append(answer)
    return {question: tuple(answers) for question, answers in sorted_out.items()}


def per_case(protocol: Protocol) -> tuple[StudyQuestion, ...]:
    """Questions asked of each reading."""
    return tuple(question for question in protocol.questions if question.per_case)


def table(facts: StudyFacts, answers: Iterable[StudyAnswer], replicate: int = 1) -> Table:
    """The table of one question.

    Args:
        facts: Gives the order of cases, arms and readers.
        answers: To one question. replicate: Which reading counts; never mixed with another.
    """
    used = [answer for answer in answers if answer.replicate == replicate]
    items = _ordered(
        {(answer.case, answer.arm) for answer in used},
        facts.protocol.cases,
        tuple(arm.id for arm in facts.protocol.arms),
    )
    readers = _readers(facts, used)
    row = {item: i for i, item in enumerate(items)}
    column = {reader: i for i, reader in enumerate(readers)}
    values = np.full((len(items), len(readers)), np.nan)
    asked = np.zeros(values.shape, dtype=bool)
    lost = np.zeros(values.shape, dtype=bool)
    for answer in used:
        cell = row[answer.case, answer.arm], column[answer.reader]
        if answer.status is ReadStatus.NOT_APPLICABLE:
            continue
        asked[cell] = True
        lost[cell] = answer.status is ReadStatus.CANNOT_JUDGE
        if answer.status is ReadStatus.ANSWERED and answer.value is not None:
            values[cell] = answer.value
    return Table(values, items, readers, asked, lost)


def _ordered(
    items: set[tuple[str, str]], cases: tuple[str, ...], arms: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """In the order of the protocol; what it does not name comes last, by name."""
    case_at = {case: i for i, case in enumerate(cases)}
    arm_at = {arm: i for i, arm in enumerate(arms)}
    last = len(cases) + len(arms)
    return tuple(
        sorted(items, key=lambda it: (case_at.get(it[0], last), it[0], arm_at.get(it[1], last), it))
    )


def _readers(facts: StudyFacts, answers: list[StudyAnswer]) -> tuple[str, ...]:
    present = {answer.reader for answer in answers}
    known = tuple(reader.code for reader in facts.readers if reader.code in present)
    return (*known, *sorted(present - set(known)))
