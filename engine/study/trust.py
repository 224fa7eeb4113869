"""Ratings where the model was right against where it was wrong: appropriate reliance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.study.accuracy import diagnosis_of, same_class
from engine.study.distribution import is_ordered
from engine.study.intervals import percentiles
from engine.study.records import Protocol, ReadStatus, StudyAnswer, StudyQuestion
from engine.study.results import TrustSplit

NOTHING = "No reading shows a prediction of which it is known whether it is right."
UNORDERED = "Answers without an order have no mean; see the reliance on the model."
ONE_SIDED = "The model was {} in every reading, so there is nothing to compare."


@dataclass(frozen=True)
class Reliance:
    """Readings of a wrong, and of a right prediction; of these, followed, and not followed."""

    wrong: int = 0
    followed: int = 0
    right: int = 0
    departed: int = 0


def trust_splits(
    answers: Sequence[StudyAnswer],
    protocol: Protocol,
    question: StudyQuestion,
    diagnoses: Iterable[StudyAnswer],
    seed: int,
    draws: int,
) -> tuple[TrustSplit, ...]:
    """One question: all arms with a prediction, then each of them.

    Args:
        answers: To the question. diagnoses: To the diagnosis question; empty without one.
    """
    known = [a for a in answers if _counts(a) and a.value is not None]
    if not known:
        return ()
    arms = [arm.id for arm in protocol.arms if any(a.arm == arm.id for a in known)]
    called = [a for a in diagnoses if _counts(a)]
    results = [_split(question, "", known, _reliance(called, protocol), seed, draws)]
    if len(arms) > 1:
        for arm in arms:
            part = [a for a in called if a.arm == arm]
            mine = [a for a in known if a.arm == arm]
            results.append(_split(question, arm, mine, _reliance(part, protocol), seed, draws))
    return tuple(results)


def _counts(answer: StudyAnswer) -> bool:
    return (
        answer.replicate == 1
        and bool(answer.case)
        and answer.ai_correct is not None
        and answer.status is ReadStatus.ANSWERED
    )


def _split(
    question: StudyQuestion,
    arm: str,
    answers: Sequence[StudyAnswer],
    reliance: Reliance,
    seed: int,
    draws: int,
) -> TrustSplit:
    values = np.array([a.value for a in answers], dtype=np.float64)
    right = np.array([bool(a.ai_correct) for a in answers])
    mean_right = mean_wrong = difference = low = high = None
    reason = ""
    if is_ordered(question):
        mean_right = float(values[right].mean()) if right.any() else None
        mean_wrong = float(values[~right].mean()) if not right.all() else None
    if not is_ordered(question):
        reason = UNORDERED
    elif mean_right is None or mean_wrong is None:
        reason = ONE_SIDED.format("wrong" if mean_right is None else "right")
    else:
        difference = mean_right - mean_wrong
        low, high = percentiles(_draws(values, right, _numbers(answers), draws, seed))
    return TrustSplit(
        question.id,
        arm,
        int(right.sum()),
        int((~right).sum()),
        mean_right,
        mean_wrong,
        difference,
        low,
        high,
        over_reliance=reliance.followed / reliance.wrong if reliance.wrong else None,
        under_reliance=reliance.departed / reliance.right if reliance.right else None,
        n_over=reliance.wrong,
        n_under=reliance.right,
        reason=reason,
    )


def _numbers(answers: Sequence[StudyAnswer]) -> NDArray[np.int64]:
    """Number of the case of each answer."""
    at: dict[str, int] = {}
    return np.array([at.setdefault(a.case, len(at)) for a in answers], dtype=np.int64)


def _draws(
    values: NDArray[np.float64],
    right: NDArray[np.bool_],
    case: NDArray[np.int64],
    draws: int,
    seed: int,
) -> NDArray[np.float64]:
    """Difference of means in resamples of the cases, (draws,); NaN where one side is empty."""
    cases = int(case.max()) + 1
    sums = np.stack([
        np.bincount(case[side], weights=weight, minlength=cases)
        for side in (right, ~right)
        for weight in (values[side], None)
    ]).astype(np.float64)  # fmt: skip
    times = np.random.default_rng(seed).multinomial(cases, np.full(cases, 1 / cases), size=draws)
    total_right, n_right, total_wrong, n_wrong = (times @ sums.T).T
    defined = (n_right > 0) & (n_wrong > 0)
    means = total_right / np.maximum(n_right, 1) - total_wrong / np.maximum(n_wrong, 1)
    return np.where(defined, means, np.nan)


def _reliance(answers: Iterable[StudyAnswer], protocol: Protocol) -> Reliance:
    """How often readers said what the model said."""
    question = diagnosis_of(protocol)
    wrong = followed = right = departed = 0
    for answer in answers:
        if question is None or answer.value is None or answer.ai_prediction is None:
            continue
        named = [same_class(choice, answer.ai_prediction) for choice in question.choices]
        if not any(named):  # the model speaks of classes that were not asked for
            continue
        follows = named[int(answer.value)]
        if answer.ai_correct:
            right += 1
            departed += not follows
        else:
            wrong += 1
            followed += follows
    return Reliance(wrong, followed, right, departed)
