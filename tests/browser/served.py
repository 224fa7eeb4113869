"""A real Lightbox in a process of its own, and a Chromium to look at it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STATE = """() => {
  const viewer = [...document.querySelectorAll('*')].find((each) => each.lightbox);
  return viewer ? viewer.lightbox.state() : null;
}"""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def lightbox(workspace: Path, *options: str) -> Iterator[str]:
    """Serve a workspace; gives the address."""
    port = free_port()
    log = workspace.with_suffix(".log").open("ab")
    command = [sys.executable, str(ROOT / "launch.py"), "--workspace", str(workspace)]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--no-open", *options],
        cwd=workspace.parent,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _answers(address, server)
        yield address
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def _answers(address: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with code {server.returncode}")
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError("the server did not answer")


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium under playwright; the test is skipped where it is absent."""
    if not CHROMIUM.exists():
        message = "Chromium is not installed at /usr/bin/chromium"
        if "chromium" in os.environ.get("LIGHTBOX_REQUIRE", ""):
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Answering(BaseHTTPRequestHandler):
    """What the small servers of the harnesses share: an answer, and silence."""

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stays silent."""


class Watch:
    """Notes what must not happen on a page: script errors, foreign hosts, server errors."""

    def __init__(self, page: Any, address: str) -> None:
        self.trouble: list[str] = []
        page.on("pageerror", lambda error: self.trouble.append(f"script: {error}"))
        page.on("request", lambda request: self._request(request.url, address))
        page.on("response", lambda response: self._response(response))

    def _request(self, url: str, address: str) -> None:
        if not url.startswith((address, "data:", "blob:")):
            self.trouble.append(f"foreign: {url}")

    def _response(self, response: Any) -> None:
        if response.status >= 400:
            self.trouble.append(f"{response.status}: {response.url}")


def wait_for_case(page: Any, case: str, target: str | None = None) -> dict[str, Any]:
    """Wait until the viewer shows a case (and maps of a target); its state."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        state: dict[str, Any] | None = page.evaluate(STATE)
        if state and state.get("case") == case and not state.get("loading"):
            heading = page.locator(".lbf-lead").inner_text()
            targets = page.locator("[aria-pressed='true']").all_inner_texts()
            if heading and (target is None or any(target in text for text in targets)):
                return state
        page.wait_for_timeout(100)
    raise AssertionError(f"the viewer did not show {case}: {page.evaluate(STATE)}")
