"""The evidence panel in Chromium: what it shows, what it asks for, and what it never does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
import pytest

from app.ui.panels import MOUNTS, Evidence, panel_markup, panel_script, panel_style, theme_css
from app.ui.theme import page_css
from tests.browser import evidence_harness as harness
from tests.browser.served import chromium

HURT = '"><img src=x onerror="window.hurt=1"><script>window.hurt=1</script>${window.hurt=1}{{7*7}}'
PLACE = {"case": harness.CASE, "target": harness.TARGET}

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


class Screen:
    """One page with the panel, what the panel sent, and what the server was asked."""

    def __init__(self, page: Any, address: str, desk: harness.Desk) -> None:
        self.page, self.address, self.desk = page, address, desk
        self.errors: list[str] = []
        self.hear = lambda error: self.errors.append(str(error))
        page.on("pageerror", self.hear)

    def open(self, value: dict | None) -> Any:
        """Opens the panel with a value; gives the page."""
        self.page.goto(f"{self.address}/panel")
        self.show(value)
        return self.page

    def show(self, value: dict | None) -> None:
        """Gives the panel a new value, as Python would."""
        self.page.evaluate("value => show(value)", value)

    def sent(self, event: str | None = None) -> list:
        """Events of one name, or all of them."""
        everything = self.page.evaluate("window.sent")
        return [data for name, data in everything if event in (None, name)]

    def texts(self, selector: str) -> list[str]:
        """Text of all nodes that match and are in sight."""
        nodes = self.page.locator(selector).all()
        return [node.inner_text().strip() for node in nodes if node.is_visible()]

    def until(self, condition: str) -> None:
        """Waits until a condition of the page holds."""
        self.page.wait_for_function(condition)


@pytest.fixture(scope="module")
def stage(browser: Any) -> Iterator[tuple[Any, str, harness.Desk]]:
    desk = harness.Desk()
    page = browser.new_page(reduced_motion="reduce")
    page.set_default_timeout(8000)
    with harness.serve(desk) as address:
        yield page, address, desk
        page.close()


@pytest.fixture
def screen(stage: tuple[Any, str, harness.Desk]) -> Iterator[Screen]:
    page, address, desk = stage
    vars(desk).update(vars(harness.Desk()))
    page.set_viewport_size({"width": 1440, "height": 900})
    screen = Screen(page, address, desk)
    yield screen
    page.remove_listener("pageerror", screen.hear)
    assert screen.errors == []


def _tile(method: str, inner: str = "") -> str:
    return f".lbe-tile[data-method={method}] {inner}".strip()


def _busy(share: float = 0.42, **facts: Any) -> dict[str, Any]:
    rise = {"state": "running", "job": harness.running(share=share)}
    return harness.value(2, {"rise": rise}, **facts)


# ---- as every panel --------------------------------------------------------------------------


def test_the_page_text_is_constant_and_names_every_event() -> None:
    mount, events = MOUNTS["evidence"]
    component = Evidence({"version": 1})
    text = panel_markup("evidence") + panel_style("evidence")
    assert not any(sign in text for sign in ("${", "{{", "`", "\\"))  # Gradio would evaluate them
    script = panel_script("evidence")
    assert "innerHTML" not in script and f"function {mount}(" in script
    assert all(callable(getattr(component, event)) for event in events)
    assert theme_css() in component.css_template and type(component) is gr.HTML


def test_words_from_a_value_are_shown_and_never_run(screen: Screen) -> None:
    value = harness.full()
    for method in value["families"][0]["methods"]:
        hurt = harness.score("deletion", 0.5, title=HURT, note=HURT, text=HURT)
        method |= {"title": HURT, "summary": HURT, "limits": HURT, "flag": HURT, "scores": [hurt],
                   "settings": {HURT: HURT}, "defaults": {HURT: HURT}}  # fmt: skip
        method["maps"][0] |= {"tile": "javascript:window.hurt=1", "localised": False,
                              "reason": HURT}  # fmt: skip
    value["families"][0]["title"] = value["notice"] = value["randomisation"]["note"] = HURT
    value["randomisation"]["stages"][0] = value["randomisation"]["methods"][0]["text"] = HURT
    value["regions"][0] |= {"label": HURT, "kind": HURT}
    value["regions"][0]["rows"][0] |= {"title": HURT, "text": HURT}
    value["agreement"][0]["methods"][0] = value["images"][0]["title"] = HURT
    value["consensus"][0]["tile"] = "https://elsewhere.example/pixel.png"
    value["targets"][0] = value["model"]["title"] = HURT
    page = screen.open(value)
    page.locator(".lbe-open:visible").first.click()
    page.wait_for_timeout(150)
    assert HURT in page.locator("#panel").inner_text()
    assert page.evaluate("window.hurt") is None
    addresses = page.evaluate("[...panel.querySelectorAll('img[src]')].map(each => each.src)")
    assert addresses and all(each.startswith(f"{screen.address}/evidence/") for each in addresses)
    assert page.locator("#panel script").count() == 0


def test_without_a_case_it_says_what_to_do(screen: Screen) -> None:
    page = screen.open(None)
    assert "Open a case in the worklist" in page.locator("#panel").inner_text()
    assert not page.locator("[data-lbx=body]").is_visible()
    page.evaluate("document.dispatchEvent(new CustomEvent('lightbox-shown', "
                  "{detail: {case: 'PH-00000012'}}))")  # fmt: skip
    assert "PH-00000012 is being gathered" in page.locator("#panel").inner_text()
    screen.show({"case": "", "version": 2})
    assert not page.locator("[data-lbx=body]").is_visible()


def test_every_control_has_a_name_a_size_and_a_visible_focus(screen: Screen) -> None:
    page = screen.open(harness.full())
    page.locator(_tile("rise", "summary")).click()
    controls = page.evaluate("""() => [...panel.querySelectorAll('button, input, summary')]
        .filter(node => node.checkVisibility({visibilityProperty: true})).map(node => {
          const label = node.labels && node.labels[0];
          const box = (label || node).getBoundingClientRect();
          node.focus({focusVisible: true});
          const own = getComputedStyle(node);
          return { what: node.outerHTML.slice(0, 90), wide: box.width, high: box.height,
            name: node.getAttribute('aria-label') || (label || node).textContent.trim(),
            ring: node.disabled || node.getAttribute('aria-disabled')
              || own.outlineStyle === 'solid' && parseFloat(own.outlineWidth) >= 2 };
        })""")
    assert len(controls) > 60
    for each in controls:
        assert each["name"] and each["ring"], each
        in_text = "lbe-fold" in each["what"]  # a row of a table, with room around it
        assert in_text or (each["wide"] >= 24 and each["high"] >= 24), each


CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (rgb) => { const [r, g, b] = rgb.map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const solid = (text) => { const v = parse(text); if (text.startsWith('color(srgb'))
    return v.slice(0, 3).map(x => x * 255); return v.length === 3 || v[3] === 1 ? v.slice(0, 3) : null; };
  const behind = (node) => { for (; node; node = node.parentElement) {
    const colour = solid(getComputedStyle(node).backgroundColor);
    if (colour) return colour; } return [255, 255, 255]; };
  const found = [], walk = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) { const node = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !node.checkVisibility()) continue;
    if (node.matches('option, :disabled')) continue;
    const a = light(solid(getComputedStyle(node).color)), b = light(behind(node));
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.outerHTML.slice(0, 90)]); }
  return found; }"""  # noqa: E501


