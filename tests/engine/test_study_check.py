"""Every way in which a protocol can be wrong has its sentence; a sound one has none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.study.check import cautions, check_protocol
from engine.study.forms import FORMS
from engine.study.records import (
    Arm,
    ArmKind,
    Crossing,
    Decoy,
    Design,
    Order,
    Protocol,
    QuestionKind,
    StudyQuestion,
    TrainingCase,
)
from engine.study.warmup import passed

SOUND = Protocol(
    "Sound",
    cases=tuple(f"c{n}" for n in range(12)),
    readers=("ann", "bo", "cy"),
    arms=(
        Arm("image", "Image", ArmKind.IMAGE),
        Arm("ai", "Image and prediction", ArmKind.PREDICTION),
        Arm("map", "Map", ArmKind.EXPLANATION, "rollout"),
        Arm("decoy", "Decoy", ArmKind.DECOY, decoy=Decoy.RANDOM),
    ),
    questions=FORMS["protocol"].questions,
    design=Design(sessions=4, repeats=2),
    training=(TrainingCase("t1", "map", {"trust": (4.0, 5.0)}),),
)


def design(**values: object) -> Callable[[Protocol], Protocol]:
    """A change of the design."""
    return lambda p: replace(p, design=replace(p.design, **values))  # type: ignore[arg-type]


def part(**values: object) -> Callable[[Protocol], Protocol]:
    """A change of the protocol."""
    return lambda p: replace(p, **values)  # type: ignore[arg-type]


def question(**values: object) -> Callable[[Protocol], Protocol]:
    """Another question at the end."""
    own = StudyQuestion("own", "Own?", **values)  # type: ignore[arg-type]
    return lambda p: replace(p, questions=(*p.questions, own))


def arm(*values: object, **more: object) -> Callable[[Protocol], Protocol]:
    """Another arm at the end."""
    return lambda p: replace(p, arms=(*p.arms, Arm(*values, **more)))  # type: ignore[arg-type]


def training(case: str, arm: str, **expected: tuple[float, ...]) -> Callable[[Protocol], Protocol]:
    """Another training case."""
    return lambda p: replace(p, training=(*p.training, TrainingCase(case, arm, expected)))


def test_a_sound_protocol_has_no_problem() -> None:
    assert check_protocol(SOUND) == ()
    assert check_protocol(SOUND, methods=("rollout",)) == ()
    assert cautions(SOUND) == ()


PROBLEMS: list[tuple[Callable[[Protocol], Protocol], str]] = [
    (part(title=" "), "no title"),
    (part(cases=(), design=Design()), "no case"),
    (part(readers=()), "no reader"),
    (part(readers=("ann",)), "one reader"),
    (part(arms=(), training=()), "no condition"),
    (part(questions=(), training=()), "asks no question about a case"),
    (part(questions=FORMS["sus"].questions, training=()), "asks no question about a case"),
    (part(cases=(*SOUND.cases, "c0")), "case 'c0' is named 2 times"),
    (part(cases=(*SOUND.cases, "")), "no pseudonym"),
    (part(readers=("ann", "bo", "ann")), "reader 'ann' is named 2 times"),
    (part(groups={"zz": "mass"}), "name 1 case that the study does not hold"),
    (arm("map", "Twin", ArmKind.IMAGE), "condition 'map' is named 2 times"),
    (arm("", "Nameless", ArmKind.IMAGE), "'Nameless' needs a short name"),
    (arm("a|b", "Barred", ArmKind.IMAGE), "without the sign '|'"),
    (arm("x", "", ArmKind.IMAGE), "condition 'x' has no title"),
    (arm("x", "Map 2", ArmKind.EXPLANATION), "'Map 2' shows an explanation but names no method"),
    (arm("x", "Decoy 2", ArmKind.DECOY), "'Decoy 2' shows a decoy but does not say which"),
    (question(low=5, high=5), "must end above its lowest point"),
    (question(low=1, high=4.5), "must have whole points"),
    (question(low=0, high=100), "has 101 points; 11 are the most"),
    (question(anchors=("no", "yes")), "has 5 points but 2 anchors"),
    (question(kind=QuestionKind.NUMBER, low=3, high=3), "accepts no number"),
    (question(kind=QuestionKind.CHOICE, choices=("one",)), "fewer than two choices"),
    (question(kind=QuestionKind.CHOICE, choices=("a", " ")), "has no words"),
    (question(kind=QuestionKind.CHOICE, choices=("a", "a")), "offers one choice twice"),
    (question(kind=QuestionKind.POINT, per_case=False), "must be asked of each case"),
    (part(questions=(StudyQuestion("Bad Name", "Q"),), training=()), "lower-case letters"),
    (part(questions=(StudyQuestion("q", " "),), training=()), "'q' has no text"),
    (part(questions=(*SOUND.questions, SOUND.questions[0])), "question 'lesion_match' is named 2"),
    (design(sessions=0), "1 to 20 sessions"),
    (design(washout_days=-1), "washout cannot be negative"),
    (design(repeat_gap=0), "at least 1"),
    (design(case_gap=0), "at least 1"),
    (design(session_readings=0), "at least one minute and one reading"),
    (design(pass_share=1.5), "between 0 and 1"),
    (part(design=Design(pass_share=0.5), training=()), "no training case says"),
    (design(repeats=-1), "repeats cannot be negative"),
    (design(repeats=49), "The 48 readings of a reader do not allow 49 repeats"),
    (design(crossing=Crossing.SPLIT_PLOT, groups=1), "at least two groups"),
    (design(crossing=Crossing.SPLIT_PLOT, groups=4), "more groups than readers"),
    (design(crossing=Crossing.ANCHOR, anchors=-1), "cannot be negative"),
    (design(crossing=Crossing.ANCHOR, anchors=13), "13 anchor cases but 12 cases"),
    (design(crossing=Crossing.ANCHOR, anchors=0), "no two readers share a case"),
    (training("c0", "map"), "is also a case of the study"),
    (training("t1", "map"), "training case 't1 (map)' is named 2 times"),
    (training("t2", "gone"), "in a condition that the study lacks: gone"),
    (training("t2", "map", gone=(1.0,)), "a question it is not asked: gone"),
    (training("t2", "map", trust=()), "accepts no answer"),
    (training("t2", "map", trust=(6.0,)), "off the scale"),
]


@pytest.mark.parametrize(("change", "sentence"), PROBLEMS)
def test_each_fault_has_its_sentence(change: Callable[[Protocol], Protocol], sentence: str) -> None:
    found = check_protocol(change(SOUND))
    assert any(sentence in line for line in found), found
    assert all(line.endswith(".") and line[0].isupper() for line in found)


def test_a_method_is_looked_up_where_methods_are_known() -> None:
    (line,) = check_protocol(SOUND, methods=("gradcam",))
    assert line == "The condition 'Map' names a method that is not known: rollout."


CAUTIONS: list[tuple[Callable[[Protocol], Protocol], str]] = [
    (part(cases=("c0",)), "With 1 case every interval"),
    (part(readers=("ann", "bo")), "With two readers"),
    (design(crossing=Crossing.SPLIT_PLOT), "only shared cases count"),
    (part(training=()), "no training case"),
    (design(repeats=0), "no hidden repeat"),
    (part(arms=SOUND.arms[:3]), "no decoy"),
    (part(arms=SOUND.arms[1:]), "No condition shows the image alone"),
    (arm("again", "Image again", ArmKind.IMAGE), "Two conditions show the same"),
    (design(order=Order.SEQUENTIAL), "the number of sessions is not used"),
    (design(order=Order.SEQUENTIAL), "a repeat is a whole case"),
    (design(sessions=1), "may remember it"),
    (design(washout_days=7), "shorter than two weeks"),
]


@pytest.mark.parametrize(("change", "sentence"), CAUTIONS)
def test_each_weakness_has_its_sentence(
    change: Callable[[Protocol], Protocol], sentence: str
) -> None:
    assert any(sentence in line for line in cautions(change(SOUND)))
    assert not any(sentence in line for line in cautions(SOUND))


def test_reading_one_arm_in_sequence_is_named() -> None:
    one = replace(SOUND, arms=SOUND.arms[:1], design=Design(order=Order.SEQUENTIAL))
    assert any("one condition is the same" in line for line in cautions(one))


WARM = (
    TrainingCase("t1", "map", {"trust": (4.0, 5.0), "association": (1.0,)}),
    TrainingCase("t2", "map", {"trust": (2.0,)}),
    TrainingCase("t3", "map"),
)


@pytest.mark.parametrize(
    ("answers", "share", "right"),
    [
        ({"t1": {"trust": 4.0, "association": 1.0}, "t2": {"trust": 2.0}}, 1.0, (True, 1.0)),
        ({"t1": {"trust": 5.0, "association": 3.0}, "t2": {"trust": 2.0}}, 2 / 3, (True, 2 / 3)),
        ({"t1": {"trust": 5.0, "association": None}, "t2": {}}, 0.5, (False, 1 / 3)),
        ({}, 0.1, (False, 0.0)),
        ({}, 0.0, (True, 0.0)),
    ],
)
def test_the_pass_criterion(
    answers: dict[str, dict[str, float | None]], share: float, right: tuple[bool, float]
) -> None:
    went, found = passed(WARM, answers, share)
    assert (went, found) == (right[0], pytest.approx(right[1]))


def test_training_without_expected_answers_is_always_passed() -> None:
    assert passed(WARM[2:], {}, 1.0) == (True, 1.0)


def test_one_case_may_be_shown_in_two_arms() -> None:
    twice = (TrainingCase("t", "a", {"q": (1.0,)}), TrainingCase("t", "b", {"q": (2.0,)}))
    assert passed(twice, {"t|a": {"q": 1.0}, "t|b": {"q": 2.0}}, 1.0) == (True, 1.0)
