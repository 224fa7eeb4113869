"""The whole way: open, pick, switch class and map, rate as two readers, agree, print, return."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from engine.phantoms import phantom_case, write_case
from tests.browser.served import Watch, chromium, lightbox, wait_for_case

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

CASES = ("PH-09000001", "PH-09000002", "PH-09000003")
ADMIN, FIRST, OWN = "a long first password", "first password 1", "my own password 2"


def sign_in(page: Any, address: str, name: str, password: str) -> None:
    page.goto(f"{address}/login")
    page.get_by_label("Name", exact=False).first.fill(name)
    page.locator("input[type=password]").first.fill(password)
    page.locator("button[type=submit]").first.click()
    page.wait_for_load_state()


def sign_out(page: Any, address: str) -> None:
    page.goto(f"{address}/logout")
    page.locator("button[type=submit]").first.click()
    page.wait_for_load_state()


def set_up(page: Any, address: str) -> None:
    """The first administrator, from the open demonstration."""
    page.goto(f"{address}/setup")
    page.get_by_label("Name", exact=False).first.fill("chief")
    for box in page.locator("input[type=password]").all():
        box.fill(ADMIN)
    page.locator("button[type=submit]").first.click()
    page.wait_for_load_state()
    if "/login" in page.url:
        sign_in(page, address, "chief", ADMIN)


def add_reader(page: Any, name: str) -> None:
    page.get_by_label("Login name").fill(name)
    page.get_by_label("Shown as").fill(f"Reader {name}")
    page.get_by_label("First password", exact=False).fill(FIRST)
    page.get_by_role("button", name="Add account").click()
    page.get_by_role("gridcell", name=name, exact=True).last.wait_for(timeout=30_000)


def change_password(page: Any) -> None:
    boxes = page.locator("input[type=password]").all()
    for box, text in zip(boxes, (FIRST, OWN, OWN), strict=True):
        box.fill(text)
    page.locator("button[type=submit]").first.click()
    page.wait_for_load_state()


def rate(page: Any, address: str, case: str, answers: tuple[int, int, int, int]) -> None:
    page.goto(f"{address}/app/?case={case}")
    wait_for_case(page, case)
    questions = page.locator(".lbr-question")
    for place, answer in enumerate(answers):
        question = questions.nth(place)
        question.get_by_role("radio").nth(answer - 1).click()
        question.get_by_text("Saved", exact=False).wait_for(timeout=30_000)


def test_the_whole_way(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    with chromium() as browser:
        with lightbox(workspace) as address:
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            watch = Watch(page, address)
            look_around(page, address)
            upload_own(page, address, tmp_path / "own")
            assert not watch.trouble
            set_up(page, address)
            page.goto(f"{address}/admin/")
            page.get_by_label("Login name").wait_for(timeout=60_000)
            for name in ("anna", "bert"):
                add_reader(page, name)
            sign_out(page, address)
            rated = {"anna": 0, "bert": 1}
            for name, shift in rated.items():
                sign_in(page, address, name, FIRST)
                change_password(page)
                for place, case in enumerate(CASES):
                    rate(page, address, case, (1 + place + shift, 2 + place, 5 - place, 4))
                sign_out(page, address)
            sign_in(page, address, "bert", OWN)
            see_agreement(page, address)
            print_report(page, address)
            page.close()
        with lightbox(workspace) as address:
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            come_back(page, address)
            page.close()


def look_around(page: Any, address: str) -> None:
    """Worklist, a case, another class, another map, the next case."""
    page.goto(address)
    page.get_by_text(CASES[1]).first.click()
    state = wait_for_case(page, CASES[1])
    assert state["case"] == CASES[1]
    page.get_by_role("button", name="Benign", exact=False).first.click()
    wait_for_case(page, CASES[1], "Benign")
    page.locator(".lbr select").first.select_option("gradcam")
    shown = page.locator("label", has_text="Grad-CAM (Benign)").locator("input")
    expect(shown.first).to_be_checked(timeout=30_000)
    page.keyboard.press("Escape")
    page.locator(".lbr").get_by_role("button", name="Next case").click()
    page.wait_for_function(
        "(old) => { const all = [...document.querySelectorAll('*')];"
        "const found = all.find((each) => each.lightbox);"
        "return found.lightbox.state().case && found.lightbox.state().case !== old; }",
        arg=CASES[1],
        timeout=60_000,
    )


def upload_own(page: Any, address: str, folder: Path) -> None:
    """A folder with a mammogram, its pathology and a file that is cut short."""
    write_case(phantom_case(4242, "Invasive"), folder)
    (folder / "broken.png").write_bytes((folder / "pathology.png").read_bytes()[:900])
    page.goto(f"{address}/app/")
    page.get_by_role("tab", name="Upload").click()
    page.locator(".lbu input[webkitdirectory]").set_input_files(folder)
    page.locator(".lbu-list [data-do='start']").click()
    results = page.locator(".lbu-results")
    expect(results.get_by_text("This PNG picture is cut short.")).to_be_visible(timeout=60_000)
    link = results.get_by_text("LB-", exact=False).first
    case = (link.inner_text().split("LB-")[1])[:12]
    link.click()
    wait_for_case(page, f"LB-{case}")
    assert "broken" not in page.content()


def see_agreement(page: Any, address: str) -> None:
    page.goto(f"{address}/app/")
    page.get_by_role("tab", name="Agreement").click()
    page.get_by_text("2 readers have rated", exact=False).wait_for(timeout=60_000)
    page.get_by_text("Fleiss kappa", exact=False).first.wait_for(timeout=60_000)
    page.get_by_text("undefined", exact=False).first.wait_for(timeout=30_000)


def print_report(page: Any, address: str) -> None:
    answer = page.request.get(f"{address}/reports/{CASES[0]}.pdf", timeout=120_000)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.body().startswith(b"%PDF")
    assert len(answer.body()) > 50_000


def come_back(page: Any, address: str) -> None:
    """After a restart everything is there, and nobody gets in without a password."""
    page.goto(f"{address}/app/")
    assert "/login" in page.url
    sign_in(page, address, "bert", OWN)
    page.goto(f"{address}/app/?case={CASES[0]}")
    wait_for_case(page, CASES[0])
    first = page.locator(".lbr-question").first.get_by_role("radio")
    assert first.nth(1).get_attribute("aria-checked") == "true"
    page.get_by_text("3 of 13 cases rated", exact=False).wait_for(timeout=30_000)
