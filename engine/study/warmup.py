"""Whether a reader has passed the training cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.study.records import TrainingCase

ROUNDING = 1e-9


def passed(
    training: Sequence[TrainingCase],
    answers: Mapping[str, Mapping[str, float | None]],
    share: float,
) -> tuple[bool, float]:
    """Whether enough training answers are right, and what share is.

    Args:
        training: Warm-up cases; those without expected answers do not count.
        answers: Case to question id to score; None, or no entry, where there is no answer, which
            counts as wrong. Where a case is shown in several arms, "case|arm" may stand for the
            case.
        share: Share that must be right, 0 to 1; 0 for no criterion.
    """
    marks = [
        _given(answers, case).get(question) in expected
        for case in training
        for question, expected in case.expected.items()
    ]
    right = sum(marks) / len(marks) if marks else 1.0
    return right >= share - ROUNDING, right


def _given(
    answers: Mapping[str, Mapping[str, float | None]], case: TrainingCase
) -> Mapping[str, float | None]:
    return answers.get(f"{case.case}|{case.arm}", answers.get(case.case, {}))
