"""An axe-core scan of every page: nothing serious, nothing critical."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.app.study_world import CHIEF, ORGANISER, READERS, protocol
from tests.browser.served import chromium
from tests.browser.study_whole import sign_in, whole

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

Served = tuple[Any, str, int, str, list[str]]
GRAVE = ("serious", "critical")
STUDY = ("studies", "design", "progress", "analysis", "adjudication", "import")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("axe")
    with (
        pytest.MonkeyPatch.context() as patch,
        chromium() as browser,
        whole(folder, patch) as (world, address),
    ):
        number, code = world.opened(protocol(world.cases))
        world.read_all(READERS[0], code, 3)
        world.read_all(READERS[1], code, dict(zip(world.cases, (2, 3, 4, 5), strict=True)))
        yield browser, address, number, code, world.cases


def scan(page: Any, where: str) -> list[str]:
    """Grave findings of the page as it is, one line each."""
    found = Axe().run(page).response["violations"]
    return [
        f"{where}: {each['id']} ({each['impact']}): {each['help']}: "
        + "; ".join(node["html"][:160] + " " + node["failureSummary"][-160:]
                    for node in each["nodes"][:3])
        for each in found
        if each["impact"] in GRAVE
    ]  # fmt: skip


@pytest.fixture
def page(served: Served) -> Iterator[Any]:
    """A fresh browser window at the size of a workstation."""
    context = served[0].new_context(viewport={"width": 1440, "height": 900})
    made = context.new_page()
    made.set_default_timeout(60_000)
    yield made
    context.close()


def test_the_way_in(served: Served, page: Any) -> None:
    page.goto(f"{served[1]}/login")
    assert scan(page, "login") == []
    page.evaluate("document.body.append(document.createElement('button'))")
    assert "button-name" in scan(page, "a button without a name")[0]  # the scan does find
    sign_in(page, served[1], ORGANISER.name, "/password")
    assert scan(page, "password") == []


def test_the_clinicians_pages(served: Served, page: Any) -> None:
    address = served[1]
    sign_in(page, address, CHIEF.name, "/app/")
    page.get_by_role("tab", name="Worklist").wait_for()
    page.wait_for_timeout(1500)
    findings = []
    for tab in page.get_by_role("tab").all_inner_texts():
        page.get_by_role("tab", name=tab, exact=True).click()
        page.wait_for_timeout(1500)
        findings += scan(page, f"app, {tab}")
    assert findings == []


def test_the_administrators_pages(served: Served, page: Any) -> None:
    address = served[1]
    sign_in(page, address, CHIEF.name, "/admin/")
    page.get_by_role("tab", name="Accounts").wait_for()
    page.wait_for_timeout(1500)
    findings = []
    for tab in page.get_by_role("tab").all_inner_texts():
        page.get_by_role("tab", name=tab, exact=True).click()
        page.wait_for_timeout(1500)
        findings += scan(page, f"admin, {tab}")
    assert findings == []


def test_the_organisers_pages(served: Served, page: Any) -> None:
    _, address, number, *_ = served
    sign_in(page, address, ORGANISER.name, "/study/")
    findings = []
    for tab in STUDY:
        page.goto(f"{address}/study/?tab={tab}&study={number}")
        page.locator(f".lbs-{tab}:visible").wait_for()
        if tab == "analysis":
            page.get_by_text("Agreement between readers").first.wait_for(timeout=180_000)
        page.wait_for_timeout(2000)
        page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
        findings += scan(page, f"study, {tab}")
    assert findings == []


def test_the_reading_room(served: Served, page: Any) -> None:
    _, address, _, code, _ = served
    sign_in(page, address, READERS[2].name, "/reading")
    page.wait_for_timeout(1500)
    findings = scan(page, "reading, list")
    page.goto(f"{address}/reading/{code}")
    page.wait_for_timeout(4000)
    findings += scan(page, "reading, room")
    assert findings == []


def test_a_case_under_review(served: Served, page: Any) -> None:
    address = served[1]
    sign_in(page, address, CHIEF.name, "/app/")
    page.get_by_role("tab", name="Worklist").wait_for()
    page.goto(f"{address}/app/?case={served[4][0]}")
    page.locator(".lbf-lead").first.wait_for()
    page.wait_for_timeout(3000)
    findings = []
    for tab in ("Review", "Evidence", "What if"):
        page.get_by_role("tab", name=tab, exact=True).click()
        page.wait_for_timeout(4000)
        findings += scan(page, f"case, {tab}")
    assert findings == []
