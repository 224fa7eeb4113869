"""Whose run is next: a line for each owner, and whoever was served longest ago goes first."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from app.store import RunInfo

LANES = {"check": "light"}
"""Kinds of runs that do not wait for a training; one of each lane runs at a time."""


def lane(kind: str) -> str:
    """The lane of a kind of run: "light" beside the models, "heavy" on them."""
    return LANES.get(kind, "heavy")


def order(runs: Sequence[RunInfo]) -> list[RunInfo]:
    """Waiting runs of all lanes in the order of their start, by what ran before.

    Args:
        runs: All runs, in any order.
    """
    lanes = sorted({lane(run.kind) for run in runs})
    return [run for name in lanes for run in _order([r for r in runs if lane(r.kind) == name])]


def places(runs: Sequence[RunInfo]) -> dict[int, int]:
    """Place of each waiting run in its lane by its number, 1 for the next to start."""
    found: dict[int, int] = {}
    counts: dict[str, int] = {}
    for run in order(runs):
        name = lane(run.kind)
        found[run.id] = counts[name] = counts.get(name, 0) + 1
    return found


def _order(runs: Sequence[RunInfo]) -> list[RunInfo]:
    waiting = sorted((run for run in runs if run.state == "queued"), key=lambda r: (r.queued, r.id))
    past = sorted((r for r in runs if r.begun is not None), key=lambda r: str(r.begun))
    served = {run.owner: place for place, run in enumerate(past, 1)}
    lines: dict[str, deque[RunInfo]] = {}
    for run in waiting:
        lines.setdefault(run.owner, deque()).append(run)
    made: list[RunInfo] = []
    while lines:
        owner = min(lines, key=lambda name: served.get(name, 0))
        made.append(lines[owner].popleft())
        served[owner] = len(past) + len(made)
        if not lines[owner]:
            del lines[owner]
    return made
