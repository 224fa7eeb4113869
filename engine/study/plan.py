"""The plan of a study: every reading of every reader, as rows that are stored and never reshuffled.

Each row follows from the protocol, its seed and the code of the study. Cases and readers that are
added later get rows after those that are there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from random import Random
from string import ascii_uppercase

from engine.study.assign import assigned
from engine.study.chance import stream
from engine.study.latin import arm_order, session_of, shift_of
from engine.study.records import Order, Protocol, Reading
from engine.study.repeats import Distances, with_repeats
from engine.study.sequence import Item, sequence


def plan(p: Protocol, study: str) -> tuple[Reading, ...]:
    """All readings of a study.

    The order of a reader in a session follows from SHA-256 of (seed, study, reader, session).
    Positions count from 1 without a hole in each session of each reader. Training cases come
    first, in the protocol's order; the questions that are not per case come last, as one reading
    without case and arm.

    Args:
        p: A protocol that `check_protocol` finds sound.
        study: Code of the study.
    """
    return extended(p, study, ())


def extended(
    p: Protocol, study: str, existing: Sequence[Reading], leave_out: Collection[str] = ()
) -> tuple[Reading, ...]:
    """Readings to be added for cases, readers and training cases that `existing` does not have.

    Positions go on where a session ends. So a new training case, or a new case after the closing
    questions, has a late position; `order_key` puts it where it belongs.

    Args:
        p: The protocol as it is now; cases and readers are appended, nothing is taken away.
        study: Code of the study.
        existing: All rows planned before.
        leave_out: Readers who get no more readings, such as those withdrawn.
    """
    rows: dict[str, list[Reading]] = defaultdict(list)
    for reading in existing:
        rows[reading.reader].append(reading)
    held = {reader: _cases(own) for reader, own in rows.items()}
    new = assigned(p, held, leave_out)
    found: list[Reading] = []
    for reader, cases in new.items():
        found.extend(_ReaderPlan(p, study, reader, rows[reader]).added(cases))
    return tuple(found)


def readings_of(p: Protocol, study: str, reader: str, cases: Sequence[str]) -> list[Reading]:
    """The plan of one reader who reads these cases, where nothing is planned yet."""
    return _ReaderPlan(p, study, reader, ()).added(tuple(cases))


def order_key(reading: Reading) -> tuple[bool, int, bool, int]:
    """Key of the order of reading: sessions; training first; closing questions after all."""
    return not reading.case, reading.session, not reading.training, reading.position


def in_order(readings: Iterable[Reading]) -> list[Reading]:
    """The readings of one reader in the order in which they are to be read."""
    return sorted(readings, key=order_key)


def labels_of(p: Protocol, study: str, reader: str) -> dict[str, str]:
    """Blinded names of the arms for one reader: arm id to "A", "B", ..."""
    names = [_letters(n) for n in range(len(p.arms))]
    stream(p.seed, study, reader, "labels").shuffle(names)
    return {arm.id: name for arm, name in zip(p.arms, names, strict=True)}


def has_closing(p: Protocol) -> bool:
    """Whether the study ends with questions that are not per case."""
    return any(not question.per_case for question in p.questions)


def _letters(number: int) -> str:
    """A to Z, then AA, AB, ..."""
    more, letter = divmod(number, len(ascii_uppercase))
    return (_letters(more - 1) if more else "") + ascii_uppercase[letter]


def _cases(own: Iterable[Reading]) -> tuple[str, ...]:
    """Cases of the study among the rows of a reader, each once."""
    return tuple(dict.fromkeys(r.case for r in own if r.case and not r.training))


class _ReaderPlan:
    """Rows of one reader, added to those that are there."""

    def __init__(self, p: Protocol, study: str, reader: str, own: Sequence[Reading]) -> None:
        self.p, self.study, self.reader, self.own = p, study, reader, own
        self.arms = tuple(arm.id for arm in p.arms)
        self.labels = labels_of(p, study, reader)
        self.ends: dict[int, int] = defaultdict(int)
        for reading in own:
            self.ends[reading.session] = max(self.ends[reading.session], reading.position)

    def added(self, cases: tuple[str, ...]) -> list[Reading]:
        """New rows, in the order of their positions."""
        rows = self._training() if cases or self.own else []
        sequential = self.p.design.order is Order.SEQUENTIAL
        sessions = self._stages(cases) if sequential else self._independent(cases)
        for session, items in enumerate(sessions, start=1):
            rows.extend(self._row(session, item) for item in items)
        if sequential:
            rows = [self._staged(row) for row in rows]
        return [*rows, *self._closing(rows)]

    def _row(self, session: int, item: Item, training: bool = False) -> Reading:
        self.ends[session] += 1
        return Reading(
            self.reader,
            session,
            self.ends[session],
            item.case,
            item.arm,
            self.labels.get(item.arm, ""),
            item.replicate,
            training=training,
        )

    def _training(self) -> list[Reading]:
        known = {(r.case, r.arm) for r in self.own if r.training}
        return [
            self._row(1, Item(t.case, t.arm), training=True)
            for t in self.p.training
            if (t.case, t.arm) not in known and t.arm in self.labels
        ]

    def _closing(self, rows: list[Reading]) -> list[Reading]:
        """The closing questions, once, at the end of the last session that has a reading."""
        every = [*self.own, *rows]
        if not has_closing(self.p) or not every or any(not r.case for r in every):
            return []
        return [self._row(max(r.session for r in every), Item("", ""))]

    def _independent(self, cases: tuple[str, ...]) -> list[list[Item]]:
        """Items of each session: arms by Latin square, cases at random."""
        design = self.p.design
        found = []
        for session, rounds in enumerate(self._rounds(cases), start=1):
            before = self._before(session)
            found.append(sequence(rounds, design.case_gap, self._stream(session), before))
        return self._repeated(found, Distances(design.repeat_gap, design.case_gap))

    def _rounds(self, cases: tuple[str, ...]) -> list[list[list[Item]]]:
        """Per session the first readings of the cases in it, then the second ones, and so on."""
        p, sessions = self.p, max(self.p.design.sessions, 1)
        index, known = p.readers.index(self.reader), len(_cases(self.own))
        found: list[list[list[Item]]] = [[] for _ in range(sessions)]
        for rank, case in enumerate(cases if self.arms else (), start=known):
            order = arm_order(self.arms, p.seed, self.study, index, rank)
            shift = shift_of(len(order), sessions, p.seed, self.study, index, rank)
            used = [0] * sessions
            for place, arm in enumerate(order):
                session = session_of(place, len(order), sessions, shift) - 1
                if used[session] == len(found[session]):
                    found[session].append([])
                found[session][used[session]].append(Item(case, arm))
                used[session] += 1
        return found

    def _stages(self, cases: tuple[str, ...]) -> list[list[Item]]:
        """One session; each case with all its stages, and so each repeat."""
        design, size = self.p.design, max(len(self.arms), 1)
        rng = self._stream(1)
        whole = [Item(case, "") for case in rng.sample(cases, len(cases))]
        distances = Distances(-(-design.repeat_gap // size), -(-design.case_gap // size))
        (units,) = self._repeated([whole], distances, size)
        return [[unit._replace(arm=arm) for unit in units for arm in self.arms]]

    def _repeated(
        self, sessions: list[list[Item]], distances: Distances, size: int = 1
    ) -> list[list[Item]]:
        """The sessions with the repeats that this reader does not have yet."""
        wanted = self.p.design.repeats - sum(r.replicate > 1 for r in self.own)
        if wanted <= 0 or not any(sessions):
            return sessions
        last = max(n for n, one in enumerate(sessions, start=1) if one)
        rng = self._stream(last, "repeats")
        count = max(wanted // size, 1)
        filled = with_repeats(sessions[:last], count, distances, rng, self._before(last))
        return [*filled, *sessions[last:]]

    def _before(self, session: int) -> list[str]:
        """Arms that this reader has at the end of a session."""
        own = [r for r in self.own if r.session == session and r.case and not r.training]
        return [r.arm for r in in_order(own)]

    def _stream(self, session: int, *more: str) -> Random:
        """The stream of a session; rows that are added later draw from one of their own."""
        batch = [len(self.own)] if self.own else []
        return stream(self.p.seed, self.study, self.reader, session, *more, *batch)

    def _staged(self, row: Reading) -> Reading:
        """A row with its stage, in sequential reading."""
        if row.training:
            return row
        return replace(row, stage=self.arms.index(row.arm) + 1)
