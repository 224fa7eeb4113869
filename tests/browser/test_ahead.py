"""Opening ahead: what is prefetched, and which case wins when several are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.browser import viewer_harness as harness
from tests.browser.served import chromium

pytestmark = [pytest.mark.browser]
SETTLE = "() => document.getElementById('viewer').lightbox.ready"
TELL = """([name, id]) => {
  const detail = { case: id };
  document.dispatchEvent(new CustomEvent(name, { detail }));
  window.untils = window.untils || {};
  if (detail.until) detail.until.then((isCurrent) => { window.untils[id] = isCurrent; });
}"""
CASE = "document.getElementById('viewer').lightbox.state().case"


@pytest.fixture
def shown() -> Iterator[tuple[Any, harness.Layers, dict[str, dict[str, Any]]]]:
    """A page that shows case A; B and C can be asked for at their addresses."""
    layers, values = harness.Layers(), {}
    for name in "ABC":
        image = harness.add_image(layers, np.full((1, 64, 64), 900, np.uint16), name=f"<b>{name}")
        heat = harness.add_heat(layers, harness.hill(64, 64, 20, 30, 9), name, target=f"T{name}")
        values[name] = harness.case_value([image], [heat], case=name)
        layers.files[f"/view/{name}.json"] = json.dumps(values[name]).encode()
    with harness.serve(layers) as address, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.evaluate("(value) => show(value)", values["A"])
        page.evaluate(SETTLE)
        layers.asked.clear()
        yield page, layers, values


def tell(page: Any, name: str, case: str) -> None:
    page.evaluate(TELL, [f"lightbox-{name}", case])


def test_a_prefetched_case_is_shown_without_a_request(shown: Any) -> None:
    page, layers, values = shown
    tell(page, "prefetch", "B")
    page.wait_for_timeout(400)
    assert len(layers.asked) == 3 and page.evaluate(CASE) == "A"
    tell(page, "open", "B")
    assert page.evaluate(CASE) == "B"
    page.evaluate(SETTLE)
    page.evaluate("(value) => show(value)", values["B"] | {"version": 9})
    page.evaluate(SETTLE)
    assert len(layers.asked) == 3
    assert page.evaluate("window.untils") == {"B": True}
    assert page.locator("[data-lbv=layers]").inner_text().startswith("Map B (TB)")
    assert page.locator("#viewer b").count() == 0


def test_the_later_of_two_openings_wins(shown: Any) -> None:
    page, _, values = shown
    both = [["lightbox-open", "B"], ["lightbox-open", "C"]]
    page.evaluate(f"(all) => all.forEach({TELL})", both)  # at once: B must not be held to its end
    page.wait_for_function(f"{CASE} === 'C'")
    page.wait_for_function("window.untils && 'B' in window.untils && 'C' in window.untils")
    assert page.evaluate("window.untils") == {"B": False, "C": True}
    tell(page, "open", "B")
    page.wait_for_function("window.untils.B === true")
    tell(page, "open", "C")
    page.evaluate("(value) => show(value)", values["B"])
    assert page.evaluate(CASE) == "C"
    page.evaluate("(value) => show(value)", values["C"])
    page.evaluate("(value) => show(value)", values["A"])
    assert page.evaluate(CASE) == "A"


def test_a_failed_prefetch_is_silent_and_a_failed_opening_waits_for_python(shown: Any) -> None:
    page, layers, values = shown
    layers.files["/view/B.json"] = 500
    status = page.locator("[data-lbv=status]").inner_text()
    tell(page, "prefetch", "B")
    tell(page, "open", "B")
    page.wait_for_function("window.untils && window.untils.B === true")
    assert page.evaluate(CASE) == "A"
    assert page.locator("[data-lbv=status]").inner_text() == status
    page.evaluate("(value) => show(value)", values["B"])
    assert page.evaluate(CASE) == "B"


def test_a_left_case_comes_back_without_a_request(shown: Any) -> None:
    page, layers, values = shown
    for name in "BA":
        page.evaluate("(value) => show(value)", values[name])
        page.evaluate(SETTLE)
    assert len(layers.asked) == 2
