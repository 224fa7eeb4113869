"""What a design comes to before anything starts: readings, overlap, time, expected intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from math import ceil

from engine.study.assign import Assigned, assigned
from engine.study.plan import has_closing, in_order, readings_of
from engine.study.records import Crossing, Order, Protocol, QuestionKind, Reading
from engine.study.sequence import LONGEST_RUN, longest_run
from engine.study.widths import COMMAND, KAPPA, SETTINGS, Setting, half_width

READING_SECONDS = 20
CLOSING_SECONDS = 6
QUESTION_SECONDS = {
    QuestionKind.SCALE: 10,
    QuestionKind.CHOICE: 10,
    QuestionKind.NUMBER: 10,
    QuestionKind.TEXT: 30,
    QuestionKind.POINT: 15,
    QuestionKind.BOX: 20,
    QuestionKind.OUTLINE: 40,
}
MOST_TRIED = 400


@dataclass(frozen=True)
class Width:
    """Expected 95 % interval of one statistic.

    Args:
        statistic: In words. cases: Cases read by two readers or more, in one arm. raters: Of such
            a case, on average. half_width: Half the expected width, for a true value of 0.6.
    """

    statistic: str
    cases: int
    raters: int
    half_width: float


@dataclass(frozen=True)
class Preview:
    """What a design comes to.

    Args:
        readings: Reader to readings, training, repeats and closing questions included.
        sessions: Reader to sittings, under the limits of a session.
        overlap: Pair of readers, in the protocol's order, to cases that both read.
        lonely: Pairs that share no case.
        minutes: Reader to estimated minutes in all.
        widths: Expected intervals; none where no case has two readers.
        notes: Sentences on how the numbers were made, and on what the lists are too short for.
    """

    readings: dict[str, int]
    sessions: dict[str, int]
    overlap: dict[tuple[str, str], int]
    lonely: tuple[tuple[str, str], ...]
    minutes: dict[str, int]
    widths: tuple[Width, ...]
    notes: tuple[str, ...]


def preview(p: Protocol) -> Preview:
    """What a design comes to; a protocol that is not finished gives what there is."""
    p = _sound(p)
    cases = assigned(p, {})
    readings = {reader: _readings(p, len(own)) for reader, own in cases.items()}
    minutes = {reader: ceil(_seconds(p, number) / 60) for reader, number in readings.items()}
    overlap = {(a, b): len(set(cases[a]) & set(cases[b])) for a, b in combinations(cases, 2)}
    return Preview(
        readings,
        {reader: _sittings(p, readings[reader], minutes[reader]) for reader in cases},
        overlap,
        tuple(pair for pair, shared in overlap.items() if shared == 0),
        minutes,
        _widths(p, cases),
        tuple(_notes(p, cases)),
    )


def _sound(p: Protocol) -> Protocol:
    """A protocol whose lists hold nothing twice and whose numbers are in range."""
    design = p.design
    return replace(
        p,
        cases=tuple(dict.fromkeys(p.cases)),
        readers=tuple(dict.fromkeys(p.readers)),
        arms=tuple({arm.id: arm for arm in p.arms}.values()),
        design=replace(
            design,
            sessions=max(design.sessions, 1),
            groups=max(design.groups, 1),
            anchors=max(design.anchors, 0),
            repeats=max(design.repeats, 0),
            repeat_gap=max(design.repeat_gap, 1),
            case_gap=max(design.case_gap, 1),
            session_minutes=max(design.session_minutes, 1),
            session_readings=max(design.session_readings, 1),
        ),
    )


def _repeats(p: Protocol, cases: int) -> int:
    """Repeats of a reader; whole cases with all their stages in sequential reading."""
    size = len(p.arms)
    if p.design.order is Order.SEQUENTIAL and p.design.repeats and size:
        return min(max(p.design.repeats // size, 1), cases) * size
    return min(p.design.repeats, cases * size)


def _readings(p: Protocol, cases: int) -> int:
    if cases == 0 or not p.arms:
        return 0
    arms = {arm.id for arm in p.arms}
    training = len({(t.case, t.arm) for t in p.training if t.arm in arms})
    return training + cases * len(p.arms) + _repeats(p, cases) + has_closing(p)


def _seconds(p: Protocol, readings: int) -> int:
    """Estimated time of all readings of one reader."""
    if readings == 0:
        return 0
    each = READING_SECONDS + sum(QUESTION_SECONDS[q.kind] for q in p.questions if q.per_case)
    closing = sum(not question.per_case for question in p.questions)
    return (readings - (closing > 0)) * each + closing * CLOSING_SECONDS


def _sittings(p: Protocol, readings: int, minutes: int) -> int:
    """Sittings of one reader, sessions filled evenly."""
    if readings == 0:
        return 0
    sessions = 1 if p.design.order is Order.SEQUENTIAL else min(p.design.sessions, readings)
    by_number = ceil(readings / sessions / p.design.session_readings)
    by_time = ceil(minutes / sessions / p.design.session_minutes)
    return sessions * max(by_number, by_time)


def _widths(p: Protocol, cases: Assigned) -> tuple[Width, ...]:
    counts = [n for n in Counter(c for own in cases.values() for c in own).values() if n > 1]
    if not counts or not p.arms:
        return ()
    raters = round(sum(counts) / len(counts))
    return tuple(
        Width(setting.title, len(counts), raters, half_width(setting, len(counts), raters))
        for setting in _settings(p)
    )


def _settings(p: Protocol) -> tuple[Setting, ...]:
    """What fits the questions: two categories, an ordered scale, one without order."""
    scales = [q for q in p.questions if q.per_case and len(q.scale) >= 2]
    two = any(len(q.scale) == 2 for q in scales)
    more = [q for q in scales if len(q.scale) > 2]
    ordered = any(q.kind is QuestionKind.SCALE or q.ordered for q in more)
    wanted = (two, ordered, bool(more))
    return tuple(s for s, fits in zip(SETTINGS, wanted, strict=True) if fits or not scales)


def _notes(p: Protocol, cases: Assigned) -> Iterable[str]:
    asked = sum(QUESTION_SECONDS[q.kind] for q in p.questions if q.per_case)
    yield (
        f"Minutes assume {READING_SECONDS} seconds for the image and {asked} for the questions of "
        "a reading."
    )
    yield (
        f"Widths of intervals are simulated for Fleiss' kappa with a true value of {KAPPA} and "
        f"equally frequent categories ({COMMAND})."
    )
    if p.design.crossing is Crossing.ANCHOR:
        yield "Cases that one reader alone reads count for means, and not for agreement."
    reader = next((r for r, own in cases.items() if own), None)
    if reader is None or not p.arms:
        return
    if _readings(p, len(cases[reader])) > MOST_TRIED:
        return
    rows = readings_of(p, "", reader, cases[reader])
    yield from _order_notes(p, in_order(r for r in rows if r.case and not r.training))


def _order_notes(p: Protocol, own: list[Reading]) -> Iterable[str]:
    """What the list of one reader is too short for."""
    if (gap := least_gap(own, repeats=True)) is not None and gap < p.design.repeat_gap:
        yield (
            f"The list is short: a hidden repeat may come {gap} positions after its original, "
            f"where {p.design.repeat_gap} are asked for."
        )
    if p.design.order is Order.SEQUENTIAL:
        return
    if (gap := least_gap(own)) is not None and gap < p.design.case_gap:
        yield (
            f"The list is short: a case may return after {gap} positions, where "
            f"{p.design.case_gap} are asked for."
        )
    longest = max(
        longest_run(r.arm for r in own if r.session == n) for n in {r.session for r in own}
    )
    if len(p.arms) > 1 and longest > LONGEST_RUN:
        yield f"One condition may stand {longest} times in a row."


def least_gap(readings: Iterable[Reading], repeats: bool = False) -> int | None:
    """Least distance within a session of two readings of one case, positions.

    Args:
        readings: Of one reader, in order.
        repeats: Only distances of a repeat from its original.
    """
    seen: dict[tuple[int, str, str], int] = {}
    least: int | None = None
    for reading in readings:
        key = (reading.session, reading.case, reading.arm if repeats else "")
        if key in seen:
            gap = reading.position - seen[key]
            least = gap if least is None else min(least, gap)
        seen[key] = reading.position
    return least
