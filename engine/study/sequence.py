"""The order of a session: random, one case kept apart from itself, no arm thrice in a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple

LONGEST_RUN = 2
ATTEMPTS = 4
LEVELS = 10


class Item(NamedTuple):
    """A case in an arm; `replicate` is 2 for a hidden repeat."""

    case: str
    arm: str
    replicate: int = 1


Rounds = Sequence[Sequence[Item]]


def sequence(rounds: Rounds, gap: int, rng: Random, before: Sequence[str] = ()) -> list[Item]:
    """All items, round by round, in random order.

    An arm stands at most twice in a row wherever any order allows it that the search finds; one
    case stands at least `gap` positions from itself where the list allows it, and otherwise as
    far as can be had. Where no order by rounds does, the rounds are mixed.

    Args:
        rounds: First readings of the cases, second ones, and so on.
        gap: Wanted distance of two readings of one case, positions.
        rng: Random stream.
        before: Arms of the readings that stand before these.
    """
    items = [item for one in rounds for item in one]
    distances = _distances(min(gap, len({item.case for item in items})))
    if _runs_avoidable(Counter(item.arm for item in items), before):
        for layout in (rounds, [items]):
            for distance in distances:
                if (found := _tried(layout, distance, rng, before)) is not None:
                    return found
    for distance in distances:
        if (found := _tried(rounds, distance, rng, None)) is not None:
            return found
    return items


def _distances(gap: int) -> list[int]:
    """Distances to try, largest first: the wanted one, and down to 1 in at most ten steps."""
    return sorted({max(1, round(gap * step / LEVELS)) for step in range(1, LEVELS + 1)})[::-1]


def run_before(before: Sequence[str]) -> tuple[str, int]:
    """The last arm, and how often it stands in a row at the end."""
    last = before[-1] if before else ""
    length = 0
    for arm in reversed(before):
        if arm != last:
            break
        length += 1
    return last, min(length, LONGEST_RUN)


def _runs_avoidable(left: Counter[str], before: Sequence[str]) -> bool:
    """Whether arms in these numbers can follow each other without three in a row."""
    last, length = run_before(before)
    total = sum(left.values())
    return all(
        number <= LONGEST_RUN * (total - number + 1) - (length if arm == last else 0)
        for arm, number in left.items()
    )


def _tried(
    rounds: Rounds, gap: int, rng: Random, before: Sequence[str] | None
) -> list[Item] | None:
    """An order from a few searches of limited length; None where they find none."""
    for _ in range(ATTEMPTS):
        found = _Search(rounds, gap, rng, before).run()
        if found is not None:
            return found
    return None


class _Search:
    """Depth-first search over shuffled rounds; `before` None lets an arm stand in any row."""

    def __init__(self, rounds: Rounds, gap: int, rng: Random, before: Sequence[str] | None) -> None:
        self.left = [rng.sample(list(one), len(one)) for one in rounds if one]
        self.numbers = [Counter(item.arm for item in one) for one in self.left]
        self.gap = gap
        self.before = list(before or ())[-LONGEST_RUN:]
        self.mind_runs = before is not None
        self.placed: list[Item] = []
        self.seen: dict[str, list[int]] = {}
        self.trail: list[tuple[int, int]] = []

    def run(self) -> list[Item] | None:
        """The order found; None when there is none, or the search grows too long."""
        total = sum(len(one) for one in self.left)
        budget = 10 * total + 2000
        cursor = [0]
        now = 0
        while len(self.placed) < total:
            budget -= 1
            if budget < 0:
                return None
            now = next(n for n, one in enumerate(self.left) if one)
            chosen = self._next(now, cursor[-1])
            if chosen is None:
                cursor.pop()
                if not self.trail:
                    return None
                self._undo()
                continue
            cursor[-1] = chosen + 1
            cursor.append(0)
            self._place(now, chosen)
        return self.placed

    def _next(self, now: int, start: int) -> int | None:
        """Index of the next item of a round that may stand here."""
        one = self.left[now]
        allowed: dict[str, bool] = {}
        for index in range(start, len(one)):
            item = one[index]
            seen = self.seen.get(item.case)
            if seen and len(self.placed) - seen[-1] < self.gap:
                continue
            if not self.mind_runs:
                return index
            if item.arm not in allowed:
                allowed[item.arm] = self._arm_may_stand(now, item.arm)
            if allowed[item.arm]:
                return index
        return None

    def _arm_may_stand(self, now: int, arm: str) -> bool:
        arms = [*self.before, *(item.arm for item in self.placed[-LONGEST_RUN:])]
        last, length = run_before(arms)
        if arm == last and length >= LONGEST_RUN:
            return False
        left = self.numbers[now].copy()
        left[arm] -= 1
        return _runs_avoidable(+left, [*arms, arm])

    def _place(self, now: int, index: int) -> None:
        item = self.left[now].pop(index)
        self.numbers[now][item.arm] -= 1
        self.seen.setdefault(item.case, []).append(len(self.placed))
        self.placed.append(item)
        self.trail.append((now, index))

    def _undo(self) -> None:
        now, index = self.trail.pop()
        item = self.placed.pop()
        self.seen[item.case].pop()
        self.numbers[now][item.arm] += 1
        self.left[now].insert(index, item)


def longest_run(arms: Iterable[str]) -> int:
    """The most often that an arm stands in a row."""
    longest, length, last = 0, 0, None
    for arm in arms:
        length = length + 1 if arm == last else 1
        longest, last = max(longest, length), arm
    return longest
