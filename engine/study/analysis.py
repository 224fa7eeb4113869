"""The whole analysis of a reader study, from its answers to a frozen record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from engine.metrics.agreement_statistic import Statistic
from engine.study.accuracy import accuracy, diagnosis_of
from engine.study.adjudicate import flagged
from engine.study.arm_models import models
from engine.study.arms import compare, decoy_contrast, friedman
from engine.study.correlate import correlations
from engine.study.distribution import is_ordered, question_result
from engine.study.form_scores import form_scores
from engine.study.intra import intra
from engine.study.records import (
    InvalidProtocol,
    ReadStatus,
    StudyAnswer,
    StudyFacts,
    StudyQuestion,
    StudyState,
)
from engine.study.results import (
    AccuracyComparison,
    AccuracyTest,
    Analysis,
    ArmAccuracy,
    ArmComparison,
    ArmTiming,
    Correlation,
    DecoyContrast,
    Flag,
    FormResult,
    FriedmanResult,
    IntraResult,
    LearningPoint,
    ModelResult,
    ModelTerm,
    MrmcResult,
    PairResult,
    QuestionResult,
    ReaderAccuracy,
    Sensitivity,
    TimingResult,
    TrustSplit,
)
from engine.study.sensitivity import sensitivity
from engine.study.table import RATED, Table, by_question, per_case, table
from engine.study.timing import timing
from engine.study.trust import trust_splits

__all__ = [
    "AccuracyComparison",
    "AccuracyTest",
    "Analysis",
    "ArmAccuracy",
    "ArmComparison",
    "ArmTiming",
    "Correlation",
    "DecoyContrast",
    "Flag",
    "FormResult",
    "FriedmanResult",
    "IntraResult",
    "LearningPoint",
    "ModelResult",
    "ModelTerm",
    "MrmcResult",
    "PairResult",
    "QuestionResult",
    "ReaderAccuracy",
    "Sensitivity",
    "Statistic",
    "TimingResult",
    "TrustSplit",
    "analyse",
    "analysis_to_json",
]


NOT_CORRECT = "Agreement is not correctness: readers can agree and all be wrong."
LABORATORY = "Reading in a study is not reading in the clinic (Gur et al., Radiology 2008)."
OPEN = "The study is not locked: numbers can still change."
BLIND = "Conditions are not named until the study is unblinded."
WITHDRAWN = "Readers who withdrew, with the answers they had given: {}."
FIRST = "Hidden repeats count only in the agreement of readers with themselves."


def analyse(
    facts: StudyFacts, *, seed: int = 0, draws: int = 2000, arm: str = "", group: str = ""
) -> Analysis:
    """Analyse a study.

    Args:
        facts: The study with its answers.
        seed, draws: Of every bootstrap; stored with the result.
        arm, group: Limit the analysis to one arm, or one case group; "" for all.

    Raises:
        InvalidProtocol: the study has no such arm or group.
    """
    facts = _limited(facts, arm, group)
    answers = by_question(facts)
    asked = per_case(facts.protocol)
    rows = {q.id: table(facts, answers.get(q.id, ())) for q in asked}
    rated = [q for q in asked if q.kind in RATED and rows[q.id].given.any()]
    ordered = [q for q in rated if is_ordered(q)]
    protocol = facts.protocol
    diagnosis = diagnosis_of(protocol)
    diagnoses = answers.get(diagnosis.id, ()) if diagnosis else ()
    return Analysis(
        facts.code,
        facts.version,
        seed,
        draws,
        arm,
        group,
        readers=len({a.reader for a in facts.answers}),
        cases=len({a.case for a in facts.answers if a.case}),
        answers=sum(a.status is ReadStatus.ANSWERED for a in facts.answers),
        questions=tuple(
            result for q in asked for result in _parts(facts, q, rows[q.id], seed, draws)
        ),
        intra=intra(facts, seed, draws),
        comparisons=tuple(c for q in ordered for c in compare(rows[q.id], protocol, q.id)),
        friedman=_known(friedman(rows[q.id], protocol, q.id) for q in ordered),
        model=tuple(
            m for q in ordered if len(protocol.arms) > 1 for m in models(rows[q.id], protocol, q)
        ),
        trust=tuple(
            split
            for q in rated
            if q in ordered or q is diagnosis
            for split in trust_splits(answers[q.id], protocol, q, diagnoses, seed, draws)
        ),
        correlations=tuple(
            c for q in ordered for c in correlations(rows[q.id], facts, q.id, seed, draws)
        ),
        accuracy=accuracy(facts),
        decoys=_known(decoy_contrast(rows[q.id], protocol, q.id) for q in ordered),
        forms=form_scores(facts),
        timing=timing(facts),
        flags=flagged(facts),
        sensitivity=tuple(
            s
            for q in rated
            if len(q.scale) > 1
            for s in sensitivity(rows[q.id], answers[q.id], protocol, q, seed, draws)
        ),
        notes=_notes(facts),
    )


Result = TypeVar("Result")


def _known(results: Iterable[Result | None]) -> tuple[Result, ...]:
    return tuple(result for result in results if result is not None)


def _limited(facts: StudyFacts, arm: str, group: str) -> StudyFacts:
    """The facts of one arm, one group, or both."""
    if arm and arm not in {known.id for known in facts.protocol.arms}:
        raise InvalidProtocol("The study has no condition of this name.")
    if group and group not in _groups(facts):
        raise InvalidProtocol("The study has no case group of this name.")
    if not arm and not group:
        return facts
    kept = tuple(
        a
        for a in facts.answers
        if (not arm or a.arm == arm) and (not group or _group(facts, a) == group)
    )
    return replace(facts, answers=kept)


def _group(facts: StudyFacts, answer: StudyAnswer) -> str:
    return answer.group or facts.protocol.groups.get(answer.case, "")


def _groups(facts: StudyFacts) -> tuple[str, ...]:
    """Names of the case groups with answers, in the order of their first case."""
    names = {a.case: _group(facts, a) for a in facts.answers if a.case}
    order = [*facts.protocol.cases, *sorted(set(names) - set(facts.protocol.cases))]
    return tuple(dict.fromkeys(names[case] for case in order if names.get(case)))


def _parts(
    facts: StudyFacts, question: StudyQuestion, rows: Table, seed: int, draws: int
) -> list[QuestionResult]:
    """One question: on everything, on each arm, on each case group."""
    results = [question_result(rows, question, "", "", seed, draws)]
    arms = [arm.id for arm in facts.protocol.arms]
    present = [arm for arm in arms if any(name == arm for _, name in rows.items)]
    for arm in present:
        results.append(question_result(rows.arm(arm), question, arm, "", seed, draws))
    group_of = {a.case: _group(facts, a) for a in facts.answers if a.case}
    for group in _groups(facts):
        cases = [case for case, name in group_of.items() if name == group]
        part = rows.within(cases)
        if part.items:
            results.append(question_result(part, question, "", group, seed, draws))
    return results


def _notes(facts: StudyFacts) -> tuple[str, ...]:
    withdrawn = [reader.code for reader in facts.readers if reader.withdrawn]
    repeats = any(answer.replicate > 1 for answer in facts.answers)
    return (
        NOT_CORRECT,
        LABORATORY,
        *((OPEN,) if facts.state in (StudyState.DRAFT, StudyState.OPEN) else ()),
        *(() if facts.unblinded else (BLIND,)),
        *((WITHDRAWN.format(", ".join(withdrawn)),) if withdrawn else ()),
        *((FIRST,) if repeats else ()),
    )


def analysis_to_json(analysis: Analysis) -> dict[str, Any]:
    """The same content in JSON's types: records as objects, scores as text where they are keys."""
    return {field.name: _plain(getattr(analysis, field.name)) for field in fields(analysis)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {_key(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value


def _key(key: Any) -> str:
    return f"{key:g}" if isinstance(key, float) else str(key)