def test_text_has_the_contrast_of_wcag_aa(screen: Screen) -> None:
    page = screen.open(harness.full())
    page.locator(".lbe-fold").first.click()
    found = page.evaluate(CONTRAST)
    assert len(found) > 400
    assert [each for each in found if each[0] < 4.5] == []
    found = screen.open(_busy(notice="Not for diagnosis.")).evaluate(CONTRAST)
    assert [each for each in found if each[0] < 4.5] == []


@pytest.mark.parametrize("size", [(1440, 900), (1024, 768), (400, 800)])
def test_the_page_is_never_wider_than_the_screen(screen: Screen, size: tuple[int, int]) -> None:
    screen.page.set_viewport_size({"width": size[0], "height": size[1]})
    page = screen.open(harness.full())
    page.locator(".lbe-fold").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


# ---- the gallery -----------------------------------------------------------------------------


def test_every_family_shows_its_maps_beside_the_image_at_one_size(screen: Screen) -> None:
    page = screen.open(harness.value())
    assert screen.texts(".lbe-family h3 b") == [
        "Attention", "Relevance", "Class activation", "Perturbation", "Parts",
    ]  # fmt: skip
    assert page.locator(".lbe-family .lbe-tile:first-child").count() == 4
    assert page.locator(".lbe-family .lbe-tile.is-reference").count() == 4
    sizes = page.evaluate("[...document.querySelectorAll('.lbe-frame')].map(each => "
                          "`${each.offsetWidth} x ${each.offsetHeight}`)")  # fmt: skip
    assert len(sizes) == 16 and len(set(sizes)) == 1
    screen.until("[...document.querySelectorAll('.lbe-tile img[src]')].every(each => "
                 "each.complete && each.naturalWidth)")  # fmt: skip
    assert not any("/1.png" in path for path in screen.desk.tiles)
    (refusal,) = screen.texts(".lbe-refused p")
    assert refusal == "Prototypes Not for this model. This model has learnt no parts."
    assert "same for every class" in screen.texts(_tile("rollout", ".lbe-tags"))


