"""Runs by a script that speaks as a worker does, for the tests of runs and of their supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.services import processes
from app.store.runs import LIVE
from tests.app import run_world as runs
from tests.app import small_model as kit
from tests.app.run_world import World

CHIEF = kit.CHIEF


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "worker.py"
    path.write_text(runs.WORKER, "utf-8")
    return path


@pytest.fixture
def world(tmp_path: Path, script: Path) -> Iterator[World]:
    made = World(kit.open_services(tmp_path / "workspace"), script)
    yield made
    for run in made.context.store.runs(LIVE):
        if run.pid is not None:
            processes.end(run.pid, run.process)
            made.look(lambda run=run: not processes.is_alive(run.pid, run.process))
    made.services.close()
