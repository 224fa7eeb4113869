"""All of Lightbox over a small model, with people who can sign in, served behind the real gate."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.auth import Role
from tests.app import small_model as kit
from tests.app.study_world import CHIEF, ORGANISER, READERS, StudyWorld, study_world
from tests.browser.served import free_port

PASSWORD = "correct horse battery"
FIRST = "first password of theirs"


@contextmanager
def whole(folder: Path, patch: pytest.MonkeyPatch, cases: int = 4) -> Iterator[tuple[Any, str]]:
    """A world with cases, an organiser and three readers; gives it and its address."""
    kit.use(patch, kit.write_model(folder / "models"))
    for name in ("GRADIO_TEMP_DIR", "HF_HUB_OFFLINE"):
        patch.setenv(name, "")
    with study_world(folder / "workspace", cases) as world:
        for who in (ORGANISER, *READERS, CHIEF):
            _let_in(world, who)
        with _served(world.services) as address:
            yield world, address


def _let_in(world: StudyWorld, who: Any) -> None:
    accounts = world.services.accounts
    other = CHIEF if who is not CHIEF else None
    if other is None:  # nobody may set the own password without knowing it
        account = accounts._known(who.name)
        accounts._replace(account.name, PASSWORD, must_change=False)
        return
    accounts.reset_password(other, who.name, FIRST)
    accounts.change_password(accounts.user(who.name), FIRST, PASSWORD)


@contextmanager
def _served(services: Any) -> Iterator[str]:
    import uvicorn

    from app.web.server import MountSpec, create_app, prepare_gradio

    prepare_gradio(services.settings)
    from app.ui import admin, clinic, study, theme

    looks = {"css": theme.page_css(), "js": theme.SCRIPT, "theme": theme.theme()}
    port, running = free_port(), []

    async def run_server() -> None:
        """Built where it runs, since Gradio would leave event loops open else."""
        mounts = (
            MountSpec("/app", clinic.build(services), Role.OBSERVER, **looks),
            MountSpec("/admin", admin.build(services), Role.ADMINISTRATOR, **looks),
            MountSpec("/study", study.build(services), Role.ORGANISER, **looks),
        )
        config = uvicorn.Config(
            create_app(services, mounts), host="127.0.0.1", port=port, log_level="warning",
            ws="none", lifespan="on", timeout_graceful_shutdown=2,
        )  # fmt: skip
        running.append(uvicorn.Server(config))
        await running[0].serve()

    thread = threading.Thread(target=lambda: asyncio.run(run_server()), daemon=True)
    thread.start()
    while thread.is_alive() and not (running and running[0].started):
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        if running:
            running[0].should_exit = True
        thread.join(15)


def sign_in(page: Any, address: str, name: str, target: str) -> None:
    """Sign somebody in, and go to a page."""
    page.goto(f"{address}/login?next={target}")
    page.get_by_label("Name").first.fill(name)
    page.locator("input[type=password]").fill(PASSWORD)
    page.locator("button[type=submit]").first.click()
    page.wait_for_url(lambda url: "/login" not in url)
