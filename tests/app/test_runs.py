"""Runs: their processes outlive a server, end as they should, and tell no secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.auth import Role, User
from app.errors import InvalidInput, NotAllowed, NotFound, StaleRecord
from app.services import processes
from app.services.run_queue import order, places
from app.services.runs import MOST_WAITING
from app.services.scrub import scrubbed, scrubbed_event
from app.store import Store
from tests.app.worlds import CHIEF, World, kit, script, world

OTHER = User("other", "Other", Role.ADMINISTRATOR)


def test_a_run_is_started_and_ends(world: World) -> None:
    number = world.ask("finish")
    assert world.view(number).state == "queued" and world.view(number).position == 1
    done = world.reach(number, "done")
    view = world.view(number)
    assert done.pid is None and done.message == ""
    assert (view.share, view.position, view.can_cancel, view.can_resume) == (1.0, 0, False, False)
    assert view.started is not None and view.ended is not None and view.ended >= view.started
    assert [e["event"] for e in world.services.runs.events(CHIEF, number)] == [
        "started", "finished",
    ]  # fmt: skip
    assert [e["event"] for e in world.services.runs.events(CHIEF, number, 1)] == ["finished"]


def test_what_only_spares_time_is_removed_with_the_end(world: World) -> None:
    number = world.ask("finish")
    folder = world.supervisor.folder(number).path
    for name in ("phantoms", "decoded"):
        (folder / name).mkdir(parents=True)
        (folder / name / "x.npz").touch()
    world.reach(number, "done")
    assert not (folder / "phantoms").exists() and not (folder / "decoded").exists()
    assert (folder / "events.jsonl").exists()


def test_one_heavy_run_at_a_time_and_checks_beside_it(world: World) -> None:
    first, second, light = world.ask(), world.ask(), world.ask(kind="check")
    world.running(first)
    world.running(light)
    for _ in range(3):
        world.supervisor.tick()
    assert world.run(second).state == "queued" and world.view(second).position == 1
    (world.supervisor.folder(first).path / "enough").touch()
    world.reach(first, "done")
    world.reach(second, "running")


def test_the_queue_is_fair(world: World) -> None:
    chief = [world.ask() for _ in range(3)]
    other = [world.ask(user=OTHER) for _ in range(2)]
    runs = world.context.store.runs()
    assert [run.id for run in order(runs)] == [chief[0], other[0], chief[1], other[1], chief[2]]
    assert places(runs) == {chief[0]: 1, other[0]: 2, chief[1]: 3, other[1]: 4, chief[2]: 5}
    served = [replace(r, state="done", begun=r.created) if r.id == chief[0] else r for r in runs]
    assert [run.id for run in order(served)] == [other[0], chief[1], other[1], chief[2]]


def test_nobody_fills_the_queue(world: World) -> None:
    for _ in range(MOST_WAITING):
        world.ask()
    with pytest.raises(InvalidInput, match="waiting already"):
        world.ask()
    assert world.ask(user=OTHER) > 0


def test_a_training_rests_and_goes_on(world: World) -> None:
    number = world.ask(kind="training")
    world.running(number)
    assert world.view(number).can_pause
    assert world.services.runs.pause(CHIEF, number).state == "pausing"
    assert world.view(number).message == "It will rest after its present step."
    with pytest.raises(StaleRecord):
        world.services.runs.pause(CHIEF, number)
    rested = world.reach(number, "paused")
    assert rested.seconds > 0 and world.view(number).can_resume
    said = len(world.services.runs.events(CHIEF, number))
    assert world.services.runs.resume(CHIEF, number).state == "queued"
    again = world.running(number)
    assert again.started == rested.started and again.begun > rested.begun
    assert again.heard == said > rested.heard
    assert world.supervisor.folder(number).wanted() == ""


def test_only_trainings_rest(world: World) -> None:
    number = world.ask(kind="comparison")
    world.running(number)
    assert not world.view(number).can_pause
    with pytest.raises(InvalidInput, match="Only a training"):
        world.services.runs.pause(CHIEF, number)
    with pytest.raises(InvalidInput, match="start a new run"):
        world.services.runs.resume(CHIEF, number)


def test_runs_are_cancelled_in_every_state(world: World) -> None:
    waiting = world.ask()
    assert world.services.runs.cancel(CHIEF, waiting).state == "cancelled"
    going = world.ask(kind="training")
    world.running(going)
    assert world.services.runs.cancel(CHIEF, going).state == "cancelling"
    assert world.reach(going, "cancelled").message == ""
    resting = world.ask(kind="training")
    world.running(resting)
    world.services.runs.pause(CHIEF, resting)
    world.reach(resting, "paused")
    assert world.services.runs.cancel(CHIEF, resting).state == "cancelled"
    with pytest.raises(StaleRecord):
        world.services.runs.cancel(CHIEF, resting)
    with pytest.raises(StaleRecord):
        world.services.runs.resume(CHIEF, resting)


@pytest.mark.parametrize("state", ["queued", "paused", "failed"])
def test_a_training_that_is_given_up_keeps_no_pixels(world: World, state: str) -> None:
    number = world.ask(kind="training")
    folder = world.supervisor.folder(number).path
    for name in ("phantoms", "decoded"):
        (folder / name).mkdir()
    world.context.store.change_run(number, {"state": state})
    assert world.view(number).can_cancel
    assert world.services.runs.cancel(CHIEF, number).state == "cancelled"
    assert not (folder / "phantoms").exists() and not (folder / "decoded").exists()
    assert not world.view(number).can_resume


def test_what_failed_and_cannot_go_on_is_over(world: World) -> None:
    number = world.ask(kind="comparison")
    world.context.store.change_run(number, {"state": "failed"})
    assert not world.view(number).can_cancel
    with pytest.raises(StaleRecord):
        world.services.runs.cancel(CHIEF, number)


def test_nothing_is_started_where_processes_cannot_be_told_apart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "birth", lambda pid: "")
    with pytest.raises(InvalidInput, match="cannot look after runs on this system"):
        world.ask()
    assert world.services.runs.list(CHIEF) == []


def test_a_run_that_does_not_listen_is_ended(world: World) -> None:
    world.another(grace=0.2)
    number = world.ask("deaf")
    pid = world.running(number).pid
    world.services.runs.cancel(CHIEF, number)
    assert world.reach(number, "cancelled").message == ""
    assert pid is not None and processes.birth(pid) == ""


def test_runs_are_for_administrators_and_everything_is_on_record(world: World) -> None:
    runs = world.services.runs
    number = world.ask()
    calls: tuple[Callable[[User | None], Any], ...] = (
        lambda user: runs.list(user), lambda user: runs.view(user, number),
        lambda user: runs.events(user, number), lambda user: runs.log(user, number),
        lambda user: runs.pause(user, number), lambda user: runs.resume(user, number),
        lambda user: runs.cancel(user, number),
    )  # fmt: skip
    for call in calls:
        for user in (None, kit.ANN):
            with pytest.raises(NotAllowed):
                call(user)
    with pytest.raises(NotFound):
        runs.view(CHIEF, 999)
    runs.cancel(CHIEF, number)
    ended = world.ask("finish")
    world.reach(ended, "done")
    said = [(e.action, e.object, e.who) for e in world.services.administration.audit(CHIEF)]
    assert said[:4] == [
        ("run_end", f"run-{ended}", "chief"), ("run_adaptation", f"run-{ended}", "chief"),
        ("run_cancel", f"run-{number}", "chief"), ("run_adaptation", f"run-{number}", "chief"),
    ]  # fmt: skip


def test_a_run_is_changed_only_from_the_state_that_was_expected(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        number = store.add_run("check", "A check", "ann", {"dataset": 1}).id
        assert store.change_run(number, {"state": "running"}, only_in=("paused",)) is None
        changed = store.change_run(number, {"state": "running"}, only_in=("queued",))
        assert changed is not None and changed.state == "running"
        assert store.change_run(number, {"model": "b"}, where={"model": "a"}) is None
        claimed = store.change_run(number, {"model": "b"}, where={"model": ""})
        assert claimed is not None and claimed.model == "b"
        with pytest.raises(NotFound):
            store.run_result(number)
        store.keep_run_result(number, {"value": 1.5})
        assert store.run_result(number) == {"value": 1.5}
        with pytest.raises(InvalidInput):
            store.keep_run_result(number, {"value": float("nan")})
        with pytest.raises(InvalidInput):
            store.add_run("game", "A game", "ann", {})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('  File "/opt/x/loop.py", line 31, in step', "  File …, line 31, in step"),
        ("step 3/20, 1.5/2.5 done", "step 3/20, 1.5/2.5 done"),
        ("no such file: C:\\Users\\jane\\scan.png!", "no such file: …"),
        ("read mammo_17.DCM twice", "read … twice"),
        ("patient 20481103 of 12 cases", "patient … of 12 cases"),
        ("DOE^JANE was read", "… was read"),
        ("uid 1.2.840.10008.5 seen", "uid … seen"),
        ("Class 'Benign' has 3 cases", "Class 'Benign' has 3 cases"),
        ("key 'LB-0042' is absent", "key … is absent"),
    ],
)
def test_texts_of_a_log_are_scrubbed(text: str, kept: str) -> None:
    assert scrubbed(text) == kept
    event = scrubbed_event({"event": "x", "message": [text, {"a": text}], "step": 3})
    assert event == {"event": "x", "message": [kept, {"a": kept}], "step": 3}
