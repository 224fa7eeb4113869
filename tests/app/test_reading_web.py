"""The reading room over HTTP: tokens, statuses, headers, and what the pages never hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from app.errors import InvalidInput, NotAllowed, NotFound, StaleRecord, StorageFailed
from app.web.reading_pages import POLICY, room_script, room_style
from app.web.server import GRADIO_ENVIRONMENT, create_app
from engine.errors import LimitExceeded
from tests.browser import reading_harness as harness

kit = harness._world()
ITEM = "/reading/api/items/t0"
STUDY = f"/reading/api/studies/{harness.CODE}"
ANSWER = {"status": "answered", "value": 4, "text": "", "marks": None, "reason": ""}


@pytest.fixture
def study() -> harness.Study:
    return harness.Study(harness.usual_plan())


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, study: harness.Study) -> Iterator[FastAPI]:
    for name in (*GRADIO_ENVIRONMENT, "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "")
    world = kit.with_people(kit.world(tmp_path / "work"))
    world.reading = study
    yield create_app(world, ())
    world.store.close()


@pytest.fixture
def bob(app: FastAPI) -> Any:
    client = kit.browser(app)
    assert kit.sign_in(client, "bob").status_code == 303
    return client


def token_of(client: Any, path: str = "/reading") -> str:
    """The token printed in a page."""
    found = re.search(r'name="lightbox-token" content="([^"]+)"', client.get(path).text)
    assert found is not None
    return found[1]


def headers_of(client: Any) -> dict[str, str]:
    return {"x-lightbox-token": token_of(client)}


def body(**more: Any) -> dict[str, Any]:
    sent = {"key": "k1", "answers": {"trust": ANSWER}, "comment": "", "timing": {"active_ms": 5}}
    return sent | {"revision": 0, "reason": ""} | more


def test_pages_hold_only_the_reader_and_run_only_our_files(bob: Any) -> None:
    for path in ("/reading", f"/reading/{harness.CODE}"):
        shown = bob.get(path, headers=kit.PAGE)
        assert shown.status_code == 200
        assert shown.headers["content-security-policy"] == POLICY
        assert "unsafe" not in POLICY
        assert shown.headers["cache-control"] == "no-store"
        assert "bob" in shown.text and "t0" not in shown.text
        assert not re.search(r"\son\w+=|\sstyle=|<script>|\{\w+\}", shown.text)


def test_a_code_in_the_address_is_text_and_never_markup(bob: Any) -> None:
    shown = bob.get("/reading/%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E{token}", headers=kit.PAGE)
    assert "<script>alert" not in shown.text
    assert shown.status_code in (200, 404)


def test_the_assets_are_the_joined_files(bob: Any) -> None:
    script = bob.get("/reading/assets/room.js?v=1")
    assert script.text == room_script() and "mountLightboxViewer" in script.text
    assert "immutable" in script.headers["cache-control"]
    style = bob.get("/reading/assets/room.css")
    assert style.text == room_style()
    assert style.headers["content-type"].startswith("text/css")


@pytest.mark.parametrize("path", ["/reading", f"/reading/{harness.CODE}"])
def test_a_person_without_login_is_sent_to_the_door(app: FastAPI, path: str) -> None:
    answer = kit.browser(app).get(path, headers=kit.PAGE)
    assert answer.status_code == 303 and answer.headers["location"].startswith("/login?next=")


@pytest.mark.parametrize(
    "path", ["/reading/api/studies", ITEM, "/reading/items/t0/image/0/0.raw", "/reading/api/token"]
)
def test_a_program_without_login_is_refused(app: FastAPI, path: str) -> None:
    answer = kit.browser(app).get(path)
    assert answer.status_code == 401 and answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", f"{ITEM}/draft"),
        ("POST", f"{ITEM}/submit"),
        ("POST", f"{ITEM}/shown"),
        ("POST", f"{STUDY}/break"),
        ("POST", f"{STUDY}/resume"),
    ],
)
def test_what_changes_something_needs_the_token_of_this_login(
    app: FastAPI, bob: Any, study: harness.Study, method: str, path: str
) -> None:
    ann = kit.browser(app)
    kit.sign_in(ann, "ann")
    for token in ("", "x", token_of(ann)):
        answer = bob.request(method, path, json=body(), headers={"x-lightbox-token": token})
        assert answer.status_code == 403 and answer.json()["expired"] is True
    assert not study.done and not study.drafts and not study.paused and not study.calls
    foreign = headers_of(bob) | {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
    assert bob.request(method, path, json=body(), headers=foreign).status_code == 403
    assert not study.done and not study.calls
    answer = bob.request(method, path, json=body(sequence=1), headers=headers_of(bob))
    assert answer.status_code == 200


def test_a_renewed_login_gets_a_new_token(app: FastAPI, bob: Any) -> None:
    told = bob.get("/reading/api/token").json()
    assert told["user"] == "bob"
    sent = bob.post(f"{ITEM}/shown", json={}, headers={"x-lightbox-token": told["token"]})
    assert sent.status_code == 200 and sent.json() == {}


def test_a_reading_is_handed_in_once_for_a_key(bob: Any, study: harness.Study) -> None:
    headers = headers_of(bob)
    first = bob.post(f"{ITEM}/submit", json=body(), headers=headers).json()
    again = bob.post(f"{ITEM}/submit", json=body(), headers=headers).json()
    assert first["next"] == again["next"] == "t1" and again["revision"] == 1
    assert study.keys == [("t0", "k1")]
    other = bob.post(f"{ITEM}/submit", json=body(key="k2"), headers=headers)
    assert other.status_code == 409 and other.json() == {
        "error": "This reading was handed in already."
    }


def test_a_draft_arrives_as_it_was_sent(bob: Any, study: harness.Study) -> None:
    sent = {"sequence": 3, "answers": {"trust": ANSWER}, "tab": "a", "comment": "half"}
    answer = bob.put(f"{ITEM}/draft", json=sent, headers=headers_of(bob))
    assert answer.json() == {"sequence": 3, "other_tab": False}
    assert study.drafts["t0"] == sent
    told = bob.get(ITEM).json()
    assert told["answers"] == {"trust": ANSWER} and told["draft_sequence"] == 3


@pytest.mark.parametrize(
    "sent",
    [
        b"[]",
        b"nothing",
        b'{"key": 3}',
        b'{"answers": []}',
        b'{"revision": true}',
        b'{"timing": {"active_ms": NaN}}',
        b'{"revision": 1.5}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(
    bob: Any, study: harness.Study, sent: bytes
) -> None:
    answer = bob.post(f"{ITEM}/submit", content=sent, headers=headers_of(bob))
    assert answer.status_code == 400
    assert answer.json() == {"error": "What was sent cannot be read; please try again."}
    assert not study.done


def test_ten_megabytes_are_too_many(bob: Any, study: harness.Study) -> None:
    answer = bob.post(
        f"{ITEM}/submit", json=body(comment="x" * 10_000_000), headers=headers_of(bob)
    )
    assert answer.status_code == 413 and not study.done


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput("It does not fit."), 400),
        (NotAllowed("It is not yours."), 403),
        (NotFound("It is not there."), 404),
        (StaleRecord("It was changed."), 409),
        (LimitExceeded("It is too long."), 413),
        (StorageFailed("The disk is full."), 503),
    ],
)
def test_errors_have_their_status_and_sentence(
    bob: Any, study: harness.Study, error: Exception, status: int
) -> None:
    study.refuse = error
    answer = bob.post(f"{ITEM}/submit", json=body(), headers=headers_of(bob))
    assert answer.status_code == status and answer.json() == {"error": str(error)}


def test_an_unforeseen_error_says_nothing_of_itself(bob: Any, study: harness.Study) -> None:
    study.refuse = KeyError("a secret")
    answer = bob.post(f"{ITEM}/submit", json=body(), headers=headers_of(bob))
    assert answer.status_code == 500 and "secret" not in answer.text


def test_pixels_are_kept_by_this_reader_only(bob: Any) -> None:
    first = bob.get("/reading/items/t0/image/0/0.raw")
    second = bob.get("/reading/items/t1/heat/0.raw")
    assert len(first.content) == len(second.content) == 2 * harness.SIZE**2
    for answer in (first, second):
        assert answer.headers["cache-control"].startswith("private")
        assert answer.headers["vary"] == "Cookie"
        assert "content-disposition" not in answer.headers
    other = bob.get("/reading/items/t1/image/0/0.raw")
    assert len({r.headers["etag"] for r in (first, second, other)}) == 3
    assert bob.get("/reading/items/none/image/0/0.raw").status_code == 404
    assert bob.get("/reading/items/t0/image/x/0.raw").status_code == 404


def test_a_break_begins_and_ends(bob: Any, study: harness.Study) -> None:
    headers = headers_of(bob)
    assert bob.post(f"{STUDY}/break", json={}, headers=headers).json()["state"] == "break"
    assert study.paused
    assert bob.post(f"{STUDY}/resume", json={}, headers=headers).json()["state"] == "ready"
    assert bob.get(STUDY).json()["title"] == harness.TITLE
    assert bob.get("/reading/api/studies/ST-NONE").status_code == 404
