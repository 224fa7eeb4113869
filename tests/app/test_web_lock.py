"""A browser's own login: how long it lasts, the lock screen, and what a locked login may do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.auth import Role
from app.errors import NotAllowed
from app.web.server import GRADIO_ENVIRONMENT, create_app
from app.web.session import SESSION
from tests.app import web_world as kit

LAYER = "/layers/c1/0/2.raw"
JSON: dict[str, Any] = {}


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in (*GRADIO_ENVIRONMENT, "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "")
    made = kit.with_people(kit.world(tmp_path / "work"))
    made.accounts._now = clock.now
    yield made
    made.store.close()


@pytest.fixture
def bob(world: Any) -> Any:
    client = kit.browser(create_app(world, ()))
    assert kit.sign_in(client, "bob").status_code == 303
    return client


def test_a_browser_learns_how_long_its_login_lasts(bob: Any, clock: Clock) -> None:
    told = bob.get("/session").json()
    assert told == {
        "open": False, "name": "bob", "user": "bob", "locked": False, "idle_left_s": 3600.0,
        "absolute_left_s": 28800.0, "idle_s": 3600.0, "warn_s": 120.0, "has_password": True,
        "provider": None,
    }  # fmt: skip
    clock.time += timedelta(minutes=50)
    assert bob.get("/session").json()["idle_left_s"] == 600.0
    assert bob.get("/session").json()["idle_left_s"] == 600.0, "asking is no use of the login"
    stayed = bob.post("/session/stay", json=JSON).json()
    assert (stayed["idle_left_s"], stayed["absolute_left_s"]) == (3600.0, 25800.0)
    clock.time += timedelta(minutes=60)
    for answer in (bob.get("/session"), bob.post("/session/stay", json=JSON)):
        assert (answer.status_code, answer.json()) == (401, {"error": "Please sign in first."})
    assert bob.get(LAYER).status_code == 401


def test_the_end_of_all_time_comes_before_the_end_of_idleness(bob: Any, clock: Clock) -> None:
    for _ in range(9):
        clock.time += timedelta(minutes=50)
        assert bob.post("/session/stay", json=JSON).status_code == 200
    told = bob.get("/session").json()
    assert told["idle_left_s"] == told["absolute_left_s"] == 1800.0


def test_the_demonstration_has_no_login_to_end(tmp_path: Path) -> None:
    open_world = kit.world(tmp_path / "open")
    open_world.is_demonstration = True
    client = kit.browser(create_app(open_world, ()))
    assert client.get("/session").json() == {"open": True, "locked": False}
    refused = client.post("/lock", json=JSON)
    assert refused.status_code == 403 and "cannot be locked" in refused.json()["error"]
    assert client.get(LAYER).status_code == 200
    open_world.store.close()


def test_a_locked_login_may_do_nothing_but_unlock(bob: Any, world: Any) -> None:
    token = bob.cookies[SESSION]
    assert bob.get(LAYER).status_code == 200
    assert bob.post("/lock", json=JSON).json()["locked"]
    world.parts.calls.clear()
    for path in (LAYER, "/", "/app/", "/app/gradio_api/queue/data?session_hash=x", "/password",
                 "/reports/c1.pdf", "/view/c1.json", "/admin/", "/nowhere"):  # fmt: skip
        shut = bob.get(path)
        assert (shut.status_code, shut.json()) == (
            423, {"error": "The screen is locked; please unlock it first."},
        ), path  # fmt: skip
    for path in ("/upload", "/app/gradio_api/queue/join", "/app/gradio_api/component_server"):
        assert bob.post(path, json=JSON).status_code == 423, path
    assert world.parts.calls == [] and world.accounts.user_of_session(token) is None
    assert bob.get("/session").json()["locked"] and bob.get("/health").status_code == 200
    assert bob.post("/session/stay", json=JSON).json()["locked"]
    wrong = bob.post("/unlock", json={"password": "wrong password"})
    assert (wrong.status_code, wrong.json()) == (403, {"error": "The password is not right."})
    assert bob.get(LAYER).status_code == 423
    right = bob.post("/unlock", json={"password": kit.GOOD})
    assert right.status_code == 200 and not right.json()["locked"]
    assert bob.get(LAYER).status_code == 200 and bob.cookies[SESSION] == token


def test_a_reloaded_page_asks_for_the_password_and_leads_back(bob: Any) -> None:
    bob.post("/lock", json=JSON)
    page = bob.get("/app/?case=c1", headers=kit.PAGE)
    assert page.status_code == 423 and 'action="/unlock"' in page.text and "Sign out" in page.text
    assert page.headers["cache-control"] == "no-store"
    form = kit.form_of(page.text)
    assert form["next"] == "/app/?case=c1"
    assert bob.post("/unlock", data={"password": kit.GOOD}).status_code == 403, "no form token"
    wrong = bob.post("/unlock", data={**form, "password": "wrong password"})
    assert wrong.status_code == 403 and "not right" in wrong.text
    assert "wrong password" not in wrong.text
    done = bob.post("/unlock", data={**form, "password": kit.GOOD})
    assert (done.status_code, done.headers["location"]) == (303, "/app/?case=c1")
    assert bob.get("/unlock?next=/app/", headers=kit.PAGE).headers["location"] == "/app/"
    assert bob.get("/unlock?next=//evil.example").headers["location"] == "/"


def test_the_screen_is_locked_without_script_too(bob: Any) -> None:
    assert bob.post("/lock").status_code == 403
    assert not bob.get("/session").json()["locked"]
    assert kit.post_form(bob, "/lock").headers["location"] == "/unlock"
    assert bob.get("/session").json()["locked"]


def test_guessing_the_password_of_a_locked_screen_is_slowed_down(bob: Any) -> None:
    bob.post("/lock", json=JSON)
    answers = [bob.post("/unlock", json={"password": f"guess {n}"}) for n in range(6)]
    assert [answer.status_code for answer in answers] == [403] * 5 + [429]
    late = bob.post("/unlock", json={"password": kit.GOOD})
    assert late.status_code == 429 and "Too many failed attempts" in late.json()["error"]


def test_only_this_browser_is_locked_and_another_user_may_take_over(bob: Any, world: Any) -> None:
    elsewhere = kit.browser(create_app(world, ()))
    kit.sign_in(elsewhere, "bob")
    bob.post("/lock", json=JSON)
    assert elsewhere.get(LAYER).status_code == 200
    token = bob.cookies[SESSION]
    assert kit.sign_in(bob, "ann").status_code == 303
    assert bob.get("/session").json()["name"] == "ann" and bob.get(LAYER).status_code == 200
    assert world.accounts.standing(token) is None, "the locked login has ended"


def test_signing_out_of_a_locked_screen_ends_the_login(bob: Any, world: Any) -> None:
    token = bob.cookies[SESSION]
    bob.post("/lock", json=JSON)
    assert kit.post_form(bob, "/logout").headers["location"] == "/login"
    assert world.accounts.standing(token) is None and bob.get("/session").status_code == 401
    with pytest.raises(NotAllowed):
        world.accounts.unlock(token, kit.GOOD)


def test_a_page_ends_the_login_when_nobody_is_there(bob: Any, world: Any) -> None:
    token = bob.cookies[SESSION]
    ended = bob.post("/session/end", json={"reason": "idle"})
    assert ended.status_code == 200 and SESSION not in bob.cookies
    assert world.accounts.standing(token) is None
    told = world.store.audit(1)[0]
    assert (told.who, told.action, told.detail) == ("bob", "sign out", {"why": "idle"})
    assert bob.post("/session/end", json={"reason": "<script>"}).status_code == 200


def test_a_locked_login_ends_like_any_other(bob: Any, clock: Clock) -> None:
    bob.post("/lock", json=JSON)
    clock.time += timedelta(minutes=60)
    assert bob.post("/unlock", json={"password": kit.GOOD}).status_code == 401
    assert bob.get(LAYER).status_code == 401


@pytest.mark.parametrize("path", ["/lock", "/unlock", "/session/stay", "/session/end"])
def test_other_sites_lock_and_unlock_nothing(bob: Any, path: str) -> None:
    foreign = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
    assert bob.post(path, json=JSON, headers=foreign).status_code == 403
    assert not bob.get("/session").json()["locked"]
    assert kit.browser(bob.app).get("/session").status_code == 401


@pytest.mark.parametrize("body", [b"[]", b"{", b"[" * 5000, b"1" * 20_000, b"\xff"])
def test_damaged_requests_are_one_sentence(bob: Any, body: bytes) -> None:
    bob.post("/lock", json=JSON)
    kind = {"content-type": "application/json"}
    answer = bob.post("/unlock", content=body, headers=kind)
    assert answer.status_code == 422 and answer.json()["error"].endswith(".")


def test_a_given_password_can_be_locked_before_it_is_changed(bob: Any, world: Any) -> None:
    ann = world.accounts.authenticate("ann", kit.GOOD, "")
    world.accounts.create_user(ann, "eve", kit.OTHER, Role.READER)
    client = kit.browser(bob.app)
    kit.sign_in(client, "eve", kit.OTHER)
    assert client.post("/lock", json=JSON).json()["locked"]
    assert client.post("/unlock", json={"password": kit.OTHER}).status_code == 200
    assert client.get("/app/", headers=kit.PAGE).headers["location"] == "/password"
