"""How a run has ended, learnt from what it said last and from what it left behind."""

from __future__ import annotations

from dataclasses import dataclass

from app.services.scrub import scrubbed
from app.store import RunInfo, Store
from engine.runs import CANCELLED_CODE, PAUSED_CODE, RunFolder

LAST_WORDS = ("finished", "paused", "cancelled", "failed")
DIED = "The process ended without saying why; its last lines are shown below."
KILLED = "The process was ended from outside, or by the system for want of memory."
NOT_KEPT = "It came to its end, but its result was not stored."
NO_REASON = "It failed; its last lines are shown below."


@dataclass(frozen=True)
class Ending:
    """State of a run that is over, and why, in one sentence that may be shown."""

    state: str
    message: str = ""


def ending(store: Store, run: RunInfo, folder: RunFolder, code: int | None) -> Ending:
    """How a run whose process is gone has ended.

    Args:
        store: Where it should have left its result. run: The run as it was last known.
        folder: Its folder. code: Exit code, where this server has started it; None otherwise.
    """
    said = [e for e in folder.events(run.heard) if e.get("event") in LAST_WORDS]
    last = said[-1] if said else {}
    word = last.get("event", "")
    if word == "finished":
        return Ending("done") if _is_kept(store, run) else Ending("failed", NOT_KEPT)
    if run.state == "cancelling" or word == "cancelled" or code == CANCELLED_CODE:
        return Ending("cancelled")
    if word == "paused" or code == PAUSED_CODE:
        return Ending("paused")
    if word == "failed":
        return Ending("failed", scrubbed(str(last.get("message") or NO_REASON)))
    return Ending("failed", KILLED if code is not None and code < 0 else DIED)


def _is_kept(store: Store, run: RunInfo) -> bool:
    """Whether a run that says it is finished has left its model; others store before they say."""
    if run.kind != "training":
        return True
    return any(model.run_id == run.id for model in store.models())
