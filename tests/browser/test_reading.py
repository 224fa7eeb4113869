"""The reading room in Chromium: keys, drafts, a lost connection, two tabs, marks, blindness."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.web.server import GRADIO_ENVIRONMENT
from tests.browser import reading_harness as harness
from tests.browser.served import chromium

pytestmark = pytest.mark.browser

ROOM = f"/reading/{harness.CODE}"
KEPT = "Not connected. 1 answer is kept on this computer and will be sent."
SECRETS = ("gradcam", "rollout", "relevance", "decoy", "vit-cx", "LB-", "arm", "truth", "replicate")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def door() -> harness.Door:
    return harness.Door()


@pytest.fixture
def study(door: harness.Door) -> harness.Study:
    """A fresh study behind the same server."""
    door.study = harness.Study(harness.usual_plan())
    return door.study


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, door: harness.Door) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name in (*GRADIO_ENVIRONMENT, "GRADIO_TEMP_DIR"):
            patch.setenv(name, "")
        with harness.serve(tmp_path_factory.mktemp("reading") / "work", door) as served:
            yield served


@pytest.fixture(scope="module")
def login(browser: Any, address: str, door: harness.Door) -> Any:
    """Bob's cookies."""
    door.study = harness.Study(harness.usual_plan())
    context = browser.new_context()
    harness.sign_in(context.new_page(), address)
    kept = context.storage_state()
    context.close()
    return kept


@pytest.fixture
def page(browser: Any, address: str, login: Any, study: harness.Study) -> Iterator[Any]:
    """Bob's first reading, at the size of a small screen; a script error fails the test."""
    size = {"width": 1280, "height": 800}
    context = browser.new_context(viewport=size, storage_state=login)
    page, errors = context.new_page(), list[str]()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address + ROOM)
    page.click("text=Start reading")
    settle(page, "Reading 1 of 5 · A")
    yield page
    context.close()
    assert errors == []


def settle(page: Any, place: str) -> None:
    """Wait until a reading is on the screen with all its pixels."""
    page.wait_for_function(
        "text => document.querySelector('.rr-place').textContent === text", arg=place
    )
    page.evaluate("(document.querySelector('.rr-viewer').lightbox || {}).ready")
    page.wait_for_timeout(60)


