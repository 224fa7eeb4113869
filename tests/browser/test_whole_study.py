"""A whole reader study in the browser, with the real services.

An organiser designs, prepares and opens it; three readers in browsers of their own rate twelve
cases in three conditions, with two hidden repeats each, one of them losing the connection and one
handing in twice; then it is locked, analysed, unblinded, printed and exported. Every number must
be the one that follows from the planted ratings.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect
from statsmodels.stats.inter_rater import cohens_kappa

from app.auth import Role
from engine.phantoms import LABELS, phantom_case
from engine.study.records import StudyState
from tests.app import small_model
from tests.browser.served import Watch, chromium, lightbox

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]

PASSWORD = "correct horse battery"
READERS = ("ann", "bob", "cleo")
QUESTIONS = ("lesion_match", "helps_understanding", "association", "trust")
CONDITIONS = {
    "prediction": "Image and prediction",
    "map_gradcam": "Grad-CAM",
    "decoy_random": "Decoy: smooth random map",
}
ASKED = {"prediction": ("trust",), "map_gradcam": QUESTIONS, "decoy_random": QUESTIONS}
CASES, REPEATS = 12, 2
READINGS = CASES * len(CONDITIONS) + REPEATS
PATIENCE = 120_000


@dataclass(frozen=True)
class Row:
    """One reading of the plan, as the test needs it."""

    case: str
    arm: str
    replicate: int


def planted(reader: str, row: Row, question: str) -> int:
    """What a reader answers, 1 to 5, or 0 for "cannot judge"; known to the test alone.

    Readers agree in the main, differ by one here and there, and repeat themselves but once.
    """
    case, at = int(row.case[-2:]), QUESTIONS.index(question)
    arm, who = list(CONDITIONS).index(row.arm), READERS.index(reader)
    if (case, arm, who, at, row.replicate) == (3, 1, 2, 0, 1):
        return 0
    base = 1 + (case * 3 + arm + at) % 5
    moved = base + ((case + arm * 2 + who * 3 + at) % 4 == 0) - ((case * who + arm) % 5 == 4)
    return int(np.clip(moved + (row.replicate == 2 and at == 1), 1, 5))


def prepare(workspace: Path) -> None:
    """A workspace with an organiser, three readers and twelve cases."""
    services = small_model.open_services(workspace)
    try:
        accounts = services.accounts
        chief = accounts.create_first_administrator("chief", PASSWORD, "Chief")
        for name in ("olga", *READERS):
            role = Role.ORGANISER if name == "olga" else Role.READER
            made = accounts.create_user(chief, name, f"first {PASSWORD}", role, name.capitalize())
            accounts.change_password(made, f"first {PASSWORD}", PASSWORD)
        for seed in range(CASES):
            case = phantom_case(seed, LABELS[seed % 4], height=160, width=128, tile=128)
            services.intake.keep(chief, case, source="upload")
    finally:
        services.close()


def plan(workspace: Path, reader: str) -> dict[int, Row]:
    """Position to reading of one reader; cases by their place in the alphabet."""
    services = small_model.open_services(workspace)
    try:
        (study,) = services.store.studies()
        rows = [row for row in services.store.study_plan(study.id) if row.reader == reader]
        places = {case: f"{n:02d}" for n, case in enumerate(sorted({row.case for row in rows}))}
        return {row.position: Row(places[row.case], row.arm, row.replicate) for row in rows}
    finally:
        services.close()


class Person:
    """Somebody at a browser of their own."""

    def __init__(self, browser: Any, address: str, name: str, onward: str) -> None:
        self.context = browser.new_context(viewport={"width": 1440, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.watch = Watch(self.page, address)
        self.page.goto(f"{address}/login?next={onward}")
        self.page.get_by_label("Name").first.fill(name)
        self.page.locator("input[type=password]").fill(PASSWORD)
        self.page.locator("button[type=submit]").first.click()


def card(page: Any, title: str) -> Any:
    """The card under a heading."""
    heading = page.get_by_role("heading", name=title, exact=True)
    return page.locator(".lba-card:visible").filter(has=heading)


def design(page: Any, address: str) -> None:
    """From a title to an open study."""
    page.get_by_label("Title of a new study").fill("Trust in maps")
    page.get_by_role("button", name="Create a draft").click()
    expect(page.get_by_text("The draft was made; design it on the next tab.")).to_be_visible()
    page.get_by_role("tab", name="Design").click()
    side = page.get_by_label("What follows from the design")
    page.get_by_role("button", name="Choose all shown").click()
    for reader in READERS:
        group = page.get_by_role("group", name="Readers", exact=True)
        group.get_by_label(f"{reader.capitalize()} ({reader})").check()
    for title in CONDITIONS.values():
        page.get_by_label(title, exact=True).check()
    page.get_by_label("Hidden repeats per reader").fill(str(REPEATS))
    page.get_by_label("Hidden repeats per reader").press("Tab")
    expect(side.get_by_text("The design can be run.")).to_be_visible()
    expect(side.get_by_role("table", name="Readings of each reader")).to_contain_text(str(READINGS))
    side.get_by_role("button", name="Save").click()
    expect(side.get_by_text("Saved, version")).to_be_visible()
    page.get_by_role("tab", name="Studies").click()
    page.get_by_role("button", name="Prepare", exact=True).click()
    expect(page.get_by_role("button", name="Prepare again")).to_be_visible()
    page.get_by_role("button", name="Open for reading").click()
    page.get_by_role("dialog").get_by_role("button", name="Open", exact=True).click()
    expect(page.get_by_text("The study is open; its readers see it")).to_be_visible()


def at_reading(page: Any, position: int) -> None:
    """Wait until a reading is on the screen and takes answers."""
    heading = page.locator(".rr-form-head h2")
    expect(heading).to_contain_text(f"Reading {position} of {READINGS}")
    expect(page.locator(".rr-panel")).not_to_have_attribute("inert", "")


def answer(page: Any, reader: str, row: Row) -> None:
    """Press one key a question."""
    for question in ASKED[row.arm]:
        page.keyboard.press(str(planted(reader, row, question)))


def read_everything(person: Person, address: str, reader: str, rows: dict[int, Row]) -> None:
    """All readings of one reader, by keyboard; one loses the connection, one hands in twice."""
    page = person.page
    page.get_by_role("link", name="Start reading").click()
    page.get_by_role("button", name="Start reading").click()
    for position in sorted(rows):
        at_reading(page, position)
        answer(page, reader, rows[position])
        if reader == "bob" and position == 5:
            person.context.set_offline(True)
            page.keyboard.press("Control+Enter")
            expect(page.get_by_text("kept on this computer and will be sent")).to_be_visible()
            person.watch.trouble.clear()
            person.context.set_offline(False)
        elif reader == "cleo" and position == 7:
            page.get_by_role("button", name="Hand in").dblclick()
        else:
            page.keyboard.press("Control+Enter")
        if position == 1 and reader == "ann":
            body = page.content()
            assert not any(word in body for word in ("gradcam", "Grad-CAM", "decoy", "Decoy"))
    expect(page.get_by_text(f"{READINGS} of {READINGS} readings are handed in.")).to_be_visible()


def ratings(rows: dict[str, dict[int, Row]], question: str, arm: str) -> np.ndarray:
    """Planted first ratings of one question in one condition, (cases, readers); NaN for none."""
    table = np.full((CASES, len(READERS)), np.nan)
    for column, reader in enumerate(READERS):
        for row in rows[reader].values():
            if row.arm == arm and row.replicate == 1:
                value = planted(reader, row, question)
                table[int(row.case), column] = value or np.nan
    return table


def quadratic(first: np.ndarray, second: np.ndarray) -> float:
    """Cohen's kappa with quadratic weights, by statsmodels, over cases that both judged."""
    both = ~np.isnan(first) & ~np.isnan(second)
    counts = np.zeros((5, 5))
    for a, b in zip(first[both].astype(int), second[both].astype(int), strict=True):
        counts[a - 1, b - 1] += 1
    return float(cohens_kappa(counts, wt="quadratic").kappa)


