"""The viewer in Chromium: where things are drawn, with which grey, and what it never does."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import cv2
import gradio as gr
import numpy as np
import pytest

from app.ui.viewer import COLOUR_MAPS, Viewer, colour_table, viewer_markup, viewer_style
from tests.browser import viewer_harness as harness
from tests.browser.served import chromium

HIDE = ".lbv-text { visibility: hidden } .lbv-stage::after { display: none !important }"
WAIT = "document.getElementById('viewer').lightbox.ready"
AFTER_PAINT = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))"
STATE = "document.getElementById('viewer').lightbox.state()"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


class Screen:
    """One page with the viewer on it, and what went wrong on that page."""

    def __init__(self, page: Any, layers: Any, address: str) -> None:
        self.page, self.layers, self.address = page, layers, address
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.heard = {
            "pageerror": lambda error: self.errors.append(str(error)),
            "console": lambda m: self.errors.append(m.text) if m.type == "error" else None,
            "request": lambda request: self.hosts.add(urlsplit(request.url).netloc),
        }
        for event, hear in self.heard.items():
            page.on(event, hear)
        page.goto(address)
        page.add_style_tag(content=HIDE)

    def show(self, value: dict) -> None:
        """Gives the viewer a case and waits until it is drawn."""
        self.page.evaluate("value => show(value)", value)
        self.settle()

    def settle(self) -> None:
        """Waits until nothing is loading and all changes are painted."""
        self.page.evaluate(WAIT)
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))"
        )

    @property
    def state(self) -> dict:
        """The viewer's own account of itself."""
        return self.page.evaluate(STATE)

    def set(self, name: str, value: str) -> None:
        """Moves a slider, a select or a number box, as a hand would."""
        script = """([name, value]) => { const node = document.querySelector(`[data-set=${name}]`);
          node.value = value; for (const kind of ['input', 'change'])
            node.dispatchEvent(new Event(kind, {bubbles: true})); }"""
        self.page.evaluate(script, [name, value])
        self.settle()

    def press(self, key: str) -> None:
        """Presses a key with the image area focused."""
        self.page.locator(".lbv-stage").focus()
        self.page.keyboard.press(key)
        self.settle()

    def picture(self) -> np.ndarray:
        """What the image area looks like, (rows, columns, 3) uint8 RGB."""
        shot = self.page.locator(".lbv-stage").screenshot()
        return cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]

    def pixel(self, column: float, row: float) -> dict:
        """Image coordinates of a point of `picture`."""
        box = self.page.locator(".lbv-stage").bounding_box()
        script = "([x, y]) => document.getElementById('viewer').lightbox.cursorToPixel(x, y)"
        return self.page.evaluate(script, [box["x"] + column, box["y"] + row])

    def canvas(self, kind: str = "base") -> np.ndarray:
        """Bytes of the anatomy or heat canvas, (rows, columns, 4) uint8."""
        script = """kind => {
          const c = document.querySelector(`.lbv-pane:last-of-type .lbv-${kind}`);
          const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let text = '';
          for (let i = 0; i < d.length; i += 8192)
            text += String.fromCharCode(...d.subarray(i, i + 8192));
          return [c.width, c.height, btoa(text)]; }"""
        width, height, text = self.page.evaluate(script, kind)
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    yield opened
    opened.close()


@pytest.fixture
def screen(page: Any) -> Iterator[Screen]:
    layers = harness.Layers()
    with harness.serve(layers) as address:
        opened = Screen(page, layers, address)
        yield opened
        for event, hear in opened.heard.items():
            page.remove_listener(event, hear)
        assert opened.errors == []
        assert opened.hosts <= {urlsplit(address).netloc, ""}


def marker(rows: int, columns: int, row: int, column: int, value: int = 65535) -> np.ndarray:
    """A black image with one bright pixel, (H, W) uint16."""
    plane = np.zeros((rows, columns), np.uint16)
    plane[row, column] = value
    return plane


def spot(picture: np.ndarray) -> tuple[float, float]:
    """Centre (column, row) of the bright part of a picture, screen pixels."""
    light = picture.astype(float).sum(2)
    row, column = np.nonzero(light > 0.6 * light.max())
    return float(column.mean()) + 0.5, float(row.mean()) + 0.5


