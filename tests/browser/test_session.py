"""The script of every page that warns before a login ends and locks the screen, in a browser."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import expect
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.web.server import GRADIO_ENVIRONMENT, create_app, listen
from tests.app import web_world as kit
from tests.browser.served import chromium

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<script src="/static/session.js" defer></script></head><body>
<main><h1>A page</h1><label>Draft <input id="draft"></label><a href="/lock">Lock</a>
<p id="keys"></p></main>
<script>document.addEventListener('keydown', (event) => {
  document.getElementById('keys').textContent += event.key; }, true);</script></body></html>"""


async def page_of_ours(request: Request) -> Response:
    """A page that does what pages do, and carries the script."""
    return HTMLResponse(PAGE)


@contextmanager
def running(app: Any) -> Iterator[str]:
    """The application on a free port, in a thread; gives the address."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in (*GRADIO_ENVIRONMENT, "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "")
    made = kit.with_people(kit.world(tmp_path / "work"))
    yield made
    made.store.close()


@pytest.fixture
def address(world: Any) -> Iterator[str]:
    app = create_app(world, ())
    app.add_route("/app/", page_of_ours, methods=["GET"])
    with running(app) as found:
        yield found


@pytest.fixture
def context(browser: Any, address: str) -> Iterator[Any]:
    made = browser.new_context()
    door = made.new_page()
    sign_in(door, address, "bob")
    door.close()  # a clock set by hand would run in this tab too
    yield made
    made.close()


def sign_in(page: Any, address: str, name: str) -> None:
    page.goto(f"{address}/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(kit.GOOD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{address}/app/")


def opened(context: Any, address: str) -> Any:
    """Another tab, once its script knows the login."""
    page = context.new_page()
    page.goto(f"{address}/app/")
    page.wait_for_function("globalThis.lightboxSession && lightboxSession.state")
    return page


@pytest.fixture(autouse=True)
def told(context: Any) -> Iterator[list[str]]:
    """Answers of the server that refused something, told when a test fails."""
    found: list[str] = []
    context.on(
        "response",
        lambda answer: found.append(f"{answer.status} {answer.url}") if answer.status > 399 else 0,
    )
    yield found
    sys.stdout.write("\n".join(found))


def test_the_screen_is_locked_in_one_click_and_the_page_stays(context: Any, address: str) -> None:
    page, other = opened(context, address), opened(context, address)
    page.get_by_label("Draft").fill("half a sentence")
    page.get_by_role("link", name="Lock").click()
    for shown in (page, other):
        expect(shown.get_by_role("heading", name="The screen is locked")).to_be_visible()
        expect(shown.locator("#draft")).to_be_hidden()
    assert page.evaluate("fetch('/layers/c1/0/0.raw').then((answer) => answer.status)") == 423
    before = page.locator("#keys").text_content()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    field = page.get_by_label("Password")
    field.fill("wrong password")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The password is not right.")
    expect(field).to_have_value("")
    field.press("1")
    assert page.locator("#keys").text_content() == before, "no key reaches the page below"
    field.fill(kit.GOOD)
    field.press("Enter")
    for shown in (page, other):
        expect(shown.locator("dialog")).to_be_hidden()
        expect(shown.locator("#draft")).to_be_visible()
    expect(page.get_by_label("Draft")).to_have_value("half a sentence")


def test_a_warning_comes_before_the_end_of_an_idle_login(
    context: Any, address: str, world: Any
) -> None:
    page = context.new_page()
    page.clock.install()
    page.goto(f"{address}/app/")
    page.wait_for_function("globalThis.lightboxSession && lightboxSession.state")
    title = page.get_by_role("heading", name="Your login is about to end")
    page.clock.fast_forward(55 * 60_000)
    expect(title).to_be_hidden()
    page.clock.fast_forward(3.5 * 60_000)
    expect(title).to_be_visible()
    expect(page.locator(".lbx-session-text")).to_contain_text("signed out in 1:")
    page.get_by_role("button", name="Stay signed in").click()
    expect(title).to_be_hidden()
    page.get_by_label("Draft").fill("half a sentence")
    page.clock.fast_forward(61 * 60_000)
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    expect(page.locator("#draft")).to_be_hidden()
    until = time.monotonic() + 10
    while world.store.audit(1)[0].action != "sign out" and time.monotonic() < until:
        page.wait_for_timeout(50)
    told = world.store.audit(1)[0]
    assert (told.who, told.action, told.detail) == ("bob", "sign out", {"why": "idle"})


def test_an_active_reader_is_not_signed_out_without_requests(
    context: Any, address: str, world: Any
) -> None:
    page = context.new_page()
    page.clock.install()
    page.goto(f"{address}/app/")
    page.wait_for_function("globalThis.lightboxSession && lightboxSession.state")
    stays: list[str] = []
    page.on("request", lambda request: stays.append(request.url.removeprefix(address)))
    for _ in range(4):
        page.clock.fast_forward(20 * 60_000)
        page.keyboard.press("x")
        page.clock.run_for(2000)
    expect(page.locator("dialog.lbx-session")).to_be_hidden()
    assert "/session/stay" in stays


def test_a_login_that_ended_elsewhere_is_taken_up_again_by_its_owner_only(
    context: Any, address: str, world: Any
) -> None:
    page = opened(context, address)
    page.get_by_label("Draft").fill("half a sentence")
    world.store.revoke_logins("bob")
    page.evaluate("lightboxSession.look()")
    ended = page.get_by_role("heading", name="You are signed out")
    expect(ended).to_be_visible()
    link = page.get_by_role("link", name="Sign in again")
    assert link.get_attribute("href") == "/login?next=%2Fapp%2F"
    sign_in(context.new_page(), address, "bob")
    page.evaluate("lightboxSession.look()")
    expect(ended).to_be_hidden()
    expect(page.get_by_label("Draft")).to_have_value("half a sentence")
    world.store.revoke_logins("bob")
    sign_in(context.new_page(), address, "ann")
    with page.expect_navigation():
        page.evaluate("lightboxSession.look()")
    expect(page.get_by_label("Draft")).to_have_value("")


def test_a_lost_connection_signs_nobody_out(context: Any, address: str) -> None:
    page = opened(context, address)
    context.set_offline(True)
    page.evaluate("lightboxSession.look()")
    page.wait_for_timeout(300)
    expect(page.locator("#draft")).to_be_visible()
    context.set_offline(False)


def test_the_login_that_is_old_says_so(context: Any, address: str, world: Any) -> None:
    world.accounts._idle = timedelta(hours=20)
    page = context.new_page()
    page.clock.install()
    page.goto(f"{address}/app/")
    page.wait_for_function("globalThis.lightboxSession && lightboxSession.state")
    left = page.evaluate("lightboxSession.state.absolute_left_s")
    page.route("**/session**", lambda route: route.abort())
    page.clock.fast_forward(int(left - 60) * 1000)
    expect(page.locator(".lbx-session-text")).to_contain_text("has lasted long")
    page.get_by_role("button", name="Go on until then").click()
    expect(page.locator("dialog.lbx-session")).to_be_hidden()
    page.clock.fast_forward(70_000)
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
