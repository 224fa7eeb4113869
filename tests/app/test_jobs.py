"""Background jobs: done once, in fair order, ended when asked; people at a page go first."""

from __future__ import annotations

import gc
import logging
import random
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import AppError, InvalidInput, NotFound, StorageFailed
from app.services.jobs import Job, Jobs, cache_key
from app.services.turnstile import Turnstile
from engine.errors import EmptyMask, EngineError, LimitExceeded
from engine.progress import Progress
from engine.records import Box, Modality

LONG = 20.0
"""Seconds after which a test gives up; none waits that long when all is well."""


class Work:
    """A computation that a test lets through portion by portion."""

    def __init__(self, portions: int = 1, result: Any = "result") -> None:
        self.portions, self.result = portions, result
        self.started, self.calls, self.made = threading.Event(), 0, 0
        self._permits = threading.Semaphore(0)

    def allow(self, portions: int | None = None) -> Work:
        self._permits.release(self.portions if portions is None else portions)
        return self

    def __call__(self, progress: Progress) -> Any:
        self.calls += 1
        progress.expect(self.portions)
        self.started.set()
        for _ in range(self.portions):
            assert self._permits.acquire(timeout=LONG)
            self.made += 1
            progress.advance(1)
        return self.result


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread is about to do."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)


def spawn(*targets: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=target, daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs()
    yield made
    made.close(LONG)


def busy(jobs: Jobs, owner: str = "somebody") -> tuple[Work, Job]:
    """Keep the only worker busy until the work is allowed to go on."""
    work = Work()
    job = jobs.submit("busy", owner, "Busy", work)
    assert work.started.wait(LONG)
    return work, job


# -- one job


def test_a_job_runs_and_gives_its_result(jobs: Jobs) -> None:
    job = jobs.submit("k", "ann", "RISE map", Work(3, result=[1, 2]).allow())
    assert (job.key, job.title, job.done) == ("k", "RISE map", 0)
    over = jobs.wait(job.id, LONG)
    assert over.is_over and over.state == "done" and over.message == ""
    assert (over.done, over.expected, over.share, over.seconds_left) == (3, 3, 1.0, 0.0)
    assert jobs.result(job.id) == [1, 2]


def test_submit_and_status_answer_while_work_goes_on(jobs: Jobs) -> None:
    work, job = busy(jobs)
    assert jobs.status(job.id).state == "running"
    assert jobs.wait(job.id, 0.001).state == "running"
    with pytest.raises(NotFound):
        jobs.result(job.id)
    waiting = jobs.submit("k", "ann", "Next", Work().allow())
    assert (waiting.state, waiting.position, waiting.seconds) == ("waiting", 1, 0.0)
    work.allow()
    assert jobs.wait(waiting.id, LONG).position == 0


def test_progress_and_time_left_follow_the_clock() -> None:
    clock, work = Clock(), Work(4)
    jobs = Jobs(clock=clock)
    job = jobs.submit("k", "ann", "Map", work)
    assert work.started.wait(LONG)
    clock.now = 3.0
    first = jobs.status(job.id)
    assert (first.done, first.expected, first.share) == (0, 4, 0.0)
    assert (first.seconds, first.seconds_left) == (3.0, None)
    work.allow(1)
    until(lambda: jobs.status(job.id).done == 1)
    second = jobs.status(job.id)
    assert (second.share, second.seconds_left) == (0.25, 9.0)
    clock.now = 10.0
    work.allow(3)
    assert jobs.wait(job.id, LONG).state == "done"
    clock.now = 99.0
    assert jobs.status(job.id).seconds == 10.0
    jobs.close(LONG)


def test_work_that_states_no_total_has_no_share_and_no_estimate(jobs: Jobs) -> None:
    reached, go = threading.Event(), threading.Event()

    def work(progress: Progress) -> None:
        progress.advance(5)
        reached.set()
        assert go.wait(LONG)

    job = jobs.submit("k", "ann", "Map", work)
    assert reached.wait(LONG)
    now = jobs.status(job.id)
    assert (now.done, now.expected, now.share, now.seconds_left) == (5, 0, 0.0, None)
    go.set()
    assert jobs.wait(job.id, LONG).share == 1.0


# -- done once


def test_a_key_is_computed_once_waiting_running_or_done(jobs: Jobs) -> None:
    blocker, _ = busy(jobs)
    work, never = Work(), Work()
    first = jobs.submit("k", "ann", "Map", work)
    waiting = jobs.submit("k", "ben", "Map", never)
    assert (waiting.id, waiting.state) == (first.id, "waiting")
    blocker.allow()
    assert work.started.wait(LONG)
    running = jobs.submit("k", "cat", "Map", never)
    assert (running.id, running.state) == (first.id, "running")
    work.allow()
    jobs.wait(first.id, LONG)
    done = jobs.submit("k", "dan", "Map", never)
    assert (done.id, done.state) == (first.id, "done")
    assert [jobs.result(first.id, owner=name) for name in ("ann", "ben", "cat", "dan")] == [
        "result"
    ] * 4
    assert (work.calls, never.calls) == (1, 0)


def test_simultaneous_requests_share_one_job(jobs: Jobs) -> None:
    barrier, work, found = threading.Barrier(16), Work(), list[str]()

    def ask() -> None:
        barrier.wait(LONG)
        found.append(jobs.submit("k", threading.current_thread().name, "Map", work).id)

    threads = spawn(*[ask] * 16)
    join(threads)
    work.allow()
    assert len(found) == 16 and len(set(found)) == 1
    assert jobs.wait(found[0], LONG).state == "done"
    assert work.calls == 1


def test_a_failed_job_is_tried_again(jobs: Jobs) -> None:
    def fail(progress: Progress) -> None:
        raise EmptyMask("The region has no pixel.")

    first = jobs.wait(jobs.submit("k", "ann", "Map", fail).id, LONG)
    second = jobs.submit("k", "ann", "Map", Work().allow())
    assert first.state == "failed" and second.id != first.id
    assert jobs.wait(second.id, LONG).state == "done"


def test_what_was_forgotten_is_computed_anew(jobs: Jobs) -> None:
    work = Work()
    first = jobs.submit("k", "ann", "Map", work)
    jobs.forget("k")
    assert jobs.submit("k", "ann", "Map", work).id == first.id  # it is not over
    work.allow()
    jobs.wait(first.id, LONG)
    jobs.forget("k")
    jobs.forget("unknown")
    with pytest.raises(NotFound):
        jobs.status(first.id)
    second = jobs.submit("k", "ann", "Map", work.allow())
    jobs.wait(second.id, LONG)
    assert work.calls == 2


# -- cancelling


def test_cancelled_while_waiting_never_runs(jobs: Jobs) -> None:
    blocker, _ = busy(jobs)
    work = Work()
    job = jobs.submit("k", "ann", "Map", work)
    behind = jobs.submit("l", "ann", "Other", Work().allow())
    assert behind.position == 2
    cancelled = jobs.cancel(job.id, "ann")
    assert (cancelled.state, cancelled.position, cancelled.seconds) == ("cancelled", 0, 0.0)
    assert jobs.wait(job.id, 0.0).state == "cancelled"
    assert jobs.status(behind.id).position == 1
    blocker.allow()
    assert jobs.wait(behind.id, LONG).state == "done"
    assert work.calls == 0


def test_cancelled_while_running_stops_at_the_next_advance(jobs: Jobs) -> None:
    work = Work(5)
    job = jobs.submit("k", "ann", "Map", work.allow(2))
    until(lambda: jobs.status(job.id).done == 2)
    stopping = jobs.cancel(job.id, "ann")
    assert (stopping.state, stopping.message) == ("running", "It will stop in a moment.")
    work.allow(3)
    over = jobs.wait(job.id, LONG)
    assert (over.state, over.message, over.seconds_left) == ("cancelled", "", None)
    assert work.made == 3
    with pytest.raises(NotFound):
        jobs.result(job.id)
    assert jobs.cancel(job.id, "ann").state == "cancelled"


def test_nobody_joins_a_job_that_is_stopping(jobs: Jobs) -> None:
    work, again = Work(), Work().allow()
    first = jobs.submit("k", "ann", "Map", work)
    assert work.started.wait(LONG)
    jobs.cancel(first.id, "ann")
    second = jobs.submit("k", "ben", "Map", again)
    assert second.id != first.id
    work.allow()
    assert jobs.wait(second.id, LONG).state == "done"
    assert jobs.status(first.id).state == "cancelled"
    assert jobs.submit("k", "cat", "Map", work).id == second.id


def test_work_that_swallows_the_cancellation_is_cancelled_all_the_same(jobs: Jobs) -> None:
    started, go, refusals = threading.Event(), threading.Event(), list[int]()

    def stubborn(progress: Progress) -> str:
        started.set()
        assert go.wait(LONG)
        for _ in range(2):
            try:
                progress.advance(1)
            except EngineError:
                refusals.append(progress.done)
        return "half a result"

    job = jobs.submit("k", "ann", "Map", stubborn)
    assert started.wait(LONG)
    jobs.cancel(job.id, "ann")
    go.set()
    assert jobs.wait(job.id, LONG).state == "cancelled"
    assert refusals == [1, 2]
    with pytest.raises(NotFound):
        jobs.result(job.id)


@pytest.mark.parametrize("is_running", [True, False])
def test_one_of_two_watchers_only_detaches(jobs: Jobs, is_running: bool) -> None:
    blocker, _ = busy(jobs)
    work = Work()
    job = jobs.submit("k", "ann", "Map", work)
    jobs.submit("k", "ben", "Map", work)
    if is_running:
        blocker.allow()
        assert work.started.wait(LONG)
    assert jobs.cancel(job.id, "ann").state == ("running" if is_running else "waiting")
    with pytest.raises(NotFound):
        jobs.status(job.id, owner="ann")
    assert jobs.watched("ann") == ()
    with pytest.raises(NotFound):
        jobs.cancel(job.id, "ann")  # a second click must not end it for the other
    blocker.allow()
    work.allow()
    assert jobs.wait(job.id, LONG, owner="ben").state == "done"


def test_the_last_watcher_ends_it(jobs: Jobs) -> None:
    work = Work(2)
    job = jobs.submit("k", "ann", "Map", work)
    jobs.submit("k", "ben", "Map", work)
    assert work.started.wait(LONG)
    jobs.cancel(job.id, "ann")
    jobs.cancel(job.id, "ben")
    work.allow()
    assert jobs.wait(job.id, LONG).state == "cancelled"
    assert work.made == 1


def test_a_job_is_hidden_from_those_who_do_not_watch_it(jobs: Jobs) -> None:
    job = jobs.submit("k", "ann", "Map", Work().allow())
    for ask in (
        lambda: jobs.status(job.id, owner="eve"),
        lambda: jobs.wait(job.id, 0.0, owner="eve"),
        lambda: jobs.result(job.id, owner="eve"),
        lambda: jobs.cancel(job.id, "eve"),
        lambda: jobs.status("no such job"),
    ):
        with pytest.raises(NotFound, match="There is no such computation"):
            ask()
    assert jobs.watched("eve") == ()
    assert jobs.wait(job.id, LONG).state == "done"


# -- failures


@pytest.mark.parametrize(
    "error", [EmptyMask("The region has no pixel."), StorageFailed("The disk is full.")]
)
def test_a_foreseen_failure_is_told_in_its_own_words(jobs: Jobs, error: Exception) -> None:
    def fail(progress: Progress) -> None:
        raise error

    over = jobs.wait(jobs.submit("k", "ann", "Map", fail).id, LONG)
    assert (over.state, over.message) == ("failed", str(error))


def test_an_unforeseen_failure_is_told_by_a_reference(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(progress: Progress) -> None:
        raise ValueError("/data/Doe^Jane.dcm")

    with caplog.at_level(logging.INFO):
        over = jobs.wait(jobs.submit("k", "ann", "Map", fail).id, LONG)
    assert over.state == "failed"
    reference = over.message.removeprefix("Something went wrong (ref ").removesuffix(").")
    assert len(reference) == 4 and int(reference, 16) >= 0
    assert f"ref {reference}: ValueError at " in caplog.text
    assert "Doe" not in caplog.text + over.message and "ann" not in caplog.text


def test_the_worker_survives_a_failure(jobs: Jobs) -> None:
    def fail(progress: Progress) -> None:
        raise ZeroDivisionError

    jobs.submit("k", "ann", "Map", fail)
    after = jobs.submit("l", "ann", "Map", Work().allow())
    assert jobs.wait(after.id, LONG).state == "done"


# -- fairness


def starts(jobs: Jobs, asked: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Order in which jobs (owner, key) start, and the order that their positions foretold."""
    order: list[str] = []
    blocker, _ = busy(jobs)
    made = {
        key: jobs.submit(key, owner, key, lambda progress, key=key: order.append(key))
        for owner, key in asked
    }
    foretold = sorted(made, key=lambda key: jobs.status(made[key].id).position)
    blocker.allow()
    for job in made.values():
        assert jobs.wait(job.id, LONG).state == "done"
    return order, foretold


def test_owners_take_turns(jobs: Jobs) -> None:
    asked = [("ann", f"a{n}") for n in range(5)] + [("ben", "b0"), ("ben", "b1"), ("cat", "c0")]
    order, foretold = starts(jobs, asked)
    assert order == ["a0", "b0", "c0", "a1", "b1", "a2", "a3", "a4"]
    assert foretold == order


def test_a_newcomer_goes_before_the_second_job_of_another(jobs: Jobs) -> None:
    first, seconds, other = Work(), Work().allow(), Work().allow()
    running = jobs.submit("a0", "ann", "Map", first)
    assert first.started.wait(LONG)
    second = jobs.submit("a1", "ann", "Map", seconds)
    newcomer = jobs.submit("b0", "ben", "Map", other)
    assert jobs.status(second.id).position == 2
    assert jobs.status(newcomer.id).position == 1
    first.allow()
    assert {jobs.wait(job.id, LONG).state for job in (running, second, newcomer)} == {"done"}


def test_a_shared_job_stands_in_the_line_of_each_watcher(jobs: Jobs) -> None:
    blocker, _ = busy(jobs)
    ids = [jobs.submit(f"a{n}", "ann", "Map", Work().allow()).id for n in range(4)]
    assert jobs.submit("a3", "ben", "Map", Work()).position == 2
    assert [jobs.status(job).position for job in ids] == [1, 3, 4, 2]
    jobs.cancel(ids[3], "ben")
    assert [jobs.status(job).position for job in ids] == [1, 2, 3, 4]
    assert [job.position for job in jobs.watched("ann")] == [1, 2, 3, 4]
    blocker.allow()


def test_one_owner_cannot_fill_the_queue() -> None:
    jobs = Jobs(most_waiting=2)
    blocker, _ = busy(jobs)
    for n in range(2):
        jobs.submit(f"a{n}", "ann", "Map", Work().allow())
    with pytest.raises(LimitExceeded, match="2 computations of yours are waiting"):
        jobs.submit("a2", "ann", "Map", Work())
    assert len(jobs.watched("ann")) == 2
    assert jobs.submit("a0", "ann", "Map", Work()).position == 1
    assert jobs.submit("busy", "ann", "Busy", Work()).state == "running"
    assert jobs.submit("b0", "ben", "Map", Work().allow()).state == "waiting"
    blocker.allow()
    jobs.close(LONG)


def test_two_workers_run_two_jobs_at_once() -> None:
    jobs, meeting = Jobs(workers=2), threading.Barrier(2)
    ids = [
        jobs.submit(key, "ann", "Map", lambda progress: meeting.wait(LONG)).id for key in ("a", "b")
    ]
    assert [jobs.wait(job, LONG).state for job in ids] == ["done", "done"]
    jobs.close(LONG)
    with pytest.raises(ValueError, match="at least 1"):
        Jobs(workers=0)


# -- memory and the end


class Large:
    """Something that can be watched by a weak reference."""


def test_only_so_many_past_jobs_are_remembered() -> None:
    jobs = Jobs(remembered=2)
    result = Large()
    gone = weakref.ref(result)
    first = jobs.submit("a", "ann", "Map", Work(result=result).allow())
    jobs.wait(first.id, LONG)
    del result
    second = jobs.submit("b", "ann", "Map", Work().allow())
    jobs.wait(second.id, LONG)
    gc.collect()
    assert gone() is not None
    assert jobs.submit("a", "ann", "Map", Work()).id == first.id  # now "b" is the older one
    third = jobs.submit("c", "ann", "Map", Work().allow())
    jobs.wait(third.id, LONG)
    assert [job.id for job in jobs.watched("ann")] == [first.id, third.id]
    with pytest.raises(NotFound):
        jobs.result(second.id)
    for key in ("d", "e"):
        jobs.wait(jobs.submit(key, "ann", "Map", Work().allow()).id, LONG)
    gc.collect()
    assert gone() is None
    assert jobs.submit("a", "ann", "Map", Work().allow()).id != first.id
    jobs.close(LONG)


def test_what_the_work_holds_is_released_when_it_is_over(jobs: Jobs) -> None:
    held = Large()
    gone = weakref.ref(held)
    job = jobs.submit("k", "ann", "Map", lambda progress, held=held: None)
    del held
    jobs.wait(job.id, LONG)
    jobs.wait(jobs.submit("l", "ann", "Map", Work().allow()).id, LONG)
    gc.collect()
    assert gone() is None


def test_close_cancels_all_and_ends_the_threads() -> None:
    before = set(threading.enumerate())
    jobs = Jobs(workers=2)
    works = [Work(2) for _ in range(4)]
    ids = [jobs.submit(str(n), "ann", "Map", work).id for n, work in enumerate(works)]
    assert works[0].started.wait(LONG) and works[1].started.wait(LONG)
    closing = spawn(lambda: jobs.close(LONG))
    until(lambda: jobs.status(ids[3]).state == "cancelled")
    for work in works:
        work.allow()
    join(closing)
    assert [jobs.status(job).state for job in ids] == ["cancelled"] * 4
    assert [work.made for work in works] == [1, 1, 0, 0]
    assert set(threading.enumerate()) <= before
    with pytest.raises(AppError, match="shutting down"):
        jobs.submit("k", "ann", "Map", Work())
    jobs.close()


def test_close_ends_idle_threads() -> None:
    before = set(threading.enumerate())
    jobs = Jobs(workers=3)
    jobs.wait(jobs.submit("k", "ann", "Map", Work().allow()).id, LONG)
    jobs.close(LONG)
    assert set(threading.enumerate()) <= before


def test_close_gives_up_on_a_portion_that_takes_too_long() -> None:
    jobs = Jobs()
    work, job = busy(jobs)
    jobs.close(0.01)
    assert jobs.status(job.id).state == "running"
    work.allow()
    assert jobs.wait(job.id, LONG).state == "cancelled"


def test_no_thread_starts_before_the_first_job() -> None:
    before = set(threading.enumerate())
    jobs = Jobs(workers=3)
    assert set(threading.enumerate()) <= before
    jobs.close()


def test_many_users_at_once_leave_nothing_behind() -> None:
    jobs = Jobs(workers=3, remembered=500, most_waiting=500)

    def work(key: str) -> Callable[[Progress], str]:
        def run(progress: Progress) -> str:
            progress.expect(3)
            for _ in range(3):
                progress.advance(1)
            return key

        return run

    asked: list[tuple[str, Job]] = []

    def user(name: str) -> None:
        chance = random.Random(name)
        for _ in range(60):
            key = str(chance.randrange(20))
            job = jobs.submit(key, name, key, work(key))
            asked.append((name, job))
            if chance.random() < 0.3:
                jobs.cancel(job.id, name)

    join(spawn(*[lambda name=f"user{n}": user(name) for n in range(6)]))
    over = [jobs.wait(job.id, LONG) for _, job in asked]
    assert {job.state for job in over} <= {"done", "cancelled"}
    done = {job.id: job for job in over if job.state == "done"}
    assert len({job.key for job in done.values()}) == len(done)  # each key was kept once
    assert all(jobs.result(job.id) == job.key for job in done.values())
    jobs.close(LONG)


# -- keys


class Mode(Enum):
    LARGE = "large"


@dataclass(frozen=True)
class Setting:
    size: int
    box: Box | None = None


PARTS: tuple[Any, ...] = (
    ["aa", "bb"],
    "ww",
    "rise",
    "malignant",
    {"masks": 4000, "p": 0.5},
    {0: 3},
)


def test_a_key_is_the_digest_of_canonical_json() -> None:
    key = cache_key(*PARTS)
    assert key == cache_key(*PARTS)
    assert key == cache_key(
        ("aa", "bb"), "ww", "rise", "malignant", MappingProxyType({"p": 0.5, "masks": 4000}), {0: 3}
    )
    # printf '["a",{"b":1}]' | sha256sum
    assert cache_key("a", {"b": 1}) == (
        "3d6f51e1fd2489c7f062f0347a710fa6a5f238bdd8c8bf55741236400da86492"
    )


@pytest.mark.parametrize("position", range(len(PARTS)))
def test_every_part_counts(position: int) -> None:
    changed = list(PARTS)
    changed[position] = None
    assert cache_key(*changed) != cache_key(*PARTS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ab", ["a", "b"]),
        (1, True),
        (1, "1"),
        (None, "null"),
        (Setting(1), Setting(2)),
        (Setting(1, Box(0, 0, 1, 1)), Setting(1, Box(0, 0, 1, 2))),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(4, np.float32), np.zeros(4, np.int32)),
        (np.array([True, False]), np.array([False, True])),
    ],
)
def test_different_parts_give_different_keys(one: object, other: object) -> None:
    assert cache_key(one) != cache_key(other)
    assert cache_key(one) == cache_key(replace(one) if isinstance(one, Setting) else one)


def test_numpy_values_and_enumerations_count_by_their_value() -> None:
    assert cache_key(np.int64(3), Mode.LARGE, Modality.MRI) == cache_key(3, "large", "mri")
    array = np.arange(12).reshape(3, 4)
    assert cache_key(array.T) == cache_key(array.T.copy()) != cache_key(array)


@pytest.mark.parametrize(
    "part",
    [float("nan"), np.float32("inf"), {1, 2}, object(), b"x", Setting, np.array([None]), 1j],
)
def test_a_part_without_canonical_form_is_refused(part: object) -> None:
    with pytest.raises(InvalidInput):
        cache_key({"setting": part})


@given(
    st.dictionaries(st.text(), st.integers() | st.text() | st.floats(allow_nan=False) | st.none())
)
def test_the_order_of_settings_does_not_count(settings: dict[str, object]) -> None:
    if any(value in (float("inf"), -float("inf")) for value in settings.values()):
        with pytest.raises(InvalidInput):
            cache_key(settings)
    else:
        assert cache_key(settings) == cache_key(dict(reversed(settings.items())))


# -- turns at the models


def enter(turn: AbstractContextManager[None], name: str, order: list[str]) -> Callable[[], None]:
    def run() -> None:
        with turn:
            order.append(name)

    return run


def test_one_at_a_time() -> None:
    turns, inside, most = Turnstile(), 0, 0

    def user(n: int) -> None:
        nonlocal inside, most
        for _ in range(50):
            with turns.background() if n % 2 else turns.interactive():
                for _ in range(3):
                    inside += 1
                    most = max(most, inside)
                    inside -= 1
                    turns.give_way()

    join(spawn(*[lambda n=n: user(n) for n in range(6)]))
    assert (most, inside, turns.waiting) == (1, 0, (0, 0))


def test_people_go_before_work_and_in_the_order_they_came() -> None:
    turns, order, threads = Turnstile(), list[str](), []
    with turns.interactive():
        for count, name in enumerate(["w1", "p1", "w2", "p2"], 1):
            turn = turns.background() if name[0] == "w" else turns.interactive()
            threads += spawn(enter(turn, name, order))
            until(lambda count=count: sum(turns.waiting) == count)
        assert turns.waiting == (2, 2) and order == []
    join(threads)
    assert order == ["p1", "p2", "w1", "w2"]


def test_an_interactive_call_waits_for_one_portion_only() -> None:
    turns, order, threads = Turnstile(), list[str](), []
    with turns.background():
        for portion in range(4):
            order.append(f"portion {portion}")
            if portion == 1:
                threads += spawn(*[enter(turns.interactive(), "person", order) for _ in range(2)])
                until(lambda: turns.waiting == (2, 0))
            turns.give_way()
    join(threads)
    assert order == ["portion 0", "portion 1", "person", "person", "portion 2", "portion 3"]


def test_two_background_jobs_alternate() -> None:
    turns, order, threads = Turnstile(), list[str](), []

    def second() -> None:
        with turns.background():
            for portion in range(2):
                order.append(f"b{portion}")
                turns.give_way()

    with turns.background():
        threads += spawn(second)
        until(lambda: turns.waiting == (0, 1))
        for portion in range(3):
            order.append(f"a{portion}")
            turns.give_way()
    join(threads)
    assert order == ["a0", "b0", "a1", "b1", "a2"]


def test_only_a_background_turn_gives_way() -> None:
    turns, order, threads = Turnstile(), list[str](), []
    turns.give_way()
    with turns.interactive():
        threads += spawn(enter(turns.interactive(), "other", order))
        until(lambda: turns.waiting == (1, 0))
        with turns.background():  # still the interactive turn that it entered with
            turns.give_way()
        join(spawn(turns.give_way))
        assert order == []
    join(threads)
    with turns.background():
        threads = spawn(enter(turns.interactive(), "another", order))
        until(lambda: turns.waiting == (1, 0))
        join(spawn(turns.give_way))  # by a thread that has no turn
        assert order == ["other"]
    join(threads)
    assert order == ["other", "another"]


def test_a_thread_may_enter_again_and_keeps_its_turn_until_it_left_as_often() -> None:
    turns, order, threads = Turnstile(), list[str](), []
    with turns.background():
        with turns.interactive(), turns.background():
            threads += spawn(enter(turns.interactive(), "first", order))
            until(lambda: turns.waiting == (1, 0))
            assert order == []
            turns.give_way()
            assert order == ["first"]
            threads += spawn(enter(turns.interactive(), "second", order))
            until(lambda: turns.waiting == (1, 0))
        assert order == ["first"]
    join(threads)
    assert order == ["first", "second"]


def test_work_is_never_starved() -> None:
    turns, order, threads = Turnstile(patience=2), list[str](), []
    with turns.interactive():
        for n in range(2):
            threads += spawn(enter(turns.background(), f"w{n}", order))
            until(lambda n=n: turns.waiting == (0, n + 1))
        for n in range(6):
            threads += spawn(enter(turns.interactive(), f"p{n}", order))
            until(lambda n=n: turns.waiting == (n + 1, 2))
    join(threads)
    assert order == ["p0", "p1", "w0", "p2", "p3", "w1", "p4", "p5"]
    with pytest.raises(ValueError, match="patience"):
        Turnstile(patience=0)


def test_an_error_inside_ends_the_turn() -> None:
    turns = Turnstile()
    with pytest.raises(ZeroDivisionError), turns.background():
        raise ZeroDivisionError
    order: list[str] = []
    join(spawn(enter(turns.interactive(), "next", order)))
    assert order == ["next"]


class Interrupted(Exception):
    """What the signal raises."""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals to threads need POSIX")
@pytest.mark.parametrize("gives_way", [True, False])
def test_an_interrupt_while_waiting_leaves_the_line(gives_way: bool) -> None:
    caught: list[bool] = []

    def interrupt(*_: object) -> None:
        if not caught:
            caught.append(True)
            raise Interrupted

    turns, release, order = Turnstile(), threading.Event(), list[str]()
    main, threads = threading.get_ident(), []

    def hold() -> None:
        with turns.interactive():
            order.append("held")
            if gives_way:
                until(lambda: turns.waiting == (0, 1))
            else:
                until(lambda: turns.waiting == (1, 0))
            while not caught:  # a signal just before the main thread falls asleep does not wake it
                signal.pthread_kill(main, signal.SIGUSR1)
                time.sleep(0.005)
            assert release.wait(LONG)

    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        if gives_way:
            with pytest.raises(Interrupted), turns.background():
                threads += spawn(hold)
                until(lambda: turns.waiting == (1, 0))
                turns.give_way()
        else:
            threads += spawn(hold)
            until(lambda: order == ["held"])
            with pytest.raises(Interrupted), turns.interactive():
                order.append("never")
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert turns.waiting == (0, 0) and order == ["held"]
    release.set()
    join(threads)
    join(spawn(enter(turns.interactive(), "next", order)))
    assert order == ["held", "next"]


# -- jobs that take turns at the models


def test_a_long_job_lets_people_in_between_its_portions() -> None:
    turns, order, threads = Turnstile(), list[str](), []
    jobs = Jobs(between=turns.give_way)
    asked = threading.Event()

    def work(progress: Progress) -> str:
        with turns.background():
            progress.expect(4)
            for portion in range(4):
                order.append(f"portion {portion}")
                if portion == 1:
                    asked.set()
                    until(lambda: turns.waiting == (1, 0))
                progress.advance(1)
        return "map"

    job = jobs.submit("k", "ann", "Map", work)
    assert asked.wait(LONG)
    threads += spawn(enter(turns.interactive(), "person", order))
    assert jobs.wait(job.id, LONG).state == "done"
    join(threads)
    assert order == ["portion 0", "portion 1", "person", "portion 2", "portion 3"]
    jobs.close(LONG)


def test_a_job_cancelled_while_it_gave_way_makes_no_further_portion() -> None:
    turns = Turnstile()
    jobs, work = Jobs(between=turns.give_way), Work(5)

    def run(progress: Progress) -> None:
        with turns.background():
            work(progress)

    job = jobs.submit("k", "ann", "Map", run)
    assert work.started.wait(LONG)
    inside, leave = threading.Event(), threading.Event()

    def person() -> None:
        with turns.interactive():
            inside.set()
            assert leave.wait(LONG)

    threads = spawn(person)
    until(lambda: turns.waiting == (1, 0))
    work.allow()
    assert inside.wait(LONG)
    assert jobs.status(job.id).done == 1
    jobs.cancel(job.id, "ann")
    leave.set()
    assert jobs.wait(job.id, LONG).state == "cancelled"
    join(threads)
    assert work.made == 1 and turns.waiting == (0, 0)
    jobs.close(LONG)


def test_a_cancelled_job_gives_way_no_more() -> None:
    calls: list[int] = []
    jobs, work = Jobs(between=lambda: calls.append(1)), Work(3)
    job = jobs.submit("k", "ann", "Map", work.allow(1))
    until(lambda: jobs.status(job.id).done == 1 and calls == [1])
    jobs.cancel(job.id, "ann")
    work.allow()
    jobs.wait(job.id, LONG)
    assert (calls, work.made) == ([1], 2)
    jobs.close(LONG)
