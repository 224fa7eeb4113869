"""Diagnostic accuracy of readers in each arm, where the truth is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from engine.study.intervals import holm
from engine.study.mrmc import (
    Crossed,
    auc_jackknife,
    jackknife,
    obuchowski_rockette,
    share_jackknife,
)
from engine.study.records import Protocol, QuestionKind, StudyAnswer, StudyFacts, StudyQuestion
from engine.study.results import (
    AccuracyComparison,
    AccuracyTest,
    ArmAccuracy,
    MrmcResult,
    ReaderAccuracy,
)
from engine.study.table import Table, by_question, table

FORM = "assessment"
MEASURES = ("auc", "sensitivity", "specificity")
NO_TRUTH = "The truth of no case is known, or it names none of the diagnoses asked for."
FEW = (
    "Conditions are tested on cases that every reader read in all of them; that takes two positive "
    "and two negative cases."
)
LEFT_OUT = "Cases not read by every reader in all conditions, left out of the tests: {}."
ONE_READER = "There is only one reader: the result holds for this reader, not for others."
DIAGNOSIS_ONLY = "No confidence was asked for: the curve has the diagnosis as its only points."


def diagnosis_of(protocol: Protocol) -> StudyQuestion | None:
    """The question for a diagnosis: a choice of the form "assessment", or called "diagnosis"."""
    return _asked(protocol, (QuestionKind.CHOICE,), "diagnosis")


def confidence_of(protocol: Protocol) -> StudyQuestion | None:
    """The question how sure the reader is: a number or scale of the form "assessment"."""
    return _asked(protocol, (QuestionKind.NUMBER, QuestionKind.SCALE), "confidence")


def _asked(protocol: Protocol, kinds: tuple[QuestionKind, ...], name: str) -> StudyQuestion | None:
    for question in protocol.questions:
        if question.kind in kinds and (question.group == FORM or question.id == name):
            return question
    return None


def same_class(first: str, second: str) -> bool:
    """Whether two names mean one class: "_", "-" and letter case do not matter."""
    return _folded(first) == _folded(second)


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


@dataclass(frozen=True, eq=False)
class Readings:
    """Diagnoses, (arms, cases, readers), NaN where missing.

    Args:
        arms, cases, readers: Names of the axes.
        called: 1 where the reader said "positive", 0 where not. score: Signed confidence.
        positive: Truth of each case, (cases,).
    """

    arms: tuple[str, ...]
    cases: tuple[str, ...]
    readers: tuple[str, ...]
    called: NDArray[np.float64]
    score: NDArray[np.float64]
    positive: NDArray[np.bool_]

    def complete(self) -> Readings:
        """Only the cases that every reader read in every arm."""
        kept: NDArray[np.bool_] = np.asarray(np.isfinite(self.score).all(axis=(0, 2)))
        return replace(
            self,
            cases=tuple(case for case, keep in zip(self.cases, kept, strict=True) if keep),
            called=self.called[:, kept],
            score=self.score[:, kept],
            positive=self.positive[kept],
        )


def accuracy(facts: StudyFacts) -> MrmcResult | None:
    """Sensitivity, specificity and area under the curve of each arm, compared.

    The last choice of the diagnosis counts as positive. The score behind the curve is the
    confidence, negative where the diagnosis is not the positive one.

    Returns:
        None where no diagnosis is asked for, or none was answered.
    """
    question = diagnosis_of(facts.protocol)
    if question is None or not question.choices:
        return None
    answers = by_question(facts)
    diagnoses = answers.get(question.id, ())
    if not diagnoses:
        return None
    asked = confidence_of(facts.protocol)
    confidences = answers.get(asked.id, ()) if asked else ()
    readings = _readings(facts, question, diagnoses, confidences)
    name = question.choices[-1]
    if not readings.cases or readings.positive.all() or not readings.positive.any():
        return MrmcResult(name, (), (), (), len(readings.cases), 0, 0, 0, NO_TRUTH)
    result = _result(name, readings)
    return result if confidences else replace(result, notes=(*result.notes, DIAGNOSIS_ONLY))


def _readings(
    facts: StudyFacts,
    question: StudyQuestion,
    diagnoses: Iterable[StudyAnswer],
    confidences: Iterable[StudyAnswer],
) -> Readings:
    diagnoses = tuple(diagnoses)
    truth = _truth(question, diagnoses)
    said = table(facts, diagnoses).within(truth)
    sure = table(facts, confidences)
    cases = tuple(dict.fromkeys(said.cases))
    present = {arm for _, arm in said.items}
    arms = tuple(arm.id for arm in facts.protocol.arms if arm.id in present)
    shape = (len(arms), len(cases), len(said.readers))
    called, score = np.full(shape, np.nan), np.full(shape, np.nan)
    confidence = _lookup(sure)
    for (case, arm), values in zip(said.items, said.values, strict=True):
        if arm not in arms:
            continue
        i, k = arms.index(arm), cases.index(case)
        for j, (reader, value) in enumerate(zip(said.readers, values, strict=True)):
            if np.isnan(value):
                continue
            is_positive = int(value) == len(question.choices) - 1
            called[i, k, j] = is_positive
            how_sure = 1.0 if not sure.items else confidence.get((case, arm, reader), np.nan)
            score[i, k, j] = how_sure if is_positive else -how_sure
    positive = np.array([truth[case] for case in cases], dtype=bool)
    return Readings(arms, cases, said.readers, called, score, positive)


def _truth(question: StudyQuestion, answers: Iterable[StudyAnswer]) -> dict[str, bool]:
    """Case to whether it is positive, for cases whose truth is one of the choices."""
    found = {}
    for answer in answers:
        if answer.truth is not None and answer.case:
            at = [
                i for i, choice in enumerate(question.choices) if same_class(choice, answer.truth)
            ]
            if at:
                found[answer.case] = at[0] == len(question.choices) - 1
    return found


def _lookup(rows: Table) -> dict[tuple[str, str, str], float]:
    return {
        (case, arm, reader): float(value)
        for (case, arm), values in zip(rows.items, rows.values, strict=True)
        for reader, value in zip(rows.readers, values, strict=True)
    }


def _result(name: str, everything: Readings) -> MrmcResult:
    complete = everything.complete()
    plus = int(complete.positive.sum())
    minus = len(complete.cases) - plus
    readers = len(complete.readers)
    notes = []
    if len(everything.cases) > len(complete.cases):
        left = len(everything.cases) - len(complete.cases)
        notes.append(LEFT_OUT.format(left))
    if readers == 1:
        notes.append(ONE_READER)
    if plus < 2 or minus < 2:
        arms = tuple(_described(everything, i, {}) for i in range(len(everything.arms)))
        return MrmcResult(
            name, arms, (), (), len(complete.cases), plus, minus, readers, FEW, tuple(notes)
        )
    crossed = {measure: _crossed(complete, measure) for measure in MEASURES}
    arms = tuple(_described(complete, i, crossed) for i in range(len(complete.arms)))
    return MrmcResult(
        name,
        arms,
        tests=tuple(_test(measure, result) for measure, result in crossed.items()),
        comparisons=tuple(
            comparison
            for measure, result in crossed.items()
            for comparison in _comparisons(measure, complete.arms, result)
        ),
        cases=len(complete.cases),
        positives=plus,
        negatives=minus,
        readers=readers,
        notes=tuple(notes),
    )


def _crossed(readings: Readings, measure: str) -> Crossed:
    """One measure of all arms and readers, with covariances by jackknife over its cases."""
    t, r = len(readings.arms), len(readings.readers)
    positive = readings.positive
    side = {"sensitivity": positive, "specificity": ~positive}.get(measure)
    theta = np.empty((t, r))
    left_out = []
    for i in range(t):
        for j in range(r):
            if side is None:
                theta[i, j], values = auc_jackknife(readings.score[i, :, j], positive)
            else:
                said = readings.called[i, side, j] == float(measure == "sensitivity")
                theta[i, j], values = share_jackknife(said)
            left_out.append(values)
    covariance = jackknife(np.stack(left_out, axis=1)).reshape(t, r, t, r)
    return obuchowski_rockette(theta, covariance)


def _described(readings: Readings, i: int, crossed: dict[str, Crossed]) -> ArmAccuracy:
    each = tuple(_reader(readings, i, j) for j in range(len(readings.readers)))
    values: dict[str, float | None] = {}
    for measure in MEASURES:
        value = low = high = None
        if crossed:
            mean = crossed[measure].means[i]
            value, low, high = mean.value, mean.low, mean.high
        else:
            known = [v for v in (getattr(reader, measure) for reader in each) if v is not None]
            value = float(np.mean(known)) if known else None
        values |= {measure: value, f"{measure}_low": low, f"{measure}_high": high}
    return ArmAccuracy(readings.arms[i], readers=each, **values)


def _reader(readings: Readings, i: int, j: int) -> ReaderAccuracy:
    """One reader in one arm, on the cases that count."""
    called, score = readings.called[i, :, j], readings.score[i, :, j]
    read = ~np.isnan(called)
    plus, minus = read & readings.positive, read & ~readings.positive
    sure = ~np.isnan(score)
    up, down = score[sure & readings.positive], score[sure & ~readings.positive]
    area = None
    if up.size and down.size:
        steps = np.sign(up[:, None] - down)
        area = float((steps.mean() + 1) / 2)
    return ReaderAccuracy(
        readings.readers[j],
        int(plus.sum()),
        int(minus.sum()),
        float(called[plus].mean()) if plus.any() else None,
        float(1 - called[minus].mean()) if minus.any() else None,
        area,
    )


def _test(measure: str, result: Crossed) -> AccuracyTest:
    c = result.components
    return AccuracyTest(
        measure, result.f, result.df1, result.df2, result.p, c.ms_t, c.ms_tr, c.variance,
        c.cov1, c.cov2, c.cov3, result.reason,
    )  # fmt: skip


def _comparisons(
    measure: str, arms: tuple[str, ...], result: Crossed
) -> tuple[AccuracyComparison, ...]:
    corrected = holm([contrast.p for contrast in result.contrasts])
    names = list(combinations(arms, 2))
    return tuple(
        AccuracyComparison(measure, a, b, c.difference, c.low, c.high, c.df, c.p, p, result.reason)
        for (a, b), c, p in zip(names, result.contrasts, corrected, strict=True)
    )
