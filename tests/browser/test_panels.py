"""The panels in Chromium: what they show, what they report, and what they never lose or run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.ui.panels import (
    MOUNTS,
    Findings,
    RatingForm,
    Upload,
    Worklist,
    panel_markup,
    panel_script,
    panel_style,
    theme_css,
)
from tests.browser import panels_harness as harness
from tests.browser.served import chromium

HURT = '"><img src=x onerror="window.hurt=1"><script>window.hurt=1</script>${window.hurt=1}{{7*7}}'

PANELS = ("findings", "rating", "upload", "worklist")  # the others have tests of their own

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


class Screen:
    """One page with one panel on it, what the panel sent, and what went wrong."""

    def __init__(self, page: Any, address: str, desk: Any) -> None:
        self.page, self.address, self.desk = page, address, desk
        self.errors: list[str] = []
        self.hear = lambda error: self.errors.append(str(error))
        page.on("pageerror", self.hear)

    def open(self, name: str, value: dict | None) -> Any:
        """Opens the panel of that name with a value; gives the page."""
        self.page.goto(f"{self.address}/{name}")
        self.show(value)
        return self.page

    def show(self, value: dict | None) -> None:
        """Gives the panel a new value, as Python would."""
        self.page.evaluate("value => show(value)", value)

    def sent(self, event: str | None = None) -> list:
        """Events of one name, or all of them, in the order in which they were sent."""
        everything = self.page.evaluate("window.sent")
        return [data for name, data in everything if event in (None, name)]

    def texts(self, selector: str) -> list[str]:
        """Text of all nodes that match."""
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]


@pytest.fixture(scope="module")
def stage(browser: Any) -> Iterator[tuple[Any, str, Any]]:
    desk = harness.Desk()
    page = browser.new_page(timezone_id="UTC")
    page.set_default_timeout(8000)
    with harness.serve(desk) as address:
        yield page, address, desk
        page.close()


@pytest.fixture
def screen(stage: tuple[Any, str, Any]) -> Iterator[Screen]:
    page, address, desk = stage
    vars(desk).update(vars(harness.Desk()))
    page.set_viewport_size({"width": 1180, "height": 900})
    screen = Screen(page, address, desk)
    yield screen
    page.evaluate("localStorage.clear()")
    page.remove_listener("pageerror", screen.hear)
    assert screen.errors == []


def _state(question: str) -> str:
    return f"[data-question={question}] .lbr-state"


def _point(question: str, point: int) -> str:
    return f'[data-question={question}] [data-point="{point}"]'


# ---- all panels ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PANELS)
def test_the_page_text_is_constant_and_names_every_event(name: str) -> None:
    mount, events = MOUNTS[name]
    made = {"worklist": Worklist, "findings": Findings, "rating": RatingForm, "upload": Upload}
    component = made[name]({"version": 1})
    text = panel_markup(name) + panel_style(name)
    assert not any(sign in text for sign in ("${", "{{", "`", "\\"))  # Gradio would evaluate them
    assert component.html_template == panel_markup(name)
    assert "innerHTML" not in panel_script(name) and f"function {mount}(" in panel_script(name)
    assert all(callable(getattr(component, event)) for event in events)
    assert theme_css() in component.css_template
    assert type(component) is gr.HTML  # a child class would write a stub file at each import


@pytest.mark.parametrize("name", PANELS)
def test_words_from_a_value_are_shown_and_never_run(screen: Screen, name: str) -> None:
    case = {"id": HURT, "thumbnail": "javascript:window.hurt=1", "modalities": [HURT],
            "status": HURT, "created": HURT, "owner": HURT, "source": HURT}  # fmt: skip
    question = {"id": "trust", "text": HURT, "anchors": [HURT] * 5}
    stored = harness.answer(3, 1, HURT)
    values = {
        "worklist": {"cases": [case]},
        "findings": harness.findings_value(
            leading=HURT, warnings=[HURT], box={"text": HURT}, refused=[], target=HURT,
            probabilities=[{"name": HURT, "value": 0.5}], patches=[{"label": HURT, "weight": 1}],
            methods=[{"id": "a", "title": HURT, "summary": HURT, "localised": False,
                      "reason": HURT}], model={"title": HURT, "intended_use": HURT}),
        "rating": harness.rating_value(
            reader=HURT, target=HURT, questions=[question], error=HURT, answers={"trust": stored},
            methods=[{"id": "relevance", "title": HURT}]),
        "upload": {"limits": HURT},
    }  # fmt: skip
    page = screen.open(name, values[name])
    page.wait_for_timeout(100)
    assert HURT in page.locator("#panel").inner_text()
    assert page.evaluate("window.hurt") is None
    assert page.locator("#panel script").count() == 0
    assert page.locator('#panel img[src="x"]').count() == 0


@pytest.mark.parametrize("name", PANELS)
def test_every_control_has_a_name_a_size_and_a_visible_focus(screen: Screen, name: str) -> None:
    values = {
        "worklist": harness.worklist_value(), "findings": harness.findings_value(),
        "rating": harness.rating_value(), "upload": {"limits": "Up to 2 GB."},
    }  # fmt: skip
    page = screen.open(name, values[name])
    controls = page.evaluate("""() => [...document.querySelectorAll(
        '#panel button, #panel select, #panel textarea, #panel input, #panel a, #panel summary')]
        .filter(node => node.getClientRects().length).map(node => {
          const box = (node.labels && node.labels[0] || node).getBoundingClientRect();
          const label = node.labels && node.labels[0];
          node.focus({focusVisible: true});
          const own = getComputedStyle(node), after = getComputedStyle(node, '::after');
          return { what: node.outerHTML.slice(0, 80), wide: box.width, high: box.height,
            name: node.getAttribute('aria-label') || (label || node).textContent.trim(),
            ring: [own, after].some(s => s.outlineStyle === 'solid'
              && parseFloat(s.outlineWidth) >= 2) };
        })""")
    assert len(controls) >= 2
    for each in controls:
        link = each["what"].startswith("<a ")
        assert each["name"] and each["ring"], each
        assert link or (each["wide"] >= 24 and each["high"] >= 24), each


CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (rgb) => { const [r, g, b] = rgb.map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (node) => { for (; node; node = node.parentElement) {
    const colour = parse(getComputedStyle(node).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3); } return [255, 255, 255]; };
  const found = [], walk = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) { const node = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !node.getClientRects().length) continue;
    if (node.matches('option, :disabled')) continue;
    const a = light(parse(getComputedStyle(node).color).slice(0, 3)), b = light(behind(node));
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.outerHTML.slice(0, 90)]); }
  return found; }"""  # noqa: E501