def test_limits_open_in_place_and_stay_open_when_the_value_changes(screen: Screen) -> None:
    page = screen.open(harness.value())
    tip = page.locator(_tile("gradcam", ".lbe-open")).get_attribute("title")
    assert tip.endswith("What it cannot say: Coarse: one value per patch of the model's grid.")
    page.locator(_tile("gradcam", "summary")).press("Enter")
    screen.show(_busy())
    (text,) = screen.texts(_tile("gradcam", ".lbe-more"))
    assert "Coarse: one value per patch" in text and "Drawn in 0.4 s." in text
    page.locator(_tile("gradcam", "[data-do=show]")).click()
    assert screen.sent("show") == [{"method": "gradcam"} | PLACE]


def test_switches_change_how_all_maps_are_drawn(screen: Screen) -> None:
    page = screen.open(harness.full())
    words = page.locator("[data-lbx=scaleword]")
    assert "places can be compared but not strengths" in words.inner_text()
    page.get_by_role("button", name="Common ranks").click()
    assert "drawn alike in all maps" in words.inner_text()
    page.locator("[data-lbx=smooth]").fill("3.5")
    screen.until("document.querySelector('.lbe-tile[data-method] img').src.includes('smooth=3.5')")
    assert page.locator("[data-lbx=smoothed]").inner_text() == "3.5 mm"
    page.locator("[data-lbx=native]").check()
    assert page.locator("[data-lbx=smooth]").is_disabled()
    source = page.locator(_tile("gradcam", "img")).get_attribute("src")
    assert source == "/evidence/tile/44/0.png?v=ab12&smooth=3.5&native=1&scale=common"
    joint = page.locator(".lbe-joint img").get_attribute("src")
    assert joint.endswith("?target=Invasive&smooth=3.5&scale=common")
    page.get_by_role("button", name="Pathology").click()
    assert "/44/1.png" in page.locator(_tile("gradcam", "img")).get_attribute("src")
    assert page.locator(_tile("gradcam", "img")).get_attribute("alt") == "Grad-CAM over Pathology"
    reference = page.locator(".is-reference img").first.get_attribute("src")
    assert reference == f"/evidence/picture/{harness.CASE}/1.png"


def test_a_map_without_a_picture_of_this_image_says_so(screen: Screen) -> None:
    value = harness.value()
    value["families"][0]["methods"][0]["maps"].pop(0)
    value["families"][0]["methods"][1]["maps"][0] |= {"localised": False, "reason": "flat."}
    screen.open(value)
    assert screen.texts(_tile("raw_attention", ".lbe-wait")) == ["No map of this image"]
    assert screen.texts(_tile("rollout", ".lbe-mark")) == ["No localised evidence"]
    assert screen.texts(_tile("rollout", ".lbe-tags"))[0].endswith("flat.")
    assert screen.texts(_tile("gradcam", ".lbe-mark")) == []


# ---- slow methods ----------------------------------------------------------------------------


