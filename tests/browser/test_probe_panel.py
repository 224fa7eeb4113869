"""The probe panel in Chromium: what it marks, what it sends, and what it shows of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser import panels_harness, probe_harness
from tests.browser.served import chromium

pytestmark = pytest.mark.browser

CASE = "PH-00000012"


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Any, str]]:
    with chromium() as browser, panels_harness.serve(panels_harness.Desk()) as address:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(8000)
        page.route("**/probe/picture/**", lambda route: _picture(route, after=False))
        page.route(
            "**/probe/tile/**",
            lambda route: _picture(
                route,
                after=route.request.url[-5] in "135",
                heat=route.request.url[-5] in "2345",
            ),
        )
        yield page, address


def _picture(route: Any, **facts: bool) -> None:
    route.fulfill(body=probe_harness.picture(**facts), content_type="image/png")


class Screen:
    """The panel on a page, and what it sent."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.errors = page, list[str]()
        self.hear = lambda error: self.errors.append(str(error))
        page.on("pageerror", self.hear)
        page.goto(f"{address}/probe")
        self.show(probe_harness.value())
        self.tool("brush")

    def show(self, value: dict[str, Any] | None) -> None:
        self.page.evaluate("value => show(value)", value)

    def tool(self, name: str) -> None:
        self.page.click(f"[data-tool={name}]")

    def sent(self, event: str) -> list[Any]:
        return [data for name, data in self.page.evaluate("window.sent") if name == event]

    def text(self, part: str) -> str:
        return str(self.page.inner_text(f"[data-lbx={part}]"))

    def mask(self) -> np.ndarray:
        """What is marked on the image shown, (H, W) bool."""
        state = self.page.evaluate("window.panel.panel.state()")
        shape = [(probe_harness.HEIGHT, probe_harness.WIDTH), (60, 80)][state["image"]]
        marks = np.arange(len(state["runs"])) % 2 == 1
        return np.repeat(marks, state["runs"]).reshape(shape)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Place on the page of a point in source pixels of the mammogram."""
        box = self.page.locator("canvas").bounding_box()
        return (
            box["x"] + x * box["width"] / probe_harness.WIDTH,
            box["y"] + y * box["height"] / probe_harness.HEIGHT,
        )

    def drag(self, *points: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=3)
        self.page.mouse.up()


@pytest.fixture
def screen(stage: tuple[Any, str]) -> Iterator[Screen]:
    made = Screen(*stage)
    yield made
    made.page.remove_listener("pageerror", made.hear)
    assert made.errors == []


def test_a_stroke_marks_a_capsule_in_source_pixels_and_is_undone(screen: Screen) -> None:
    screen.page.evaluate("document.querySelector('[data-lbx=radius]').value = 30")
    screen.drag((60, 100), (120, 100))
    mask = screen.mask()
    rows, columns = np.nonzero(mask)
    radius = mask[:, 90].sum() / 2
    assert 2 < radius < 12
    assert abs(columns.min() - (60 - radius)) < 2
    assert abs(columns.max() - (120 + radius)) < 2
    assert abs((rows.min() + rows.max()) / 2 - 99.5) < 1
    screen.drag((150, 200), (150, 200))
    assert screen.mask().sum() > mask.sum()
    screen.page.click("[data-do=undo]")
    assert np.array_equal(screen.mask(), mask)
    screen.tool("eraser")
    screen.drag((50, 100), (130, 100))
    assert not screen.mask().any()
    assert screen.text("marked") == "Nothing is marked yet."
    assert screen.page.is_disabled("[data-do=remove]")


def test_a_click_takes_the_models_region_or_a_disc(screen: Screen) -> None:
    screen.tool("click")
    screen.drag((90, 120))
    assert np.array_equal(screen.mask(), probe_harness.lesion())
    assert "Lesion of the model" in screen.text("marked")
    screen.page.click("[data-do=clear]")
    assert not screen.mask().any()
    screen.drag((160, 220))
    mask = screen.mask()
    rows, columns = np.nonzero(mask)
    assert abs(rows.mean() - 219.5) < 1 and abs(columns.mean() - 159.5) < 1
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1


def test_a_box_is_sent_and_its_outline_is_added_and_stays_editable(screen: Screen) -> None:
    screen.tool("box")
    assert "LiteMedSAM is not installed" in screen.text("hint")
    screen.drag((120, 60), (40, 20))
    (sent,) = screen.sent("outline")
    assert sent["case"] == CASE and sent["image"] == 0
    assert sent["box"] == pytest.approx([40, 20, 80, 40], abs=1)
    outline = np.zeros((probe_harness.HEIGHT, probe_harness.WIDTH), bool)
    outline[25:55, 45:115] = True
    found = {"image": 0, "runs": probe_harness.runs(outline), "text": "Please check the outline."}
    screen.show(probe_harness.value(2, suggestion=found))
    assert np.array_equal(screen.mask(), outline)
    assert "Please check the outline." in screen.text("marked")
    screen.tool("eraser")
    screen.drag((80, 40), (90, 40))
    assert 0 < screen.mask().sum() < outline.sum()
    screen.page.click("[data-do=undo]")
    screen.page.click("[data-do=undo]")
    assert not screen.mask().any()


def test_everything_can_be_done_from_the_keyboard(screen: Screen) -> None:
    screen.page.focus("canvas")
    for key in ("b", "ArrowRight", "ArrowRight", "Shift+ArrowDown", " "):
        screen.page.keyboard.press(key)
    mask = screen.mask()
    assert mask.any() and not mask[: probe_harness.HEIGHT // 2 - 20].any()
    screen.page.keyboard.press("Control+z")
    assert not screen.mask().any()
    for key in ("x", " ", "Shift+ArrowRight", "Shift+ArrowDown", " "):
        screen.page.keyboard.press(key)
    assert screen.sent("outline")[0]["box"][2:] == pytest.approx([13, 13], abs=0.5)


def test_removing_sends_the_region_in_source_pixels_with_the_choices(screen: Screen) -> None:
    screen.page.click("[data-lbx=take] button")
    screen.page.click("[data-lbx=fills] button:has-text('Black')")
    assert screen.text("filltext") == "The region is blacked out."
    screen.page.click(".lbp-maps summary")
    screen.page.uncheck("[data-lbx=methods] input[value=gradcam]")
    screen.page.select_option("[data-lbx=target]", "Benign")
    screen.page.click("[data-do=remove]")
    (sent,) = screen.sent("remove")
    assert sent == {
        "case": CASE, "image": 0, "mask": probe_harness.runs(probe_harness.lesion()),
        "fill": "black", "methods": ["relevance"], "target": "Benign",
    }  # fmt: skip
    assert screen.page.is_disabled("[data-do=remove]")
    assert "asked again" in screen.text("why")
    screen.show(probe_harness.value(2, problem="The model cannot answer."))
    assert screen.text("problem") == "The model cannot answer."
    assert not screen.page.is_disabled("[data-do=remove]")
    assert screen.mask().any()


def test_only_so_many_maps_may_be_chosen(screen: Screen) -> None:
    screen.page.click(".lbp-maps summary")
    screen.page.check("[data-lbx=methods] input[value=rollout]")
    assert screen.page.is_disabled("[data-lbx=methods] input[value=occlusion]")
    assert screen.text("mapstitle").endswith("Grad-CAM, Attention rollout")


def test_each_image_keeps_its_own_region(screen: Screen) -> None:
    screen.page.click("[data-lbx=take] button")
    screen.page.click("[data-lbx=images] button:has-text('Pathology')")
    assert screen.mask().shape == (60, 80) and not screen.mask().any()
    assert "pixels" in screen.text("radiustext")
    screen.page.click("[data-lbx=images] button:has-text('Mammogram')")
    assert np.array_equal(screen.mask(), probe_harness.lesion())


def test_an_image_that_the_model_does_not_read_cannot_be_marked(screen: Screen) -> None:
    value = probe_harness.value(2)
    value["images"][0]["unread"] = "The model does not read this image."
    screen.show(value | {"case": "PH-00000013"})
    screen.page.click("[data-lbx=images] button:has-text('Mammogram')")
    assert screen.text("veil") == "The model does not read this image."
    screen.page.keyboard.press("Tab")
    screen.page.locator("canvas").focus()
    screen.page.keyboard.press(" ")
    assert not screen.mask().any()


def test_an_answer_stands_beside_the_earlier_one(screen: Screen) -> None:
    second = probe_harness.answer(2, fill="Black", turn="The model would then say Benign.")
    screen.show(probe_harness.value(2, results=[second, probe_harness.answer(1)]))
    screen.page.wait_for_function(
        "[...document.querySelectorAll('.lbp figure img')].every((i) => i.naturalWidth)"
    )
    assert screen.text("sentence").endswith("0.41. The model would then say Benign.")
    assert screen.page.locator(".lbp figure img").count() == 6
    bold = screen.page.locator("tr.is-target").all_inner_texts()
    assert bold == ["Invasive\t0.97\t0.41\t−0.56"]
    past = screen.page.locator("[data-lbx=past] button").all_inner_texts()
    assert past[0].startswith("2. Mammogram, 12 %, black") and past[1].startswith("1. ")
    screen.page.locator("[data-lbx=past] button").nth(1).click()
    assert "Benign" not in screen.text("sentence")
    width = screen.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 1440


def test_a_change_that_two_digits_would_hide_is_written_with_four(screen: Screen) -> None:
    one = probe_harness.answer(3)
    one["rows"][3] |= {"before": 0.9998, "after": 0.9961, "difference": -0.0037}
    screen.show(probe_harness.value(2, results=[one]))
    bold = screen.page.locator("tr.is-target").all_inner_texts()
    assert bold == ["Invasive\t0.9998\t0.9961\t−0.0037"]


def test_a_job_is_followed_until_its_answer_comes(screen: Screen) -> None:
    asked: list[str] = []

    def fulfil(route: Any) -> None:
        asked.append(route.request.url)
        done = probe_harness.value(3, results=[probe_harness.answer(7)])
        route.fulfill(json=done)

    screen.page.route("**/probe/*.json*", fulfil)
    job = {"id": "a", "state": "running", "share": 0.4, "left_s": 12.0, "position": 0,
           "message": ""}  # fmt: skip
    screen.show(probe_harness.value(2, job=job))
    assert "40 %" in screen.text("jobtext")
    screen.page.click("[data-do=stop]")
    assert screen.sent("stop") == [{"case": CASE, "target": "Invasive"}]
    screen.page.locator("[data-lbx=answer]").wait_for()
    assert screen.page.is_hidden("[data-lbx=job]")
    assert asked[0].endswith(f"/probe/{CASE}.json?target=Invasive")
    screen.page.unroute("**/probe/*.json*")


def test_nothing_from_a_case_is_run_as_markup(screen: Screen) -> None:
    hurt = '"><img src=x onerror="window.hurt=1"><script>window.hurt=1</script>'
    one = probe_harness.answer(9, sentence=hurt, title=hurt, turn=hurt)
    one["pictures"] = ["https://elsewhere.test/a.png", "javascript:1"]
    value = probe_harness.value(2, results=[one], problem=hurt, targets=[hurt], target=hurt)
    value["images"][0] |= {"title": hurt, "regions": [{"label": hurt, "runs": [52000]}]}
    screen.show(value | {"case": "PH-1"})
    screen.page.wait_for_timeout(200)
    assert screen.page.evaluate("window.hurt") is None
    assert screen.page.locator("img[src^=https], img[src^=javascript]").count() == 0


def test_without_a_case_the_panel_says_so(screen: Screen) -> None:
    screen.show(None)
    assert "Open a case" in screen.text("empty")
    screen.show({"version": 9, "case": "PH-2", "problem": "No such weights.", "images": []})
    assert screen.text("problem") == "No such weights."
    assert screen.page.is_hidden("[data-lbx=work]")


def test_scripts_hold_no_value_and_write_no_markup() -> None:
    folder = Path(__file__).resolve().parents[2] / "assets" / "web"
    for path in folder.glob("probe*.js"):
        text = path.read_text("utf-8")
        assert "innerHTML" not in text and "eval(" not in text, path.name
