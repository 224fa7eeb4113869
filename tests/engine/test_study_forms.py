"""Ready forms: their items, and their published scoring."""

from __future__ import annotations

import re

import pytest

from engine.metrics.protocol import QUESTIONS
from engine.study.check import check_protocol
from engine.study.forms import FORMS, IncompleteForm
from engine.study.records import Arm, ArmKind, Protocol, QuestionKind

AT_THE_END = ("scs", "ess", "sus", "nasa_tlx")


def filled(form: str, *values: float) -> dict[str, float]:
    """Answers to a form: one value for all items, or one for each."""
    items = FORMS[form].questions
    given = values * len(items) if len(values) == 1 else values
    return {item.id: value for item, value in zip(items, given, strict=True)}


def scored(form: str, answers: dict[str, float]) -> float:
    score = FORMS[form].score
    assert score is not None
    return score(answers)


def test_the_forms_are_there_with_their_items() -> None:
    sizes = {name: len(form.questions) for name, form in FORMS.items()}
    assert sizes == {
        "protocol": 4, "assessment": 2, "scs": 10, "ess": 8, "sus": 10, "nasa_tlx": 6,
    }  # fmt: skip
    for name, form in FORMS.items():
        assert form.id == name and form.title and form.source
        assert all(question.group == name for question in form.questions)
        assert all(q.per_case is (name not in AT_THE_END) for q in form.questions)
        assert (form.score is not None) is (name in AT_THE_END) is bool(form.scored)


def test_names_are_unique_over_all_forms_and_a_study_of_all_is_sound() -> None:
    every = tuple(question for form in FORMS.values() for question in form.questions)
    assert len({question.id for question in every}) == len(every)
    assert all(re.fullmatch(r"[a-z0-9_]+", question.id) for question in every)
    study = Protocol(
        "All forms",
        cases=("c1", "c2"),
        readers=("ann", "bo"),
        arms=(Arm("image", "Image", ArmKind.IMAGE),),
        questions=every,
    )
    assert check_protocol(study) == ()


def test_the_protocol_form_asks_what_the_protocol_asks() -> None:
    asked = [(q.id, q.text, q.anchors, q.scale) for q in FORMS["protocol"].questions]
    assert asked == [(q.id, q.text, tuple(q.anchors), (1, 2, 3, 4, 5)) for q in QUESTIONS]


@pytest.mark.parametrize(
    ("values", "score"),
    [
        ((3,), 50.0),
        ((5, 1, 5, 1, 5, 1, 5, 1, 5, 1), 100.0),
        ((1, 5, 1, 5, 1, 5, 1, 5, 1, 5), 0.0),
        ((4, 2, 5, 1, 4, 2, 5, 1, 3, 2), 82.5),
        ((1,), 50.0),
    ],
)
def test_sus(values: tuple[float, ...], score: float) -> None:
    assert scored("sus", filled("sus", *values)) == score


def test_the_other_scores() -> None:
    assert scored("scs", filled("scs", 5)) == 1.0
    assert scored("scs", filled("scs", 1)) == pytest.approx(0.2)
    assert scored("scs", filled("scs", 5, 4, 3, 2, 1, 5, 4, 3, 2, 1)) == pytest.approx(0.6)
    assert scored("ess", filled("ess", 1, 2, 3, 4, 5, 5, 4, 4)) == pytest.approx(3.5)
    assert scored("nasa_tlx", filled("nasa_tlx", 0, 20, 40, 60, 80, 100)) == pytest.approx(50.0)


@pytest.mark.parametrize("form", AT_THE_END)
def test_a_form_with_an_item_unanswered_has_no_score(form: str) -> None:
    answers = filled(form, 3)
    answers.popitem()
    with pytest.raises(IncompleteForm, match="unanswered item"):
        scored(form, answers)


def test_other_answers_of_a_study_do_not_disturb_a_score() -> None:
    assert scored("sus", {**filled("sus", 3), **filled("ess", 5), "trust": 1}) == 50.0


def test_the_task_load_goes_from_0_to_100() -> None:
    for question in FORMS["nasa_tlx"].questions:
        assert (question.kind, question.low, question.high) == (QuestionKind.NUMBER, 0, 100)