@pytest.mark.parametrize("name", PANELS)
def test_text_has_the_contrast_of_wcag_aa(screen: Screen, name: str) -> None:
    values = {
        "worklist": harness.worklist_value(), "findings": harness.findings_value(),
        "rating": harness.rating_value(answers={"trust": harness.answer(2)}, error="It failed."),
        "upload": {"limits": "Up to 2 GB."},
    }  # fmt: skip
    found = screen.open(name, values[name]).evaluate(CONTRAST)
    assert len(found) > 4
    assert [each for each in found if each[0] < 4.5] == []


@pytest.mark.parametrize("name", PANELS)
def test_no_panel_is_wider_than_a_narrow_column(screen: Screen, name: str) -> None:
    values = {
        "worklist": harness.worklist_value(), "findings": harness.findings_value(),
        "rating": harness.rating_value(), "upload": {"limits": "Up to 2 GB."},
    }  # fmt: skip
    screen.page.set_viewport_size({"width": 400, "height": 800})
    page = screen.open(name, values[name])
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


# ---- worklist --------------------------------------------------------------------------------


def _shown(screen: Screen) -> list[str]:
    return screen.texts(".lbw-id")


def test_worklist_searches_filters_and_counts(screen: Screen) -> None:
    page = screen.open("worklist", harness.worklist_value(9))
    assert screen.texts("[data-lbx=count]") == ["9 cases"]
    page.fill("input[type=search]", "mri")
    assert set(_shown(screen)) == {"PH-00000002", "PH-00000005", "PH-00000008"}
    assert screen.texts("[data-lbx=count]") == ["3 of 9 cases"]
    page.fill("input[type=search]", "0004 mammo")
    assert _shown(screen) == ["PH-00000004"]
    page.fill("input[type=search]", "nothing like this")
    assert screen.texts("[data-lbx=empty]") == [
        "No case matches. Change the search or the filters."
    ]
    page.get_by_role("button", name="Clear").click()
    page.select_option("[data-lbx=status]", "rated")
    page.select_option("[data-lbx=modality]", "mri")
    assert screen.texts("[data-lbx=count]") == ["3 of 9 cases"]
    assert set(screen.texts(".lbw-status")) == {"Rated"}
    screen.show(harness.worklist_value(12))
    assert screen.texts("[data-lbx=count]") == ["4 of 12 cases"]
    screen.show({"cases": []})
    assert "Upload images" in screen.texts("[data-lbx=empty]")[0]