def check_numbers(files: dict[str, bytes], rows: dict[str, dict[int, Row]]) -> None:
    """The export holds every planted answer once, and the kappas that follow from them."""
    text = files["answers.csv"].decode("utf-8-sig")
    kept = list(csv.DictReader(io.StringIO(text)))
    expected = sorted(
        str(planted(reader, row, question) or "")
        for reader in READERS for row in rows[reader].values() for question in ASKED[row.arm]
    )  # fmt: skip
    found = ["" if not each["answer"] else f"{float(each['answer']):g}" for each in kept]
    assert sorted(found) == expected
    assert {each["n_revisions"] for each in kept} == {"1"}
    analysis = json.loads(files["study.json"])["analysis"]
    for result in analysis["questions"]:
        if not result["arm"] or result["group"]:
            continue
        table = ratings(rows, result["question"], result["arm"])
        pairs = [(0, 1), (0, 2), (1, 2)]
        shown = [pair["kappa_quadratic"] for pair in result["pairs"]]
        own = [quadratic(table[:, a], table[:, b]) for a, b in pairs]
        assert sorted(shown) == pytest.approx(sorted(own), abs=1e-9)
        assert result["mean"] == pytest.approx(np.nanmean(table), abs=1e-9)
        light = [s for s in result["statistics"] if s["statistic"] == "light_kappa"]
        for one in light:
            if one["weights"] == "quadratic":
                assert one["value"] == pytest.approx(np.mean(own), abs=1e-9)


