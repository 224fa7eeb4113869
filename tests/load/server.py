"""Real servers in processes of their own, which can be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.browser.served import ROOT, free_port
from tests.load.world import World

PATIENCE_S = 180


class Server:
    """One Lightbox process on a fixed port.

    Args:
        world: What it serves. port: Where it listens.
    """

    def __init__(self, world: World, port: int) -> None:
        self._world, self.port = world, port
        self.address = f"http://127.0.0.1:{port}"
        self._log = world.folder.with_suffix(f".{port}.log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [sys.executable, str(ROOT / "launch.py"), "--workspace", str(self._world.folder)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port), "--no-open", "--device", "cpu"],
                cwd=self._world.folder.parent,
                env={**os.environ, "LIGHTBOX_DATABASE": self._world.database},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._await()

    def kill(self) -> None:
        """SIGKILL: no goodbye, no clean-up."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)

    def stop(self) -> None:
        """End it as Ctrl+C does, and by force where that takes long."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def log(self) -> str:
        """What the process said."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _await(self) -> None:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError("the server ended at its start")
            try:
                urllib.request.urlopen(f"{self.address}/health", timeout=5).close()
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError("the server did not answer")


@contextmanager
def serving(world: World, processes: int) -> Iterator[list[Server]]:
    """Servers of one world, started one after another and stopped at the end."""
    with ExitStack() as ended:
        servers = [Server(world, free_port()) for _ in range(processes)]
        for server in servers:
            ended.callback(server.stop)
            server.start()
        yield servers


def workspace(folder: Path) -> Path:
    """An empty folder for a workspace, whose logs lie beside it."""
    made = folder / "workspace"
    made.mkdir(parents=True)
    return made