def test_worklist_sorts_by_each_heading_both_ways(screen: Screen) -> None:
    page = screen.open("worklist", harness.worklist_value(12))
    times = [node.get_attribute("datetime") for node in page.locator("time").all()]
    assert times == sorted(times, reverse=True)
    for heading, selector in (("Case", ".lbw-id"), ("Added", "time")):
        page.get_by_role("button", name=heading, exact=True).click()
        first = screen.texts(selector)
        page.get_by_role("button", name=heading, exact=True).click()
        assert first == screen.texts(selector)[::-1]
        assert first in (sorted(first), sorted(first, reverse=True)) and len(set(first)) == 12
    page.get_by_role("button", name="Status", exact=True).click()
    assert screen.texts(".lbw-status") == ["New"] * 4 + ["Explained"] * 4 + ["Rated"] * 4
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"


def test_worklist_is_driven_by_keys(screen: Screen) -> None:
    page = screen.open("worklist", harness.worklist_value(5))
    order = _shown(screen)
    page.locator("body").press("/")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.type("/")
    assert page.input_value("input[type=search]") == "/"
    page.keyboard.press("Escape")
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    assert screen.sent("open") == [{"case": order[1]}]
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    page.keyboard.press("Home")
    assert screen.sent("open")[1:] == [{"case": order[-1]}]
    assert page.locator('.lbw-id[tabindex="0"]').count() == 1
    assert page.evaluate("document.activeElement.textContent") == order[0]
    page.evaluate("localStorage.setItem('lightbox.keys', 'off')")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.textContent") == order[0]


def test_worklist_rows_are_links(screen: Screen) -> None:
    page = screen.open("worklist", harness.worklist_value(3))
    row = page.locator("tbody tr").first
    case = row.locator(".lbw-id").inner_text()
    assert row.locator("a").get_attribute("href") == f"/app/?case={case}"
    row.click(position={"x": 600, "y": 30})
    assert screen.sent("open") == [{"case": case}]
    assert row.get_attribute("aria-current") == "true"
    with page.context.expect_page() as opened:
        row.click(position={"x": 600, "y": 30}, modifiers=["ControlOrMeta"])
    opened.value.wait_for_url(lambda url: url.endswith(f"/app/?case={case}"))
    opened.value.close()
    assert len(screen.sent("open")) == 1 and page.url.endswith("/worklist")


def test_worklist_draws_two_thousand_rows_bit_by_bit(screen: Screen) -> None:
    page = screen.open("worklist", None)
    value = harness.worklist_value(2000)
    took = page.evaluate(
        "value => { const t = performance.now(); show(value); return performance.now() - t; }",
        value,
    )
    assert took < 1000
    assert page.locator("tbody tr").count() < 200
    page.wait_for_timeout(200)
    assert 0 < len(screen.desk.thumbnails) < 150
    page.locator("[data-lbx=scroll]").evaluate("node => node.scrollTo(0, node.scrollHeight)")
    page.wait_for_function("document.querySelectorAll('tbody tr').length >= 120")
    drawn = page.locator("tbody tr").count()
    top = page.locator("[data-lbx=scroll]").evaluate("node => node.scrollTop")
    screen.show(value | {"version": 2})
    assert page.locator("tbody tr").count() >= drawn
    assert page.locator("[data-lbx=scroll]").evaluate("node => node.scrollTop") == top
    page.locator(".lbw-id").first.focus()
    page.keyboard.press("End")
    assert page.locator("tbody tr").count() == 2000
    assert page.evaluate(
        "document.activeElement === [...document.querySelectorAll('.lbw-id')].at(-1)"
    )


def test_a_new_value_keeps_the_row_that_has_the_focus(screen: Screen) -> None:
    page = screen.open("worklist", harness.worklist_value(6))
    page.locator(".lbw-id").nth(2).focus()
    held = page.evaluate("document.activeElement.textContent")
    screen.show(harness.worklist_value(9, version=2))
    assert page.evaluate("document.activeElement.textContent") == held


# ---- findings --------------------------------------------------------------------------------


