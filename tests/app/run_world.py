"""Services whose runs are done by a tiny script that speaks as a worker does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.auth import Role, User
from app.services import Services
from app.services.run_views import RunView
from app.services.runs import queue_run
from app.services.supervisor import Supervisor
from app.store import RunInfo

CHIEF = User("chief", "Chief", Role.ADMINISTRATOR)
PATIENCE = 20.0

WORKER = """
import json, os, signal, subprocess, sys, time
folder, mode = sys.argv[1], sys.argv[2]

def say(event, **facts):
    with open(folder + "/events.jsonl", "a") as stream:
        stream.write(json.dumps({"event": event, "time": "now", **facts}) + "\\n")

def asked():
    try:
        with open(folder + "/control") as stream:
            return stream.read().strip()
    except FileNotFoundError:
        return ""

say("started")
if mode == "crash":
    print("reading /data/clinic/DOE^JANE/scan.dcm of patient 19481103", file=sys.stderr)
    raise KeyError("/data/clinic/DOE^JANE/scan.dcm")
if mode == "say":
    say("failed", message="The data in /data/clinic/x.dcm are odd.")
    sys.exit(1)
if mode == "shot":
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "heavy":
    held = bytearray(200 * 1024 * 1024)
    for place in range(0, len(held), 4096):
        held[place] = 1
if mode == "family":
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    with open(folder + "/child", "w") as stream:
        stream.write(str(child.pid))
if mode == "finish":
    say("finished")
    sys.exit(0)
step = 0
while True:
    step += 1
    say("step", step=step, steps=100000, epoch=1, epochs=2, loss=0.5)
    word = asked()
    if word == "pause":
        say("paused")
        sys.exit(75)
    if word == "cancel" and mode != "deaf":
        say("cancelled")
        sys.exit(76)
    if os.path.exists(folder + "/enough"):
        say("finished")
        sys.exit(0)
    time.sleep(0.01)
"""


class World:
    """Services whose runs are done by a tiny script; nothing happens but by `look`."""

    def __init__(self, services: Services, script: Path, **limits: Any) -> None:
        self.services, self.script = services, script
        self.context = services._context
        self.supervisor = self.another(**limits)

    def another(self, **limits: Any) -> Supervisor:
        """A server that has just been started over the same workspace."""
        settings, store = self.context.settings, self.context.store

        def command(run_id: int) -> list[str]:
            mode = str(store.run(run_id).settings["mode"])
            folder = settings.workspace / "runs" / str(run_id)
            return [sys.executable, "-S", str(self.script), str(folder), mode]

        made = Supervisor(store, settings, command=command, **limits)
        object.__setattr__(self.context, "supervisor", made)
        self.supervisor = made
        return made

    def ask(self, mode: str = "long", kind: str = "adaptation", user: User = CHIEF) -> int:
        return queue_run(self.context, user, kind, "A run", {"mode": mode}).id

    def run(self, number: int) -> RunInfo:
        return self.context.store.run(number)

    def view(self, number: int) -> RunView:
        return self.services.runs.view(CHIEF, number)

    def look(self, until: Callable[[], bool]) -> None:
        """Look again and again until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < deadline, [r.state for r in self.context.store.runs()]
            self.supervisor.tick()
            time.sleep(0.01)

    def reach(self, number: int, *states: str) -> RunInfo:
        self.look(lambda: self.run(number).state in states)
        return self.run(number)

    def running(self, number: int) -> RunInfo:
        """A run that has said something."""
        self.reach(number, "running")
        self.look(lambda: self.view(number).share > 0)
        return self.run(number)
