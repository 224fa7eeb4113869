"""Protocols and facts survive JSON, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.study.forms import FORMS
from engine.study.protocol_json import (
    facts_from_json,
    facts_to_json,
    protocol_from_json,
    protocol_to_json,
)
from engine.study.records import (
    Arm,
    ArmKind,
    Crossing,
    Decoy,
    Design,
    InvalidProtocol,
    Order,
    Protocol,
    ReaderFacts,
    ReadStatus,
    StudyAnswer,
    StudyFacts,
    StudyState,
    Timing,
    TrainingCase,
)

FULL = Protocol(
    "Kappa",
    "Read with care.",
    cases=("c1", "c2"),
    readers=("ann", "bo"),
    arms=(
        Arm("image", "Image", ArmKind.IMAGE),
        Arm("map", "Map", ArmKind.EXPLANATION, "rollout"),
        Arm("decoy", "Decoy", ArmKind.DECOY, decoy=Decoy.EDGES),
    ),
    questions=FORMS["protocol"].questions + FORMS["sus"].questions,
    design=Design(crossing=Crossing.ANCHOR, order=Order.SEQUENTIAL, anchors=1, pass_share=0.5),
    training=(TrainingCase("t1", "map", {"trust": (4.0, 5.0)}, "Right."),),
    seed=7,
    groups={"c1": "mass"},
    grras={"7": "Consecutive cases."},
)

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
FACTS = StudyFacts(
    "ST-7F3A",
    3,
    StudyState.LOCKED,
    FULL,
    (ReaderFacts("R01", "radiology", "5-10 years"),),
    (
        StudyAnswer(
            "R01", "C001", "map", "trust", ReadStatus.ANSWERED, 4.0,
            timing=Timing(shown_at=NOON, first_ms=300, active_ms=9000, heat_seen=True),
        ),
        StudyAnswer("R01", "C002", "map", "trust", ReadStatus.CANNOT_JUDGE, None, reason="Blurred"),
        StudyAnswer(
            "R01", "C002", "map", "where", ReadStatus.ANSWERED, None,
            marks={"image": 0, "frame": 2, "points": [[1.5, 2.0]]},
        ),
    ),
    readings_planned={"R01": 12},
    map_scores={("C001", "map"): {"pointing_game": 1.0}},
    opened=NOON,
)  # fmt: skip


def through(value: dict[str, Any]) -> Any:
    """A value after a journey as text."""
    return json.loads(json.dumps(value, allow_nan=False))


def test_a_protocol_survives() -> None:
    assert protocol_from_json(through(protocol_to_json(FULL))) == FULL
    assert protocol_from_json({"title": "T"}) == Protocol("T")


def test_facts_survive() -> None:
    written = through(facts_to_json(FACTS))
    assert written["map_scores"] == {"C001|map": {"pointing_game": 1.0}}
    assert written["opened"] == "2026-03-04T12:00:00+00:00"
    assert written["answers"][0]["timing"]["shown_at"] == "2026-03-04T12:00:00+00:00"
    assert facts_from_json(written) == FACTS


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ((), [], "must be a set of named fields"),
        (("colour",), "red", "unknown fields: colour"),
        (("title",), None, "'title' must be a text"),
        (("seed",), "7", "'seed' must be a whole number"),
        (("seed",), True, "'seed' must be a whole number"),
        (("seed",), 1.5, "'seed' must be a whole number"),
        (("cases",), "c1", "'cases' must be a list"),
        (("cases", 0), 3, "'cases' must be a text"),
        (("arms", 0, "kind"), "film", "'kind' must be one of: image, prediction"),
        (("arms", 0, "kind"), ["image"], "'kind' must be one of"),
        (("arms", 0, "hue"), 1, "'arms' has unknown fields: hue"),
        (("arms", 0), "image", "'arms' of the study must be a set"),
        (("arms", 2, "decoy"), "noise", "'decoy' must be one of"),
        (("questions", 0, "low"), "1", "'low' must be a number"),
        (("questions", 0, "low"), float("nan"), "'low' must be a finite number"),
        (("questions", 0, "required"), 1, "'required' must be true or false"),
        (("design", "washout_days"), float("inf"), "'washout_days' must be a finite number"),
        (("design", "washout_days"), False, "'washout_days' must be a number"),
        (("training", 0, "expected"), [4], "'expected' must be a set of named values"),
        (("training", 0, "expected", "trust"), 4, "'expected' must be a list"),
        (("groups", "c1"), 2, "'groups' must be a text"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(
    path: tuple[str | int, ...], value: Any, sentence: str
) -> None:
    written: Any = protocol_to_json(FULL)
    if path:
        inner = written
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
    else:
        written = value
    with pytest.raises(InvalidProtocol, match=sentence):
        protocol_from_json(written)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidProtocol, match="lacks the fields: title"):
        protocol_from_json({"text": "no title"})
    with pytest.raises(InvalidProtocol, match="lacks the fields: title, kind"):
        protocol_from_json({"title": "T", "arms": [{"id": "a"}]})


def test_facts_with_a_strange_pair_or_time_are_refused() -> None:
    written = facts_to_json(replace(FACTS, answers=()))
    for name, value, sentence in (
        ("map_scores", {"C001": {}}, "needs a case and a condition"),
        ("map_scores", {1: {}}, "must be texts"),
        ("opened", "yesterday", "must be a time in ISO 8601"),
        ("opened", 5, "must be a time in ISO 8601"),
    ):
        with pytest.raises(InvalidProtocol, match=sentence):
            facts_from_json({**written, name: value})