def test_findings_say_what_the_model_says(screen: Screen) -> None:
    page = screen.open("findings", harness.findings_value())
    assert screen.texts(".lbf-bars b") == ["Invasive", "Normal", "Benign", "In situ"]
    assert screen.texts(".lbf-bars .lbx-number") == ["0.87", "0.02", "0.04", "0.07"]
    assert screen.texts(".lbf-lead")[0].split() == ["Invasive", "0.87"]
    assert screen.texts("[data-lbx=grade]") == ["Intermediate, level 3 of 4"]
    assert page.locator(".lbf-scale [aria-current]").inner_text().split() == [
        "Intermediate",
        "0.62",
    ]
    assert screen.texts("[data-lbx=box]") == [
        "x 120, y 300, 64 × 70 px (25.6 × 28.0 mm), score 0.93"
    ]
    assert screen.texts(".lbf-patches li")[0].split() == ["1", "0.12"]
    assert page.get_by_role("note").inner_text().startswith("Pixel spacing")
    text = page.locator("#panel").inner_text()
    assert "Heat maps show association, not cause." in text
    assert "No localised evidence: the map is flat for this class." in text
    assert "version 0.1.0 · weights ab12c94e…" in text and "Not for diagnosis." in text
    widths = page.locator(".lbf-bars i").evaluate_all("all => all.map(i => i.style.width)")
    assert widths == ["87%", "2%", "4%", "7%"]


def test_findings_without_grade_box_or_patches_are_not_assessed(screen: Screen) -> None:
    page = screen.open("findings", harness.findings_value(grade=None, box=None, patches=[]))
    for part in ("grade", "box", "nopatches"):
        assert screen.texts(f"[data-lbx={part}]") == ["not assessed"]
    assert page.locator(".lbf-scale li").count() == 0
    screen.show(None)
    assert page.locator("[data-lbx=body]").is_hidden() and page.locator(".lbx-empty").is_visible()


def test_findings_report_the_class_to_explain_and_keep_the_focus(screen: Screen) -> None:
    page = screen.open("findings", harness.findings_value())
    pressed = page.locator('.lbf-bars [aria-pressed="true"]')
    assert pressed.get_attribute("data-name") == "Invasive"
    page.get_by_role("button", name="In situ").focus()
    page.keyboard.press("Enter")
    assert screen.sent("target") == [{"name": "In situ"}]
    screen.show(harness.findings_value(version=2, target="In situ"))
    assert pressed.get_attribute("data-name") == "In situ"
    assert page.evaluate("document.activeElement.dataset.name") == "In situ"


# ---- rating ----------------------------------------------------------------------------------


def test_a_choice_is_sent_at_once_and_confirmed_by_the_next_value(screen: Screen) -> None:
    page = screen.open("rating", harness.rating_value())
    page.click(_point("trust", 4))
    assert screen.sent("rate") == [
        {"question": "trust", "status": "answered", "value": 4, "comment": "", "revision": 0,
         "method": "relevance", "target": "Invasive", "weights": "ab12", "case": "PH-00000012"}
    ]  # fmt: skip
    assert screen.texts(_state("trust")) == ["Saving …"]
    screen.show(harness.rating_value(2, answers={"trust": harness.answer(4)}))
    assert screen.texts(_state("trust")) == ["Saved 12:03:11"]
    assert page.locator(_point("trust", 4)).get_attribute("aria-checked") == "true"
    page.click(_point("trust", 0))
    second = screen.sent("rate")[1]
    assert (second["status"], second["value"], second["revision"]) == ("cannot_judge", None, 1)
    stored = {"answers": {"trust": harness.answer(None, 2)}, "history": {"trust": 2}}
    screen.show(harness.rating_value(3, **stored))
    assert screen.texts(_state("trust")) == ["Saved 12:03:11, changed, version 2"]
    assert "counts as missing" in screen.texts("[data-question=trust] .lbr-anchor")[0]


def test_a_change_of_mind_waits_for_the_version_it_replaces(screen: Screen) -> None:
    page = screen.open("rating", harness.rating_value())
    page.click(_point("trust", 2))
    page.click(_point("trust", 5))
    assert [each["value"] for each in screen.sent("rate")] == [2]
    screen.show(harness.rating_value(2, answers={"trust": harness.answer(2)}))
    assert [(each["value"], each["revision"]) for each in screen.sent("rate")] == [(2, 0), (5, 1)]
    assert page.locator(_point("trust", 5)).get_attribute("aria-checked") == "true"
    screen.show(harness.rating_value(3, answers={"trust": harness.answer(5, 2)}))
    assert len(screen.sent("rate")) == 2
    assert screen.texts(_state("trust")) == ["Saved 12:03:11, changed, version 2"]


