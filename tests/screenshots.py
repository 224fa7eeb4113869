"""Make the screenshots of the documentation: `make screenshots` (needs Chromium)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
ADDRESS = "http://127.0.0.1:7877"
CASE = "PH-09000003"


def main() -> None:
    """Start a fresh demonstration, open a case, and keep what is seen."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "launch.py"), "--workspace", folder]
        server = subprocess.Popen([*command, "--port", "7877", "--no-open"])
        try:
            _wait()
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                _take(browser.new_page(viewport={"width": 1600, "height": 1000}))
                browser.close()
        finally:
            server.terminate()
            server.wait()


def _wait() -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{ADDRESS}/health").close()
            return
        except OSError:
            time.sleep(1)
    raise RuntimeError("the server did not start")


def _take(page: Page) -> None:
    page.goto(f"{ADDRESS}/app/?case={CASE}")
    page.wait_for_function(
        "() => [...document.querySelectorAll('*')].some("
        "e => e.lightbox && e.lightbox.state().case)",
        timeout=120_000,
    )
    page.wait_for_timeout(2000)
    page.screenshot(path=ROOT / "docs" / "screenshot.png")


if __name__ == "__main__":
    main()
