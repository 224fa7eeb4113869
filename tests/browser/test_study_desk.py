"""The organisers' workbench in Chromium, over invented services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from app.auth import Role
from engine.study.records import Crossing, Decoy, Order, StudyState
from tests.browser import study_harness as harness
from tests.browser.served import Watch, chromium

expect.set_options(timeout=30_000)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

TABLE = (
    b"reader_id,case_id,question_id,answer\n"
    b"a,1,trust,4\nb,1,trust,5\na,2,trust,2\nb,2,trust,2\na,3,trust,3\nb,3,trust,\n"
)


class Desk:
    """One page of an organiser, what the services were asked, and what went wrong."""

    def __init__(self, page: Any, address: str, services: harness.Fakes) -> None:
        self.page, self.address, self.services = page, address, services
        self.bench = services.bench
        self.watch = Watch(page, address)

    def open(self, tab: str, study: int = 3) -> None:
        """Open a tab by its address."""
        self.page.goto(f"{self.address}/study/?tab={tab}&study={study}")
        expect(self.page.get_by_role("tab", name=tab.capitalize())).to_have_attribute(
            "aria-selected", "true"
        )
        self.page.locator(f".lbs-{tab}:visible").wait_for()

    def card(self, title: str) -> Any:
        """The card under a heading."""
        heading = self.page.get_by_role("heading", name=title, exact=True)
        return self.page.locator(".lba-card:visible").filter(has=heading)

    def fold(self, key: str) -> Any:
        """A part of the design, unfolded."""
        made = self.page.locator(f'details[data-key="{key}"]')
        if not made.evaluate("node => node.open"):
            made.locator("summary").first.click()
        return made

    def agree(self, button: str, reason: str = "") -> None:
        """Confirm a question, with a reason where it asks for one."""
        dialog = self.page.get_by_role("dialog")
        if reason:
            dialog.get_by_role("textbox").fill(reason)
        dialog.get_by_role("button", name=button, exact=True).click()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str, harness.Fakes]]:
    services = harness.Fakes(tmp_path_factory.mktemp("study") / "workspace", harness.full_bench())
    with pytest.MonkeyPatch.context() as patch, chromium() as browser:
        for name in ("GRADIO_TEMP_DIR", "HF_HUB_OFFLINE"):
            patch.setenv(name, "")
        with harness.serve(services) as address:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(30_000)
            harness.sign_in(page, address, harness.ORGANISER)
            yield page, address, services
            page.close()
    services.store.close()


@pytest.fixture
def desk(served: tuple[Any, str, harness.Fakes]) -> Iterator[Desk]:
    """A fresh bench, and after the test nothing may have gone wrong on the page."""
    page, address, services = served
    vars(services.bench).update(vars(harness.full_bench()))
    made = Desk(page, address, services)
    yield made
    page.goto("about:blank")
    assert made.watch.trouble == []


def test_a_draft_is_made_prepared_and_opened(desk: Desk) -> None:
    desk.open("studies")
    page = desk.page
    page.get_by_role("button", name="Create a draft").click()
    expect(page.get_by_text("Please give the study a title.")).to_be_visible()
    page.get_by_label("Title of a new study").fill(f"Second pilot {harness.HURT}")
    page.get_by_role("button", name="Create a draft").click()
    expect(page.get_by_text("The draft was made; design it on the next tab.")).to_be_visible()
    made = desk.bench.known[-1]
    assert made.protocol.title.startswith("Second pilot")
    assert [question.id for question in made.protocol.questions] == [
        "lesion_match", "helps_understanding", "association", "trust",
    ]  # fmt: skip
    detail = page.locator(".lbs-studies .lba-card:visible").last
    expect(detail.get_by_text("To be mended before the study can be opened")).to_be_visible()
    expect(detail.get_by_role("button", name="Open for reading")).to_be_disabled()
    page.get_by_role("row").filter(has_text="Main study").click()
    detail.get_by_role("button", name="Prepare", exact=True).click()
    expect(detail.get_by_role("button", name="Prepare again")).to_be_visible()  # by the timer
    detail.get_by_role("button", name="Open for reading").click()
    desk.agree("Open")
    expect(page.get_by_text("The study is open; its readers see it")).to_be_visible()
    assert desk.bench.asked("open") == [(3, False)]
    assert page.evaluate("window.hurt") is None


def test_pairs_without_a_common_case_must_be_confirmed(desk: Desk) -> None:
    from dataclasses import replace

    known = desk.bench.of(3)
    design = replace(known.protocol.design, crossing=Crossing.SPLIT_PLOT, repeats=0)
    known.protocol = replace(known.protocol, design=design)
    known.prepared = known.total = 36
    desk.open("studies")
    desk.page.get_by_role("button", name="Open for reading").click()
    expect(desk.page.get_by_role("dialog").get_by_text("pairs of readers share")).to_be_visible()
    desk.agree("Open all the same")
    expect(desk.page.get_by_text("The study is open; its readers see it")).to_be_visible()
    assert desk.bench.asked("open") == [(3, True)]


def test_a_study_is_locked_with_a_reason_unblinded_and_taken_away(desk: Desk) -> None:
    desk.open("studies", 2)
    page = desk.page
    page.get_by_role("button", name="Lock", exact=True).last.click()
    desk.agree("Lock")
    expect(page.get_by_text("Please give a reason; it is kept")).to_be_visible()
    desk.agree("Lock", "Enough answers for the pilot.")
    expect(page.get_by_text("The study is locked; its answers are frozen.")).to_be_visible()
    assert desk.bench.asked("lock") == [(2, "Enough answers for the pilot.")]
    page.get_by_role("button", name="Measure the maps").click()
    expect(page.get_by_text("Maps measured: ")).to_be_visible()
    expect(page.get_by_text("Maps measured: ")).to_be_hidden()  # by the timer
    expect(page.get_by_role("button", name="Measure the maps")).to_be_disabled()
    page.get_by_role("button", name="Unblind").click()
    desk.agree("Unblind")
    expect(page.get_by_text("Unblinded. The report and the export name")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Everything (ZIP)").click()
    assert download.value.suggested_filename == "lightbox-study-2-export.zip"
    assert Path(download.value.path()).read_bytes() == b"PK invented"
    expect(page.locator(".lba-state:visible").get_by_text("Exported").first).to_be_visible()


def test_the_designer_shows_what_follows_and_saves(desk: Desk) -> None:
    desk.open("design")
    page, side = desk.page, desk.page.get_by_label("What follows from the design")
    expect(side.get_by_text("The design can be run.")).to_be_visible()
    expect(side.get_by_role("row", name="ann", exact=False).first).to_contain_text("ann")
    page.get_by_label("eve", exact=True).check()
    expect(side.get_by_role("table", name="Readings of each reader")).to_contain_text("eve")
    page.get_by_role("checkbox", name="Decoy: smooth random map").check()
    page.get_by_label("Who reads what").select_option("split_plot")
    expect(side.get_by_text("no case; their agreement cannot be estimated")).to_be_visible()
    page.get_by_label("Who reads what").select_option("crossed")
    page.get_by_label("Conditions of one case").select_option("sequential")
    page.get_by_label("Hidden repeats per reader").fill("x")
    expect(page.get_by_text("Please give a whole number of at least 0.")).to_be_visible()
    page.get_by_label("Hidden repeats per reader").fill("4")
    page.get_by_role("button", name="Add a question of your own").click()
    page.get_by_role("textbox", name="Question", exact=True).fill("Is it useful?")
    page.get_by_label("Short name in the export").fill("useful")
    page.get_by_label("Short name in the export").press("Tab")
    expect(side.get_by_text("Changes not saved yet")).to_be_visible()
    side.get_by_role("button", name="Save").click()
    expect(side.get_by_text("Saved, version 2")).to_be_visible()
    kept = desk.bench.of(3).protocol
    assert kept.readers[-1] == "eve" and kept.arms[-1].decoy is Decoy.RANDOM
    assert kept.design.order is Order.SEQUENTIAL and kept.design.repeats == 4
    assert (kept.questions[-1].id, kept.questions[-1].text) == ("useful", "Is it useful?")
    page.reload()
    expect(page.get_by_text("Is it useful?").first).to_be_visible()


def test_a_wrong_design_is_named_and_nothing_typed_is_lost(desk: Desk) -> None:
    desk.open("design")
    page, side = desk.page, desk.page.get_by_label("What follows from the design")
    page.get_by_role("button", name="Choose none").click()
    expect(side.get_by_text("To be mended")).to_be_visible()
    expect(side).to_contain_text("case")
    page.get_by_label("Case PH-09000003").check()
    page.get_by_label("Case PH-09000001", exact=True).check()
    desk.bench.refusal = "The database is busy; please try again."
    side.get_by_role("button", name="Save").click()
    expect(side.get_by_text("The database is busy; please try again.")).to_be_visible()
    expect(page.get_by_label("Case PH-09000003")).to_be_checked()
    desk.bench.refusal = ""
    desk.bench.of(3).version = 7  # somebody else has saved meanwhile
    side.get_by_role("button", name="Save").click()
    expect(side.get_by_text("Somebody else has changed this study meanwhile")).to_be_visible()
    side.get_by_role("button", name="Undo changes").click()
    desk.agree("Undo")
    expect(side.get_by_text("Saved, version 7")).to_be_visible()
    expect(page.get_by_label("Case PH-09000002")).to_be_checked()


def test_changes_in_one_study_wait_while_another_is_looked_at(desk: Desk) -> None:
    desk.open("design")
    page = desk.page
    title = page.get_by_label("Title", exact=True)
    title.fill("Better title")
    page.locator(".lbs-design select[data-key=study]").select_option("2")
    expect(title).to_have_value("Washout check, two sessions")
    expect(page.get_by_text("The study is open: cases, readers")).to_be_visible()
    expect(page.get_by_label("Image only", exact=True)).to_be_disabled()
    page.locator(".lbs-design select[data-key=study]").select_option("3")
    expect(title).to_have_value("Better title")
    expect(page.get_by_text("Changes not saved yet")).to_be_visible()


def test_warm_up_cases_have_right_answers_and_feedback(desk: Desk) -> None:
    desk.open("design")
    fold = desk.fold("fold-training")
    fold.get_by_role("button", name="Add a warm-up case").click()
    second = fold.locator(".lbs-training").nth(1)
    second.get_by_label("Case").select_option("PH-09000015")
    second.get_by_role("group", name="How far do you trust this result overall?").get_by_role(
        "button", name="2"
    ).click()
    second.get_by_label("Feedback after it is handed in").fill("The map misses it.")
    side = desk.page.get_by_label("What follows from the design")
    side.get_by_role("button", name="Save").click()
    expect(side.get_by_text("Saved, version 2")).to_be_visible()
    made = desk.bench.of(3).protocol.training[1]
    assert (made.case, made.expected, made.feedback) == (
        "PH-09000015", {"trust": (2.0,)}, "The map misses it.",
    )  # fmt: skip


def test_progress_is_live_and_readers_leave_with_a_reason(desk: Desk) -> None:
    desk.open("progress", 2)
    page = desk.page
    table = page.get_by_role("table", name="Progress of each reader")
    expect(table.get_by_role("row").filter(has_text="Dr Ann Ames")).to_contain_text("21 of 63")
    desk.bench.readers[0]["done"] = 22
    expect(table).to_contain_text("22 of 63")  # by the timer, untouched
    row = table.get_by_role("row").filter(has_text="Dr Ben Bell")
    row.get_by_role("button", name="End washout…").click()
    desk.agree("Let begin", "On leave next month.")
    expect(page.get_by_text("The next session may begin; the report")).to_be_visible()
    assert desk.bench.asked("override") == [(2, "ben", "On leave next month.")]
    row.get_by_role("button", name="Withdraw…").click()
    desk.agree("Withdraw", "Left the hospital.")
    expect(row.get_by_text("Withdrawn")).to_be_visible()
    assert desk.bench.asked("withdraw") == [(2, "ben", "Left the hospital.")]


def test_the_analysis_shows_figures_tables_and_intervals(desk: Desk) -> None:
    desk.open("analysis", 1)
    page = desk.page
    agreement = desk.card("Agreement between readers")
    expect(agreement).to_be_visible(timeout=120_000)
    expect(page.get_by_text("Conditions blinded")).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(6)
    rows = agreement.get_by_role("table", name="Agreement between readers").locator("tbody tr")
    text = rows.nth(1).inner_text()
    assert "(" in text and " to " in text, text
    expect(page.get_by_text("Agreement is not correctness").first).to_be_visible()
    for heading in ("Ratings", "Conditions compared, on the same cases", "Questionnaires",
                    "Where the model was right, and where it was wrong", "Diagnostic accuracy",
                    "Explanations against decoys", "How much hangs on a part of the data",
                    "Each reader with himself or herself, on the hidden repeats"):  # fmt: skip
        expect(desk.card(heading)).to_be_visible()
    assert "Grad-CAM" not in page.locator("body").inner_text()  # still blinded
    page.get_by_label("Two readers").select_option("R02 and R03")
    expect(page.get_by_text("R02 and R03, ").first).to_be_visible(timeout=60_000)
    page.get_by_label("Condition", exact=True).select_option(label="Arm 2")
    expect(page.get_by_label("Condition", exact=True)).to_have_value("map_gradcam")
    page.wait_for_function("!document.querySelector('.lbs-busy')?.offsetParent", timeout=120_000)
    assert desk.bench.asked("analysis")[-1][:2] == (1, "map_gradcam")


def test_an_item_is_settled_beside_the_answers(desk: Desk) -> None:
    desk.open("adjudication", 1)
    page = desk.page
    item = page.locator("article.lbs-flag").first
    item.get_by_role("button", name="Store the outcome").click()
    expect(item.get_by_text("Please choose an outcome.")).to_be_visible()
    item.get_by_label("Outcome").select_option("3")
    item.get_by_label("Reason").fill("Agreed in the meeting.")
    item.get_by_role("button", name="Store the outcome").click()
    expect(item.get_by_text("Settled", exact=True)).to_be_visible()
    expect(page.get_by_text("1 of 9 settled")).to_be_visible()
    made = desk.bench.asked("adjudicate")[0]
    assert made[0] == 1 and made[-2:] == ("3", "Agreed in the meeting.")
    shown = page.locator("article.lbs-flag").all_inner_texts()
    assert not any(name in text for name in ("R01", "Ann ", "Ames") for text in shown)


def test_a_table_from_elsewhere_gets_the_same_analysis(desk: Desk) -> None:
    desk.open("import")
    page = desk.page
    chosen = page.locator('input[data-key="import"]')
    chosen.set_input_files({"name": "x.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n"})
    expect(page.get_by_text("The table lacks the columns reader_id")).to_be_visible()
    big = TABLE + b"a,9,trust,3\n" * 100_000  # more than one portion
    chosen.set_input_files({"name": "ours.csv", "mimeType": "text/csv", "buffer": big})
    expect(desk.card("ours.csv")).to_be_visible(timeout=120_000)
    expect(desk.card("Agreement between readers")).to_be_visible(timeout=60_000)
    assert desk.bench.asked("imported")[-1] == (len(big),)
    page.get_by_role("button", name="Close the table").click()
    expect(desk.card("Agreement between readers")).to_be_hidden()


def test_a_study_in_every_state_says_what_comes_next(desk: Desk) -> None:
    desk.open("studies", 1)
    page = desk.page
    expect(page.get_by_text("The conditions still have neutral names.")).to_be_visible()
    desk.bench.of(2).state = StudyState.EXPORTED
    desk.open("progress", 3)
    expect(page.get_by_text("This study is a draft.")).to_be_visible()
    desk.open("analysis", 3)
    expect(page.get_by_text("Its analysis appears with the first answers.")).to_be_visible()
    desk.bench.known.clear()
    desk.open("studies")
    expect(page.get_by_text("There is no study yet.").first).to_be_visible()


def test_readers_are_kept_out(served: tuple[Any, str, harness.Fakes]) -> None:
    page, address, services = served
    chief = services.user(harness.CHIEF)
    services.accounts.create_user(chief, "rita", "first password of hers", Role.READER)
    services.accounts.change_password(
        services.user("rita"), "first password of hers", harness.PASSWORD
    )
    context = page.context.browser.new_context()
    other = context.new_page()
    harness.sign_in(other, address, "rita", wait=False)
    for path in ("/study/", "/study/config", "/studies/1/report.pdf"):
        assert other.request.get(f"{address}{path}").status in (401, 403), path
    context.close()
