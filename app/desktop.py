"""A window of its own for Lightbox: `python -m app.desktop ADDRESS` (desktop extra)."""

from __future__ import annotations

import sys


def main(address: str) -> None:
    """Show an address until the window is closed."""
    import webview

    webview.create_window("Lightbox", address, width=1600, height=1000)
    webview.start()


if __name__ == "__main__":
    main(sys.argv[1])