def test_an_answer_that_is_refused_is_kept_and_can_be_sent_again(screen: Screen) -> None:
    page = screen.open("rating", harness.rating_value())
    page.click(_point("trust", 3))
    page.get_by_role("button", name="Next case").click()
    screen.show(harness.rating_value(2, error="The disk is full."))
    assert screen.sent("next") == []
    assert "Not saved: The disk is full." in screen.texts(_state("trust"))[0]
    assert page.locator(_point("trust", 3)).get_attribute("aria-checked") == "true"
    page.get_by_role("button", name="Try again").click()
    assert [each["value"] for each in screen.sent("rate")] == [3, 3]
    screen.show(harness.rating_value(3, answers={"trust": harness.answer(3)}))
    assert screen.texts(_state("trust")) == ["Saved 12:03:11"]


def test_an_answer_given_elsewhere_meanwhile_is_not_overwritten_silently(screen: Screen) -> None:
    page = screen.open("rating", harness.rating_value(answers={"trust": harness.answer(1)}))
    page.click(_point("trust", 3))
    screen.show(harness.rating_value(2, answers={"trust": harness.answer(5, 2)}))
    assert "answered elsewhere" in screen.texts(_state("trust"))[0]
    page.get_by_role("button", name="Try again").click()
    assert [(each["value"], each["revision"]) for each in screen.sent("rate")] == [(3, 1), (3, 2)]


def test_a_server_that_never_answers_is_named(screen: Screen) -> None:
    page = screen.open("rating", harness.rating_value())
    page.evaluate("""() => { const real = window.setTimeout;
      window.setTimeout = (act, ms) => real(act, ms / 100); }""")
    page.click(_point("trust", 3))
    page.get_by_text("Not saved: the server does not answer.").wait_for()
    screen.show(harness.rating_value(2, answers={"trust": harness.answer(3)}))
    assert screen.texts(_state("trust")) == ["Saved 12:03:11"]


def test_a_comment_is_saved_after_a_pause_or_when_left(screen: Screen) -> None:
    page = screen.open("rating", harness.rating_value(answers={"trust": harness.answer(4)}))
    box = page.locator("[data-question=trust] textarea")
    box.press_sequentially("12 乳腺 n")
    assert screen.sent() == []
    page.wait_for_function("window.sent.length === 1")
    assert screen.sent("rate")[0]["comment"] == "12 乳腺 n"
    assert screen.sent("rate")[0]["value"] == 4
    box.press_sequentially(" more")
    stored = {"trust": harness.answer(4, 2, "12 乳腺 n")}
    screen.show(harness.rating_value(2, answers=stored))
    assert box.input_value() == "12 乳腺 n more"
    page.locator("#outside").focus()
    assert screen.sent("rate")[1]["comment"] == "12 乳腺 n more"
    assert screen.sent("rate")[1]["revision"] == 2
    assert box.get_attribute("maxlength") == "10000"


def test_a_comment_without_an_answer_waits_for_it(screen: Screen) -> None:
    page = screen.open("rating", harness.rating_value())
    page.fill("[data-question=trust] textarea", "Edge of the plate")
    page.locator("#outside").focus()
    screen.show(harness.rating_value(2))
    assert screen.sent() == []
    assert "saved with your answer" in screen.texts(_state("trust"))[0]
    assert page.input_value("[data-question=trust] textarea") == "Edge of the plate"
    page.click(_point("trust", 1))
    assert screen.sent("rate")[0]["comment"] == "Edge of the plate"


def test_another_case_or_map_switches_and_loses_nothing(screen: Screen) -> None:
    stored = {"trust": harness.answer(4, 1, "First")}
    page = screen.open("rating", harness.rating_value(answers=stored))
    box = page.locator("[data-question=trust] textarea")
    box.press_sequentially(" more")
    page.fill("[data-question=lesion_match] textarea", "Unanswered so far")
    box.focus()
    screen.show(harness.rating_value(2, case="PH-00000013"))
    assert box.input_value() == "" and screen.texts(_state("trust")) == [""]
    assert [(each["case"], each["comment"]) for each in screen.sent("rate")] == [
        ("PH-00000012", "First more")
    ]
    screen.show(harness.rating_value(3, method="rollout"))
    assert page.input_value("[data-question=lesion_match] textarea") == ""
    assert page.input_value("[data-lbx=method]") == "rollout"
    screen.show(harness.rating_value(4, answers=stored))
    assert page.input_value("[data-question=lesion_match] textarea") == "Unanswered so far"


