"""From a recipe to a served model and back, in the browser, with the real services.

A training is started, paused, killed, resumed and finished; its candidate is activated, explains a
case, and is rolled back.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.app import admin_world, small_model
from tests.browser.served import Watch, chromium, lightbox, wait_for_case

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PASSWORD = "correct horse battery"
PATIENCE = 120_000
EPOCHS = "120"  # long beside the page's refresh, so that the crash falls within the training


def prepare(workspace: Path) -> str:
    """A workspace with an administrator, a tiny recipe and one case; the name of the case."""
    services = small_model.open_services(workspace)
    try:
        chief = services.accounts.create_first_administrator("chief", PASSWORD, "Chief")
        admin_world.add_recipe(services)
        return str(services.intake.keep(chief, small_model.small_case(5), source="upload"))
    finally:
        services.close()


def worker(workspace: Path) -> int:
    """The process of the run that goes on, as the server has noted it."""
    services = small_model.open_services(workspace)
    try:
        (run,) = services.store.runs(("running",))
        assert run.pid is not None
        return run.pid
    finally:
        services.close()


def step_of(card: Any) -> int:
    """The step that the page shows; 0 before the first."""
    shown = card.locator(".lba-facts div", has_text="Step")
    text = shown.first.inner_text() if shown.count() else ""
    return int(text.split("\n")[1].split(" of ")[0]) if "\n" in text else 0


def wait_for_step(page: Any, card: Any, least: int) -> int:
    """Wait until the page shows a step, untouched; that step."""
    until = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < until:
        step = step_of(card)
        if step >= least:
            return step
        page.wait_for_timeout(200)
    raise AssertionError(f"step {least} was not shown; the last was {step_of(card)}")


def card_of(page: Any, title: str) -> Any:
    """The card under a heading."""
    heading = page.get_by_role("heading", name=title, exact=True)
    return page.locator(".lba-card").filter(has=heading)


def start_training(page: Any, address: str) -> Any:
    """Fill in the form and start; the card of the run."""
    page.goto(f"{address}/login?next=/admin/")
    page.get_by_label("Name").first.fill("chief")
    page.locator("input[type=password]").fill(PASSWORD)
    page.locator("button[type=submit]").click()
    page.get_by_label("Login name").wait_for()
    page.get_by_role("tab", name="Training").click()
    form = card_of(page, "New training")
    form.get_by_label("Recipe").select_option("tiny")
    expect(form.get_by_label("Epochs")).to_have_value("2")
    form.get_by_label("Epochs").fill("many")
    expect(form.get_by_text("Epochs must be a whole number, not 'many'.").first).to_be_visible()
    form.get_by_label("Epochs").fill(EPOCHS)
    form.get_by_label("Name of the model").fill("tiny-one")
    expect(form.get_by_role("button", name="Start training")).to_be_enabled()
    form.get_by_role("button", name="Start training").click()
    return card_of(page, "Training of tiny-one")


def test_a_model_is_trained_through_a_crash_served_and_rolled_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of the server and its worker, on shared machines
    workspace = tmp_path / "workspace"
    case = prepare(workspace)
    expect.set_options(timeout=PATIENCE)
    with chromium() as browser, lightbox(workspace) as address:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE)
        watch = Watch(page, address)
        run = start_training(page, address)
        wait_for_step(page, run, 2)
        run.get_by_role("button", name="Pause").click()
        expect(run.get_by_text("Paused. Nothing is lost")).to_be_visible()
        rested = step_of(run)
        page.reload()
        expect(run.get_by_text("Paused. Nothing is lost")).to_be_visible()
        assert step_of(run) >= rested
        run.get_by_role("button", name="Resume").click()
        wait_for_step(page, run, rested + 4)
        os.kill(worker(workspace), signal.SIGKILL)
        expect(run.get_by_text("The served model is not affected.")).to_be_visible()
        expect(run.get_by_text("Last lines before the failure")).to_be_visible()
        assert page.request.get(f"{address}/health").ok
        run.get_by_role("button", name="Resume").click()
        run.get_by_role("button", name="Open on the Models page").click()
        serve_and_roll_back(page, address, case)
        assert watch.trouble == []
        page.close()


def serve_and_roll_back(page: Any, address: str, case: str) -> None:
    """The candidate serves, explains a case, and gives way to the model before."""
    model, top = card_of(page, "Tiny model"), card_of(page, "In use now")
    expect(model.get_by_text("Candidate", exact=True)).to_be_visible()
    expect(top).to_contain_text("crossmodal-demo")
    model.get_by_role("button", name="Activate").click()
    page.get_by_role("dialog").get_by_role("button", name="Activate").click()
    expect(top).to_contain_text("tiny-one")
    page.goto(f"{address}/app/?case={case}")
    wait_for_case(page, case)
    expect(page.locator(".lbf-model")).to_contain_text("Tiny model")
    page.goto(f"{address}/admin/?tab=models")
    top.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(top).to_contain_text("crossmodal-demo")
    expect(top.get_by_role("button", name="Roll back")).to_be_disabled()