def until(true: Callable[[], Any], seconds: float = 15) -> Any:
    """Wait for something on the server's side."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = true()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def rate(page: Any, digits: str = "4444") -> None:
    for digit in digits:
        page.keyboard.press(digit)


def value_of(study: harness.Study, token: str, question: str) -> Any:
    return study.done[token]["answers"][question]["value"]


def test_digits_answer_one_question_after_another_and_ctrl_enter_hands_in(
    page: Any, study: harness.Study
) -> None:
    rate(page, "403")
    assert page.locator(".rr-foot").inner_text().startswith("3 of 4 answered")
    page.keyboard.press("Control+Enter")
    assert "choose “Cannot judge”" in page.locator(".rr-question").nth(3).inner_text()
    assert not study.done
    page.keyboard.press("2")
    page.keyboard.press("Control+Enter")
    settle(page, "Reading 2 of 5 · B")
    answers = study.done["t0"]["answers"]
    assert [each["value"] for each in answers.values()] == [4, None, 3, 2]
    assert answers["helps_understanding"]["status"] == "cannot_judge"
    assert page.locator(".rr-place").inner_text() == page.locator(".rr-form-head h2").inner_text()


@pytest.mark.parametrize("size", [(1280, 800), (1440, 900)])
def test_image_and_all_four_questions_are_in_sight_without_scrolling(
    page: Any, size: tuple[int, int]
) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.wait_for_timeout(100)
    inside = """node => { const r = node.getBoundingClientRect();
      return r.top >= 0 && r.left >= 0 && r.bottom <= innerHeight && r.right <= innerWidth; }"""
    for what in (".lbv-stage", ".rr-question:nth-child(4)", ".rr-foot .lbx-main", ".rr-banner"):
        assert page.locator(what).evaluate(inside), what
    fits = "node => node.scrollHeight <= node.clientHeight"
    assert page.locator(".rr-questions").evaluate(fits)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    stage = page.locator(".lbv-stage").bounding_box()
    assert stage["width"] > 0.5 * size[0] and stage["height"] > 0.65 * size[1]


def test_the_next_reading_shows_nothing_of_the_last(page: Any, study: harness.Study) -> None:
    page.fill(".rr-comment textarea", "edge unclear")
    page.locator(".rr-comment textarea").blur()
    page.keyboard.press("c")
    page.keyboard.press("t")
    page.wait_for_timeout(800)
    rate(page)
    page.keyboard.press("Control+Enter")
    settle(page, "Reading 2 of 5 · B")
    assert page.locator(".lbv-pane").count() == 1
    assert page.locator(".rr-comment textarea").input_value() == ""
    assert page.locator("[aria-checked=true]").count() == 0
    assert page.locator("[data-set=overlay]").is_checked()
    told = study.done["t0"]
    assert told["comment"] == "edge unclear"
    assert told["timing"]["method"] >= 1 and told["timing"]["heat_seen"] is True
    assert 0 < told["timing"]["active_ms"] < 60_000
    assert ("shown", "t0") in study.calls


def test_keys_stay_letters_while_somebody_types(page: Any, study: harness.Study) -> None:
    page.click(".rr-comment textarea")
    page.keyboard.type("12 np?")
    assert page.locator(".rr-comment textarea").input_value() == "12 np?"
    assert page.locator("[aria-checked=true]").count() == 0
    assert not page.locator("dialog[open]").count()


def test_help_lists_the_keys_and_can_switch_them_off(page: Any, study: harness.Study) -> None:
    page.keyboard.press("?")
    assert page.locator("dialog.rr-help[open]").is_visible()
    rate(page, "3")
    page.locator("dialog.rr-help input").uncheck()
    page.keyboard.press("?")
    assert not page.locator("dialog.rr-help[open]").count()
    rate(page, "3")
    assert page.locator("[aria-checked=true]").count() == 0
    page.evaluate("localStorage.removeItem('lightbox.keys')")


def test_alt_and_a_digit_choose_a_window_and_count_as_one_change(
    page: Any, study: harness.Study
) -> None:
    page.keyboard.press("Alt+2")
    state = page.evaluate("document.querySelector('.rr-viewer').lightbox.state()")
    assert state["windows"][0]["centre"] == 1200
    page.wait_for_timeout(900)
    rate(page)
    page.keyboard.press("Control+Enter")
    until(lambda: "t0" in study.done)
    assert study.done["t0"]["timing"]["window"] == 1
    assert study.done["t0"]["timing"]["opacity"] == 0


def test_a_draft_is_kept_and_comes_back(page: Any, address: str, study: harness.Study) -> None:
    rate(page, "5")
    until(lambda: study.drafts.get("t0", {}).get("answers", {}).get("lesion_match"))
    page.reload()
    page.click("text=Start reading")
    settle(page, "Reading 1 of 5 · A")
    checked = page.locator("[aria-checked=true]")
    assert checked.count() == 1 and checked.inner_text() == "5"


def test_a_double_press_hands_in_once(page: Any, study: harness.Study) -> None:
    study.delay_s = 0.4
    rate(page)
    button = page.locator(".rr-foot .lbx-main")
    button.dblclick()
    page.keyboard.press("Control+Enter")
    settle(page, "Reading 2 of 5 · B")
    page.wait_for_timeout(600)
    assert [token for kind, token in study.calls if kind == "submit"] == ["t0"]
    assert len(study.keys) == 1


def test_a_lost_connection_loses_no_answer(page: Any, study: harness.Study) -> None:
    page.wait_for_timeout(700)  # the reading after this one is fetched ahead
    page.context.set_offline(True)
    rate(page, "1234")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(f"text={KEPT}")
    settle(page, "Reading 2 of 5 · B")
    rate(page, "5555")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=2 answers are kept on this computer")
    assert not study.done
    page.context.set_offline(False)
    settle(page, "Reading 3 of 5 · A")
    assert [value_of(study, "t0", q["id"]) for q in harness.PROTOCOL] == [1, 2, 3, 4]
    assert [token for token, _ in study.keys] == ["t0", "t1"]
    assert not page.locator(".rr-notices p").count()
    assert not page.evaluate("Object.keys(localStorage).some((key) => key.includes('.send.'))")


def test_an_answer_outlives_a_closed_page(page: Any, address: str, study: harness.Study) -> None:
    page.context.set_offline(True)
    rate(page, "2222")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(f"text={KEPT}")
    context = page.context
    page.close()
    context.set_offline(False)
    again = context.new_page()
    again.goto(address + ROOM)
    settle(again, "Reading 2 of 5 · B")
    assert value_of(study, "t0", "trust") == 2 and len(study.keys) == 1


def test_a_lost_reply_is_asked_for_again_under_the_same_key(
    page: Any, study: harness.Study
) -> None:
    sent: list[str] = []

    def lose(route: Any) -> None:
        sent.append(json.loads(route.request.post_data)["key"])
        if len(sent) == 1:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    page.route("**/submit", lose)
    rate(page)
    page.keyboard.press("Control+Enter")
    until(lambda: page.wait_for_timeout(50) or len(sent) == 2)
    settle(page, "Reading 2 of 5 · B")
    assert sent[0] == sent[1] and len(study.keys) == 1


def test_what_the_server_never_takes_is_said_and_kept(page: Any, study: harness.Study) -> None:
    study.refuse = harness.StaleRecord("The study is closed.")
    rate(page)
    page.keyboard.press("Control+Enter")
    notice = page.locator(".rr-notices p")
    notice.wait_for()
    assert "was not taken: The study is closed." in notice.inner_text()
    notice.locator("button").click()
    assert not page.locator(".rr-notices p").count()


def test_a_refused_answer_can_be_mended(page: Any, study: harness.Study) -> None:
    study.refuse = harness.InvalidInput("The text is too long.")
    rate(page)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=Not handed in: The text is too long.")
    page.keyboard.press("Control+Enter")
    settle(page, "Reading 2 of 5 · B")
    assert len(study.keys) == 1


def test_an_answer_handed_in_while_another_one_is_on_its_way_follows_it(
    page: Any, study: harness.Study
) -> None:
    page.wait_for_timeout(700)  # the reading after this one is fetched ahead
    page.context.set_offline(True)
    rate(page)
    page.keyboard.press("Control+Enter")
    settle(page, "Reading 2 of 5 · B")
    rate(page, "5555")
    study.delay_s = 1.5
    page.context.set_offline(False)
    until(lambda: page.wait_for_timeout(30) or ("submit", "t0") in study.calls)
    page.keyboard.press("Control+Enter")
    settle(page, "Reading 3 of 5 · A")
    assert [token for token, _ in study.keys] == ["t0", "t1"]
    assert not page.evaluate("Object.keys(localStorage).some((key) => key.includes('.clock.'))")


def test_a_reading_whose_answer_was_never_taken_can_be_handed_in_again(
    page: Any, study: harness.Study
) -> None:
    study.refuse = harness.StaleRecord("The questions of this study were changed.")
    rate(page)
    page.keyboard.press("Control+Enter")
    page.locator(".rr-notices p").wait_for()
    page.wait_for_function("() => !document.querySelector('.rr-panel').inert")
    settle(page, "Reading 1 of 5 · A")
    rate(page)
    page.keyboard.press("Control+Enter")
    settle(page, "Reading 2 of 5 · B")
    assert [token for token, _ in study.keys] == ["t0"]
    assert not page.locator(".rr-notices p").count()


def test_an_answer_that_is_refused_later_brings_its_reading_back(
    page: Any, study: harness.Study
) -> None:
    page.wait_for_timeout(700)  # the reading after this one is fetched ahead
    page.context.set_offline(True)
    rate(page, "1234")
    page.keyboard.press("Control+Enter")
    settle(page, "Reading 2 of 5 · B")
    study.refuse = harness.InvalidInput("The text is too long.")
    page.context.set_offline(False)
    page.wait_for_selector("text=Not handed in: The text is too long.")
    settle(page, "Reading 1 of 5 · A")
    assert page.locator(".rr-foot").inner_text().startswith("4 of 4 answered")
    page.keyboard.press("Control+Enter")
    settle(page, "Reading 2 of 5 · B")
    assert value_of(study, "t0", "trust") == 4


def test_two_tabs_are_told_of_each_other(page: Any, address: str, study: harness.Study) -> None:
    other = page.context.new_page()
    other.goto(address + ROOM)
    told = "text=open in another tab"
    page.wait_for_selector(told)
    other.wait_for_selector(told)
    rate(page)
    page.keyboard.press("Control+Enter")
    settle(page, "Reading 2 of 5 · B")
    other.close()
    page.wait_for_function("!document.querySelector('.rr-notices p')")


def test_a_draft_from_another_window_is_pointed_out(page: Any, study: harness.Study) -> None:
    study.drafts["t0"] = {"sequence": 0, "answers": {}, "comment": "", "tab": "elsewhere"}
    rate(page, "3")
    page.wait_for_selector("text=open in another window under your name")


def test_a_draft_that_another_window_is_ahead_of_is_kept_all_the_same(
    page: Any, study: harness.Study
) -> None:
    study.drafts["t0"] = {"sequence": 50, "answers": {}, "comment": "", "tab": "elsewhere"}
    rate(page, "3")
    until(lambda: page.wait_for_timeout(50) or study.drafts["t0"]["sequence"] > 50)
    assert study.drafts["t0"]["answers"]["lesion_match"]["value"] == 3


def test_an_ended_login_keeps_the_answer_and_sends_it_after_a_new_one(
    page: Any, address: str, study: harness.Study
) -> None:
    page.context.clear_cookies()
    rate(page)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=1 answer is kept on this computer", state="attached")
    assert not study.done
    other = page.context.new_page()
    harness.sign_in(other, address)
    page.bring_to_front()
    until(lambda: page.wait_for_timeout(100) or "t0" in study.done, 30)
    assert len(study.keys) == 1


def test_marks_are_drawn_or_written(page: Any, study: harness.Study) -> None:
    for token in ("t0", "t1", "t2"):
        study.done[token] = {"revision": 1, "answers": {}, "comment": ""}
    page.reload()
    settle(page, "Reading 4 of 5")
    page.click("text=Set the point")
    view = page.evaluate("document.querySelector('.rr-viewer').lightbox.state().views[0]")
    box = page.locator(".lbv-stage").bounding_box()

    def at(column: float, row: float) -> tuple[float, float]:
        return (
            box["x"] + view["x"] + column * view["sx"],
            box["y"] + view["y"] + row * view["sy"],
        )

    page.mouse.click(*at(100, 200))
    page.click("text=Draw the box")
    page.mouse.move(*at(150, 260))
    page.mouse.down()
    page.mouse.move(*at(90, 180), steps=4)
    page.mouse.up()
    page.locator(".rr-question").nth(2).locator("input").first.fill("10, 10, 90, 10, 50, 80")
    page.locator(".rr-question").nth(2).locator("input").first.press("Tab")
    assert page.locator(".lbv-pane svg .model").count() >= 3
    page.locator(".rr-question").nth(3).locator("button").first.focus()
    page.keyboard.press("3")
    page.locator(".rr-number").fill("201")
    page.keyboard.press("Control+Enter")
    assert "a number from 0 to 200" in page.locator(".rr-question.is-wrong").inner_text()
    page.locator(".rr-number").fill("17.5")
    page.keyboard.press("Control+Enter")
    until(lambda: "t3" in study.done)
    answers = study.done["t3"]["answers"]
    (point,) = answers["place"]["marks"]["points"]
    assert point == pytest.approx([100, 200], abs=1)
    corners = answers["lesion"]["marks"]["points"]
    assert corners[0] == pytest.approx([90, 180], abs=1)
    assert corners[1] == pytest.approx([150, 260], abs=1)
    assert answers["shape"]["marks"]["points"] == [[10, 10], [90, 10], [50, 80]]
    assert answers["birads"]["value"] == 2 and answers["size"]["value"] == 17.5
    assert answers["why"]["status"] == "skipped"
    page.wait_for_selector(".is-closing")
    rate(page, "5")
    page.locator(".rr-number").fill("40")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=Thank you")


def test_a_break_is_taken_and_reading_goes_on(page: Any, study: harness.Study) -> None:
    page.click("text=Take a break")
    page.wait_for_selector("h2:has-text('Break')")
    page.click("text=Go on reading")
    settle(page, "Reading 1 of 5 · A")


def test_feedback_of_a_training_case_comes_before_the_next(page: Any, study: harness.Study) -> None:
    study.plan[0]["feedback"] = "As expected. <b>The lesion is at two o'clock.</b>"
    rate(page)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=<b>The lesion is at two o'clock.</b>")
    page.keyboard.press("Control+Enter")
    settle(page, "Reading 2 of 5 · B")


def test_a_handed_in_reading_can_be_looked_at_and_not_changed(
    page: Any, study: harness.Study
) -> None:
    rate(page)
    page.keyboard.press("Control+Enter")
    settle(page, "Reading 2 of 5 · B")
    page.keyboard.press("n")
    assert "hand in this reading first" in page.locator(".rr-foot").inner_text()
    page.keyboard.press("p")
    settle(page, "Reading 1 of 5 · A")
    rate(page, "1")
    assert page.locator("[aria-checked=true]").all_inner_texts() == ["4"] * 4
    page.keyboard.press("n")
    settle(page, "Reading 2 of 5 · B")


def test_a_change_needs_a_reason(page: Any, study: harness.Study) -> None:
    study.changes = True
    rate(page)
    page.keyboard.press("Control+Enter")
    settle(page, "Reading 2 of 5 · B")
    page.keyboard.press("p")
    settle(page, "Reading 1 of 5 · A")
    page.locator(".rr-question").first.locator("button").nth(1).click()
    page.keyboard.press("Control+Enter")
    assert study.done["t0"]["revision"] == 1
    page.locator(".rr-foot input").fill("slip of the finger")
    page.keyboard.press("Control+Enter")
    until(lambda: study.done["t0"]["revision"] == 2)
    assert study.done["t0"]["reason"] == "slip of the finger"
    assert value_of(study, "t0", "lesion_match") == 2


def test_nothing_that_reaches_the_browser_tells_more_than_it_may(
    browser: Any, address: str, study: harness.Study
) -> None:
    page, bodies, hosts = browser.new_page(), [], set()

    def keep(response: Any) -> None:
        hosts.add(response.url.split("/")[2])
        kind = response.headers.get("content-type", "")
        if "/reading" in response.url and "/assets/" not in response.url and "octet" not in kind:
            bodies.append(response.url + response.text())

    page.on("requestfinished", lambda request: keep(request.response()))
    harness.sign_in(page, address)
    page.goto(address + ROOM)
    page.click("text=Start reading")
    settle(page, "Reading 1 of 5 · A")
    page.wait_for_timeout(500)
    text = " ".join([*bodies, page.content()])
    assert len(bodies) >= 4
    for secret in SECRETS:
        assert not re.search(rf"\b{re.escape(secret)}", text, re.IGNORECASE), secret
    assert hosts == {address.split("//")[1]}
    page.close()
