"""`python -m tests.load`: many readers at once, then a killed server; prints a Markdown table.

`--database URL` names a PostgreSQL database, in which a schema is made and dropped; without it a
SQLite file is used. The status is 1 when an answer was lost or doubled, or an error occurred.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.load.outcome import Outcome, faults
from tests.load.readers import Notes
from tests.load.scenario import killed_and_restarted, load
from tests.load.server import serving, workspace
from tests.load.world import World, make, own_schema, sqlite_url

ARMS = 4


def main() -> int:
    """Run both loads, and print what they came to."""
    asked = _asked()
    with TemporaryDirectory() as folder, _database(asked.database, Path(folder)) as database:
        room = workspace(Path(folder))
        cases = max(6, round(asked.seconds * asked.rate / ARMS))
        world = make(room, database, asked.readers, cases, ARMS)
        return _report(world, asked)


def _report(world: World, asked: argparse.Namespace) -> int:
    name = "PostgreSQL" if asked.database else "SQLite"
    notes: list[list[Notes]] = []
    bad = 0
    sys.stdout.write(f"{Outcome.HEAD}\n")
    with serving(world, asked.processes) as servers:
        title = f"{name}, {asked.processes} process(es)"
        for label, seconds, meanwhile in (
            (title, asked.seconds, None),
            (f"{title}, one killed", asked.kill_seconds, killed_and_restarted(servers[0])),
        ):
            one, said = load(
                label, world, servers, seconds, patient=meanwhile is not None, meanwhile=meanwhile
            )
            notes.append(said)
            bad += sum(one.errors.values())
            sys.stdout.write(f"{one.markdown()}\n")
            for error, times in one.errors.items():
                sys.stdout.write(f"error, {times} times: {error}\n")
            sys.stdout.flush()
        servers[0].kill()
    found = faults(world, [each for said in notes for each in said])
    for fault in found:
        sys.stdout.write(f"fault: {fault}\n")
    if not found:
        sys.stdout.write("Every acknowledged answer is held once; database and audit are whole.\n")
    return 1 if bad or found else 0


@contextmanager
def _database(server: str | None, folder: Path) -> Iterator[str]:
    if server is None:
        yield sqlite_url(folder)
        return
    with own_schema(server) as url:
        yield url


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--kill-seconds", type=float, default=60)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--rate", type=float, default=1.5, help="readings per reader and second")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--database", help="URL of a PostgreSQL server")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
