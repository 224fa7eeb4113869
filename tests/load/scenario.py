"""The two loads: readers at work, and a server killed among them."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

from tests.load.outcome import Outcome, outcome
from tests.load.readers import Notes, Reader
from tests.load.server import Server
from tests.load.world import World

JOIN_S = 90.0


def load(
    title: str,
    world: World,
    servers: list[Server],
    seconds: float,
    *,
    patient: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> tuple[Outcome, list[Notes]]:
    """All readers of a world at once, for a time.

    Args:
        title: Of the row in the table. world: The study. servers: Readers are spread over them.
        seconds: How long.
        patient: Whether readers wait for a server that does not answer, and send again.
        meanwhile: Done at half time, while readers go on.
    """
    addresses = [server.address for server in servers]
    start, stop = Event(), Event()
    readers = [
        Reader(world, name, addresses[n % len(addresses) :] + addresses[: n % len(addresses)],
               start, stop, patient)
        for n, name in enumerate(world.logins)
    ]  # fmt: skip
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.ready.wait(JOIN_S)
    start.set()
    began = time.monotonic()
    _work(readers, seconds / 2)
    if meanwhile is not None:
        meanwhile()
    before = sum(len(reader.notes.acknowledged) for reader in readers)
    _work(readers, seconds / 2)
    took = time.monotonic() - began
    stop.set()
    for reader in readers:
        reader.join(JOIN_S)
    notes = [reader.notes for reader in readers]
    return outcome(title, notes, took, before), notes


def _work(readers: list[Reader], seconds: float) -> None:
    """Let the readers work, for a time or until nothing is left to read."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(reader.is_alive() for reader in readers):
        time.sleep(0.1)


def killed_and_restarted(server: Server) -> Callable[[], None]:
    """SIGKILL and a new start on the same port."""

    def meanwhile() -> None:
        server.kill()
        server.start()

    return meanwhile
