"""The administrators' workbench in Chromium, over invented services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser import admin_harness as harness
from tests.browser.served import Watch, chromium

expect.set_options(timeout=20_000)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


class Desk:
    """One page of an administrator, what the services were asked, and what went wrong."""

    def __init__(self, page: Any, address: str, services: harness.Fakes) -> None:
        self.page, self.address, self.services = page, address, services
        self.bench = services.bench
        self.watch = Watch(page, address)

    def open(self, tab: str, **query: object) -> None:
        """Open a tab by its address."""
        asked = "".join(f"&{name}={value}" for name, value in query.items())
        self.page.goto(f"{self.address}/admin/?tab={tab}{asked}")
        self.page.wait_for_function(
            "(tab) => [...document.querySelectorAll('.lba')].some((each) => each.offsetParent) "
            "&& document.querySelector('[role=tab][aria-selected=true]')",
            arg=tab,
        )

    def seen(self, text: str) -> Any:
        """Something in sight that holds a text."""
        return self.page.locator(".lba").get_by_text(text).filter(visible=True).first

    def card(self, title: str) -> Any:
        """The card under a heading."""
        heading = self.page.get_by_role("heading", name=title, exact=True)
        return self.page.locator(".lba-card").filter(has=heading)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str, harness.Fakes]]:
    services = harness.Fakes(tmp_path_factory.mktemp("admin") / "workspace", harness.Bench())
    with pytest.MonkeyPatch.context() as patch, chromium() as browser:
        for name in ("GRADIO_TEMP_DIR", "HF_HUB_OFFLINE"):
            patch.setenv(name, "")
        with harness.serve(services) as address:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(30_000)
            page.goto(f"{address}/login?next=/admin/")
            page.get_by_label("Name").first.fill(harness.CHIEF)
            page.locator("input[type=password]").fill(harness.PASSWORD)
            page.locator("button[type=submit]").click()
            page.get_by_label("Login name").wait_for()
            yield page, address, services
            page.close()
    services.store.close()


@pytest.fixture
def desk(served: tuple[Any, str, harness.Fakes]) -> Iterator[Desk]:
    """A fresh bench, and after the test nothing may have gone wrong on the page."""
    page, address, services = served
    vars(services.bench).update(
        vars(harness.full_bench()) | {"folder": services.settings.workspace}
    )
    made = Desk(page, address, services)
    yield made
    page.goto("about:blank")
    assert made.watch.trouble == []


def test_a_manifest_is_registered_checked_and_removed(desk: Desk) -> None:
    desk.open("datasets")
    form = desk.card("Register a data set")
    form.get_by_label("Name").fill("New hospital")
    form.get_by_label("Manifest on this server").fill("/data/new/list.txt")
    form.get_by_role("button", name="Register and check").click()
    expect(form.get_by_role("status")).to_have_text("The manifest must be a CSV or Parquet file.")
    expect(form.get_by_label("Name")).to_have_value("New hospital")
    form.get_by_label("Manifest on this server").fill("/data/new/list.csv")
    form.get_by_label("Classes, in order (optional)").fill("Normal, Benign")
    form.get_by_role("button", name="Register and check").click()
    expect(desk.card("New hospital").get_by_text("Being checked")).to_be_visible()
    expect(form.get_by_label("Name")).to_have_value("")
    assert desk.bench.asked("register")[-1] == (
        "New hospital", "/data/new/list.csv", "Normal, Benign", "",
    )  # fmt: skip
    expect(desk.card("New hospital").get_by_role("button", name="Remove")).to_be_disabled()
    made = desk.bench.datasets[0]
    desk.bench.datasets[0] = harness.dataset(made.id, made.name, "ready")
    desk.bench.change(made.run_id or 0, state="done")
    card = desk.card("New hospital")
    expect(card.get_by_text("Ready for training")).to_be_visible()  # by the timer, untouched
    expect(card.get_by_role("img")).to_have_count(12)
    card.get_by_role("button", name="Remove").click()
    desk.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert desk.bench.asked("remove") == []
    card.get_by_role("button", name="Remove").click()
    desk.page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(desk.seen("The data set was removed.")).to_be_visible()
    assert desk.bench.asked("remove") == [(made.id,)]


def test_problems_are_listed_by_severity_and_histograms_drawn(desk: Desk) -> None:
    desk.open("datasets", dataset=3)
    card = desk.card("Screening 2024, second reading")
    table = card.get_by_role("table", name="Problems of the data set")
    expect(table.locator("tbody tr")).to_have_count(7)
    first = [row.split("\t")[0] for row in table.locator("tbody tr").all_inner_texts()]
    assert first == ["Error"] * 5 + ["Warning"] * 2
    card.get_by_role("button", name="Warnings 2").click()
    expect(table.locator("tbody tr")).to_have_count(2)
    expect(table).to_contain_text("300, 301, 302, 303, 304, 305, 306, 307 and 22 more")
    bars = card.locator("figure", has_text="Sites").locator("li")
    assert "Riverside Hospital" in bars.first.inner_text() and "49 %" in bars.first.inner_text()
    desk.page.reload()
    expect(card.get_by_role("button", name="Check again")).to_be_visible()
    card.get_by_role("button", name="Check again").click()
    desk.page.wait_for_timeout(300)
    assert desk.bench.asked("recheck") == [(3,)]


def test_fields_are_validated_and_what_is_typed_outlives_the_polling(desk: Desk) -> None:
    desk.open("training")
    form = desk.card("New training")
    epochs = form.get_by_label("Epochs")
    epochs.fill("nine")
    expect(form.get_by_text("Epochs must be a whole number, not 'nine'.").first).to_be_visible()
    expect(form.get_by_role("button", name="Start training")).to_be_disabled()
    expect(form.get_by_text("Correct the settings listed above first.")).to_be_visible()
    epochs.fill("3")
    expect(form.get_by_role("button", name="Start training")).to_be_enabled()
    name = form.get_by_label("Name of the model")
    name.press_sequentially("slow-", delay=20)
    looks = desk.services.runs.looks
    desk.page.wait_for_timeout(4600)
    assert desk.services.runs.looks >= looks + 2  # it polls while a run goes on
    name.press_sequentially("typing", delay=20)
    expect(name).to_have_value("slow-typing")
    expect(epochs).to_have_value("3")
    form.get_by_label("Cases", exact=True).select_option(label="Screening 2024, three sites")
    options = form.get_by_label("Cases", exact=True).locator("option").all_inner_texts()
    assert "Screening 2024, second reading (has errors)" in options
    form.get_by_role("button", name="Start training").click()
    expect(desk.card("slow-typing").get_by_role("button", name="Pause")).to_be_visible()
    assert desk.bench.asked("start")[-1] == (
        "crossmodal-demo", "slow-typing", {"optimiser.epochs": "3"}, 2,
    )  # fmt: skip


def test_a_run_is_watched_paused_resumed_and_cancelled(desk: Desk) -> None:
    desk.open("training", run=14)
    card = desk.card("screening-vrex")
    expect(card.get_by_text("560 of 900")).to_be_visible()
    desk.page.evaluate("document.querySelector('.lba-plot svg').scrollIntoView()")
    desk.page.evaluate("window.kept = document.querySelector('.lba-track')")
    desk.bench.events[14] += harness.training_events(640)[-88:]
    expect(card.get_by_text("640 of 900")).to_be_visible()
    paths = card.locator(".lba-chart").first.locator("path")
    expect(paths).to_have_count(2)
    assert desk.page.evaluate("document.contains(window.kept)")  # the unchanged was not redrawn
    card.get_by_role("button", name="Pause").click()
    expect(card.get_by_text("Paused. Nothing is lost")).to_be_visible()
    desk.page.reload()
    expect(card.get_by_text("Paused. Nothing is lost")).to_be_visible()
    card.get_by_role("button", name="Resume").click()
    expect(card.get_by_role("button", name="Pause")).to_be_visible()
    card.get_by_role("button", name="Cancel").click()
    desk.page.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()
    expect(card.get_by_text("It gave no model; the served model is not affected.")).to_be_visible()
    asked = [call for call in desk.bench.calls if call[0] in ("pause", "resume", "cancel")]
    assert asked == [("pause", 14), ("resume", 14), ("cancel", 14)]


def test_polling_ends_with_the_last_run_and_with_another_tab(desk: Desk) -> None:
    desk.open("training", run=14)
    expect(desk.card("screening-vrex")).to_be_visible()
    desk.page.get_by_role("tab", name="Accounts").click()
    desk.page.wait_for_timeout(2500)
    looks = desk.services.runs.looks
    desk.page.wait_for_timeout(4500)
    assert desk.services.runs.looks == looks
    desk.page.get_by_role("tab", name="Training").click()
    desk.bench.change(14, share=0.77)
    expect(desk.card("screening-vrex").get_by_text("77 %")).to_be_visible()
    assert desk.services.runs.looks > looks
    for each in desk.bench.runs:
        desk.bench.change(each.id, state="done")
    expect(desk.card("screening-vrex").get_by_text("Done", exact=True)).to_be_visible()
    desk.page.wait_for_timeout(2500)
    looks = desk.services.runs.looks
    desk.page.wait_for_timeout(4500)
    assert desk.services.runs.looks == looks


def test_a_crash_shows_its_last_lines_and_a_result_leads_to_its_model(desk: Desk) -> None:
    desk.open("training", run=12)
    card = desk.card("screening-no-pathology")
    expect(card.get_by_text("The worker ended without a word (signal 9).")).to_be_visible()
    expect(card.locator("pre")).to_contain_text("step 280, loss 0.93")
    desk.page.get_by_role("table", name="Training runs").get_by_text("screening-first-try").click()
    done = desk.card("screening-first-try")
    expect(done.get_by_text("0.945 to 0.977")).to_be_visible()
    done.get_by_role("button", name="Open on the Models page").click()
    expect(desk.card("Screening, first try").get_by_role("button", name="Activate")).to_be_visible()


def test_an_adaptation_is_started_read_and_accepted(desk: Desk) -> None:
    desk.open("adaptation", run=21)
    form = desk.card("New adaptation")
    expect(form.get_by_role("button", name="Start adaptation")).to_be_disabled()
    form.get_by_label("Search the cases").fill("and pathology")
    form.get_by_role("button", name="Choose all").click()
    expect(form.get_by_text("23 of 46 chosen")).to_be_visible()
    form.get_by_text("TENT: learns from all cases").click()
    form.get_by_label("Steps").fill("7")
    form.get_by_role("button", name="Start adaptation").click()
    expect(desk.card("tent on 23 cases")).to_be_visible()
    (asked,) = desk.bench.asked("adapt")
    assert asked[0] == "crossmodal-demo" and len(asked[1]) == 23
    assert asked[2:] == ("tent", 7, "phantoms")
    desk.page.get_by_role("table", name="Adaptations").get_by_text("EATA on 46 cases").click()
    card = desk.card("EATA on 46 cases")
    expect(card.get_by_role("table", name="Before and after")).to_contain_text("0.840 to 0.960")
    images = card.locator(".lba-cases img")
    expect(images).to_have_count(7)
    desk.page.wait_for_function(
        "[...document.querySelectorAll('.lba-cases img')].every((each) => each.naturalWidth === 96)"
    )
    card.get_by_label("Name of the candidate").fill("adapted-one")
    card.get_by_role("button", name="Accept as candidate").click()
    desk.page.get_by_role("dialog").get_by_role("button", name="Accept").click()
    expect(card.get_by_text("Accepted as candidate adapted-one.")).to_be_visible()
    assert desk.bench.asked("accept") == [(21, "adapted-one")]


def test_a_roll_back_says_why_and_offers_nothing_to_accept(desk: Desk) -> None:
    desk.open("adaptation", run=22)
    card = desk.card("TENT on 30 cases of one class")
    expect(card.get_by_text("Rolled back by the guard.")).to_be_visible()
    expect(card.get_by_text("All target cases would have got the same class")).to_be_visible()
    expect(card.get_by_role("button", name="Accept as candidate")).to_have_count(0)


def test_a_model_is_activated_after_a_question_and_rolled_back(desk: Desk) -> None:
    desk.open("models", model="screening-first-try")
    card, top = desk.card("Screening, first try"), desk.card("In use now")
    card.get_by_role("button", name="Activate").click()
    desk.page.keyboard.press("Escape")
    assert desk.bench.asked("activate") == []
    card.get_by_role("button", name="Activate").click()
    desk.page.get_by_role("dialog").get_by_role("button", name="Activate").click()
    expect(top).to_contain_text("Screening, first try")
    expect(card.get_by_role("button", name="Activate")).to_be_disabled()
    top.get_by_role("button", name="Roll back").click()
    dialog = desk.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Roll back to “crossmodal-demo”?")
    dialog.get_by_role("button", name="Roll back").click()
    expect(top).to_contain_text("Cross-modal breast demonstration")
    expect(desk.seen("Rolled back: “crossmodal-demo” is in use again.")).to_be_visible()


def test_two_models_are_compared(desk: Desk) -> None:
    desk.open("models")
    card = desk.card("Compare two models on the same cases")
    table = card.get_by_role("table", name="Comparison of two models")
    rows = [row.replace("\n", " ") for row in table.locator("tbody tr").all_inner_texts()]
    assert "no difference shown" in rows[0] and "−0.006 to +0.024" in rows[0]
    assert rows[2].endswith("crossmodal-demo is better")
    assert rows[3].endswith("screening-first-try is better")  # a lower Brier score is the better
    second = card.get_by_label("Second model")
    second.select_option("crossmodal-demo")
    expect(card.get_by_role("button", name="Compare")).to_be_disabled()
    second.select_option("crossmodal-demo-eata-9")
    card.get_by_label("Cases", exact=True).select_option(label="Screening 2024, three sites")
    card.get_by_role("button", name="Compare").click()
    expect(card.get_by_role("table", name="Comparisons")).to_contain_text("20 %")
    assert desk.bench.asked("compare") == [("crossmodal-demo", "crossmodal-demo-eata-9", 2)]


def test_a_model_goes_out_and_comes_in_as_one_file(desk: Desk, tmp_path: Path) -> None:
    desk.open("models", model="screening-first-try")
    card = desk.card("Screening, first try")
    with desk.page.expect_download() as download:
        card.get_by_role("button", name="Export").click()
    assert download.value.suggested_filename == "screening-first-try.lightbox.zip"
    kept = tmp_path / "model.lightbox.zip"
    download.value.save_as(kept)
    assert kept.stat().st_size == 2_300_000
    assert not list((desk.services.settings.workspace / "exports").rglob("*.zip"))
    desk.page.locator("[data-key=import]").set_input_files(kept)
    expect(desk.seen("Imported as “imported-model”. It is not in use yet.")).to_be_visible()
    assert desk.bench.asked("import") == [(kept.read_bytes(),)]
    bad = tmp_path / "bad.lightbox.zip"
    bad.write_bytes(b"PK")
    desk.page.locator("[data-key=import]").set_input_files(bad)
    expect(desk.seen("The file is no model that Lightbox has exported.")).to_be_visible()
    assert list((desk.services.settings.workspace / "uploads").iterdir()) == []


def test_a_model_is_deleted_only_where_that_is_allowed(desk: Desk) -> None:
    desk.open("models", model="crossmodal-demo-eata-9")
    desk.page.get_by_text("Cannot be deleted: Readers have rated maps of these").wait_for()
    card = desk.page.locator(".lba-card").filter(has_text="Cannot be deleted")
    expect(card.get_by_role("button", name="Delete")).to_be_disabled()
    desk.page.get_by_role("table", name="Installed models").get_by_text("Screening, first").click()
    desk.card("Screening, first try").get_by_role("button", name="Delete").click()
    desk.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(desk.seen("“screening-first-try” was deleted.")).to_be_visible()


def test_nothing_that_was_typed_is_run(desk: Desk) -> None:
    hurt = harness.HURT
    desk.bench.datasets = [harness.dataset(3, hurt, "ready", classes={hurt: 3}, who=hurt)]
    desk.bench.problems = {3: [harness.ProblemView("warning", hurt, (1,), hurt)]}
    desk.bench.runs = [harness.run(4, "training", hurt, "failed", message=hurt, owner=hurt),
                       harness.run(5, "adaptation", hurt, "failed", message=hurt)]  # fmt: skip
    desk.bench.logs = {4: hurt, 5: hurt}
    desk.bench.cases = [(hurt, hurt)]
    desk.bench.models[0] = harness.model("crossmodal-demo", "active", title=hurt, why_not=hurt)
    for tab in ("datasets", "training", "adaptation", "models"):
        desk.open(tab)
        expect(desk.seen("onerror")).to_be_visible()
        desk.page.wait_for_timeout(300)
        assert desk.page.evaluate("window.hurt") is None


@pytest.mark.parametrize("width", [1440, 1024])
def test_no_table_is_clipped(desk: Desk, width: int) -> None:
    desk.page.set_viewport_size({"width": width, "height": 768})
    try:
        for tab, query in (("datasets", {"dataset": 3}), ("training", {"run": 11}),
                           ("adaptation", {"run": 21}), ("models", {})):  # fmt: skip
            desk.open(tab, **query)
            desk.page.wait_for_timeout(800)
            clipped = desk.page.evaluate(
                "[...document.querySelectorAll('.lba-scroll')].filter((each) => each.offsetParent "
                "&& each.scrollWidth > each.clientWidth + 1).map((each) => each.innerText)"
            )
            assert clipped == []
            assert desk.page.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        desk.page.set_viewport_size({"width": 1440, "height": 900})


def test_an_empty_workbench_says_what_to_do(desk: Desk) -> None:
    models = [harness.model("crossmodal-demo", "active", origin="shipped")]
    vars(desk.bench).update(vars(harness.Bench(models=models)))
    desk.bench.folder = desk.services.settings.workspace
    for tab, words in (("datasets", "No data set is registered."),
                       ("training", "No model was trained here yet."),
                       ("adaptation", "No model was adapted here yet."),
                       ("models", "there is nothing to roll back to")):  # fmt: skip
        desk.open(tab)
        expect(desk.seen(words)).to_be_visible()
    expect(desk.card("In use now").get_by_role("button", name="Roll back")).to_be_disabled()