def window_grey(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Greys of DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3, written independently of the viewer."""
    if function == "SIGMOID":
        share = 1 / (1 + np.exp(-4 * (values - centre) / width))
    elif function == "LINEAR_EXACT":
        share = np.clip((values - centre) / width + 0.5, 0, 1)
    else:
        share = (values - (centre - 0.5)) / (width - 1) + 0.5
        share = np.where(values <= centre - 0.5 - (width - 1) / 2, 0, share)
        share = np.where(values > centre - 0.5 + (width - 1) / 2, 1, share)
    return np.floor(share * 255 + 0.5).astype(np.uint8)


def simple(screen: Screen, heat: np.ndarray | None = None, **facts: Any) -> dict:
    """A 200 x 300 grey image, with one heat layer if given."""
    image = harness.add_image(screen.layers, harness.breast(192, 304), **facts)
    layers = [] if heat is None else [harness.add_heat(screen.layers, heat, "a")]
    return harness.case_value([image], layers)


def zoom_on(screen: Screen, row: int, column: int) -> None:
    """Zooms in with the wheel at a pixel, then drags the picture away from the middle."""
    box = screen.page.locator(".lbv-stage").bounding_box()
    view = screen.state["views"][0]
    x = box["x"] + view["x"] + (column + 0.5) * view["sx"]
    y = box["y"] + view["y"] + (row + 0.5) * view["sy"]
    screen.page.mouse.move(x, y)
    for _ in range(4):
        screen.page.mouse.wheel(0, -200)
        screen.settle()
    screen.page.mouse.down()
    screen.page.mouse.move(x + 37, y - 23, steps=3)
    screen.page.mouse.up()
    screen.settle()


@pytest.mark.parametrize("zoomed", [False, True])
@pytest.mark.parametrize("layer", ["base", "heat"])
def test_a_marker_is_drawn_where_its_pixel_is(screen: Screen, layer: str, zoomed: bool) -> None:
    rows, columns, row, column = 200, 300, 57, 123
    bright, dark = marker(rows, columns, row, column), np.zeros((rows, columns), np.uint16)
    image = harness.add_image(screen.layers, (bright if layer == "base" else dark)[None])
    heat = harness.add_heat(screen.layers, bright, "a")
    screen.show(harness.case_value([image], [heat] if layer == "heat" else []))
    if layer == "heat":
        screen.set("opacity", "100")
    if zoomed:
        before = screen.state["views"][0]["scale"]
        zoom_on(screen, row, column)
        assert screen.state["views"][0]["scale"] > 2 * before
    found = screen.pixel(*spot(screen.picture()))
    assert abs(found["column"] - (column + 0.5)) < 1
    assert abs(found["row"] - (row + 0.5)) < 1


@pytest.mark.parametrize("zoomed", [False, True])
def test_a_box_is_drawn_where_its_edges_are(screen: Screen, zoomed: bool) -> None:
    image = harness.add_image(screen.layers, np.zeros((1, 200, 300), np.uint16))
    region = {"image": 0, "frame": 0, "label": "", "kind": "model", "box": [120, 60, 40, 25]}
    screen.show(harness.case_value([image], [], regions=[region]))
    if zoomed:
        zoom_on(screen, 72, 140)
    row, column = np.nonzero(screen.picture()[:, :, 2] > 150)
    first = screen.pixel(float(column.min() + 1), float(row.min() + 1))
    last = screen.pixel(float(column.max()), float(row.max()))
    edges = [first["column"], first["row"], last["column"], last["row"]]
    assert np.abs(np.array(edges) - [120, 60, 160, 85]).max() < 1


def test_the_contour_lies_on_the_threshold(screen: Screen) -> None:
    screen.show(simple(screen, harness.hill(192, 304, 100.5, 150.5, 20)))
    screen.set("threshold", "50")
    script = """() => { const box = document.querySelector('svg .level').getBBox();
      return [box.x, box.y, box.width, box.height]; }"""
    radius = 20 * np.sqrt(2 * np.log(2))
    expected = [151 - radius, 101 - radius, 2 * radius, 2 * radius]
    assert np.allclose(screen.page.evaluate(script), expected, atol=0.3)
    alpha = screen.canvas("heat")[:, :, 3]
    codes = harness.hill(192, 304, 100.5, 150.5, 20)
    assert (alpha[codes < 32767] == 0).all()
    assert (alpha[codes > 32768] > 0).all()


def test_sliders_and_colours_ask_nothing_of_the_server(screen: Screen) -> None:
    screen.show(simple(screen, harness.hill(192, 304, 80, 90, 20)))
    asked, counted = list(screen.layers.asked), screen.page.evaluate("viewer.lightbox.requests")
    before = screen.canvas("heat").copy(), screen.canvas("base").copy()
    assert len(asked) == counted == 2
    for name, value in (("opacity", "80"), ("threshold", "35"), ("map", "viridis")):
        screen.set(name, value)
    screen.set("centre", "900")
    screen.set("width", "500")
    for key in "ticcr+-0":
        screen.press(key)
    assert screen.layers.asked == asked
    assert screen.page.evaluate("viewer.lightbox.requests") == counted
    assert not np.array_equal(screen.canvas("heat"), before[0])
    assert not np.array_equal(screen.canvas("base"), before[1])


@pytest.mark.parametrize("case", ["opacity 0", "cold heat"])
def test_anatomy_is_untouched_where_nothing_is_said(screen: Screen, case: str) -> None:
    cold = np.zeros((192, 304), np.uint16)
    screen.show(simple(screen, harness.hill(192, 304, 80, 90, 20) if case == "opacity 0" else cold))
    screen.set("opacity", "100")
    shown = screen.picture()
    if case == "opacity 0":
        screen.set("opacity", "0")
    with_overlay = screen.picture()
    screen.press("t")
    assert screen.state["overlay"] is False
    assert np.array_equal(with_overlay, screen.picture())
    assert np.array_equal(with_overlay, shown) == (case == "cold heat")


def test_opacity_is_what_the_slider_says(screen: Screen) -> None:
    image = harness.add_image(screen.layers, np.zeros((1, 64, 64), np.uint16))
    heat = harness.add_heat(screen.layers, np.full((64, 64), 65535, np.uint16), "a")
    screen.show(harness.case_value([image], [heat]))
    picture = screen.picture()
    centre = picture[picture.shape[0] // 2, picture.shape[1] // 2].astype(float)
    assert np.abs(centre - 0.4 * colour_table("inferno")[255]).max() <= 2


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("inverted", [False, True])
def test_sixteen_bit_windows_are_exact(screen: Screen, function: str, inverted: bool) -> None:
    ramp = np.arange(65536).reshape(1, 256, 256)
    window = {"centre": 40.25, "width": 400.5, "function": function, "label": "File window"}
    image = harness.add_image(
        screen.layers, ramp, slope=0.05, intercept=-1024.0, windows=[window], inverted=inverted
    )
    screen.show(harness.case_value([image], []))
    expected = window_grey(ramp[0] * 0.05 - 1024.0, 40.25, 400.5, function)
    expected = 255 - expected if inverted else expected
    shown = screen.canvas()
    wrong = np.count_nonzero(shown[:, :, 0] != expected)
    assert wrong <= (4 if function == "SIGMOID" else 0)
    assert (shown[:, :, 3] == 255).all()
    screen.press("i")
    assert np.array_equal(screen.canvas()[:, :, :3], 255 - shown[:, :, :3])


def test_full_range_follows_the_values_and_presets_return(screen: Screen) -> None:
    pixels = np.full((1, 40, 40), 300)
    pixels[0, 0, :2] = 100, 1099
    window = {"centre": 500, "width": 100, "function": "LINEAR", "label": "File window"}
    screen.show(
        harness.case_value([harness.add_image(screen.layers, pixels, windows=[window])], [])
    )
    screen.page.locator("[data-set=preset]").select_option(label="Full range")
    screen.settle()
    assert (screen.state["windows"][0]["centre"], screen.state["windows"][0]["width"]) == (
        600,
        1000,
    )
    assert screen.canvas()[0, :2, 0].tolist() == [0, 255]
    screen.set("width", "0.2")
    assert screen.state["windows"][0]["width"] == 1
    screen.set("preset", "0")
    assert screen.state["windows"][0]["centre"] == 500


def test_right_drag_changes_the_window_and_not_the_view(screen: Screen) -> None:
    screen.show(simple(screen))
    before = screen.state
    screen.page.mouse.move(400, 400)
    screen.page.mouse.down(button="right")
    screen.page.mouse.move(500, 460, steps=4)
    screen.page.mouse.up(button="right")
    screen.settle()
    after = screen.state
    assert after["windows"][0]["width"] > before["windows"][0]["width"]
    assert after["windows"][0]["centre"] > before["windows"][0]["centre"]
    assert after["views"] == before["views"]


def test_colour_pixels_are_shown_unchanged(screen: Screen) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (1, 50, 70, 3), dtype=np.uint8)
    screen.show(harness.case_value([harness.add_image(screen.layers, pixels, "Pathology")], []))
    assert np.array_equal(screen.canvas()[:, :, :3], pixels[0])


def test_words_are_never_markup(screen: Screen) -> None:
    bad = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>${window.hurt=1}{{7*7}}'
    value = simple(screen, harness.hill(192, 304, 80, 90, 20), warnings=[bad], view=bad, unit=bad)
    value["images"][0]["name"] = value["banner"] = bad
    value["images"][0]["windows"] = [
        {"centre": 9.0, "width": 9.0, "function": "LINEAR", "label": bad}
    ]
    value["layers"][0] |= {"label": bad, "target": bad}
    value["layers"].append(value["layers"][0] | {"id": bad, "localised": False, "reason": bad})
    box = {"image": 0, "frame": 0, "label": bad, "box": [9, 9, 50, 50]}
    value["regions"] = [box | {"kind": bad, "contours": [[[1, 1], [5, 1], [5, 5]]]}]
    value["patches"] = [box | {"weight": 0.5}]
    screen.show(value)
    screen.page.mouse.move(500, 500)
    screen.set("threshold", "40")
    assert screen.page.evaluate("window.hurt") is None
    assert screen.page.locator("#viewer img, #viewer script").count() == 0
    assert screen.page.locator(".lbv-banner").text_content() == bad
    assert screen.page.locator("svg text.model").text_content() == bad


def test_keys_work_and_leave_typing_and_rating_alone(screen: Screen) -> None:
    screen.show(simple(screen, harness.hill(192, 304, 80, 90, 20)))
    start = screen.state
    screen.page.locator("#outside").fill("")
    screen.page.keyboard.type("tichrwa?")
    screen.settle()
    assert screen.page.locator("#outside").input_value() == "tichrwa?"
    assert screen.state == start
    screen.page.locator("#outside").fill("")
    for key in ("1", "2", "3", "4", "5", "n", "p", "Control+i", "Alt+c"):
        screen.press(key)
    assert screen.state == start
    screen.press("c")
    assert [view["bare"] for view in screen.state["views"]] == [True, False]
    screen.press("w")
    screen.press("i")
    assert (screen.state["tool"], screen.state["inverts"]) == ("window", [True])
    screen.press("?")
    assert screen.page.get_by_role("dialog").is_visible()
    screen.page.keyboard.press("t")
    assert screen.state["overlay"] is True
    screen.page.get_by_label("Use single-key shortcuts").uncheck()
    screen.page.keyboard.press("Escape")
    screen.press("t")
    assert screen.state["overlay"] is True


def test_overlay_hides_only_while_the_key_or_button_is_down(screen: Screen) -> None:
    screen.show(simple(screen, harness.hill(192, 304, 80, 90, 20)))
    screen.page.locator(".lbv-stage").focus()
    shown = screen.picture()
    screen.page.keyboard.down("h")
    screen.settle()
    hidden = screen.picture()
    screen.page.keyboard.up("h")
    screen.settle()
    assert not np.array_equal(shown, hidden)
    assert np.array_equal(shown, screen.picture())
    screen.page.get_by_role("button", name="Hold to hide").hover()
    screen.page.mouse.down()
    screen.settle()
    assert screen.state["held"] is True
    screen.page.mouse.up()
    screen.settle()
    assert screen.state["held"] is False


@pytest.mark.parametrize(
    ("status", "words"), [(403, "not allowed"), (404, "no longer"), (500, "could not supply")]
)
def test_a_failed_map_is_explained_and_the_image_stays(
    screen: Screen, status: int, words: str
) -> None:
    value = simple(screen, harness.hill(192, 304, 80, 90, 20))
    value["layers"].append(value["layers"][0] | {"id": "b", "label": "Other", "url": "/heat/b.raw"})
    screen.layers.files["/heat/b.raw"] = status
    screen.show(value)
    said = screen.page.locator(".lbv-status").text_content()
    assert "Other" in said and words in said and str(status) in said
    assert screen.canvas()[:, :, 0].max() == 255
    assert screen.canvas("heat")[:, :, 3].max() > 0
    assert all("Failed to load resource" in text for text in screen.errors)
    screen.errors.clear()
    screen.layers.files["/heat/b.raw"] = screen.layers.files["/heat/a.raw"]
    screen.page.get_by_role("button", name="Try again").click()
    screen.settle()
    assert screen.page.locator(".lbv-status").text_content() == "Loaded."


def test_an_image_cut_short_or_elsewhere_is_refused(screen: Screen) -> None:
    value = simple(screen)
    screen.layers.files["/layers/0/0.raw"] = b"\0\0\0"
    screen.show(value)
    assert "incomplete" in screen.page.locator(".lbv-message").text_content()
    value["case"], value["images"][0]["url"] = "LB-OTHER", "http://elsewhere.invalid/0.raw"
    screen.show(value)
    assert "outside this server" in screen.page.locator(".lbv-status").text_content()
    assert not any("elsewhere" in host for host in screen.hosts)


def test_another_case_never_keeps_the_old_picture(screen: Screen) -> None:
    screen.show(simple(screen))
    lost = simple(screen) | {"case": "LB-LOST"}
    screen.layers.files[urlsplit(lost["images"][0]["url"]).path.format(frame=0)] = 404
    screen.show(lost)
    assert screen.picture().max() < 250
    assert not screen.page.locator(".lbv-scene").is_visible()
    assert "could not be loaded" in screen.page.locator(".lbv-message").text_content()
    screen.errors.clear()


def test_a_map_without_evidence_is_named_and_not_drawn(screen: Screen) -> None:
    value = simple(screen, np.full((192, 304), 65535, np.uint16))
    value["layers"][0] |= {"localised": False, "reason": "The map is flat."}
    screen.show(value)
    assert not any(path.startswith("/heat") for path in screen.layers.asked)
    note = screen.page.locator(".lbv-chip").text_content()
    assert note == "Map a: No localised evidence. The map is flat."


def test_frames_are_fetched_one_by_one_as_the_reader_comes_to_them(screen: Screen) -> None:
    stack = np.stack([np.full((30, 40), 100 * (i + 1)) for i in range(4)])
    window = {"centre": 250, "width": 500, "function": "LINEAR", "label": "W"}
    image = harness.add_image(screen.layers, stack, "MRI", windows=[window], frame=1)
    heat = harness.add_heat(screen.layers, np.full((30, 40), 65535, np.uint16), "a", frame=2)
    screen.show(harness.case_value([image], [heat]))
    assert screen.layers.asked == ["/layers/0/1.raw"]
    assert screen.state["views"][0]["shown"]["frame"] == 1
    screen.press("ArrowRight")
    assert screen.layers.asked[1:] == ["/layers/0/2.raw", "/heat/a.raw"]
    assert screen.canvas()[0, 0, 0] == window_grey(np.array(300.0), 250, 500, "LINEAR")
    assert screen.canvas("heat")[0, 0, 3] > 0
    screen.press("ArrowLeft")
    assert len(screen.layers.asked) == 3
    assert screen.canvas("heat")[0, 0, 3] == 0


@pytest.mark.parametrize("spacing", [None, {"row_mm": 0.5, "column_mm": 0.1, "source": "header"}])
def test_the_ruler_measures_in_millimetres_or_admits_pixels(
    screen: Screen, spacing: dict | None
) -> None:
    screen.show(simple(screen, spacing=spacing))
    screen.press("r")
    screen.page.mouse.move(500, 400)
    screen.page.mouse.down()
    screen.page.mouse.move(620, 530, steps=3)
    screen.page.mouse.up()
    screen.settle()
    left, top, right, bottom = screen.state["rulers"][0]
    said = screen.page.locator("svg text.ruler").text_content()
    if spacing:
        length = np.hypot((right - left) * 0.1, (bottom - top) * 0.5)
        assert said == f"{length:.{2 if length < 10 else 1}f} mm (header)"
        view = screen.state["views"][0]
        assert view["sy"] / view["sx"] == pytest.approx(5)
    else:
        length = np.hypot(right - left, bottom - top)
        assert "no calibration" in said
        assert float(said.split(" px")[0]) == pytest.approx(length, rel=1e-3)


def test_a_double_click_picks_the_pixel_under_the_cursor(screen: Screen) -> None:
    screen.show(simple(screen))
    view, box = screen.state["views"][0], screen.page.locator(".lbv-stage").bounding_box()
    x, y = (box["x"] + view["x"] + 77.5 * view["sx"], box["y"] + view["y"] + 31.5 * view["sy"])
    screen.page.mouse.dblclick(x, y)
    assert screen.page.evaluate("picks") == [{"image": 0, "row": 31, "column": 77}]


def test_values_under_the_cursor_are_those_of_the_pixel(screen: Screen) -> None:
    codes = harness.hill(192, 304, 80, 90, 20)
    value = simple(screen, codes, slope=2.0, intercept=-10.0, unit="HU")
    screen.show(value)
    view, box = screen.state["views"][0], screen.page.locator(".lbv-stage").bounding_box()
    screen.page.mouse.move(
        box["x"] + view["x"] + 95.5 * view["sx"], box["y"] + view["y"] + 84.5 * view["sy"]
    )
    screen.settle()
    stored = int(harness.breast(192, 304)[0, 84, 95])
    share = codes[84, 95] / 65535
    said = screen.page.locator(".lbv-readout").text_content()
    assert f"row 84, column 95  ·  value {2 * stored - 10} HU (stored {stored})" in said
    assert f"({round(share * 100)} %)" in said
    assert float(said.split("Map a ")[1].split(" ")[0]) == pytest.approx(0.13 * share, rel=1e-3)


def test_a_new_version_keeps_the_view_and_follows_the_wish(screen: Screen) -> None:
    value = simple(screen, harness.hill(192, 304, 80, 90, 20))
    screen.show(value)
    screen.press("+")
    before, asked = screen.state, len(screen.layers.asked)
    newer = value | {"version": 2}
    newer["layers"] = [value["layers"][0] | {"visible": False}]
    screen.show(newer)
    assert screen.state["views"] == before["views"]
    assert screen.state["visible"] == {"a": False}
    assert len(screen.layers.asked) == asked


def test_mounting_again_leaves_one_viewer_that_listens(screen: Screen) -> None:
    screen.show(simple(screen, harness.hill(192, 304, 80, 90, 20)))
    screen.page.evaluate("() => { window.old = viewer.lightbox; remount(); }")
    screen.settle()
    screen.press("t")
    assert screen.state["overlay"] is False
    assert screen.page.evaluate("window.old !== viewer.lightbox")
    screen.page.evaluate("() => { window.kept = viewer.lightbox; viewer.remove(); }")
    screen.page.keyboard.press("i")
    assert screen.page.evaluate("kept.state().inverts") == [False]


def test_every_control_has_a_name_and_a_target_of_24_pixels(screen: Screen) -> None:
    image = harness.add_image(screen.layers, harness.breast(64, 64))
    heat = harness.add_heat(screen.layers, harness.hill(64, 64, 9, 9, 5), "a")
    screen.show(harness.case_value([image, image], [heat]))
    script = """() => ['button', 'input', 'select']
      .flatMap(kind => [...document.querySelectorAll(`#viewer ${kind}`)])
      .filter(node => node.getClientRects().length).map(node => {
        const held = node.closest('label') || node, box = held.getBoundingClientRect();
        const name = node.getAttribute('aria-label') || held.textContent.trim();
        return [name, box.width, box.height]; })"""
    found = screen.page.evaluate(script)
    assert len(found) > 25
    assert [each for each in found if not each[0] or each[1] < 24 or each[2] < 24] == []


def test_four_layers_of_1024_redraw_within_a_frame(screen: Screen) -> None:
    image = harness.add_image(screen.layers, harness.breast())
    heat = [
        harness.add_heat(screen.layers, harness.hill(1024, 1024, 400 + 50 * i, 300, 90), str(i))
        for i in range(4)
    ]
    screen.show(harness.case_value([image], heat))
    script = """async ([name, values]) => {
      const node = document.querySelector(`[data-set=${name}]`), times = viewer.lightbox.drawTimes;
      const frame = () => new Promise(requestAnimationFrame); await frame(); await frame();
      times.length = 0;
      for (const value of values) { node.value = value; node.dispatchEvent(new Event('input'));
        node.dispatchEvent(new Event('change')); await frame(); }
      const sorted = [...times].sort((a, b) => a - b); return sorted[sorted.length >> 1]; }"""
    moves = {
        "opacity": [20 + 5 * i for i in range(15)],
        "centre": [1500 + 10 * i for i in range(15)],
        "map": [COLOUR_MAPS[i % 5] for i in range(15)],
    }
    spent = {name: screen.page.evaluate(script, [name, moves[name]]) for name in moves}
    for box in screen.page.locator("[data-lbv=layers] input").all()[1:]:
        box.uncheck()
    spent["threshold"] = screen.page.evaluate(script, ["threshold", list(range(30, 60))])
    assert max(spent.values()) <= 16.7, spent


def test_the_markup_and_style_hold_no_template_marks() -> None:
    for text in (viewer_markup(), viewer_style()):
        assert not any(mark in text for mark in ("${", "{{", "`", "\\", "<script"))
    assert colour_table("inferno").shape == (256, 3)
    assert colour_table("jet")[255].tolist()[0] > colour_table("jet")[255].tolist()[2]


@pytest.mark.filterwarnings("default")
def test_inside_gradio_a_pick_reaches_python_and_words_stay_words(browser: Any) -> None:
    import fastapi
    import uvicorn

    layers = harness.Layers()
    image = harness.add_image(layers, harness.breast(64, 64), "${window.hurt=1} {{7*7}}")
    picked: list[dict] = []

    def keep(event: gr.EventData) -> None:
        picked.append(event._data)

    with gr.Blocks(analytics_enabled=False) as blocks:
        viewer, button = Viewer(None), gr.Button("Open the case")
        value = harness.case_value([image], [])
        button.click(lambda: value, None, viewer, show_progress="hidden")
        viewer.pick(keep, None, None, show_progress="hidden", trigger_mode="multiple")
    app = fastapi.FastAPI()
    app.get("/layers/{rest:path}")(lambda rest: fastapi.Response(layers.files[f"/layers/{rest}"]))
    gr.mount_gradio_app(app, blocks, path="/app", run_history=False, footer_links=[])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    try:
        while not server.started:
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        page.goto(f"http://127.0.0.1:{port}/app/")
        page.get_by_role("button", name="Open the case").click()
        page.get_by_role("button", name="${window.hurt=1} {{7*7}}").wait_for()
        page.get_by_text("Loaded.").wait_for()
        page.locator(".lbv-pane").dblclick()
        deadline = time.monotonic() + 10
        while not picked and time.monotonic() < deadline:
            page.wait_for_timeout(20)
        assert picked[0]["image"] == 0 and 28 <= picked[0]["row"] <= 36
        assert page.evaluate("window.hurt") is None
    finally:
        page.close()
        server.should_exit = True
        thread.join(10)
