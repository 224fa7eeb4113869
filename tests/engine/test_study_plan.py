"""What every plan of a reader study keeps: unique rows, distances, balance, and what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.study.check import max_pairs
from engine.study.latin import arm_order, session_of, williams
from engine.study.plan import extended, in_order, labels_of, plan
from engine.study.preview import least_gap
from engine.study.records import (
    Arm,
    ArmKind,
    Crossing,
    Design,
    Order,
    Protocol,
    Reading,
    StudyQuestion,
    TrainingCase,
)
from engine.study.sequence import Item, longest_run, sequence

STUDY = "ST-7F3A"
LIGHT = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def protocol(cases: int, readers: int, arms: int, seed: int = 0, **design: object) -> Protocol:
    """A protocol of plain names."""
    return Protocol(
        "Plan",
        cases=tuple(f"c{n}" for n in range(cases)),
        readers=tuple(f"r{n}" for n in range(readers)),
        arms=tuple(Arm(f"a{n}", f"Arm {n}", ArmKind.IMAGE) for n in range(arms)),
        questions=(StudyQuestion("q", "?"), StudyQuestion("end", "?", per_case=False)),
        design=Design(**design),  # type: ignore[arg-type]
        training=(TrainingCase("t0", "a0"), TrainingCase("t1", "a0")) if arms else (),
        seed=seed,
    )


@st.composite
def protocols(draw: st.DrawFn, order: Order | None = None) -> Protocol:
    """Any sound protocol of up to 14 cases, 4 readers and 4 arms."""
    cases, readers = draw(st.integers(1, 14)), draw(st.integers(1, 4))
    crossing = draw(st.sampled_from(Crossing))
    if crossing is Crossing.SPLIT_PLOT and min(cases, readers) < 2:
        crossing = Crossing.CROSSED
    p = protocol(
        cases,
        readers,
        draw(st.integers(1, 4)),
        draw(st.integers(0, 9)),
        crossing=crossing,
        order=order or draw(st.sampled_from(Order)),
        sessions=draw(st.integers(1, 3)),
        anchors=draw(st.integers(0, cases)),
        case_gap=draw(st.integers(1, 8)),
        repeat_gap=draw(st.integers(1, 20)),
    )
    repeats = draw(st.integers(0, min(max_pairs(p), 4)))
    return replace(p, design=replace(p.design, repeats=repeats))


def of_reader(rows: Iterable[Reading], reader: str) -> list[Reading]:
    """Readings of cases of the study by one reader, in order."""
    return in_order(r for r in rows if r.reader == reader and r.case and not r.training)


def of_sessions(rows: list[Reading]) -> list[list[Reading]]:
    return [[r for r in rows if r.session == n] for n in sorted({r.session for r in rows})]


@LIGHT
@given(protocols())
def test_rows_are_unique_and_positions_have_no_hole(p: Protocol) -> None:
    rows = plan(p, STUDY)
    keys = [(r.reader, r.case, r.arm, r.replicate, r.training) for r in rows]
    assert len(set(keys)) == len(keys)
    for reader in p.readers:
        own = [r for r in rows if r.reader == reader]
        for session in {r.session for r in own}:
            places = sorted(r.position for r in own if r.session == session)
            assert places == list(range(1, len(places) + 1))


@LIGHT
@given(protocols())
def test_everyone_reads_his_cases_once_in_each_arm(p: Protocol) -> None:
    rows = plan(p, STUDY)
    arms = {arm.id for arm in p.arms}
    for reader in p.readers:
        first = [r for r in of_reader(rows, reader) if r.replicate == 1]
        own = {r.case for r in first}
        assert {(r.case, r.arm) for r in first} == {(c, a) for c in own for a in arms}
        if p.design.crossing is Crossing.CROSSED:
            assert own == set(p.cases)
    assert {r.case for r in rows if r.case and not r.training} == set(p.cases)


@LIGHT
@given(protocols())
def test_the_same_protocol_gives_the_same_plan(p: Protocol) -> None:
    assert plan(p, STUDY) == plan(p, STUDY)


def test_seed_study_and_reader_change_the_order() -> None:
    p = protocol(12, 2, 3)
    order = [(r.case, r.arm) for r in of_reader(plan(p, STUDY), "r0")]
    for other, study, reader in (
        (replace(p, seed=1), STUDY, "r0"),
        (p, "ST-0000", "r0"),
        (p, STUDY, "r1"),
    ):
        assert [(r.case, r.arm) for r in of_reader(plan(other, study), reader)] != order


@LIGHT
@given(protocols(), st.integers(0, 6), st.integers(0, 2))
def test_additions_append_and_reshuffle_nothing(p: Protocol, cases: int, readers: int) -> None:
    rows = plan(p, STUDY)
    larger = replace(
        p,
        cases=(*p.cases, *(f"new{n}" for n in range(cases))),
        readers=(*p.readers, *(f"late{n}" for n in range(readers))),
        training=(*p.training, TrainingCase("t9", "a0")),
    )
    more = extended(larger, STUDY, rows)
    assert more == extended(larger, STUDY, rows)
    assert extended(larger, STUDY, (*rows, *more)) == ()
    ends = Counter[tuple[str, int]]()
    for r in rows:
        ends[r.reader, r.session] = max(ends[r.reader, r.session], r.position)
    assert all(r.position > ends[r.reader, r.session] for r in more)
    keys = [(r.reader, r.case, r.arm, r.replicate, r.training) for r in (*rows, *more)]
    assert len(set(keys)) == len(keys)
    for reader in p.readers:
        assert not any(r.case in p.cases and r.replicate == 1 for r in of_reader(more, reader))


@LIGHT
@given(protocols(), st.integers(1, 6))
def test_what_is_added_is_what_a_whole_plan_would_assign(p: Protocol, cases: int) -> None:
    larger = replace(p, cases=(*p.cases, *(f"new{n}" for n in range(cases))))
    rows = plan(p, STUDY)
    stepwise = {(r.reader, r.case, r.arm) for r in (*rows, *extended(larger, STUDY, rows))}
    assert stepwise == {(r.reader, r.case, r.arm) for r in plan(larger, STUDY)}


def test_nothing_is_added_for_a_reader_who_left() -> None:
    p = protocol(6, 3, 2, crossing=Crossing.ANCHOR, anchors=2)
    rows = plan(p, STUDY)
    larger = replace(p, cases=(*p.cases, "new0", "new1", "new2"))
    more = extended(larger, STUDY, rows, leave_out=("r1",))
    assert {r.reader for r in more} == {"r0", "r2"}
    assert {r.case for r in more if not r.training} == {"new0", "new1", "new2"}


@LIGHT
@given(protocols(Order.INDEPENDENT))
def test_no_arm_stands_thrice_in_a_row_where_it_need_not(p: Protocol) -> None:
    rows = plan(p, STUDY)
    for reader in p.readers:
        for own in of_sessions(of_reader(rows, reader)):
            first = [r for r in own if r.replicate == 1]
            counts = Counter(r.arm for r in first)
            avoidable = all(n <= 2 * (len(first) - n + 1) for n in counts.values())
            if avoidable and len(first) == len(own):
                assert longest_run(r.arm for r in own) <= 2


@LIGHT
@given(protocols(Order.INDEPENDENT))
def test_an_arm_is_first_as_often_as_any_other(p: Protocol) -> None:
    rows = plan(replace(p, design=replace(p.design, repeats=0)), STUDY)
    for reader in p.readers:
        own = of_reader(rows, reader)
        orders = {c: tuple(r.arm for r in own if r.case == c) for c in {r.case for r in own}}
        if len(orders) < 4:
            continue
        for place in range(len(p.arms)):
            counts = Counter(order[place] for order in orders.values())
            assert max(counts.values()) - min(counts.get(a.id, 0) for a in p.arms) <= 1


@pytest.mark.parametrize("arms", [2, 3, 4, 5])
def test_arms_are_balanced_over_readers_of_a_case(arms: int) -> None:
    names = tuple("abcde"[:arms])
    for rank in range(7):
        orders = [arm_order(names, 3, STUDY, reader, rank) for reader in range(arms)]
        for place in range(arms):
            assert {order[place] for order in orders} == set(names)


@pytest.mark.parametrize("size", range(1, 9))
def test_williams_squares_balance_places_and_what_follows_what(size: int) -> None:
    rows = williams(size)
    squares = len(rows) // size
    for place in range(size):
        assert set(Counter(row[place] for row in rows).values()) == {squares}
    follows = Counter(pair for row in rows for pair in pairwise(row))
    assert len(follows) == size * (size - 1)
    assert len(set(follows.values())) <= 1


def test_arms_of_a_case_fall_into_different_sessions() -> None:
    rows = plan(protocol(12, 3, 3, sessions=3), STUDY)
    for reader in ("r0", "r1", "r2"):
        own = of_reader(rows, reader)
        for case in {r.case for r in own}:
            assert sorted(r.session for r in own if r.case == case) == [1, 2, 3]
        for session in of_sessions(own):
            assert set(Counter(r.arm for r in session).values()) == {4}


@pytest.mark.parametrize(("arms", "sessions"), [(1, 2), (2, 3), (3, 2), (4, 2), (2, 2), (5, 3)])
def test_sessions_are_filled_evenly(arms: int, sessions: int) -> None:
    load = Counter(
        session_of(place, arms, sessions, shift)
        for shift in range(sessions)
        for place in range(arms)
    )
    assert set(load) == set(range(1, sessions + 1))
    assert set(load.values()) == {arms}


@pytest.mark.parametrize("readers", [2, 3])
@pytest.mark.parametrize(("cases", "arms"), [(6, 3), (12, 3), (20, 2), (40, 4), (30, 1)])
def test_a_case_keeps_its_distance_from_itself(cases: int, arms: int, readers: int) -> None:
    rows = plan(protocol(cases, readers, arms, case_gap=5), STUDY)
    for n in range(readers):
        gap = least_gap(of_reader(rows, f"r{n}"))
        assert gap is None if arms == 1 else gap is not None and gap >= 5


def test_a_short_list_keeps_the_distance_it_can() -> None:
    rows = plan(protocol(3, 1, 2, case_gap=5), STUDY)
    assert least_gap(of_reader(rows, "r0")) == 3


@pytest.mark.parametrize("seed", range(4))
def test_repeats_keep_their_distance_and_are_spread_over_arms(seed: int) -> None:
    p = protocol(20, 2, 3, seed, repeats=6, repeat_gap=20, case_gap=5)
    for reader in p.readers:
        own = of_reader(plan(p, STUDY), reader)
        again = [r for r in own if r.replicate == 2]
        assert len(again) == 6 and len(own) == 66
        assert Counter(r.arm for r in again) == {"a0": 2, "a1": 2, "a2": 2}
        assert len({r.case for r in again}) == 6
        repeat_gap, case_gap = least_gap(own, repeats=True), least_gap(own)
        assert repeat_gap is not None and repeat_gap >= 20
        assert case_gap is not None and case_gap >= 5
        assert longest_run(r.arm for r in own) <= 2


@LIGHT
@given(protocols())
def test_a_repeat_comes_after_its_original(p: Protocol) -> None:
    rows = plan(p, STUDY)
    for reader in p.readers:
        seen: set[tuple[str, str]] = set()
        for r in of_reader(rows, reader):
            assert ((r.case, r.arm) in seen) == (r.replicate == 2)
            seen.add((r.case, r.arm))


def test_repeats_of_an_earlier_session_stand_in_the_last_one() -> None:
    own = of_reader(plan(protocol(20, 1, 2, sessions=2, repeats=5), STUDY), "r0")
    again = [r for r in own if r.replicate == 2]
    assert len(again) == 5
    assert {r.session for r in again} == {2}


def test_a_short_list_puts_repeats_as_far_as_it_can() -> None:
    own = of_reader(plan(protocol(6, 1, 1, repeats=2, repeat_gap=20), STUDY), "r0")
    assert [r.replicate for r in own] == [1, 1, 1, 1, 1, 1, 2, 2]
    gap = least_gap(own, repeats=True)
    assert gap is not None and gap >= 5


@LIGHT
@given(protocols(Order.SEQUENTIAL))
def test_stages_of_a_case_follow_each_other(p: Protocol) -> None:
    rows, arms = plan(p, STUDY), [arm.id for arm in p.arms]
    for reader in p.readers:
        own = of_reader(rows, reader)
        assert {r.session for r in own} <= {1}
        for start in range(0, len(own), len(arms)):
            block = own[start : start + len(arms)]
            assert [r.arm for r in block] == arms
            assert [r.stage for r in block] == list(range(1, len(arms) + 1))
            assert len({(r.case, r.replicate) for r in block}) == 1


@LIGHT
@given(protocols())
def test_training_comes_first_and_the_closing_questions_last(p: Protocol) -> None:
    rows = plan(p, STUDY)
    for reader in {r.reader for r in rows}:
        own = in_order(r for r in rows if r.reader == reader)
        assert [(r.case, r.arm) for r in own[:2]] == [("t0", "a0"), ("t1", "a0")]
        assert [r.training for r in own] == [True, True] + [False] * (len(own) - 2)
        assert [r.case == "" for r in own] == [False] * (len(own) - 1) + [True]
        assert (own[-1].arm, own[-1].label) == ("", "")
        assert [r.position for r in own if r.session == 1][:2] == [1, 2]


def test_closing_questions_stay_last_when_cases_are_added() -> None:
    p = protocol(4, 1, 2)
    rows = plan(p, STUDY)
    larger = replace(p, cases=(*p.cases, "new"), training=(*p.training, TrainingCase("t9", "a1")))
    own = in_order((*rows, *extended(larger, STUDY, rows)))
    assert [r.case for r in own[:3]] == ["t0", "t1", "t9"]
    assert {r.case for r in own[-3:-1]} == {"new"}
    assert own[-1].case == ""


def test_labels_are_letters_of_each_reader_own() -> None:
    p = protocol(4, 8, 4)
    found = {reader: labels_of(p, STUDY, reader) for reader in p.readers}
    assert all(sorted(labels.values()) == ["A", "B", "C", "D"] for labels in found.values())
    assert len({tuple(labels.values()) for labels in found.values()}) > 3
    assert all(r.label == found[r.reader][r.arm] for r in plan(p, STUDY) if r.arm)
    many = labels_of(protocol(1, 1, 30), STUDY, "r0")
    assert {"Z", "AA", "AD"} < set(many.values())


def test_split_plot_groups_share_no_case_with_each_other() -> None:
    p = protocol(10, 4, 2, crossing=Crossing.SPLIT_PLOT, groups=2)
    cases = {
        reader: frozenset(r.case for r in of_reader(plan(p, STUDY), reader)) for reader in p.readers
    }
    assert Counter(cases.values()) == dict.fromkeys(cases.values(), 2)
    one, other = set(cases.values())
    assert len(one) == len(other) == 5 and not one & other


def test_anchors_are_read_by_all_and_the_rest_by_one() -> None:
    p = protocol(11, 3, 1, crossing=Crossing.ANCHOR, anchors=5)
    readers = Counter(r.case for r in plan(p, STUDY) if r.case and not r.training)
    assert {c: readers[c] for c in p.cases} == {c: 3 if c in p.cases[:5] else 1 for c in p.cases}
    for reader in p.readers:
        assert len({r.case for r in of_reader(plan(p, STUDY), reader)}) == 7


def test_who_reads_what_does_not_depend_on_the_code_of_the_study() -> None:
    p = protocol(12, 4, 1, crossing=Crossing.SPLIT_PLOT, groups=2)
    read = [{(r.reader, r.case) for r in plan(p, study)} for study in ("", "ST-1", "ST-2")]
    assert read[0] == read[1] == read[2]


def test_a_protocol_without_cases_or_arms_has_no_plan() -> None:
    assert plan(protocol(0, 2, 2), STUDY) == ()
    assert plan(protocol(3, 2, 0), STUDY) == ()


def test_an_order_minds_the_arms_before_it() -> None:
    items = [Item("x", "a"), Item("y", "b")]
    for seed in range(5):
        found = sequence([items], 1, Random(seed), before=["a", "a"])
        assert [item.arm for item in found] == ["b", "a"]


def test_a_large_plan_is_quick_enough_and_keeps_its_rules() -> None:
    p = protocol(150, 1, 6, repeats=30)
    own = of_reader(plan(p, STUDY), "r0")
    assert len(own) == 930
    assert longest_run(r.arm for r in own) == 2
    gap, repeat = least_gap(own), least_gap(own, repeats=True)
    assert gap is not None and gap >= 5
    assert repeat is not None and repeat >= 20
