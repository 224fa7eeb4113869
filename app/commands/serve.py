"""`lightbox serve`: open the workspace, build the pages, serve."""

from __future__ import annotations

import logging
import subprocess
import sys
import webbrowser
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from threading import Thread

import typer

from app.auth import Role
from app.errors import InvalidInput
from app.services import Services
from app.settings import Settings


def run(flags: Mapping[str, object], *, demonstration: bool, window: bool = False) -> None:
    """Serve until stopped.

    Args:
        flags: Settings given on the command line; None where not given.
        demonstration: Whether a workspace without accounts is an open demonstration.
        window: Whether Lightbox gets a window of its own instead of a browser tab.

    Raises:
        AppError: The desktop extra is absent, the workspace cannot be used, or the address cannot
            be listened on.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    settings = Settings.load(flags)
    opener = desktop_opener() if window else webbrowser.open
    services = Services.open(settings, demonstration=demonstration)
    try:
        services.supervise()
        _serve(services, settings, opener)
    finally:
        services.close()


def desktop_opener() -> Callable[[str], object]:
    """Opens an address in a window of its own, in a process of its own.

    Raises:
        InvalidInput: The desktop extra is not installed.
    """
    if find_spec("webview") is None:
        raise InvalidInput("A window of its own needs the extra: pip install 'lightbox[desktop]'.")
    return lambda address: subprocess.Popen([sys.executable, "-m", "app.desktop", address])


def _serve(services: Services, settings: Settings, opener: Callable[[str], object]) -> None:
    from app.web.server import MountSpec, create_app, prepare_gradio, serve

    prepare_gradio(settings)  # before the pages import Gradio
    from app.ui import admin, clinic, study, theme

    looks = {"css": theme.page_css(), "js": theme.SCRIPT, "theme": theme.theme()}
    app = create_app(
        services,
        (
            MountSpec("/app", clinic.build(services), Role.OBSERVER, **looks),
            MountSpec("/admin", admin.build(services), Role.ADMINISTRATOR, **looks),
            MountSpec("/study", study.build(services), Role.ORGANISER, **looks),
        ),
    )

    def ready(address: str) -> None:
        typer.echo(f"Lightbox is at {address} (stop with Ctrl+C).")
        if services.guest() is not None:
            Thread(target=services.warm_up, daemon=True).start()

    serve(services, app, settings, ready=ready, opener=opener)