def test_a_late_confirmation_does_not_bring_its_case_back(screen: Screen) -> None:
    page = screen.open("rating", harness.rating_value(1))
    page.click(_point("trust", 2))
    screen.show(harness.rating_value(3, case="PH-00000013"))
    screen.show(harness.rating_value(2, answers={"trust": harness.answer(2)}))
    assert screen.texts(_state("trust")) == [""]
    page.click(_point("trust", 5))
    assert [each["case"] for each in screen.sent("rate")] == ["PH-00000012", "PH-00000013"]
    screen.show(harness.rating_value(4, answers={"trust": harness.answer(2)}))
    assert screen.texts(_state("trust")) == ["Saved 12:03:11"]


def test_nothing_is_answered_while_another_map_is_on_its_way(screen: Screen) -> None:
    page = screen.open("rating", harness.rating_value())
    page.select_option("[data-lbx=method]", "rollout")
    page.locator("body").press("4")
    assert screen.sent("rate") == [] and page.locator(".lbr-questions").evaluate("n => n.inert")
    screen.show(harness.rating_value(2, answers={"trust": harness.answer(3)}))
    assert page.input_value("[data-lbx=method]") == "rollout"
    page.locator("body").press("4")
    screen.show(harness.rating_value(3, method="rollout"))
    page.locator("body").press("4")
    assert [each["method"] for each in screen.sent("rate")] == ["rollout"]


def test_keys_answer_the_first_open_question(screen: Screen) -> None:
    page = screen.open("rating", harness.rating_value())
    for key in "4", "0", "5", "1", "2":
        page.locator("body").press(key)
    given = [(each["question"], each["value"]) for each in screen.sent("rate")]
    assert given == [
        ("lesion_match", 4), ("helps_understanding", None), ("association", 5), ("trust", 1)
    ]  # fmt: skip
    page.keyboard.press("n")
    assert screen.sent("next") == []  # the answers first
    points = {"lesion_match": 4, "helps_understanding": None, "association": 5, "trust": 1}
    stored = {question: harness.answer(value) for question, value in points.items()}
    screen.show(harness.rating_value(2, answers=stored))
    page.keyboard.press("p")
    assert (screen.sent("next"), screen.sent("previous")) == ([{}], [{}])


def test_keys_answer_the_focused_question_and_leave_fields_alone(screen: Screen) -> None:
    page = screen.open("rating", harness.rating_value())
    page.locator(_point("association", 1)).focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.point") == "2"
    assert screen.sent() == []
    assert screen.texts("[data-question=association] .lbr-anchor") == ["2: Doubtful"]
    page.keyboard.press("3")
    assert screen.sent("rate")[0]["question"] == "association"
    page.locator("#outside").focus()
    page.keyboard.type("12345n")
    page.locator("[data-question=trust] textarea").focus()
    page.keyboard.type("5p")
    page.locator("[data-lbx=method]").focus()
    page.keyboard.press("1")
    page.locator("[data-lbx=keys]").uncheck()
    page.keyboard.press("4")
    assert len(screen.sent()) == 1


def test_a_digit_that_rates_does_nothing_else(screen: Screen) -> None:
    page = screen.open("rating", harness.rating_value())
    page.evaluate("""() => { window.free = [];
      const keep = (event) => event.defaultPrevented || window.free.push(event.key);
      document.addEventListener('keydown', keep); }""")
    for key in ("0", "7", "i"):
        page.locator("body").press(key)
    assert page.evaluate("window.free") == ["7", "i"] and len(screen.sent("rate")) == 1


def test_mounting_again_does_not_answer_twice(screen: Screen) -> None:
    page = screen.open("rating", harness.rating_value())
    page.evaluate("remount(); remount(); show(window.value)")
    page.locator("body").press("4")
    assert len(screen.sent("rate")) == 1
    page.evaluate("panel.remove()")
    page.locator("body").press("4")
    assert len(screen.sent("rate")) == 1


def test_the_anchor_under_the_mouse_and_the_guide(screen: Screen) -> None:
    page = screen.open("rating", harness.rating_value())
    page.hover(_point("trust", 5))
    assert screen.texts("[data-question=trust] .lbr-anchor") == ["5: Fully"]
    page.click("summary")
    guide = page.locator(".lbr-guide").inner_text()
    for question in harness.rating_value()["questions"]:
        assert all(anchor in guide for anchor in question["anchors"])
    assert page.locator(_point("trust", 5)).get_attribute("aria-label") == "5, Fully"
    page.select_option("[data-lbx=method]", "rollout")
    assert screen.sent("method") == [{"method": "rollout"}]
    assert screen.texts("[data-lbx=progress]") == ["3 of 12 cases rated"]