def test_a_slow_method_is_run_watched_and_cancelled(screen: Screen) -> None:
    screen.desk.value = _busy(0.43)
    page = screen.open(harness.value())
    (words,) = screen.texts(_tile("rise", ".lbe-wait"))
    assert "Runs the model about 1000 times, in the background" in words
    act = page.locator(_tile("rise", ".lbe-wait button"))
    act.click()
    act.click(force=True)  # a second click changes nothing
    assert screen.sent("run") == [{"methods": ["rise"]} | PLACE]
    assert act.inner_text() == "Asking…" and act.get_attribute("aria-disabled") == "true"
    screen.show(_busy(0.42))
    (words,) = screen.texts(_tile("rise", ".lbe-wait"))
    assert "42 %" in words and "about 1 min left" in words
    assert page.locator(_tile("rise", "progress")).get_attribute("value") == "0.42"
    act.click()
    assert screen.sent("cancel") == [{"job": "j1"} | PLACE]
    screen.show(harness.value(3, {"rise": {"state": "cancelled"}}))
    assert "Cancelled." in screen.texts(_tile("rise", ".lbe-wait"))[0]
    assert act.inner_text() == "Run again"
    assert "RISE was cancelled." in page.locator("[data-lbx=status]").text_content()


def test_waiting_and_failed_methods_say_why(screen: Screen) -> None:
    waiting = {"state": "waiting", "job": harness.running("j2", None, None) | {"position": 3}}
    failed = {"state": "failed", "reason": "The memory did not suffice."}
    screen.open(harness.value(1, {"rise": waiting, "vit_cx": failed}))
    assert "Waiting, number 3 in the queue" in screen.texts(_tile("rise", ".lbe-wait"))[0]
    assert "The memory did not suffice." in screen.texts(_tile("vit_cx", ".lbe-wait"))[0]
    assert screen.page.locator(_tile("vit_cx", ".lbe-wait button")).inner_text() == "Run again"


def test_all_slow_methods_run_at_once_but_none_twice(screen: Screen) -> None:
    page = screen.open(_busy())
    page.get_by_role("button", name="Run all slow methods").click()
    assert screen.sent("run") == [{"methods": ["occlusion", "vit_cx", "smoothgrad"]} | PLACE]


def test_settings_keep_their_kinds_and_are_not_overwritten_while_typed(screen: Screen) -> None:
    page = screen.open(harness.value())
    page.locator(_tile("rise", "summary")).click()
    page.locator(_tile("rise", "[data-setting=masks]")).fill("400")
    page.locator(_tile("rise", "[data-setting=layers]")).fill("blocks.5, blocks.6")
    screen.show(harness.value(2))
    assert page.locator(_tile("rise", "[data-setting=masks]")).input_value() == "400"
    page.locator(_tile("rise", "[data-do=again]")).click()
    chosen = {"masks": 400, "keep": 0.5, "layers": ["blocks.5", "blocks.6"]}
    assert screen.sent("run") == [{"methods": ["rise"], "settings": {"rise": chosen}} | PLACE]


def test_work_on_all_maps_is_started_and_cancelled(screen: Screen) -> None:
    page = screen.open(harness.value())
    bar = page.locator("[data-lbx=actions]")
    for name, event in (("Measure", "measure"), ("Test stability", "stability"),
                        ("Test against random weights", "randomise")):  # fmt: skip
        bar.get_by_role("button", name=name).click()
        assert screen.sent(event) == [PLACE]
    job = {"state": "running", "job": harness.running("m1", 0.13, 140.0)}
    screen.show(harness.value(2, measured=job))
    assert "Measure · 13 % · about 2 min left" in bar.inner_text()
    bar.get_by_role("button", name="Cancel: Measure").click()
    assert screen.sent("cancel") == [{"job": "m1"} | PLACE]
    failed = {"state": "failed", "job": {**harness.running("m1"), "message": "It went wrong."}}
    screen.show(harness.value(3, measured=failed))
    assert "It went wrong." in bar.inner_text()


def test_what_cannot_be_measured_is_not_offered(screen: Screen) -> None:
    page = screen.open(harness.value(target="segmented lesion", measurable=False))
    page.get_by_role("button", name="Measure", exact=True).click(force=True)
    assert screen.sent() == []
    assert "Choose a class above" in page.locator("[data-lbx=trust]").inner_text()


