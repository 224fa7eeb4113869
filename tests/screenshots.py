"""Make the screenshots of the documentation: `make screenshots` (needs Chromium)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.browser.served import ROOT, chromium, lightbox, wait_for_case

CASE = "PH-09000003"


def main() -> None:
    """Start a fresh demonstration, open a case, and keep what is seen."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        with lightbox(workspace) as address, chromium() as browser:
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            page.goto(f"{address}/app/?case={CASE}")
            wait_for_case(page, CASE)
            page.wait_for_timeout(2000)
            page.screenshot(path=ROOT / "docs" / "screenshot.png")
            page.get_by_role("tab", name="Evidence").click()
            page.get_by_text("How far can each map be trusted").wait_for(timeout=120_000)
            page.wait_for_timeout(8000)
            page.screenshot(path=ROOT / "docs" / "evidence.png")


if __name__ == "__main__":
    main()
