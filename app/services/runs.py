"""Runs as the administrator sees them: their state, what they say, and what is asked of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import InvalidInput, StaleRecord, StorageFailed
from app.services import processes
from app.services.context import Context
from app.services.run_progress import message_of, share_of
from app.services.run_queue import places
from app.services.run_views import RunView
from app.services.scrub import scrubbed, scrubbed_event
from app.store import RunInfo
from engine.runs import CANCEL, PAUSE

RunViews = list[RunView]
Events = list[dict[str, Any]]

MOST_WAITING = 16
MOST_LINES = 400
PAUSABLE = ("training",)
"""Kinds of runs that can rest, and go on where they were."""

ELSEWHERE = "It runs on another server, which looks after it."
UNWATCHED = (
    "Lightbox cannot look after runs on this system; please serve it from Linux or macOS (on "
    "Windows, from the Windows Subsystem for Linux)."
)

BY_NOW = "The run is in another state by now; please look at it again."


class Runs:
    """Long work in processes of its own; started by the services for data sets, training etc."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @requires(Role.ADMINISTRATOR)
    def list(self, user: User | None) -> RunViews:
        """All runs, newest first."""
        runs = self._context.store.runs()
        ahead = places(runs)
        return [_view(self._context, run, ahead) for run in runs]

    @requires(Role.ADMINISTRATOR)
    def view(self, user: User | None, run_id: int) -> RunView:
        """One run.

        Raises:
            NotFound: There is no such run.
        """
        return view_of(self._context, self._context.store.run(run_id))

    @requires(Role.ADMINISTRATOR)
    def events(self, user: User | None, run_id: int, after: int = 0) -> Events:
        """What the run has said, from event number `after` on.

        Raises:
            NotFound: There is no such run.
        """
        run = self._context.store.run(run_id)
        said = self._context.supervisor.folder(run.id).events(max(0, after))
        return [scrubbed_event(event) for event in said]

    @requires(Role.ADMINISTRATOR)
    def log(self, user: User | None, run_id: int, lines: int = 40) -> str:
        """The last lines that it printed, without paths and names of files.

        Raises:
            NotFound: There is no such run.
        """
        run = self._context.store.run(run_id)
        folder = self._context.supervisor.folder(run.id)
        return scrubbed(folder.log_tail(min(max(1, lines), MOST_LINES)))

    @requires(Role.ADMINISTRATOR)
    def pause(self, user: User | None, run_id: int) -> RunView:
        """Let a training rest at its next step.

        Raises:
            NotFound: There is no such run. InvalidInput: Runs of this kind cannot rest.
            StaleRecord: It does not run.
        """
        if self._context.store.run(run_id).kind not in PAUSABLE:
            raise InvalidInput("Only a training can be paused.")
        return self._ask(check(user, Role.ADMINISTRATOR), run_id, "pausing", PAUSE, ("running",))

    @requires(Role.ADMINISTRATOR)
    def resume(self, user: User | None, run_id: int) -> RunView:
        """Queue a training that rests or failed; it goes on where it was.

        Raises:
            NotFound: There is no such run. InvalidInput: Runs of this kind cannot go on.
            StaleRecord: It neither rests nor has failed.
        """
        who = check(user, Role.ADMINISTRATOR)
        if self._context.store.run(run_id).kind not in PAUSABLE:
            raise InvalidInput("Only a training can go on where it was; please start a new run.")
        changes = {"state": "queued", "queued": datetime.now(UTC), "message": "", "ended": None}
        return self._change(who, run_id, "run_resume", changes, ("paused", "failed"))

    @requires(Role.ADMINISTRATOR)
    def cancel(self, user: User | None, run_id: int) -> RunView:
        """End a run for good, or give up one that failed and could have gone on.

        Raises:
            NotFound: There is no such run. StaleRecord: It is over already.
        """
        who, context = check(user, Role.ADMINISTRATOR), self._context
        ended = {"state": "cancelled", "ended": datetime.now(UTC)}
        resting = ("queued", "paused", *(("failed",) if self._may_go_on(run_id) else ()))
        if context.store.change_run(run_id, ended, only_in=resting) is not None:
            context.supervisor.forget_caches(run_id)
            return self._done(who, run_id, "run_cancel")
        return self._ask(who, run_id, "cancelling", CANCEL, ("running", "pausing"))

    def _may_go_on(self, run_id: int) -> bool:
        return self._context.store.run(run_id).kind in PAUSABLE

    def _ask(self, who: User, run_id: int, state: str, word: str, only: Collection[str]) -> RunView:
        """Change the state of a live run, and tell its process."""
        view = self._change(who, run_id, f"run_{word}", {"state": state}, only)
        try:
            self._context.supervisor.folder(run_id).ask(word)
        except OSError:
            raise StorageFailed(
                "The run could not be told so yet, since the workspace cannot be written."
            ) from None
        return view

    def _change(
        self,
        who: User,
        run_id: int,
        action: str,
        changes: Mapping[str, Any],
        only: Collection[str],
    ) -> RunView:
        if self._context.store.change_run(run_id, changes, only_in=only) is None:
            raise StaleRecord(BY_NOW)
        return self._done(who, run_id, action)

    def _done(self, who: User, run_id: int, action: str) -> RunView:
        self._context.record(who, action, f"run-{run_id}")
        self._context.supervisor.wake()
        return view_of(self._context, self._context.store.run(run_id))


def queue_run(
    context: Context, who: User, kind: str, title: str, settings: Mapping[str, Any], model: str = ""
) -> RunInfo:
    """Queue a run, note it in the audit trail, and have the supervisor look.

    Args:
        kind, title, settings, model: As `Store.add_run`.

    Raises:
        InvalidInput: Too many runs of this user wait already, or none can be looked after here.
    """
    if not processes.can_watch():
        raise InvalidInput(UNWATCHED)
    waiting = [run for run in context.store.runs(("queued",)) if run.owner == who.name]
    if len(waiting) >= MOST_WAITING:
        raise InvalidInput(
            f"{MOST_WAITING} runs of yours are waiting already; please let some finish, or cancel "
            "some, before starting another."
        )
    run = context.store.add_run(kind, title, who.name, settings, model)
    context.record(who, f"run_{kind}", f"run-{run.id}", **({"model": model} if model else {}))
    context.supervisor.wake()
    return run


def view_of(context: Context, run: RunInfo) -> RunView:
    """A run as the pages are told of it."""
    return _view(context, run, places(context.store.runs()) if run.state == "queued" else {})


def _view(context: Context, run: RunInfo, ahead: Mapping[int, int]) -> RunView:
    folder = context.supervisor.folder(run.id)
    seconds = run.seconds
    if run.pid is not None and run.begun is not None:
        seconds += max(0.0, (datetime.now(UTC) - run.begun).total_seconds())
    is_elsewhere = processes.is_elsewhere(run.process)
    may_go_on = run.kind in PAUSABLE and run.state in ("paused", "failed")
    made: Any = {"kind": run.kind, "state": run.state}
    return RunView(
        **made,
        id=run.id,
        title=run.title,
        owner=run.owner,
        created=run.created,
        started=run.started,
        ended=run.ended,
        share=share_of(run, folder.path),
        message=run.message or (ELSEWHERE if is_elsewhere else message_of(run, folder.path)),
        position=ahead.get(run.id, 0),
        result=run.model if run.state == "done" else "",
        memory_mb=run.memory_mb,
        minutes=seconds / 60,
        can_pause=run.kind in PAUSABLE and run.state == "running",
        can_resume=may_go_on,
        can_cancel=may_go_on or run.state in ("queued", "running", "pausing", "paused"),
    )
