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


if __name__ == "__main__":
    main()
