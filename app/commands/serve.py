"""`lightbox serve`: open the workspace, build the pages, serve."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from threading import Thread

import typer

from app.auth import Role
from app.services import Services
from app.settings import Settings


def run(flags: Mapping[str, object], *, demonstration: bool) -> None:
    """Serve until stopped.

    Args:
        flags: Settings given on the command line; None where not given.
        demonstration: Whether a workspace without accounts is an open demonstration.

    Raises:
        AppError: The workspace cannot be used, or the address cannot be listened on.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    settings = Settings.load(flags)
    services = Services.open(settings, demonstration=demonstration)
    try:
        _serve(services, settings)
    finally:
        services.close()


def _serve(services: Services, settings: Settings) -> None:
    from app.web.server import MountSpec, create_app, prepare_gradio, serve

    prepare_gradio(settings)  # before the pages import Gradio
    from app.ui import admin, clinic, theme

    looks = {"css": theme.page_css(), "js": theme.SCRIPT, "theme": theme.theme()}
    app = create_app(
        services,
        (
            MountSpec("/app", clinic.build(services), Role.READER, **looks),
            MountSpec("/admin", admin.build(services), Role.ADMINISTRATOR, **looks),
        ),
    )

    def ready(address: str) -> None:
        typer.echo(f"Lightbox is at {address} (stop with Ctrl+C).")
        if services.guest() is not None:
            Thread(target=services.warm_up, daemon=True).start()

    serve(services, app, settings, ready=ready)