def test_a_study_from_design_to_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    workspace = tmp_path / "workspace"
    prepare(workspace)
    expect.set_options(timeout=PATIENCE)
    with chromium() as browser, lightbox(workspace) as address:
        olga = Person(browser, address, "olga", "/study/")
        design(olga.page, address)
        rows = {reader: plan(workspace, reader) for reader in READERS}
        assert all(len(each) == READINGS for each in rows.values())
        readers = {name: Person(browser, address, name, "/reading") for name in READERS}
        for name, person in readers.items():
            read_everything(person, address, name, rows[name])
        for person in readers.values():
            assert person.watch.trouble == []
            person.context.close()
        files = finish(olga.page, address, tmp_path)
        check_numbers(files, rows)
        assert olga.watch.trouble == []
        olga.context.close()
    services = small_model.open_services(workspace)
    try:
        (study,) = services.store.studies()
        assert study.state is StudyState.EXPORTED
        assert services.store.verify_audit() is None
    finally:
        services.close()


def finish(page: Any, address: str, folder: Path) -> dict[str, bytes]:
    """Lock, look at the analysis, unblind, print, export; the files of the export."""
    page.goto(f"{address}/study/?tab=progress&study=1")
    table = page.get_by_role("table", name="Progress of each reader")
    expect(table).to_contain_text(f"{READINGS} of {READINGS}")
    page.get_by_role("tab", name="Studies").click()
    page.get_by_role("button", name="Lock", exact=True).last.click()
    page.get_by_role("dialog").get_by_role("button", name="Lock", exact=True).click()
    expect(page.get_by_text("The study is locked; its answers are frozen.")).to_be_visible()
    page.get_by_role("tab", name="Analysis").click()
    expect(page.get_by_text(f"3 readers, {CASES} cases")).to_be_visible()
    expect(page.locator(".js-plotly-plot:visible").first).to_be_visible()
    page.get_by_role("tab", name="Studies").click()
    page.get_by_role("button", name="Unblind").click()
    page.get_by_role("dialog").get_by_role("button", name="Unblind", exact=True).click()
    expect(page.get_by_text("Unblinded. The report and the export name")).to_be_visible()
    report = page.request.get(f"{address}/studies/1/report.pdf")
    assert report.ok and report.body().startswith(b"%PDF")
    assert page.request.get(f"{address}/studies/1/report.pdf").body() == report.body()
    with page.expect_download() as download:
        page.get_by_role("link", name="Everything (ZIP)").click()
    saved = folder / "export.zip"
    download.value.save_as(saved)
    with zipfile.ZipFile(saved) as archive:
        return {name.split("/", 1)[-1] if name.endswith(("answers.csv", "study.json")) else name:
                archive.read(name) for name in archive.namelist()}  # fmt: skip
