"""How far a run is, in a share and in one sentence, read from the end of what it has said."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from app.store import RunInfo
from engine.runs import EVENTS

TAIL = 16 * 1024
"""Bytes at the end of the stream of events in which the last step is looked for."""

WAITING = {
    "pausing": "It will rest after its present step.",
    "cancelling": "It will end after its present step.",
}


def share_of(run: RunInfo, folder: Path) -> float:
    """Share of a run that is done, 0 to 1."""
    if run.state == "done":
        return 1.0
    step = _last_step(folder) if run.started is not None else {}
    done, whole = _number(step.get("step")), _number(step.get("steps"))
    return min(1.0, max(0.0, done / whole)) if whole > 0 else 0.0


def message_of(run: RunInfo, folder: Path) -> str:
    """What a run is about, in one sentence; empty when there is nothing to say."""
    if run.state in WAITING:
        return WAITING[run.state]
    if run.state not in ("running", "paused"):
        return ""
    step = _last_step(folder)
    parts = [
        f"{word} {step[one]} of {step[all_]}"
        for word, one, all_ in (("epoch", "epoch", "epochs"), ("step", "step", "steps"))
        if isinstance(step.get(one), int) and isinstance(step.get(all_), int)
    ]
    loss = step.get("loss")
    parts += [f"loss {loss:.3g}"] if isinstance(loss, int | float) else []
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _last_step(folder: Path) -> dict[str, Any]:
    """The last event that tells of a step; empty when there is none near the end."""
    for line in reversed(_tail(folder / EVENTS).splitlines()):
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(said, dict) and said.get("event") == "step":
            return said
    return {}


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - TAIL))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
