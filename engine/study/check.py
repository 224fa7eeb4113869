"""What is wrong with a protocol, and what an organiser should think about, in plain sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable

from engine.study.records import (
    ArmKind,
    Crossing,
    Order,
    Protocol,
    QuestionKind,
    StudyQuestion,
)

QUESTION_ID = re.compile(r"[a-z0-9_]{1,64}")
MOST_POINTS = 11
MOST_SESSIONS = 20
FEW_CASES = 10
SHORT_WASHOUT_DAYS = 14.0
TRAINING_ADVISED = 5


def check_protocol(p: Protocol, methods: Collection[str] | None = None) -> tuple[str, ...]:
    """Problems that keep a study from being opened; none for a sound one.

    Args:
        p: The protocol.
        methods: Known explanation methods; without them, method names are not looked up.
    """
    found = [
        *_whole(p),
        *_arms(p, methods),
        *(line for question in p.questions for line in _question(question)),
        *_design(p),
        *_training(p),
    ]
    return tuple(dict.fromkeys(found))


def cautions(p: Protocol) -> tuple[str, ...]:
    """What does not keep a study from being opened, and weakens it."""
    return (*_sample_cautions(p), *_arm_cautions(p), *_order_cautions(p))


def _whole(p: Protocol) -> Iterable[str]:
    if not p.title.strip():
        yield "The study has no title."
    if not p.cases:
        yield "The study has no case."
    if not p.readers:
        yield "The study has no reader."
    elif len(p.readers) == 1:
        yield "The study has one reader; agreement needs at least two."
    if not p.arms:
        yield "The study has no condition."
    if not any(question.per_case for question in p.questions):
        yield "The study asks no question about a case."
    yield from _twice("case", p.cases)
    yield from _twice("reader", p.readers)
    yield from _twice("condition", [arm.id for arm in p.arms])
    yield from _twice("question", [question.id for question in p.questions])
    if any(not case for case in p.cases):
        yield "A case has no pseudonym."
    strangers = sorted(set(p.groups) - set(p.cases))
    if strangers:
        yield f"Case groups name {_count(len(strangers), 'case')} that the study does not hold."


def _twice(what: str, names: Iterable[str]) -> Iterable[str]:
    for name, times in Counter(names).items():
        if times > 1:
            yield f"The {what} {name!r} is named {times} times."


def _arms(p: Protocol, methods: Collection[str] | None) -> Iterable[str]:
    for arm in p.arms:
        if not arm.id.strip() or "|" in arm.id:
            yield f"The condition {arm.title!r} needs a short name without the sign '|'."
        if not arm.title.strip():
            yield f"The condition {arm.id!r} has no title."
        if arm.kind is ArmKind.EXPLANATION and not arm.method:
            yield f"The condition {arm.title!r} shows an explanation but names no method."
        elif arm.method and methods is not None and arm.method not in methods:
            yield f"The condition {arm.title!r} names a method that is not known: {arm.method}."
        if arm.kind is ArmKind.DECOY and arm.decoy is None:
            yield f"The condition {arm.title!r} shows a decoy but does not say which."


def _question(question: StudyQuestion) -> Iterable[str]:
    name = question.text.strip() or question.id
    if not QUESTION_ID.fullmatch(question.id):
        yield (
            f"The short name of the question {name!r} may hold lower-case letters, digits and "
            "the sign '_' only, 64 at most."
        )
    if not question.text.strip():
        yield f"The question {question.id!r} has no text."
    if question.kind is QuestionKind.SCALE:
        yield from _scale(question, name)
    elif question.kind is QuestionKind.NUMBER and question.low >= question.high:
        yield f"The question {name!r} accepts no number: its least is not below its highest."
    elif question.kind is QuestionKind.CHOICE:
        yield from _choice(question, name)
    if not question.per_case and question.kind in (
        QuestionKind.POINT,
        QuestionKind.BOX,
        QuestionKind.OUTLINE,
    ):
        yield f"The question {name!r} is drawn on an image, so it must be asked of each case."


def _scale(question: StudyQuestion, name: str) -> Iterable[str]:
    if question.low >= question.high:
        yield f"The scale of the question {name!r} must end above its lowest point."
        return
    if question.low != int(question.low) or question.high != int(question.high):
        yield f"The scale of the question {name!r} must have whole points."
        return
    points = int(question.high - question.low) + 1
    if points > MOST_POINTS:
        yield (
            f"The scale of the question {name!r} has {points} points; {MOST_POINTS} are the most. "
            "Ask for a number instead."
        )
    if question.anchors and len(question.anchors) != points:
        yield (
            f"The scale of the question {name!r} has {points} points but "
            f"{_count(len(question.anchors), 'anchor')}."
        )


def _choice(question: StudyQuestion, name: str) -> Iterable[str]:
    if len(question.choices) < 2:
        yield f"The question {name!r} offers fewer than two choices."
    if any(not choice.strip() for choice in question.choices):
        yield f"A choice of the question {name!r} has no words."
    if len(set(question.choices)) < len(question.choices):
        yield f"The question {name!r} offers one choice twice."


def _design(p: Protocol) -> Iterable[str]:
    design = p.design
    if not 1 <= design.sessions <= MOST_SESSIONS:
        yield f"A study has 1 to {MOST_SESSIONS} sessions."
    if design.washout_days < 0:
        yield "The washout cannot be negative."
    if design.repeat_gap < 1 or design.case_gap < 1:
        yield "The distances between readings must be at least 1."
    if design.session_minutes < 1 or design.session_readings < 1:
        yield "A session must allow at least one minute and one reading."
    if not 0 <= design.pass_share <= 1:
        yield "The share of training answers that must be right lies between 0 and 1."
    if design.pass_share > 0 and not any(t.expected for t in p.training):
        yield "There is a pass criterion, but no training case says which answers are right."
    yield from _crossing(p)
    most = max_pairs(p)
    if design.repeats < 0:
        yield "The number of repeats cannot be negative."
    elif p.cases and p.arms and p.readers and design.repeats > most:
        yield (
            f"The {_count(most, 'reading')} of a reader do not allow "
            f"{_count(design.repeats, 'repeat')}."
        )


def _crossing(p: Protocol) -> Iterable[str]:
    design = p.design
    if design.crossing is Crossing.SPLIT_PLOT:
        if design.groups < 2:
            yield "A split-plot design needs at least two groups."
        elif p.readers and design.groups > len(p.readers):
            yield "A split-plot design cannot have more groups than readers."
        elif p.cases and design.groups > len(p.cases):
            yield "A split-plot design cannot have more groups than cases."
    if design.crossing is Crossing.ANCHOR:
        if design.anchors < 0:
            yield "The number of anchor cases cannot be negative."
        elif p.cases and design.anchors > len(p.cases):
            yield (
                f"There are {_count(design.anchors, 'anchor case')} but "
                f"{_count(len(p.cases), 'case')}."
            )
        elif design.anchors == 0 and len(p.readers) > 1:
            yield "Without anchor cases no two readers share a case."


def max_pairs(p: Protocol) -> int:
    """Fewest (case, arm) pairs that any reader has: the most repeats that can be asked for."""
    design, readers, cases = p.design, max(len(p.readers), 1), len(p.cases)
    if design.crossing is Crossing.SPLIT_PLOT:
        cases = cases // max(design.groups, 1)
    elif design.crossing is Crossing.ANCHOR:
        cases = design.anchors + max(cases - design.anchors, 0) // readers
    return cases * len(p.arms)


def _training(p: Protocol) -> Iterable[str]:
    arms = {arm.id for arm in p.arms}
    questions = {question.id: question for question in p.questions}
    yield from _twice("training case", [f"{t.case} ({t.arm})" for t in p.training])
    if any(t.case in p.cases for t in p.training):
        yield "A training case is also a case of the study."
    for training in p.training:
        if training.arm not in arms:
            yield f"A training case is shown in a condition that the study lacks: {training.arm}."
        for name, expected in training.expected.items():
            question = questions.get(name)
            if question is None or not question.per_case:
                yield f"A training case expects an answer to a question it is not asked: {name}."
            elif not expected:
                yield f"A training case accepts no answer to the question {question.text!r}."
            elif question.scale and not set(expected) <= set(question.scale):
                yield f"A training case expects an answer off the scale of {question.text!r}."


def _sample_cautions(p: Protocol) -> Iterable[str]:
    if 0 < len(p.cases) < FEW_CASES:
        yield f"With {_count(len(p.cases), 'case')} every interval of agreement is very wide."
    if len(p.readers) == 2:
        yield "With two readers, nothing can be said about other readers."
    if p.design.crossing is not Crossing.CROSSED:
        yield "Not every reader reads every case: only shared cases count for agreement."
    if not p.training:
        yield f"There is no training case; {TRAINING_ADVISED} to 10 are usual."
    if p.design.repeats == 0:
        yield "There is no hidden repeat, so readers cannot be compared with themselves."


def _arm_cautions(p: Protocol) -> Iterable[str]:
    kinds = {arm.kind for arm in p.arms}
    if ArmKind.EXPLANATION in kinds and ArmKind.DECOY not in kinds:
        yield "There is no decoy, so ratings cannot be shown to depend on what the map shows."
    if kinds & {ArmKind.PREDICTION, ArmKind.EXPLANATION} and ArmKind.IMAGE not in kinds:
        yield "No condition shows the image alone, so reading without AI cannot be compared."
    seen = Counter((arm.kind, arm.method, arm.decoy) for arm in p.arms)
    if any(times > 1 for times in seen.values()):
        yield "Two conditions show the same."


def _order_cautions(p: Protocol) -> Iterable[str]:
    design = p.design
    if design.order is Order.SEQUENTIAL:
        if design.sessions > 1:
            yield "Sequential reading takes one session; the number of sessions is not used."
        if len(p.arms) == 1:
            yield "Sequential reading of one condition is the same as independent reading."
        if design.repeats:
            yield "In sequential reading a repeat is a whole case with all its stages."
        return
    if design.sessions == 1 and len(p.arms) > 1:
        yield (
            "A reader sees one case in several conditions in one session and may remember it; "
            "spread the conditions over sessions with a washout, or read them in sequence."
        )
    if design.sessions > 1 and design.washout_days < SHORT_WASHOUT_DAYS:
        yield "The washout is shorter than two weeks; four weeks are usual."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
