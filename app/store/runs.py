"""Runs in the database: asked for, changed only from the state that was expected, never removed."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import defer

from app.errors import InvalidInput, NotFound
from app.store.database import Database, json_text, plain, serialise
from app.store.work import RunInfo
from app.store.work_tables import HolderRow, RunRow

KINDS = ("check", "training", "adaptation", "comparison")
LIVE = ("running", "pausing", "cancelling")
"""States in which there is, or should be, a process."""

STATES = ("queued", *LIVE, "paused", "cancelled", "failed", "done")
QUEUE = "queue"
_FIELDS = tuple(item.name for item in fields(RunInfo))


class RunRows(Database):
    """Keeps runs, and who looks after them."""

    def add_run(
        self, kind: str, title: str, owner: str, settings: Mapping[str, Any], model: str = ""
    ) -> RunInfo:
        """Queue a run.

        Args:
            kind: One of `KINDS`. title: In words. owner: Login name. settings: Plain values.
            model: Name of the model that shall come out of it.

        Raises:
            InvalidInput: The kind is unknown, or the settings cannot be stored.
        """
        if kind not in KINDS:
            raise InvalidInput("There is no such kind of run.")
        now = datetime.now(UTC)
        row = RunRow(
            kind=kind,
            title=plain(title)[:200],
            owner=owner,
            state="queued",
            created=now,
            queued=now,
            process="",
            heard=0,
            settings=_checked(settings),
            model=model,
            message="",
            memory_mb=0,
            seconds=0.0,
        )
        with self._writing() as session:
            session.add(row)
            session.flush()
            return _public(row)

    def run(self, run_id: int) -> RunInfo:
        """A run.

        Raises:
            NotFound: There is no such run.
        """
        with self._reading() as session:
            row = session.get(RunRow, run_id, options=[defer(RunRow.result)])
            if row is None:
                raise NotFound("There is no such run.")
            return _public(row)

    def runs(self, states: Collection[str] = STATES) -> list[RunInfo]:
        """All runs in some states, newest first."""
        wanted = select(RunRow).where(RunRow.state.in_(states)).order_by(RunRow.id.desc())
        with self._reading() as session:
            return [_public(row) for row in session.scalars(wanted.options(defer(RunRow.result)))]

    def change_run(
        self,
        run_id: int,
        changes: Mapping[str, Any],
        *,
        only_in: Collection[str] = STATES,
        where: Mapping[str, Any] | None = None,
    ) -> RunInfo | None:
        """Change fields of a run; None, and nothing changed, when it is in another state by now.

        Args:
            only_in: States in which it is changed. where: Values that fields must have still.

        Raises:
            NotFound: There is no such run.
        """
        with self._writing() as session:
            serialise(session)
            row = session.get(RunRow, run_id, options=[defer(RunRow.result)])
            if row is None:
                raise NotFound("There is no such run.")
            if row.state not in only_in:
                return None
            if any(getattr(row, name) != value for name, value in (where or {}).items()):
                return None
            for name, value in changes.items():
                setattr(row, name, plain(value) if isinstance(value, str) else value)
            session.flush()
            return _public(row)

    def run_result(self, run_id: int) -> dict[str, Any]:
        """What came out of a run.

        Raises:
            NotFound: There is no such run, or it has no result (yet).
        """
        with self._reading() as session:
            row = session.get(RunRow, run_id)
            if row is None or row.result is None:
                raise NotFound("This run has no result.")
            return dict(row.result)

    def keep_run_result(self, run_id: int, result: Mapping[str, Any]) -> None:
        """Store what came out of a run.

        Raises:
            InvalidInput: It cannot be stored.
        """
        self.change_run(run_id, {"result": _checked(result)})

    def hold_queue(self, holder: str, is_lost: Callable[[str, datetime], bool]) -> bool:
        """Look after the runs, or go on doing so; False where somebody else does.

        Args:
            holder: Who asks. is_lost: Tells from another holder and the time it was last seen
                whether it has gone without saying so.
        """
        with self._writing() as session:
            serialise(session)
            row = session.get(HolderRow, QUEUE)
            if row is None:
                row = HolderRow(what=QUEUE, holder=holder, seen=datetime.now(UTC))
                session.add(row)
            elif row.holder != holder and not is_lost(row.holder, row.seen):
                return False
            row.holder, row.seen = holder, datetime.now(UTC)
        return True

    def release_queue(self, holder: str) -> None:
        """Let somebody else look after the runs."""
        with self._writing() as session:
            serialise(session)
            row = session.get(HolderRow, QUEUE)
            if row is not None and row.holder == holder:
                session.delete(row)


def host() -> str:
    """Name of this machine, as part of a holder's."""
    return socket.gethostname()[:64]


def _checked(content: Mapping[str, Any]) -> dict[str, Any]:
    """Content that JSON can hold."""
    try:
        json_text(content)
    except (ValueError, TypeError):
        raise InvalidInput("What belongs to this run cannot be stored.") from None
    return dict(content)


def _public(row: RunRow) -> RunInfo:
    return RunInfo(**{name: getattr(row, name) for name in _FIELDS})
