"""From `python launch.py` to a visible worklist, against importing Gradio and PyTorch."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.common import ROOT, Row, browser_page, lightbox, ms, ratio, until_served
from tests.bench.opening import ROWS, demonstration

ROUNDS = 4
TARGET = 1.5


def measure() -> list[Row]:
    """Rows for a second start, over a workspace that is there already."""
    imports, served, seen = [], [], []
    with TemporaryDirectory() as folder, browser_page() as page:
        demonstration(Path(folder))
        for turn in range(ROUNDS + 1):
            plain = _imports()
            answer, visible = _start(Path(folder), page)
            if turn:
                imports.append(plain)
                served.append(answer)
                seen.append(visible)
    unit = f'python -c "import gradio, torch", {ms(imports)}'
    return [
        Row("Start until the worklist is visible", ms(seen), unit, ratio(seen, imports), TARGET),
        Row("Start until the page is served", ms(served), unit, ratio(served, imports)),
    ]


def _imports() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import gradio, torch"], cwd=ROOT, check=True)
    return time.perf_counter() - started


def _start(workspace: Path, page: Any) -> tuple[float, float]:
    """Seconds until the page is served, and until the rows of the worklist are on screen."""
    started = time.perf_counter()
    with lightbox(workspace) as address:
        until_served(f"{address}/app/")
        served = time.perf_counter() - started
        page.goto(f"{address}/app/")
        page.wait_for_selector(ROWS)
        return served, time.perf_counter() - started
