"""What a design comes to: counted by hand, and against the plan itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest

from engine.study.plan import plan
from engine.study.preview import Width, preview
from engine.study.records import (
    Arm,
    ArmKind,
    Crossing,
    Design,
    Order,
    Protocol,
    QuestionKind,
    StudyQuestion,
    TrainingCase,
)
from engine.study.widths import SETTINGS, TABLE, half_width, simulated

BASE = Protocol(
    "Preview",
    cases=tuple(f"c{n}" for n in range(20)),
    readers=("ann", "bo", "cy", "di"),
    arms=tuple(Arm(f"a{n}", f"Arm {n}", ArmKind.IMAGE) for n in range(3)),
    questions=(
        StudyQuestion("q", "?"),
        StudyQuestion("note", "?", kind=QuestionKind.TEXT),
        StudyQuestion("end", "?", per_case=False),
    ),
    training=(TrainingCase("t", "a0"),),
)
DESIGNS = [
    Design(),
    Design(repeats=5, sessions=3),
    Design(order=Order.SEQUENTIAL, repeats=7),
    Design(crossing=Crossing.SPLIT_PLOT, groups=2, repeats=3),
    Design(crossing=Crossing.ANCHOR, anchors=6),
    Design(crossing=Crossing.ANCHOR, anchors=0, sessions=2),
]


@pytest.mark.parametrize("design", DESIGNS)
def test_readings_and_overlap_are_those_of_the_plan(design: Design) -> None:
    p = replace(BASE, design=design)
    rows, found = plan(p, "ST-1"), preview(p)
    assert found.readings == dict(Counter(r.reader for r in rows))
    read = {
        name: {r.case for r in rows if r.reader == name and r.case and not r.training}
        for name in p.readers
    }
    assert found.overlap == {(a, b): len(read[a] & read[b]) for a, b in combinations(p.readers, 2)}
    assert found.lonely == tuple(pair for pair, n in found.overlap.items() if n == 0)


def test_readers_without_a_shared_case_are_named() -> None:
    split = preview(replace(BASE, design=DESIGNS[3]))
    assert len(split.lonely) == 4
    assert len(preview(replace(BASE, design=DESIGNS[5])).lonely) == 6
    assert preview(BASE).lonely == ()


def test_time_and_sittings_follow_from_the_readings() -> None:
    found = preview(BASE)
    assert set(found.readings.values()) == {62}
    assert set(found.minutes.values()) == {62}  # 61 readings of 60 s, and 6 s at the end: 61.1
    assert set(found.sessions.values()) == {2}
    long = replace(BASE, design=Design(session_minutes=20, sessions=2))
    assert set(preview(long).sessions.values()) == {4}
    assert "20 seconds for the image and 40 for the questions" in found.notes[0]


def test_expected_widths_follow_cases_and_raters() -> None:
    p = replace(BASE, readers=BASE.readers[:3])
    two, four = SETTINGS[1], SETTINGS[2]
    assert preview(p).widths == (
        Width(two.title, 20, 3, half_width(two, 20, 3)),
        Width(four.title, 20, 3, half_width(four, 20, 3)),
    )
    yes_no = StudyQuestion("yes", "?", kind=QuestionKind.CHOICE, choices=("no", "yes"))
    assert [w.statistic for w in preview(replace(p, questions=(yes_no,))).widths] == [
        "Kappa, two categories"
    ]
    anchored = preview(replace(p, design=Design(crossing=Crossing.ANCHOR, anchors=6)))
    assert {(w.cases, w.raters) for w in anchored.widths} == {(6, 3)}
    assert preview(replace(p, design=Design(crossing=Crossing.ANCHOR))).widths == ()


@pytest.mark.parametrize(
    ("setting", "published"),
    list(zip(SETTINGS, [(0.29, 0.17, 0.12), (0.24, 0.15, 0.1), (0.21, 0.12, 0.09)], strict=True)),
)
def test_the_table_agrees_with_the_reference(
    setting: object, published: tuple[float, float, float]
) -> None:
    found = [half_width(setting, n, 3) for n in (20, 50, 100)]  # type: ignore[arg-type]
    assert found == pytest.approx(published, abs=0.012)


def test_the_table_can_be_made_again() -> None:
    for setting, tolerance in ((SETTINGS[0], 0.03), (SETTINGS[1], 0.03)):
        assert simulated(setting, 50, 3, runs=25, seed=5) == pytest.approx(
            TABLE[setting.title][3][2], abs=tolerance
        )


@pytest.mark.parametrize("setting", SETTINGS)
def test_widths_shrink_with_cases_and_with_raters(setting: object) -> None:
    by_cases = [half_width(setting, n, 4) for n in (2, 8, 15, 35, 99, 150, 800)]  # type: ignore[arg-type]
    by_raters = [half_width(setting, 40, m) for m in (2, 3, 4, 7, 10, 20)]  # type: ignore[arg-type]
    assert by_cases == sorted(by_cases, reverse=True)
    assert by_raters == sorted(by_raters, reverse=True)
    assert half_width(setting, 800, 4) == pytest.approx(half_width(setting, 200, 4) / 2)  # type: ignore[arg-type]


def test_what_a_short_list_cannot_keep_is_said() -> None:
    short = replace(BASE, cases=BASE.cases[:3], design=Design(repeats=2, repeat_gap=20))
    notes = " ".join(preview(short).notes)
    assert "a hidden repeat may come" in notes and "where 20 are asked for" in notes
    assert "a case may return after" in notes
    assert "short" not in " ".join(preview(replace(BASE, design=Design(repeats=2))).notes)


def test_one_arm_alone_stands_in_any_row_without_a_note() -> None:
    one = replace(BASE, arms=BASE.arms[:1])
    assert not any("in a row" in note for note in preview(one).notes)


@pytest.mark.parametrize(
    "broken",
    [
        Protocol(""),
        Protocol("", readers=("ann",)),
        Protocol("", readers=("ann", "ann"), cases=("c", "c"), arms=BASE.arms + BASE.arms),
        replace(BASE, arms=()),
        replace(BASE, questions=()),
        replace(BASE, design=Design(sessions=0, groups=0, repeats=-1, case_gap=0, anchors=-3)),
        replace(BASE, design=Design(crossing=Crossing.SPLIT_PLOT, groups=9)),
        replace(BASE, design=Design(repeats=999, session_readings=0, session_minutes=-1)),
    ],
)
def test_a_design_in_the_making_has_a_preview_too(broken: Protocol) -> None:
    found = preview(broken)
    assert set(found.readings) == set(found.sessions) == set(found.minutes) == set(broken.readers)
    assert all(number >= 0 for number in found.readings.values())