# ---- upload ----------------------------------------------------------------------------------

OUTCOMES = [
    {"case": "LB-1", "problem": "", "position": 1, "title": "Left CC", "warnings": ["No scale."]},
    {"case": None, "problem": "It is encrypted.", "position": 2, "title": "", "warnings": []},
]


def _choose(page: Any, *names: str, size: int = 10) -> None:
    files = [{"name": name, "mimeType": "image/png", "buffer": b"x" * size} for name in names]
    page.set_input_files("[data-lbx=files]", files)


def _start(page: Any) -> None:
    page.locator("[data-lbx=list] [data-do=start]").click()


def test_files_are_sent_and_become_cases(screen: Screen) -> None:
    screen.desk.answer = {"outcomes": OUTCOMES}
    page = screen.open("upload", {"version": 1, "limits": "Up to 2 GB."})
    assert "Files are de-identified before they are stored." in page.inner_text("#panel")
    _choose(page, "Anna Meyer.png", "b.png")
    _choose(page, "c.png")
    page.get_by_role("button", name="Remove c.png").click()
    assert screen.texts("[data-lbx=sum]") == ["2 files, 20 B"]
    _start(page)
    page.locator(".lbu-results li").first.wait_for()
    assert screen.desk.names == [["Anna Meyer.png", "b.png"]]
    assert screen.texts("[data-lbx=status]") == ["1 case added. 1 file could not be used."]
    assert "Meyer" not in page.locator("#panel").inner_html()
    assert screen.texts(".lbu-results .is-problem") == ["File 2: It is encrypted."]
    link = page.get_by_role("link", name="Open LB-1")
    assert link.get_attribute("href") == "/app/?case=LB-1"
    link.click()
    assert (screen.sent("done"), screen.sent("open")) == ([{"count": 1}], [{"case": "LB-1"}])


def test_a_folder_keeps_its_paths(screen: Screen, tmp_path: Path) -> None:
    (tmp_path / "study" / "series").mkdir(parents=True)
    (tmp_path / "study" / "series" / "1.dcm").write_bytes(b"x")
    page = screen.open("upload", {"limits": ""})
    page.set_input_files("[data-lbx=folder]", str(tmp_path / "study"))
    _start(page)
    page.wait_for_function("window.sent.length === 1")
    assert screen.desk.names == [["study/series/1.dcm"]]


def test_files_can_be_dropped_and_a_miss_leaves_the_page(screen: Screen) -> None:
    page = screen.open("upload", {"limits": ""})
    drop = """selector => { const data = new DataTransfer();
      data.items.add(new File(['x'], 'dropped.png'));
      const event = new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true});
      document.querySelector(selector).dispatchEvent(event); return event.defaultPrevented; }"""
    assert page.evaluate(drop, "body") is True
    assert page.locator("[data-lbx=names] li").count() == 0
    assert page.evaluate(drop, "[data-lbx=drop]") is True
    page.locator("[data-lbx=names] li").wait_for()
    assert "dropped.png" in screen.texts("[data-lbx=names] li")[0]


def test_a_failed_upload_keeps_its_list_and_can_be_repeated(screen: Screen) -> None:
    page = screen.open("upload", {"limits": ""})
    _choose(page, "a.png", "b.png")
    error = page.locator("[data-lbx=error]")
    screen.desk.status, screen.desk.answer = 413, {"error": "The files are too large together."}
    _start(page)
    error.filter(has_text="too large together").wait_for()
    screen.desk.answer = {}
    page.get_by_role("button", name="Try again").click()
    error.filter(has_text="code 413").wait_for()
    screen.desk.status = 401
    page.get_by_role("button", name="Try again").click()
    error.filter(has_text="signed out").wait_for()
    screen.desk.cut = True
    page.get_by_role("button", name="Try again").click()
    error.filter(has_text="connection was lost").wait_for()
    assert page.locator("[data-lbx=names] li").count() == 2
    screen.desk.status, screen.desk.cut = 200, False
    screen.desk.answer = {"outcomes": OUTCOMES[:1]}
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("link", name="Open LB-1").wait_for()
    assert screen.desk.names == [["a.png", "b.png"]] * 5 and error.is_hidden()


def test_an_upload_shows_progress_and_can_be_cancelled(screen: Screen) -> None:
    screen.desk.delay_s = 0.6
    page = screen.open("upload", {"limits": ""})
    _choose(page, "a.png", size=300_000)
    _start(page)
    page.get_by_text("Reading and de-identifying the files").wait_for()
    assert page.locator("progress").evaluate("node => node.value") == 100
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("The upload was cancelled. Your list is kept.").wait_for()
    assert page.locator("[data-lbx=names] li").count() == 1 and screen.sent() == []