# ---- polling ---------------------------------------------------------------------------------


def test_it_polls_while_a_job_runs_and_then_stops(screen: Screen) -> None:
    screen.desk.value = _busy(0.5)
    page = screen.open(_busy(0.4))
    page.wait_for_selector("text=50 %")
    page.locator(_tile("rise", ".lbe-wait button")).focus()
    place = harness.METHODS.index(next(m for m in harness.METHODS if m[0] == "rise"))
    screen.desk.value = harness.value(9, {"rise": harness.drawn(place)})
    page.wait_for_selector(_tile("rise", ".lbe-open"))
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Enlarge RISE"
    assert "RISE is drawn." in page.locator("[data-lbx=status]").text_content()
    count = len(screen.desk.polls)
    page.wait_for_timeout(1600)
    assert len(screen.desk.polls) == count
    assert set(screen.desk.polls) == {f"/evidence/{harness.CASE}.json?target=Invasive"}


def test_it_does_not_poll_while_nothing_runs_or_nobody_sees_it(screen: Screen) -> None:
    screen.desk.value = _busy(0.5)
    page = screen.open(harness.value())
    page.wait_for_timeout(900)
    page.evaluate("panel.style.display = 'none'")
    screen.show(_busy())
    page.wait_for_timeout(1600)
    assert screen.desk.polls == []
    page.evaluate("panel.style.display = ''")
    page.wait_for_selector("text=50 %")


def test_a_poll_changes_only_what_has_changed(screen: Screen) -> None:
    screen.desk.value = _busy(0.61)
    page = screen.open(_busy(0.4))
    screen.until("document.querySelectorAll('.lbe-tile img[src]').length === 12")
    page.locator(_tile("eigencam", "[data-pick]")).check()
    page.locator(_tile("gradcam", ".lbe-open")).focus()
    page.evaluate("""() => { scrollTo(0, 350); window.changes = [];
      window.nodes = [...document.querySelectorAll('.lbe-tile, .lbe-tile img')];
      new MutationObserver(list => changes.push(...list.map(each => each.target.nodeName
        + (each.attributeName || ''))))
        .observe(panel, { subtree: true, childList: true, attributes: true, characterData: true });
    }""")
    count = len(screen.desk.tiles)
    page.wait_for_selector("text=61 %")
    page.wait_for_timeout(900)
    assert set(page.evaluate("changes")) <= {"P", "PROGRESSvalue", "#text"}
    assert page.evaluate("nodes.every((each, n) => each === "
                         "document.querySelectorAll('.lbe-tile, .lbe-tile img')[n])")  # fmt: skip
    assert page.evaluate("document.activeElement.closest('[data-method]').dataset.method") == (
        "gradcam"
    )
    assert page.evaluate("scrollY") == 350 and len(screen.desk.tiles) == count
    assert page.locator(_tile("eigencam", "[data-pick]")).is_checked()


def test_a_late_poll_never_replaces_what_python_said_since(screen: Screen) -> None:
    page = screen.open(harness.value())
    page.evaluate("""() => { window.answer = null;
      window.fetch = () => new Promise(done => { window.answer = done; }); }""")
    screen.show(_busy(0.4))
    screen.until("Boolean(window.answer)")
    screen.show(_busy(0.9))
    page.evaluate("value => answer(new Response(JSON.stringify(value)))", _busy(0.5))
    page.wait_for_timeout(100)
    assert "90 %" in screen.texts(_tile("rise", ".lbe-wait"))[0]


def test_trouble_with_the_server_is_said_and_taken_back(screen: Screen) -> None:
    screen.desk.status, screen.desk.value = 500, _busy(0.7)
    page = screen.open(_busy(0.4))
    page.wait_for_selector("text=The server does not answer.")
    screen.desk.status = 200
    page.wait_for_selector("text=70 %", timeout=9000)
    assert not page.locator("[data-lbx=trouble]").is_visible()
    screen.desk.status = 404
    page.wait_for_selector("text=can no longer be read")
    count = len(screen.desk.polls)
    page.wait_for_timeout(1500)
    assert len(screen.desk.polls) == count


# ---- case and class --------------------------------------------------------------------------


