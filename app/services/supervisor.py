"""The supervisor: starts the runs that wait, watches those that run, and says how they ended.

Runs are processes of their own, which outlive this server. Their state lies in the store and in
their folders, so that another server finds them again; only one server at a time looks after them.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

from app.errors import AppError, unforeseen
from app.services import processes
from app.services.run_ends import LAST_WORDS, Ending, ending
from app.services.run_queue import lane, order
from app.settings import Settings
from app.store import RunInfo, Store
from app.store.runs import LIVE, host
from engine.runs import CANCEL, LOG, PAUSE, RunFolder

logger = logging.getLogger(__name__)

PERIOD_SECONDS = 1.0
HOLD_SECONDS = 5.0
LOST_SECONDS = 20.0
START_SECONDS = 60.0
GRACE_SECONDS = 30.0
CLOSING_SECONDS = 10.0
REAP_SECONDS = 5.0
MEMORY_SHARE = 0.85
"""Of the memory of the machine, which all runs and the processes that they start may have."""

MINUTES: Mapping[str, float] = {
    "check": 360,
    "training": 7200,
    "adaptation": 240,
    "comparison": 480,
}
"""Longest time of one attempt by kind of run."""

CACHES = ("phantoms", "decoded")
"""Folders of a run that only spare time while it may go on."""

WORDS = {"pausing": PAUSE, "cancelling": CANCEL}
NO_MEMORY = "It needed more than the {} MB of memory that runs may have, so it was stopped."
NO_TIME = "It ran longer than the {:.0f} minutes that such a run may take, so it was stopped."
NOT_STARTED = "The process could not be started."


class Supervisor:
    """Looks after the runs of a workspace, in a thread of its own once `start` was called.

    Args:
        store: Where runs are kept. settings: Of this server; the runs get the same.
        command: Arguments of the process of a run, by its number.
        memory_mb: Memory that all runs may have together; a share of the machine's when 0.
        minutes: Longest time of an attempt by kind of run.
        grace: Seconds that a cancelled run may take to end by itself.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        command: Callable[[int], Sequence[str]] | None = None,
        memory_mb: int = 0,
        minutes: Mapping[str, float] = MINUTES,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._store, self._settings = store, settings
        self._command = command or _worker
        self._memory_mb = memory_mb or int(processes.physical_mb() * MEMORY_SHARE)
        self._minutes, self._grace = minutes, grace
        mark = processes.birth(os.getpid())
        self._holder = "|".join((host(), str(os.getpid()), mark, secrets.token_hex(4)))
        self._held = float("-inf")
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._verdicts: dict[int, str] = {}
        self._asked: dict[int, float] = {}
        self._woken, self._closing = Event(), Event()
        self._thread: Thread | None = None

    def folder(self, run_id: int) -> RunFolder:
        """The folder of a run."""
        return RunFolder(self._path(run_id))

    def _path(self, run_id: int) -> Path:
        return self._settings.workspace / "runs" / str(run_id)

    def start(self) -> None:
        """Look after the runs from now on; a second call changes nothing."""
        if self._thread is None:
            self._thread = Thread(target=self._serve, name="supervisor", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Look at once, since something was asked."""
        self._woken.set()

    def close(self) -> None:
        """Stop looking; the runs go on, and the next server finds them. The store must be open."""
        self._closing.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(CLOSING_SECONDS)
        for child in self._children.values():
            if child.poll() is None:
                child.returncode = 0  # it outlives us on purpose, which Popen would complain about
        self._children.clear()
        if self._held > float("-inf"):
            try:
                self._store.release_queue(self._holder)
            except AppError as error:
                logger.warning("the queue was not released: %s", type(error).__name__)

    def tick(self) -> None:
        """Look once: end what has ended, stop what went too far, start what is next.

        Raises:
            AppError: The database is busy; the next look tries again.
        """
        if not self._hold():
            return
        used: dict[int, int] = {}
        live = self._store.runs(LIVE)
        for run in live:
            try:
                if processes.is_elsewhere(run.process):
                    self._let_be(run)
                else:
                    self._look_after(run, used)
            except OSError as error:  # a full disk must not keep the others from being looked after
                logger.warning("run %d was not looked after: %s", run.id, type(error).__name__)
        if 0 < self._memory_mb < sum(used.values()):
            largest = max(live, key=lambda run: used.get(run.id, 0))
            self._stop(largest, NO_MEMORY.format(self._memory_mb))
        self._start_next()

    def forget_caches(self, run_id: int) -> None:
        """Remove what a run keeps only to spare time: it holds pixels of patients."""
        for name in CACHES:
            shutil.rmtree(self._path(run_id) / name, ignore_errors=True)

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                self.tick()
            except AppError as error:
                logger.warning("the runs were not looked after: %s", type(error).__name__)
            except Exception as error:  # the edge of the thread; the next look tries again
                unforeseen(error, logger, "supervisor, ")
            self._woken.wait(PERIOD_SECONDS)
            self._woken.clear()

    def _hold(self) -> bool:
        """Whether this server looks after the runs; said again every few seconds."""
        now = time.monotonic()
        if now - self._held < HOLD_SECONDS:
            return True
        self._held = now if self._store.hold_queue(self._holder, _is_lost) else float("-inf")
        return self._held == now

    def _look_after(self, run: RunInfo, used: dict[int, int]) -> None:
        """Watch a run of this machine, or settle it; notes the memory that it has, megabytes."""
        child = self._children.get(run.id)
        if child is not None:
            child.poll()
        if run.pid is None:
            if _seconds_since(run.begun) > START_SECONDS:
                self._settle(run, Ending("failed", NOT_STARTED))
            return
        if processes.is_alive(run.pid, run.process):
            used[run.id] = self._watch(run, run.pid)
            return
        code = _exit_code(child)
        processes.sweep(run.pid, run.process)
        self._settle(run, ending(self._store, run, self.folder(run.id), code))

    def _let_be(self, run: RunInfo) -> None:
        """Leave a run of another machine alone, but believe what it says last.

        One that is cancelled is given up after a while, since its machine may be gone.
        """
        folder = self.folder(run.id)
        has_ended = any(each.get("event") in LAST_WORDS for each in folder.events(run.heard))
        if run.state == "cancelling":
            self._remind(run)
            asked = self._asked.setdefault(run.id, time.monotonic())
            has_ended = has_ended or time.monotonic() - asked > self._grace
        if has_ended:
            self._settle(run, ending(self._store, run, folder, None))

    def _watch(self, run: RunInfo, pid: int) -> int:
        """Repeat what is asked of a run that goes on, and stop it where it takes too long.

        Returns the memory that it has, megabytes.
        """
        memory = processes.memory_mb(pid)
        if memory > run.memory_mb + 1:
            self._store.change_run(run.id, {"memory_mb": memory}, only_in=LIVE)
        self._remind(run)
        limit = self._minutes.get(run.kind, float("inf"))
        if _seconds_since(run.begun) > limit * 60:
            self._stop(run, NO_TIME.format(limit))
        elif run.state == "cancelling":
            asked = self._asked.setdefault(run.id, time.monotonic())
            if time.monotonic() - asked > self._grace:
                self._stop(run, "")
        return memory

    def _remind(self, run: RunInfo) -> None:
        """Write down what is asked of a run, unless it is; where it fails the next look tries."""
        word = WORDS.get(run.state, "")
        with suppress(OSError):
            folder = self.folder(run.id)
            if word and folder.wanted() != word:
                folder.ask(word)

    def _stop(self, run: RunInfo, verdict: str) -> None:
        """End the processes of a run; what became of it is said at the next look."""
        if verdict:
            self._verdicts[run.id] = verdict
        if run.pid is not None:
            processes.end(run.pid, run.process)
        self.wake()

    def _settle(self, run: RunInfo, end: Ending) -> None:
        """Note how a run has ended."""
        verdict = self._verdicts.get(run.id, "")
        if verdict and end.state not in ("done", "cancelled"):
            end = Ending("failed", verdict)
        settled = self._store.change_run(
            run.id,
            {
                "state": end.state,
                "message": end.message,
                "ended": datetime.now(UTC),
                "pid": None,
                "process": "",
                "seconds": run.seconds + max(0.0, _seconds_since(run.begun)),
            },
            only_in=LIVE,
        )
        for known in (self._children, self._asked, self._verdicts):
            known.pop(run.id, None)
        if settled is None:
            return
        if end.state in ("done", "cancelled"):
            self.forget_caches(run.id)
        self._store.record(run.owner, "run_end", f"run-{run.id}", {"state": end.state})
        logger.info("run %d: %s", run.id, end.state)

    def _start_next(self) -> None:
        runs = self._store.runs()
        here = [run for run in runs if not processes.is_elsewhere(run.process)]
        busy = {lane(run.kind) for run in here if run.state in LIVE}
        for run in order(runs):
            if lane(run.kind) not in busy:
                busy.add(lane(run.kind))
                self._launch(run)

    def _launch(self, run: RunInfo) -> None:
        """Start the process of a run that waits."""
        now = datetime.now(UTC)
        try:
            folder = self.folder(run.id)
            folder.clear()
            heard = len(folder.events())
        except OSError:
            self._store.change_run(run.id, _failed(now), only_in=("queued",))
            return
        begun: dict[str, Any] = {"state": "running", "begun": now, "started": run.started or now}
        begun |= {"ended": None, "heard": heard, "message": "", "pid": None, "process": ""}
        if self._store.change_run(run.id, begun, only_in=("queued",)) is None:
            return
        try:
            child = processes.start(
                self._command(run.id), _environment(self._settings), folder.path / LOG
            )
        except OSError:
            self._store.change_run(run.id, _failed(now), only_in=LIVE)
            return
        self._children[run.id] = child
        processes.give_first(child.pid)
        known = {"pid": child.pid, "process": processes.birth(child.pid) or "gone"}
        self._store.change_run(run.id, known, only_in=LIVE)


def _exit_code(child: subprocess.Popen[bytes] | None) -> int | None:
    """Exit code of a process that is gone; None where another server has started it."""
    if child is None:
        return None
    try:
        return child.wait(REAP_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _failed(now: datetime) -> dict[str, Any]:
    return {"state": "failed", "message": NOT_STARTED, "ended": now}


def _worker(run_id: int) -> list[str]:
    return [sys.executable, "-m", "app.cli", "work", "--run", str(run_id)]


def _environment(settings: Settings) -> dict[str, str]:
    """That of this server, with its settings; passwords are not put where others can read them."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "OMP_WAIT_POLICY": "PASSIVE",  # else threads that wait take the processor from the pages
        **os.environ,
        "LIGHTBOX_WORKSPACE": str(settings.workspace.absolute()),
        "LIGHTBOX_DATABASE": settings.database.reveal(),
        "LIGHTBOX_DEVICE": settings.device,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONUNBUFFERED": "1",
    }


def _is_lost(holder: str, seen: datetime) -> bool:
    """Whether another server, last seen at a time, has gone without saying so."""
    where, pid, mark = (*holder.split("|"), "", "", "")[:3]
    if where == host() and pid.isdigit() and mark and not processes.is_alive(int(pid), mark):
        return True
    return _seconds_since(seen) > LOST_SECONDS


def _seconds_since(time: datetime | None) -> float:
    return 0.0 if time is None else (datetime.now(UTC) - time).total_seconds()
