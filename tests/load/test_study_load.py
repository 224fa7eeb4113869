"""Fifty readers at once, and a server killed among them: no answer is lost, none is there twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import need
from tests.load.outcome import faults
from tests.load.scenario import killed_and_restarted, load
from tests.load.server import serving, workspace
from tests.load.world import make, own_schema, sqlite_url

SERVER = "LIGHTBOX_TEST_DATABASE"
READERS = 50
SECONDS = 10.0
KILL_SECONDS = 10.0


def _holds(folder: Path, database: str, processes: int) -> None:
    """Load without an error; a kill among readers who go on; everything acknowledged is there."""
    world = make(workspace(folder), database, READERS, cases=12, arms=8)
    with serving(world, processes) as servers:
        calm, said = load("at work", world, servers, SECONDS)
        assert calm.errors == {}
        assert calm.lost == 0
        assert calm.answers >= READERS
        killed, later = load(
            "killed", world, servers, KILL_SECONDS, patient=True,
            meanwhile=killed_and_restarted(servers[0]),
        )  # fmt: skip
        assert killed.errors == {}
        assert killed.lost > 0
        assert killed.later > 0
        servers[0].kill()
        assert all("Traceback" not in server.log() for server in servers)
    assert faults(world, [*said, *later]) == []


def test_sqlite_and_one_process(tmp_path: Path) -> None:
    _holds(tmp_path, sqlite_url(tmp_path), processes=1)


def test_postgresql_and_two_processes(tmp_path: Path) -> None:
    need("postgres", SERVER in os.environ, f"{SERVER} names no database server")
    with own_schema(os.environ[SERVER]) as database:
        _holds(tmp_path, database, processes=2)


@pytest.mark.parametrize("part", ["lost", "changed", "audit"])
def test_a_lost_or_changed_answer_would_be_seen(tmp_path: Path, part: str) -> None:
    """The check itself: it finds what was taken away, changed, or said and never sent."""
    import sqlite3

    from tests.app import study_world as studies
    from tests.load.readers import Notes, scores

    database = sqlite_url(tmp_path)
    world = make(workspace(tmp_path), database, 2, cases=2, arms=1)
    name = min(world.logins)
    reader = studies.User(name, name, studies.Role.READER)
    notes = Notes()
    with studies.study_world(world.folder, 0, database=database) as room:
        token = room.next(reader, world.code)
        assert token is not None
        given = scores(token)
        answers = {key: {**studies.ANSWERED, "value": value} for key, value in given.items()}
        room.submit(reader, token, answers=answers)
    notes.sent[token], notes.acknowledged = given, [token]
    assert faults(world, [notes]) == []
    with sqlite3.connect(tmp_path / "lightbox.sqlite3") as connection:
        if part == "lost":
            notes.acknowledged.append("never")
        elif part == "changed":
            connection.execute("UPDATE study_answers SET value = 6 - value + 0.5")
        else:
            connection.execute("UPDATE audit SET detail = '{}' WHERE action = 'study_answer'")
    connection.close()
    (fault,) = faults(world, [notes])
    assert {"lost": "are lost", "changed": "not as they were sent", "audit": "chain breaks"}[
        part
    ] in fault
