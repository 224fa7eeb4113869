"""Who reads which cases: all of them, those of a group, or anchors and a share of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from engine.study.chance import stream, turn
from engine.study.records import Crossing, Protocol

Assigned = dict[str, tuple[str, ...]]


ANY_STUDY = ""
"""Who reads what follows from the seed alone, so that it can be shown before there is a code."""


def assigned(
    p: Protocol, held: Mapping[str, Collection[str]], leave_out: Collection[str] = ()
) -> Assigned:
    """Cases that each reader has still to be given, in the protocol's order.

    Args:
        p: The protocol.
        held: Reader to the cases given before; they stay where they are.
        leave_out: Readers who are given nothing more, such as those withdrawn.
    """
    readers = [reader for reader in p.readers if reader not in leave_out]
    if p.design.crossing is Crossing.SPLIT_PLOT:
        wanted = _by_group(p, readers)
    elif p.design.crossing is Crossing.ANCHOR:
        wanted = _with_anchors(p, readers, held)
    else:
        wanted = dict.fromkeys(readers, p.cases)
    return {
        reader: tuple(case for case in cases if case not in held.get(reader, ()))
        for reader, cases in wanted.items()
    }


def _by_group(p: Protocol, readers: Sequence[str]) -> Assigned:
    """Readers and cases fall into groups by their place in the protocol, shuffled in blocks."""
    groups = max(p.design.groups, 1)
    of_case = [turn(p.seed, ANY_STUDY, "case groups", groups, n) for n in range(len(p.cases))]
    of_reader = {
        reader: turn(p.seed, ANY_STUDY, "reader groups", groups, n)
        for n, reader in enumerate(p.readers)
    }
    return {
        reader: tuple(
            case for case, group in zip(p.cases, of_case, strict=True) if group == of_reader[reader]
        )
        for reader in readers
    }


def _with_anchors(
    p: Protocol, readers: Sequence[str], held: Mapping[str, Collection[str]]
) -> Assigned:
    """Anchors for all; each other case for the reader who has the fewest of his own."""
    anchors, others = p.cases[: p.design.anchors], p.cases[p.design.anchors :]
    taken = {case for cases in held.values() for case in cases}
    load = Counter({reader: len(set(held.get(reader, ())) - set(anchors)) for reader in readers})
    wanted = {reader: list(anchors) for reader in readers}
    for place, case in enumerate(others):
        if case in taken or not readers:
            continue
        fewest = [reader for reader in readers if load[reader] == min(load.values())]
        reader = stream(p.seed, ANY_STUDY, "own cases", place).choice(fewest)
        load[reader] += 1
        wanted[reader].append(case)
    return {reader: tuple(cases) for reader, cases in wanted.items()}
