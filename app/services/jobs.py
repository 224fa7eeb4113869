"""Long computations in the background: queued fairly, watched, cancelled, and done once."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from threading import Condition, Event, Thread
from typing import Any, Literal, TypeVar

import numpy as np

from app.errors import AppError, InvalidInput, NotFound, unforeseen
from engine.errors import Cancelled, EngineError, LimitExceeded
from engine.progress import Progress

logger = logging.getLogger(__name__)

T = TypeVar("T")
State = Literal["waiting", "running", "done", "failed", "cancelled"]

REMEMBERED = 256
MOST_WAITING = 64
CLOSING_SECONDS = 10.0


@dataclass(frozen=True)
class Job:
    """A long computation as it stood when it was asked about.

    Args:
        id: Its handle, drawn at random. key: Digest of all that its result depends on.
        title: What it computes, in words, without identifiers.
        state: "running" until the work has really stopped, also after it was cancelled.
        done: Evaluations made. expected: Evaluations in all; 0 until the work has said so.
        share: `done` over `expected`, 0 to 1.
        seconds: Time since it started; 0 while it waits.
        seconds_left: Estimate from the pace so far; None until there is one.
        message: Why it failed or what it is about to do, in one sentence; empty otherwise.
        position: Place in the queue, 1 for the next to start; 0 once it has started.
    """

    id: str
    key: str
    title: str
    state: State
    done: int = 0
    expected: int = 0
    share: float = 0.0
    seconds: float = 0.0
    seconds_left: float | None = None
    message: str = ""
    position: int = 0

    @property
    def is_over(self) -> bool:
        """True when nothing of it will change any more."""
        return self.state in ("done", "failed", "cancelled")


@dataclass(eq=False)
class _Record:
    """A job as it changes; its fields are written under the lock of `Jobs` only."""

    key: str
    title: str
    work: Callable[[Progress], Any] | None
    progress: Progress
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    owners: set[str] = field(default_factory=set)
    state: State = "waiting"
    stopping: bool = False
    started: float | None = None
    ended: float | None = None
    message: str = ""
    result: Any = None
    over: Event = field(default_factory=Event)


class _Queue:
    """Waiting jobs, a line for each owner; whoever was served longest ago goes first.

    A job that several owners watch stands in the line of each.
    """

    def __init__(self) -> None:
        self._lines: dict[str, deque[_Record]] = {}
        self._served: dict[str, int] = {}

    def length(self, owner: str) -> int:
        """Jobs in the line of an owner."""
        return len(self._lines.get(owner, ()))

    def put(self, owner: str, record: _Record) -> None:
        """Stand in the line of an owner, who has not asked for it yet."""
        self._lines.setdefault(owner, deque()).append(record)

    def drop(self, record: _Record, owners: set[str]) -> None:
        """Leave the lines of these owners."""
        for owner in owners & self._lines.keys():
            if record in self._lines[owner]:
                self._lines[owner].remove(record)

    def take(self) -> _Record | None:
        """The next job, out of all lines; None when nothing waits."""
        owner, record = next(self.order(), ("", None))
        if record is not None:
            self._served[owner] = max(self._served.values(), default=0) + 1
            self.drop(record, record.owners)
        return record

    def order(self) -> Iterator[tuple[str, _Record]]:
        """All waiting jobs in the order of their start, each with the owner whose turn it takes."""
        lines = {owner: deque(line) for owner, line in self._lines.items()}
        served, gone = dict(self._served), set[_Record]()
        last = max(served.values(), default=0)
        while lines:
            owner = min(lines, key=lambda name: served.get(name, 0))
            if not lines[owner]:
                del lines[owner]
                continue
            record = lines[owner].popleft()
            if record not in gone:
                gone.add(record)
                last += 1
                served[owner] = last
                yield owner, record

    def places(self) -> dict[_Record, int]:
        """Place of each waiting job, 1 for the next to start."""
        return {record: place for place, (_, record) in enumerate(self.order(), 1)}


class Jobs:
    """Runs long computations in threads of its own.

    No lock is held while work runs, so asking, joining and cancelling always answer at once.
    Threads start with the first job.

    Args:
        workers: Jobs that run at the same time, >= 1.
        between: Called by the thread of a job after each portion, and may block; here it gives way
            to interactive use of the models (`Turnstile.give_way`).
        remembered: Jobs that are over, with their results, kept for whoever asks again. The store
            is what lasts; a result should be small, such as the number of a stored explanation.
        most_waiting: Jobs that one owner may have waiting.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        between: Callable[[], None] | None = None,
        remembered: int = REMEMBERED,
        most_waiting: int = MOST_WAITING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self._workers, self._remembered, self._most_waiting = workers, remembered, most_waiting
        self._between, self._clock = between, clock
        self._changed = Condition()
        self._records: dict[str, _Record] = {}
        self._by_key: dict[str, _Record] = {}  # those that may be joined
        self._past: dict[str, None] = {}  # ids of those that are over, longest unused first
        self._queue = _Queue()
        self._threads: list[Thread] = []
        self._closed = False

    def submit(self, key: str, owner: str, title: str, work: Callable[[Progress], T]) -> Job:
        """Have something computed, or join those who wait for the same; returns at once.

        A job that failed or was cancelled is not joined but done anew.

        Args:
            key: From `cache_key`. Whoever has the same key may see the job and its result.
            owner: Login name of who asks. title: What is computed, without identifiers.
            work: Calls `Progress.advance` after each portion, where it may be made to wait or be
                ended by `Cancelled`; it must not wait for another job.

        Raises:
            LimitExceeded: Too many jobs of this owner wait already.
            AppError: The program is shutting down.
        """
        with self._changed:
            if self._closed:
                raise AppError("Lightbox is shutting down, so nothing new can be computed.")
            record = self._by_key.get(key)
            is_new = record is None
            if record is None:
                record = self._create(key, title, work)
            if record.state == "waiting" and owner not in record.owners:
                self._check_room(owner)
                self._queue.put(owner, record)
            record.owners.add(owner)
            if is_new:
                self._records[record.id] = self._by_key[key] = record
                self._start_threads()
                self._changed.notify()
            self._use(record)
            return self._snapshot(record, self._queue.places())

    def status(self, job_id: str, *, owner: str | None = None) -> Job:
        """How a job stands.

        Args:
            owner: Where given, only a job that this user watches is found.

        Raises:
            NotFound: There is no such job, or it was over long ago.
        """
        with self._changed:
            return self._snapshot(self._find(job_id, owner), self._queue.places())

    def watched(self, owner: str) -> tuple[Job, ...]:
        """All remembered jobs that a user watches, oldest first."""
        with self._changed:
            mine = [record for record in self._records.values() if owner in record.owners]
            places = self._queue.places()
            return tuple(self._snapshot(record, places) for record in mine)

    def cancel(self, job_id: str, owner: str) -> Job:
        """Stop watching a job; it ends when nobody else watches it.

        One that waits ends now, one that runs after its present portion. Where others watch it, it
        goes on for them, and the answer is the state in which the user left it.

        Raises:
            NotFound: There is no such job, or the user does not watch it.
        """
        with self._changed:
            record = self._find(job_id, owner)
            if record.state in ("waiting", "running"):
                if len(record.owners) > 1:
                    self._queue.drop(record, {owner})
                    record.owners.discard(owner)
                else:
                    self._stop(record)
            return self._snapshot(record, self._queue.places())

    def wait(self, job_id: str, timeout: float | None = None, *, owner: str | None = None) -> Job:
        """How a job stands once it is over, or after `timeout` seconds.

        Never call it from within a job or a turn at the models, which the job may need.

        Raises:
            NotFound: There is no such job, or it was over long ago.
        """
        with self._changed:
            record = self._find(job_id, owner)
        record.over.wait(timeout)
        with self._changed:
            return self._snapshot(record, self._queue.places())

    def result(self, job_id: str, *, owner: str | None = None) -> Any:
        """What the work of a job returned.

        Raises:
            NotFound: There is no such job, or it has no result (yet).
        """
        with self._changed:
            record = self._find(job_id, owner)
            if record.state != "done":
                raise NotFound("This computation has no result.")
            return record.result

    def forget(self, key: str) -> None:
        """Have the next `submit` of a key compute anew, since what was stored of it is gone.

        Does nothing while the job waits or runs.
        """
        with self._changed:
            record = self._by_key.get(key)
            if record is not None and record.state == "done":
                self._remove(record)

    def close(self, timeout: float = CLOSING_SECONDS) -> None:
        """Cancel everything, and wait for the threads to end; the store must still be open.

        Args:
            timeout: Seconds to wait in all. A portion that takes longer dies with the process.
        """
        with self._changed:
            self._closed = True
            for record in list(self._records.values()):
                if record.state in ("waiting", "running"):
                    self._stop(record)
            self._changed.notify_all()
            threads = list(self._threads)
        until = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _create(self, key: str, title: str, work: Callable[[Progress], Any]) -> _Record:
        """A record whose progress gives way, and ends the work when it is to stop."""

        def watch(done: int, expected: int) -> None:
            if not record.stopping and self._between is not None:
                self._between()
            if record.stopping:
                raise Cancelled("The computation was cancelled.")

        record = _Record(key, title, work, Progress(watch))
        return record

    def _check_room(self, owner: str) -> None:
        if self._queue.length(owner) >= self._most_waiting:
            raise LimitExceeded(
                f"{self._most_waiting} computations of yours are waiting already; please let some "
                "finish, or cancel some, before starting another."
            )

    def _start_threads(self) -> None:
        while len(self._threads) < self._workers:
            name = f"job-{len(self._threads)}"
            thread = Thread(target=self._serve, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        """Wait for a job and do it; False when the program shuts down."""
        with self._changed:
            record = self._queue.take()
            while record is None:
                if self._closed:
                    return False
                self._changed.wait()
                record = self._queue.take()
            work = record.work
            record.state, record.started = "running", self._clock()
        state: State = "failed"
        result, message = None, ""
        try:
            if work is not None:
                result, state = work(record.progress), "done"
        except Cancelled:
            state = "cancelled"
        except (AppError, EngineError) as error:
            message = str(error)
        except Exception as error:  # the edge of the thread, as `guarded` is the edge of a page
            message = unforeseen(error, logger, "job failed, ")
        with self._changed:
            if record.stopping:  # also where the work took `Cancelled` for a mere refusal
                state, result, message = "cancelled", None, ""
            self._settle(record, state, result, message)
        return True

    def _stop(self, record: _Record) -> None:
        """End a job as soon as may be; nobody can join it any more."""
        record.stopping = True
        self._release_key(record)
        if record.state == "waiting":
            self._queue.drop(record, record.owners)
            self._settle(record, "cancelled")
        else:
            record.message = "It will stop in a moment."

    def _settle(self, record: _Record, state: State, result: Any = None, message: str = "") -> None:
        record.state, record.result, record.message = state, result, message
        record.ended, record.work = self._clock(), None  # what the work holds may be large
        if state != "done":
            self._release_key(record)
        record.over.set()
        self._past[record.id] = None
        while len(self._past) > self._remembered:
            self._remove(self._records[next(iter(self._past))])
        logger.info("job %s: %s after %.1f s", record.id, state, self._seconds(record))

    def _use(self, record: _Record) -> None:
        """Remember a past job longer, since somebody asked for it again."""
        if record.id in self._past:
            self._past[record.id] = self._past.pop(record.id)

    def _remove(self, record: _Record) -> None:
        self._release_key(record)
        self._past.pop(record.id, None)
        self._records.pop(record.id, None)

    def _release_key(self, record: _Record) -> None:
        if self._by_key.get(record.key) is record:
            del self._by_key[record.key]

    def _find(self, job_id: str, owner: str | None) -> _Record:
        record = self._records.get(job_id)
        if record is None or (owner is not None and owner not in record.owners):
            raise NotFound("There is no such computation, or it was over long ago.")
        return record

    def _seconds(self, record: _Record) -> float:
        if record.started is None:
            return 0.0
        return (self._clock() if record.ended is None else record.ended) - record.started

    def _snapshot(self, record: _Record, places: Mapping[_Record, int]) -> Job:
        done, stated = record.progress.done, record.progress.expected
        expected = max(done, stated) if stated else 0
        seconds, left = self._seconds(record), None
        share = done / expected if expected else 0.0
        if record.state == "done":
            share, left = 1.0, 0.0
        elif record.state == "running" and done and expected:
            left = seconds * (expected - done) / done
        return Job(
            id=record.id,
            key=record.key,
            title=record.title,
            state=record.state,
            done=done,
            expected=expected,
            share=share,
            seconds=seconds,
            seconds_left=left,
            message=record.message,
            position=places.get(record, 0),
        )


def cache_key(*parts: object) -> str:
    """Digest of everything that a result depends on; equal for equal parts in the same order.

    Args:
        parts: Digests of images and weights, method, target, settings, frames. Numbers, texts,
            None, enumerations, arrays, frozen records, and lists or mappings of these.

    Returns:
        SHA-256 of their canonical JSON (sorted keys, no space), hexadecimal.

    Raises:
        InvalidInput: A part has no canonical form, such as a set, or a number that is not finite.
    """
    try:
        text = json.dumps(
            parts, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain
        )
    except (TypeError, ValueError):
        raise InvalidInput("A setting of the computation is not a plain value.") from None
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> Any:
    """What JSON does not know, in its terms; arrays by digest, since masks are large."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest = hashlib.sha256(value.tobytes()).hexdigest()
        return {"array": digest, "shape": value.shape, "type": value.dtype.str}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, {f.name: getattr(value, f.name) for f in fields(value)}]
    raise TypeError("no canonical form")
