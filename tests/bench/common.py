"""What the benchmarks share: one row of the table, medians, the browser, a running Lightbox."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.browser.served import chromium, free_port

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 180.0


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        what: What was measured. cost: Its median, in words with a unit.
        unit: What it was held against, in words with a unit; empty where the target is absolute.
        value: The ratio, or the value itself where the target is absolute.
        target: Largest value allowed; None where the line only informs.
        sign: Unit of the value, such as " ms"; empty for a ratio.
    """

    what: str
    cost: str
    unit: str
    value: float
    target: float | None = None
    sign: str = ""

    def markdown(self) -> str:
        """The line as Markdown."""
        goal = "–" if self.target is None else f"≤ {self.target:g}{self.sign}"
        met = "–" if self.target is None else "yes" if self.value <= self.target else "no"
        number = f"{self.value}" if isinstance(self.value, int) else f"{self.value:.2f}"
        shown = f"{number}{self.sign}"
        return f"| {self.what} | {self.cost} | {self.unit or '–'} | {shown} | {goal} | {met} |"


HEAD = "| Measured | Median | Held against | Value | Target | Met |\n|---|---|---|---|---|---|"


def ms(seconds: Sequence[float]) -> str:
    """Median of durations in seconds, in words."""
    value = 1000 * median(seconds)
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms"


def interleaved(
    works: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Time several pieces of work in turn, so that a busy machine slows all of them alike.

    Returns:
        By name, one duration in seconds per round; a first round is run and not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            started = clock()
            work()
            if turn:
                times[name].append(clock() - started)
    return times


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Median of the ratios of durations taken in the same round."""
    return median(a / b for a, b in zip(over, under, strict=True))


@contextmanager
def browser_page() -> Iterator[Any]:
    """A page of Debian's Chromium, without a graphics card."""
    with chromium() as running:
        yield running.new_page(viewport={"width": 1440, "height": 1000})


@contextmanager
def lightbox(workspace: Path) -> Iterator[str]:
    """`python launch.py` over a workspace, in a process of its own; gives its address at once."""
    port = free_port()
    command = [sys.executable, "launch.py", "--workspace", str(workspace), "--port", str(port)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LIGHTBOX_")}
    process = subprocess.Popen(
        [*command, "--no-open"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until_served(address: str, pause: float = 0.01) -> None:
    """Wait until an address answers with 200.

    Raises:
        TimeoutError: It did not within `PATIENCE` seconds.
    """
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(pause)
    raise TimeoutError("Lightbox did not start in time")
