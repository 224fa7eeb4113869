"""The supervisor: runs outlive a server, and end as they should, however they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.errors import StorageFailed
from app.services import processes
from app.services import supervisor as supervising
from app.services.supervisor import Supervisor
from tests.app.worlds import CHIEF, World, runs, script, world


def test_a_killed_run_is_told_and_can_be_resumed(world: World) -> None:
    number = world.ask("long", kind="training")
    pid = world.running(number).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    failed = world.reach(number, "failed")
    assert "ended from outside" in failed.message and world.view(number).can_resume
    world.services.runs.resume(CHIEF, number)
    assert world.running(number).message == ""


def test_children_of_a_dead_run_do_not_stay(world: World) -> None:
    number = world.ask("family")
    run = world.running(number)
    child = int((world.supervisor.folder(number).path / "child").read_text())
    assert processes.birth(child) != "" and run.pid is not None
    os.kill(run.pid, signal.SIGKILL)
    world.reach(number, "failed")
    world.look(lambda: processes.birth(child) == "")


def test_a_server_that_restarts_finds_its_runs_again(world: World) -> None:
    number = world.ask("long", kind="training")
    before = world.running(number)
    world.supervisor.close()
    assert before.pid is not None and processes.is_alive(before.pid, before.process)
    world.another()
    for _ in range(3):
        world.supervisor.tick()
    after = world.run(number)
    assert (after.state, after.pid, after.process) == ("running", before.pid, before.process)
    (world.supervisor.folder(number).path / "enough").touch()
    made = world.context.store.add_model(
        "made", "chief", digest="a" * 64, card_digest="b" * 64, origin="trained", run_id=number
    )
    assert made.run_id == number and world.reach(number, "done").pid is None


def test_a_run_that_died_while_no_server_looked_is_told(world: World) -> None:
    number = world.ask()
    pid = world.running(number).pid
    world.supervisor.close()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    world.another()
    assert "without saying why" in world.reach(number, "failed").message


def test_another_process_of_the_same_number_is_not_taken_for_the_run(world: World) -> None:
    number = world.ask()
    run = world.running(number)
    world.supervisor.close()
    bystander = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert run.pid is not None
        processes.end(run.pid, run.process)
        os.waitpid(run.pid, 0)
        world.context.store.change_run(number, {"pid": bystander.pid})
        world.another()
        world.reach(number, "failed")
        processes.end(bystander.pid, run.process)
        assert bystander.poll() is None
    finally:
        bystander.communicate()


def test_a_training_that_left_no_model_is_not_done(world: World) -> None:
    number = world.ask("finish", kind="training")
    assert "result was not stored" in world.reach(number, "failed").message
    assert world.view(number).can_resume


def test_too_much_memory_ends_a_run(world: World) -> None:
    world.another(memory_mb=100)
    number = world.ask("heavy")
    failed = world.reach(number, "failed")
    assert failed.message.startswith("It needed more than the 100 MB of memory")
    assert failed.memory_mb > 100 and world.view(number).memory_mb == failed.memory_mb


def test_too_much_time_ends_a_run(world: World) -> None:
    world.another(minutes={"adaptation": 0.003})
    assert "ran longer than" in world.reach(world.ask(), "failed").message


def test_the_memory_is_shared_and_the_largest_run_gives_way(world: World) -> None:
    world.another(memory_mb=150)
    small = world.ask(kind="check")
    before = world.running(small)
    failed = world.reach(world.ask("heavy"), "failed")
    assert failed.message.startswith("It needed more than the 150 MB of memory")
    assert world.run(small).state == "running" and world.run(small).pid == before.pid


@pytest.mark.skipif(not processes.PROC.joinpath("self").exists(), reason="the system has no /proc")
def test_the_system_ends_a_run_before_the_server(world: World) -> None:
    run = world.running(world.ask())
    assert processes.PROC.joinpath(str(run.pid), "oom_score_adj").read_text().strip() == "1000"


def test_what_cannot_be_written_keeps_no_run_from_being_looked_after(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = world.ask(kind="training"), world.ask("finish", kind="check")
    world.running(stuck)

    def full(folder: object, word: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.runs.RunFolder.ask", full)
    with pytest.raises(StorageFailed):
        world.services.runs.pause(CHIEF, stuck)
    world.reach(other, "done")
    assert world.run(stuck).state == "pausing"
    path = type(world.supervisor)._path
    broken = world.script.parent / "file" / "runs"
    broken.parent.touch()
    third = world.ask("finish", kind="check")
    monkeypatch.setattr(
        type(world.supervisor), "_path",
        lambda self, run_id: broken if run_id == stuck else path(self, run_id),
    )  # fmt: skip
    world.reach(third, "done")
    monkeypatch.undo()
    world.reach(stuck, "paused")


def test_a_line_torn_between_attempts_does_not_hide_a_crash(world: World) -> None:
    number = world.ask(kind="training")
    events = world.supervisor.folder(number).path / "events.jsonl"
    pid = world.running(number).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    world.reach(number, "failed")
    with events.open("a", encoding="utf-8") as stream:
        stream.write('{"event": "st')  # killed in mid-line
    world.services.runs.resume(CHIEF, number)
    world.look(lambda: world.run(number).pid not in (None, pid))
    world.services.runs.pause(CHIEF, number)
    world.reach(number, "paused")
    world.services.runs.resume(CHIEF, number)
    again = world.running(number).pid
    assert again is not None
    os.kill(again, signal.SIGKILL)
    assert "ended from outside" in world.reach(number, "failed").message


def _of_another_machine(mark: str) -> str:
    began, _, place = mark.partition("@")
    return f"{began}@{'0' * 12}.{place.partition('.')[2]}"


def test_a_run_of_another_machine_is_left_alone(world: World) -> None:
    number, store = world.ask(), world.context.store
    run = world.running(number)
    world.supervisor.close()
    world.another()
    assert len(run.process) <= 64 and processes.is_alive(run.pid or 0, run.process)
    mark = _of_another_machine(run.process)
    assert processes.is_elsewhere(mark) and not processes.is_elsewhere(run.process)
    store.change_run(number, {"process": mark})
    world.reach(world.ask("finish"), "done")  # it does not wait for the other machine
    world.look(lambda: True)
    assert world.run(number).state == "running"
    assert "another server" in world.view(number).message
    processes.end(run.pid or 0, mark)
    processes.sweep(run.pid or 0, mark)
    assert processes.is_alive(run.pid or 0, run.process)
    world.services.runs.cancel(CHIEF, number)  # both machines see the folder
    world.reach(number, "cancelled")
    world.look(lambda: not processes.is_alive(run.pid or 0, run.process))


def test_children_are_ended_only_where_machine_boot_and_time_are_those_of_the_run(
    world: World,
) -> None:
    number = world.ask("family")
    run = world.running(number)
    child = int((world.supervisor.folder(number).path / "child").read_text())
    assert run.pid is not None
    os.kill(run.pid, signal.SIGKILL)
    os.waitpid(run.pid, 0)
    began, _, place = run.process.partition("@")
    host, _, boot = place.partition(".")
    for mark in (f"{began}@{'0' * 12}.{boot}", f"{began}@{host}.{'0' * 12}", "",
                 f"{int(began) + 10**9}@{place}"):  # fmt: skip
        processes.sweep(run.pid, mark)
        assert processes.birth(child) != ""
    processes.sweep(run.pid, run.process)
    world.look(lambda: processes.birth(child) == "")


def test_a_crash_shows_its_last_lines_and_no_secret(world: World) -> None:
    number = world.ask("crash")
    assert "last lines" in world.reach(number, "failed").message
    log = world.services.runs.log(CHIEF, number)
    assert "KeyError" in log and "Traceback" in log
    for secret in ("/data", "clinic", "DOE", "JANE", "scan", "19481103", str(world.script.parent)):
        assert secret not in log
    other = world.ask("say")
    assert world.reach(other, "failed").message == "The data in … are odd."
    assert "x.dcm" not in json.dumps(world.services.runs.events(CHIEF, other))


def test_a_process_that_cannot_be_started_is_told(world: World) -> None:
    missing = str(world.script.parent / "none")
    made = Supervisor(world.context.store, world.context.settings, command=lambda run_id: [missing])
    number = world.ask()
    made.tick()
    assert (world.run(number).state, world.run(number).message) == (
        "failed", "The process could not be started.",
    )  # fmt: skip
    made.close()


def test_a_run_whose_server_died_at_its_start_is_given_up(world: World) -> None:
    number = world.ask()
    early = datetime.now(UTC) - timedelta(seconds=supervising.START_SECONDS - 30)
    world.context.store.change_run(number, {"state": "running", "begun": early})
    world.supervisor.tick()
    assert world.run(number).state == "running"
    late = early - timedelta(seconds=60)
    world.context.store.change_run(number, {"begun": late})
    world.supervisor.tick()
    assert world.run(number).state == "failed"


def test_only_one_server_looks_after_the_runs(world: World) -> None:
    first, store = world.supervisor, world.context.store
    first.tick()
    second = world.another()
    number = world.ask("finish")
    second.tick()
    assert world.run(number).state == "queued"
    first.close()
    world.supervisor = second
    world.reach(number, "done")
    second.close()
    gone = f"{supervising.host()}|{_dead_process()}|1|x"
    assert store.hold_queue(gone, lambda holder, seen: False)
    third = world.another()
    world.reach(world.ask("finish"), "done")
    third.close()


def _dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    return child.pid


def test_a_holder_on_another_machine_is_lost_after_a_while() -> None:
    now = datetime.now(UTC)
    assert not supervising._is_lost("elsewhere|1|2|x", now)
    assert supervising._is_lost("elsewhere|1|2|x", now - timedelta(seconds=60))


def test_the_thread_starts_what_waits_and_ends_with_the_server(world: World) -> None:
    number = world.ask()
    world.services.supervise()
    deadline = time.monotonic() + runs.PATIENCE
    while world.view(number).share == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run = world.run(number)
    world.supervisor.close()
    assert run.pid is not None and processes.is_alive(run.pid, run.process)


def test_a_busy_database_does_not_end_the_thread(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def busy() -> None:
        calls.append(1)
        world.supervisor.wake()
        raise StorageFailed("The database is busy; please try again in a moment.")

    monkeypatch.setattr(world.supervisor, "tick", busy)
    world.supervisor.start()
    deadline = time.monotonic() + runs.PATIENCE
    while len(calls) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_process_gets_the_settings_but_no_password_among_its_arguments(world: World) -> None:
    settings = world.context.settings
    given = supervising._environment(settings)
    assert given["LIGHTBOX_WORKSPACE"] == str(settings.workspace)
    assert given["LIGHTBOX_DATABASE"] == settings.database.reveal()
    assert supervising._worker(7)[1:] == ["-m", "app.cli", "work", "--run", "7"]
    assert Path(given["PYTHONPATH"].split(os.pathsep)[0], "app", "cli.py").is_file()