def test_maps_of_another_class_are_hidden_until_the_new_ones_are_here(screen: Screen) -> None:
    page = screen.open(harness.full())
    page.locator("[data-lbx=targets]").get_by_role("button", name="Benign").click()
    assert screen.sent("target") == [{"name": "Benign"} | PLACE]
    assert not page.locator(_tile("gradcam")).is_visible()
    assert "Benign are being drawn" in page.locator("[data-lbx=status]").text_content()
    screen.show(harness.full() | {"version": 3, "target": "Benign"})
    assert page.locator(_tile("gradcam")).is_visible()
    assert screen.texts("[data-lbx=targets] [aria-pressed=true]") == ["Benign"]


def test_a_picture_of_another_map_leaves_no_trace_of_the_last(screen: Screen) -> None:
    page = screen.open(harness.value())
    screen.until("document.querySelector('[data-method=gradcam] img').complete")
    late = harness.value(2)
    late["families"][2]["methods"][0]["maps"][0]["tile"] = "/evidence/tile/99/0.png?v=1"
    page.route("**/evidence/tile/99/*", lambda route: None)  # it never comes
    screen.show(late)
    state = page.evaluate("""() => { const image =
      document.querySelector('[data-method=gradcam] img');
      return [image.getAttribute('src').split('?')[0], image.naturalWidth]; }""")
    assert state == ["/evidence/tile/99/0.png", 0]
    page.unroute("**/evidence/tile/99/*")


def test_nothing_is_seen_while_the_viewer_shows_another_case(screen: Screen) -> None:
    page = screen.open(harness.full())
    tell = """name => document.dispatchEvent(new CustomEvent('lightbox-shown',
      { detail: { case: name, target: '' } }))"""
    page.evaluate(tell, "PH-00000099")
    assert not page.locator(_tile("gradcam")).is_visible()
    page.evaluate(tell, harness.CASE)
    assert page.locator(_tile("gradcam")).is_visible()


# ---- large view ------------------------------------------------------------------------------


def test_a_map_is_enlarged_beside_the_image_with_its_scores(screen: Screen) -> None:
    page = screen.open(harness.full())
    page.locator(_tile("gradcam", ".lbe-open")).click()
    dialog = page.get_by_role("dialog", name="Grad-CAM")
    assert dialog.locator("img").count() == 2
    text = dialog.inner_text()
    assert "What it cannot say: Coarse" in text and "Energy-based pointing game" in text
    assert "chance 0.04" in text and "evidence for Invasive" in text
    page.keyboard.press("ArrowRight")
    assert page.locator("[data-lbx=largetitle]").inner_text() == "HiResCAM"
    page.keyboard.press("Escape")
    assert not page.locator("dialog[open]").count()
    focus = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focus == "Enlarge HiResCAM"


def test_chosen_maps_are_compared_side_by_side(screen: Screen) -> None:
    page = screen.open(harness.full())
    for method in ("gradcam", "rise", "relevance"):
        page.locator(_tile(method, "[data-pick]")).check()
    assert page.locator("[data-lbx=picked]").inner_text() == "3 maps chosen"
    page.get_by_role("button", name="Compare side by side").click()
    assert screen.texts(".lbe-view h3") == ["Gradient-weighted relevance", "Grad-CAM", "RISE"]
    page.locator(".lbe-view[data-method=rise] [data-do=show]").click()
    assert screen.sent("show") == [{"method": "rise"} | PLACE]
    assert not page.locator("dialog[open]").count()
    page.get_by_role("button", name="Clear").click()
    assert not page.locator("[data-lbx=tray]").is_visible()


def test_the_large_view_closes_when_another_class_arrives(screen: Screen) -> None:
    page = screen.open(harness.full())
    page.locator(_tile("gradcam", ".lbe-open")).click()
    screen.show(harness.full() | {"version": 3, "target": "Benign"})
    assert not page.locator("dialog[open]").count()


# ---- the tables ------------------------------------------------------------------------------


def _column(screen: Screen, title: str) -> list[str]:
    heads = [text.split("\n")[0] for text in screen.texts(".lbe-trust thead tr:last-child th")]
    place = [head.rstrip(" ↑↓") for head in heads].index(title)
    rows = screen.page.locator(".lbe-trust tbody tr:not(.lbe-detail)").all()
    return [row.locator("> *").nth(place).inner_text().strip() for row in rows]


