"""Hidden second readings, far from the first and anywhere after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from engine.study.sequence import LONGEST_RUN, Item, longest_run


@dataclass(frozen=True)
class Distances:
    """What a repeat keeps: positions from its original, and from other readings of its case."""

    repeat: int
    case: int


@dataclass(frozen=True)
class _First:
    """A first reading: its session and place, from 0."""

    item: Item
    session: int
    place: int


def with_repeats(
    sessions: Sequence[Sequence[Item]],
    count: int,
    distances: Distances,
    rng: Random,
    before: Sequence[str] = (),
) -> list[list[Item]]:
    """The sessions with `count` repeats put into the last one.

    Arms are repeated equally often, and cases, as far as can be. A repeat of a reading of an
    earlier session may stand anywhere; one of the last session at least `distances.repeat`
    positions after it, or, where the list is too short for that, as far as possible.

    Args:
        sessions: Items of each session, in their order.
        count: Repeats wanted; no more are made than there are items.
        distances: To be kept.
        rng: Random stream.
        before: Arms that stand before the last session's items.
    """
    filled = [list(one) for one in sessions]
    for _ in range(min(count, sum(len(one) for one in filled))):
        first, place = _choice(filled, distances, rng, before)
        filled[-1].insert(place, first.item._replace(replicate=2))
    return filled


def _choice(
    sessions: list[list[Item]], distances: Distances, rng: Random, before: Sequence[str]
) -> tuple[_First, int]:
    """The next reading to repeat, and the place in the last session where it goes."""
    open_ = _not_repeated(sessions)
    mixed = len({item.arm for item in sessions[-1]}) > 1
    again = [item for item in sessions[-1] if item.replicate > 1]
    arms, cases = Counter(i.arm for i in again), Counter(i.case for i in again)
    fair = sorted(open_, key=lambda f: (arms[f.item.arm], cases[f.item.case], rng.random()))
    for first in fair:
        place = _place(sessions, first, distances, before if mixed else None, rng)
        if place is not None:
            return first, place
    near = Distances(1, min(distances.case, 2))
    for first in sorted(open_, key=lambda f: (f.session, f.place)):
        place = _place(sessions, first, near, before if mixed else None)
        if place is not None:
            return first, place
    first = min(open_, key=lambda f: (f.session, f.place))
    return first, len(sessions[-1])


def _not_repeated(sessions: list[list[Item]]) -> list[_First]:
    repeated = {(i.case, i.arm) for one in sessions for i in one if i.replicate > 1}
    return [
        _First(item, session, place)
        for session, one in enumerate(sessions)
        for place, item in enumerate(one)
        if (item.case, item.arm) not in repeated
    ]


def _place(
    sessions: list[list[Item]],
    first: _First,
    distances: Distances,
    before: Sequence[str] | None,
    rng: Random | None = None,
) -> int | None:
    """A place of the last session where a repeat may be put in; the last one without `rng`."""
    last = sessions[-1]
    start = first.place + distances.repeat if first.session == len(sessions) - 1 else 0
    own = [place for place, item in enumerate(last) if item.case == first.item.case]
    places = list(range(start, len(last) + 1))[::-1]
    if rng is not None:
        rng.shuffle(places)
    for place in places:
        apart = all(
            place - other >= distances.case
            if other < place
            else other + 1 - place >= distances.case
            for other in own
        )
        if apart and (before is None or _short_run(last, place, first.item.arm, before)):
            return place
    return None


def _short_run(last: list[Item], place: int, arm: str, before: Sequence[str]) -> bool:
    """Whether an arm put in here makes no longer run than is allowed."""
    left = [*before, *(item.arm for item in last[max(0, place - LONGEST_RUN) : place])]
    right = [item.arm for item in last[place : place + LONGEST_RUN]]
    return longest_run([*left[-LONGEST_RUN:], arm, *right]) <= LONGEST_RUN