# ---- inside Gradio ---------------------------------------------------------------------------


@contextmanager
def _hosted(blocks: gr.Blocks) -> Iterator[str]:
    import fastapi
    import uvicorn

    app = fastapi.FastAPI()
    gr.mount_gradio_app(
        app, blocks, path="/app", run_history=False, footer_links=[], css=theme_css()
    )
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/app/"
    finally:
        server.should_exit = True
        thread.join(10)


def _blocks(heard: list[tuple[str, dict]]) -> gr.Blocks:
    """All four panels on one page; every event is kept, and a rating comes back as stored."""
    answers: dict[str, dict] = {}

    def keep(name: str) -> Callable[[gr.EventData], None]:
        def handler(evt: gr.EventData) -> None:
            heard.append((name, evt._data))

        return handler

    def rate(evt: gr.EventData) -> dict:
        given = evt._data
        heard.append(("rate", given))
        stored = harness.answer(given["value"], given["revision"] + 1, given["comment"])
        answers[given["question"]] = stored
        return harness.rating_value(len(heard) + 1, answers=dict(answers))

    def explain(evt: gr.EventData) -> dict:
        heard.append(("target", evt._data))
        return harness.findings_value(
            version=len(heard) + 1, target=evt._data["name"], warnings=[HURT]
        )

    quiet = {"show_progress": "hidden", "trigger_mode": "multiple"}
    with gr.Blocks(analytics_enabled=False) as blocks:
        worklist = Worklist(harness.worklist_value(3))
        worklist.open(keep("open"), None, None, **quiet)
        findings = Findings(harness.findings_value(warnings=[HURT]))
        findings.target(explain, None, findings, **quiet)
        form = RatingForm(harness.rating_value())
        form.rate(rate, None, form, **quiet)
        for name in ("method", "next", "previous"):
            getattr(form, name)(keep(name), None, None, **quiet)
        upload = Upload({"version": 1, "limits": "Up to 2 GB."})
        upload.done(keep("done"), None, None, **quiet)
    return blocks


# Gradio sums up its queue after some events, in a way that pandas 3 calls deprecated.
@pytest.mark.filterwarnings("ignore:.*no_silent_downcasting")
@pytest.mark.filterwarnings("ignore:The copy keyword is deprecated")
def test_inside_gradio_events_reach_python_and_values_come_back(browser: Any) -> None:
    heard: list[tuple[str, dict]] = []
    page = browser.new_page(viewport={"width": 1280, "height": 1000}, timezone_id="UTC")
    page.set_default_timeout(15_000)
    with _hosted(_blocks(heard)) as address:
        page.route("**/upload", lambda route: route.fulfill(json={"outcomes": OUTCOMES}))
        page.goto(address)
        page.locator("tbody tr").first.click()
        page.get_by_role("button", name="Benign").click()
        page.locator('[data-name="Benign"][aria-pressed="true"]').wait_for()
        for question, point in (("trust", 4), ("association", 0), ("lesion_match", 1)):
            page.click(_point(question, point))
        page.wait_for_function("document.querySelectorAll('.lbr-state.is-saved').length === 3")
        page.locator("[data-question=trust] textarea").press_sequentially("Clear")
        page.get_by_text("Saved 12:03:11, changed, version 2").wait_for()
        for key in ("n", "p"):
            page.locator("[data-lbx=keys]").press(key)
        page.select_option("[data-lbx=method]", "rollout")
        _choose(page, "a.png")
        _start(page)
        page.get_by_role("link", name="Open LB-1").wait_for()
        deadline = time.monotonic() + 10
        while len(heard) < 10 and time.monotonic() < deadline:
            page.wait_for_timeout(20)
        page.screenshot(path=os.environ.get("LIGHTBOX_PANELS_SHOT"), full_page=True)
        hurt, seen = page.evaluate("window.hurt"), page.get_by_role("note").inner_text()
        page.close()
    names = [name for name, _ in heard]
    assert sorted(names) == sorted(
        ["open", "target", *["rate"] * 4, "next", "previous", "method", "done"]
    )
    comments = [data for name, data in heard if name == "rate" and data["comment"]]
    assert comments[0]["comment"] == "Clear" and comments[0]["revision"] == 1
    assert ("method", {"method": "rollout"}) in heard and ("done", {"count": 1}) in heard
    assert hurt is None and seen == HURT