def test_scores_are_of_the_image_that_is_shown(screen: Screen) -> None:
    page = screen.open(harness.full())
    first = _column(screen, "Deletion")
    assert first[0] == f"{harness.scores(0)[0]['value']:.2f}" and len(first) == 12
    page.get_by_role("button", name="Pathology").click()
    assert _column(screen, "Deletion")[0] == f"{harness.scores(0)[1]['value']:.2f}" != first[0]


def test_columns_sort_by_what_is_better_and_gaps_stand_last(screen: Screen) -> None:
    page = screen.open(harness.full())
    before = _column(screen, "Method")
    head = page.locator(".lbe-trust thead th", has_text="Insertion")
    head.get_by_role("button").click()
    values = _column(screen, "Insertion")
    numbers = [float(text) for text in values if text != "—"]
    assert values[-3:] == ["—"] * 3 and numbers == sorted(numbers, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").click()
    assert _column(screen, "Insertion")[-3:] == ["—"] * 3
    assert float(_column(screen, "Insertion")[0]) == min(numbers)
    head.get_by_role("button").click()
    assert _column(screen, "Method") == before and head.get_attribute("aria-sort") is None
    page.locator(".lbe-trust thead th", has_text="Deletion").get_by_role("button").click()
    values = _column(screen, "Deletion")
    assert values == sorted(values)  # lower is better


def test_the_best_is_marked_only_where_there_is_a_better(screen: Screen) -> None:
    page = screen.open(harness.full())
    best = screen.texts(".lbe-trust td.is-best")
    assert len(best) >= 12
    deletion = [float(text) for text in _column(screen, "Deletion")]
    assert best and f"{min(deletion):.2f}" in best
    for family in ("Faithfulness", "Localisation", "Stability"):
        page.locator(".lbe-chips").get_by_role("button", name=family).click()
    assert _column(screen, "Sparseness") and screen.texts(".lbe-trust td.is-best") == []


def test_chance_is_said_once_where_it_is_the_same_for_all(screen: Screen) -> None:
    value = harness.full()
    page = screen.open(value)
    assert page.locator(".lbe-trust thead small:visible").count() == 5
    assert page.locator(".lbe-trust tbody small:visible").count() == 0
    scores = value["families"][0]["methods"][0]["scores"]
    next(each for each in scores if each["metric"] == "pointing_game")["chance"] = 0.2
    screen.show(value | {"version": 3})
    assert page.locator(".lbe-trust thead small:visible").count() == 4
    assert screen.texts(".lbe-trust tbody small")[:2] == ["chance 0.20", "chance 0.04"]


def test_a_row_opens_into_words_with_sample_size_and_reason(screen: Screen) -> None:
    page = screen.open(harness.full())
    row = page.locator(".lbe-fold", has_text="Gradient rollout")
    row.press("Enter")
    assert row.get_attribute("aria-expanded") == "true"
    text = page.locator(".lbe-detail").inner_text()
    assert "Insertion: —, higher is better" in text
    assert "No number. The class is never probable. n = 64." in text
    assert "blurred cover, 64 steps" in text
    screen.show(harness.full() | {"version": 4})
    assert page.locator(".lbe-detail").count() == 1
    row.click()
    assert page.locator(".lbe-detail").count() == 0


def test_a_method_that_ignores_the_weights_is_flagged_wherever_it_stands(screen: Screen) -> None:
    page = screen.open(harness.full())
    assert screen.texts(_tile("eigencam", ".lbe-flag")) == [harness.FLAG]
    assert screen.texts(".lbe-trust .lbe-flag") == [harness.FLAG]
    page.locator(_tile("eigencam", ".lbe-open")).click()
    assert screen.texts("dialog .lbe-flag") == [harness.FLAG]
    page.keyboard.press("Escape")


def test_agreement_reads_rank_below_and_overlap_above_the_diagonal(screen: Screen) -> None:
    page = screen.open(harness.full())
    given = harness.agreement(12)[0]
    cell = page.locator(".lbe-matrix tbody tr").nth(3).locator("td")
    assert cell.nth(1).inner_text() == f"{given['rank'][3][1]:.2f}".replace("-", "−")
    assert cell.nth(3).inner_text() == ""
    assert cell.nth(5).inner_text() == f"{given['iou'][3][5]:.2f}"
    assert "rank correlation" in cell.nth(1).get_attribute("title")
    assert "overlap" in cell.nth(5).get_attribute("title")
    assert "Consensus of 9 methods" in page.locator(".lbe-joint").inner_text()


def test_regions_of_this_image_are_listed_with_their_origin(screen: Screen) -> None:
    page = screen.open(harness.full())
    assert screen.texts(".lbe-region h3 .lbx-badge") == ["found by the model",
                                                         "reference annotation"]  # fmt: skip
    first = harness.regions()[0]["rows"][0]
    row = page.locator(".lbe-region").first.locator("tbody tr").first.inner_text()
    assert f"{first['mean']:.2f}" in row and first["text"] in row
    page.get_by_role("button", name="Pathology").click()
    assert "No region is known in this image." in page.locator("[data-lbx=heat]").inner_text()


def test_the_weights_test_shows_each_stage_and_a_verdict(screen: Screen) -> None:
    page = screen.open(harness.full())
    assert screen.texts(".lbe-verdict") == ["Passes", "Passes", "Fails", "Not applicable"]
    assert screen.texts(".lbe-cascade thead th")[:3] == ["Method", "As trained", "+ head"]
    rows = page.locator(".lbe-cascade tbody tr")
    assert rows.nth(2).locator("img").count() == len(harness.STAGES) + 1
    assert rows.nth(0).locator("td").nth(2).inner_text().strip() == "0.54"
    assert rows.nth(2).locator("td").last.inner_text().strip() == "—"


def test_empty_parts_say_what_they_would_hold(screen: Screen) -> None:
    page = screen.open(harness.value())
    texts = " ".join(screen.texts(".lbe-none"))
    for words in ("Nothing has been measured yet", "Methods can be compared once two",
                  "No region is known", "Not tested yet for this case and class"):  # fmt: skip
        assert words in texts
    page.locator("[data-lbx=sanity]").get_by_role("button").click()
    assert screen.sent("randomise") == [PLACE]


def test_a_case_without_a_model_says_why_and_nothing_breaks(screen: Screen) -> None:
    bare = harness.value(model=None, families=[], images=[], metrics=[], targets=[], target="",
                         notice="No model reads this kind of image.")  # fmt: skip
    page = screen.open(bare)
    assert "No model reads this kind of image." in page.locator("#panel").inner_text()


# ---- inside Gradio ---------------------------------------------------------------------------


@contextmanager
def _hosted(blocks: gr.Blocks) -> Iterator[str]:
    import fastapi
    import uvicorn

    app = fastapi.FastAPI()
    gr.mount_gradio_app(
        app, blocks, path="/app", run_history=False, footer_links=[], css=page_css()
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


# Gradio sums up its queue after some events, in a way that pandas 3 calls deprecated.
@pytest.mark.filterwarnings("ignore:.*no_silent_downcasting")
@pytest.mark.filterwarnings("ignore:The copy keyword is deprecated")
def test_inside_gradio_events_reach_python_and_values_come_back(browser: Any) -> None:
    heard: list[dict] = []

    def run(evt: gr.EventData) -> dict:
        heard.append(evt._data)
        return harness.value(2, {"rise": {"state": "failed", "reason": HURT}})

    with gr.Blocks(analytics_enabled=False) as blocks:
        panel = Evidence(harness.value())
        panel.run(run, None, panel, show_progress="hidden", trigger_mode="multiple")
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    with _hosted(blocks) as address:
        page.goto(address)
        page.locator(_tile("rise", ".lbe-wait button")).click()
        page.wait_for_selector("text=Run again")
        assert HURT in screen_text(page) and page.evaluate("window.hurt") is None
        page.locator("[data-part=sanity]").first.click()
        page.wait_for_timeout(300)
        top = page.locator(".lbe-bar").bounding_box()
        assert top is not None and abs(top["y"]) < 2  # the bar stays in sight
        page.close()
    assert heard == [{"methods": ["rise"]} | PLACE] and errors == []


def screen_text(page: Any) -> str:
    """All text of the panel."""
    return str(page.locator(".lbe").inner_text())
