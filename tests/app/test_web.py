"""The gate, the sign-in pages and our own routes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi import FastAPI

from app.errors import InvalidInput, StaleRecord, StorageFailed
from app.web.gate import EVENT_BYTES
from app.web.server import GRADIO_ENVIRONMENT, create_app
from app.web.session import FORM, SESSION
from engine.errors import LimitExceeded, UnreadableFile
from reports.errors import ReportError


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kit = _load("web_world")
GOOD, OTHER, PAGE, HOME = kit.GOOD, kit.OTHER, kit.PAGE, kit.HOME
LAYER = "/layers/c1/0/2.raw"
ROUTES = (
    LAYER,
    "/heat/e1/0.raw",
    "/view/c1.json",
    "/thumbnails/c1.png",
    "/reports/c1.pdf",
    "/exports/ratings.csv",
    "/app/",
    "/admin/",
    "/app/gradio_api/info",
    "/password",
)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Services of an empty workspace."""
    for name in (*GRADIO_ENVIRONMENT, "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "")
    made = kit.world(tmp_path / "work", max_upload_mb=1)
    yield made
    made.store.close()


@pytest.fixture
def world(bare: Any) -> Any:
    """Services with ann, an administrator, and bob, a reader."""
    return kit.with_people(bare)


@pytest.fixture
def app(world: Any) -> FastAPI:
    return create_app(world, ())


@pytest.fixture
def bob(app: FastAPI) -> Any:
    client = kit.browser(app)
    assert kit.sign_in(client, "bob").status_code == 303
    return client


@pytest.fixture
def ann(app: FastAPI) -> Any:
    client = kit.browser(app)
    assert kit.sign_in(client, "ann").status_code == 303
    return client


def sentence(response: Any) -> str:
    """The sentence of a JSON refusal."""
    assert response.headers["content-type"].startswith("application/json")
    return str(response.json()["error"])


# Who may open what


def test_nobody_reads_anything_without_signing_in(app: FastAPI, world: Any) -> None:
    client = kit.browser(app)
    for path in (*ROUTES, "/nowhere", "/app/assets/x.js", "/app/gradio_api/heartbeat/x"):
        refused = client.get(path)
        assert (refused.status_code, sentence(refused)) == (401, "Please sign in first."), path
    for path in ("/upload", "/app/gradio_api/queue/join", "/app/gradio_api/component_server"):
        assert client.post(path, content=b"{}").status_code == 401, path
    assert world.parts.calls == []


def test_a_person_is_led_to_the_login_and_back(app: FastAPI) -> None:
    client = kit.browser(app)
    led = client.get("/app/?case=c 1", headers=PAGE)
    assert led.status_code == 303
    assert led.headers["location"] == "/login?next=%2Fapp%2F%3Fcase%3Dc%25201"
    shown = client.get(led.headers["location"], headers=PAGE)
    done = client.post("/login", data={**kit.form_of(shown.text), "name": "bob", "password": GOOD})
    assert (done.status_code, done.headers["location"]) == (303, "/app/?case=c%201")


@pytest.mark.parametrize(
    "onward", ["//evil.example", "https://evil.example", "/\\evil.example", "/\tx", "javascript:1"]
)
def test_signing_in_leads_to_no_other_site(app: FastAPI, onward: str) -> None:
    client = kit.browser(app)
    client.get("/login")
    shown = client.get("/login", params={"next": onward})
    form = {**kit.form_of(shown.text), "name": "bob", "password": GOOD, "next": onward}
    assert client.post("/login", data=form).headers["location"] == "/"


def test_a_reader_reads_but_does_not_administer(bob: Any) -> None:
    for path in (LAYER, "/heat/e1/0.raw", "/thumbnails/c1.png", "/reports/c1.pdf"):
        assert bob.get(path).status_code == 200, path
    assert bob.get("/exports/ratings.csv").status_code == 403
    assert bob.get("/admin/").status_code == 403
    assert "Only administrators" in bob.get("/admin/config", headers=PAGE).text
    assert bob.post("/admin/gradio_api/queue/join").status_code == 403


def test_an_administrator_exports_ratings(ann: Any) -> None:
    sent = ann.get("/exports/ratings.csv")
    assert sent.status_code == 200 and sent.content == b"a,b\r\n"
    assert sent.headers["content-disposition"] == 'attachment; filename="lightbox-ratings.csv"'


def test_a_given_password_is_changed_first(app: FastAPI, world: Any) -> None:
    ann = world.accounts.authenticate("ann", GOOD, "")
    world.accounts.create_user(ann, "eve", OTHER, kit.Role.READER)
    client = kit.browser(app)
    kit.sign_in(client, "eve", OTHER)
    assert client.get("/app/", headers=PAGE).headers["location"] == "/password"
    assert client.get(LAYER).status_code == 403 and world.parts.calls == []
    before = client.cookies[SESSION]
    wrong = kit.post_form(client, "/password", old=OTHER, password=GOOD, again=GOOD + "x")
    assert wrong.status_code == 422 and "two new passwords differ" in wrong.text
    done = kit.post_form(client, "/password", old=OTHER, password=GOOD, again=GOOD)
    assert done.status_code == 303 and client.cookies[SESSION] != before
    assert client.get(LAYER).status_code == 200
    assert world.accounts.user_of_session(before) is None


def test_a_deactivated_account_is_out_at_once(bob: Any, world: Any) -> None:
    assert bob.get(LAYER).status_code == 200
    world.accounts.deactivate(world.accounts.authenticate("ann", GOOD, ""), "bob")
    assert bob.get(LAYER).status_code == 401


# Signing in and out


def test_the_session_cookie_is_strict_and_fresh(app: FastAPI, world: Any) -> None:
    client = kit.browser(app)
    client.cookies.set(SESSION, "chosen-by-an-attacker")
    shown = client.get("/login")
    form = {**kit.form_of(shown.text), "name": "bob", "password": GOOD}
    first = client.post("/login", data=form)
    cookie = next(c for c in first.headers.get_list("set-cookie") if c.startswith(SESSION))
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Secure" not in cookie
    token = cookie.split("=", 1)[1].split(";")[0]
    assert token != "chosen-by-an-attacker"
    assert world.accounts.user_of_session(token).name == "bob"


def test_the_cookie_is_secure_over_https(app: FastAPI) -> None:
    client = kit.browser(app, base="https://localhost")
    shown = client.get("/login")
    cookie = shown.headers["set-cookie"]
    assert cookie.startswith(FORM) and "Secure" in cookie and "HttpOnly" in cookie


def test_signing_out_ends_the_login(bob: Any, world: Any) -> None:
    token = bob.cookies[SESSION]
    assert bob.post("/logout").status_code == 403
    assert world.accounts.user_of_session(token) is not None
    assert kit.post_form(bob, "/logout").headers["location"] == "/login"
    assert SESSION not in bob.cookies and world.accounts.user_of_session(token) is None
    assert bob.get("/logout").headers["location"] == "/"


def test_wrong_names_and_wrong_passwords_look_alike_and_are_slowed_down(app: FastAPI) -> None:
    client = kit.browser(app)
    answers = [kit.sign_in(client, name, "wrong password") for name in ("bob", "nobody")]
    shown = {answer.text.split('role="alert">')[1].split("<")[0] for answer in answers}
    assert shown == {"The name or the password is not right."}
    assert {answer.status_code for answer in answers} == {401}
    for _ in range(4):
        kit.sign_in(client, "bob", "wrong password")
    locked = kit.sign_in(client, "bob", GOOD)
    assert locked.status_code == 429 and "Too many failed attempts" in locked.text
    assert SESSION not in client.cookies


def test_forms_need_their_own_token(app: FastAPI) -> None:
    client, other = kit.browser(app), kit.browser(app)
    stolen = kit.form_of(other.get("/login").text)
    client.get("/login")
    values = {"name": "bob", "password": GOOD}
    for token in ({}, stolen, {"form_token": "x.y.z"}):
        refused = client.post("/login", data={**values, **token})
        assert refused.status_code == 403 and "form has expired" in refused.text
    without_cookie = kit.browser(app).post("/login", data={**values, **stolen})
    assert without_cookie.status_code == 403
    assert SESSION not in client.cookies


def test_pages_escape_what_was_typed_and_need_no_script(app: FastAPI) -> None:
    client = kit.browser(app)
    again = kit.sign_in(client, '"><script>alert(1)</script>', "wrong password")
    assert "<script" not in again.text and "&lt;script&gt;" in again.text
    assert "wrong password" not in again.text
    policy = again.headers["content-security-policy"]
    assert "script-src" not in policy and "default-src 'none'" in policy
    for name in ("name", "password"):
        assert f'<label for="{name}">' in again.text and f'id="{name}"' in again.text
    assert again.text.count("autofocus") == 1 and 'role="alert"' in again.text


def test_the_first_administrator_is_created_on_this_machine_only(bare: Any) -> None:
    app = create_app(bare, ())
    client = kit.browser(app)
    assert client.get("/app/", headers=PAGE).headers["location"] == "/setup"
    assert client.get("/login").headers["location"] == "/setup"
    for far in (
        kit.browser(app, client=("10.0.0.9", 5)),
        kit.browser(app, client=("testclient", 5)),
    ):
        assert far.get("/setup").status_code == 403
        assert far.post("/setup", data={"name": "eve"}).status_code == 403
    behind = client.get("/setup", headers={"x-forwarded-for": "10.0.0.9"})
    assert behind.status_code == 403
    weak = kit.post_form(client, "/setup", name="ann", password="short", again="short")
    assert weak.status_code == 422 and "at least 10 characters" in weak.text
    assert 'value="ann"' in weak.text and "short" not in weak.text
    done = kit.post_form(client, "/setup", name="ann", display="Ann", password=GOOD, again=GOOD)
    assert done.status_code == 303 and client.get("/exports/ratings.csv").status_code == 200
    assert client.get("/setup").headers["location"] == "/login"
    late = kit.browser(app).post("/setup", data={"name": "eve", "password": GOOD, "again": GOOD})
    assert late.headers["location"] == "/login" and len(bare.store.accounts()) == 1


def test_the_demonstration_is_open_until_there_are_accounts(bare: Any) -> None:
    bare.is_demonstration = True
    client = kit.browser(create_app(bare, ()))
    assert client.get("/", headers=PAGE).headers["location"] == "/app/"
    assert client.get(LAYER).status_code == 200
    assert client.get("/login").headers["location"] == "/"
    assert client.get("/password").headers["location"] == "/"
    assert client.get("/exports/ratings.csv").status_code == 403
    assert client.get("/admin/").status_code == 403
    kit.with_people(bare)
    assert client.get(LAYER).status_code == 401


# Where requests come from


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:1234"}, 403),
        ({"origin": "http://[broken"}, 403),
        ({"sec-fetch-site": "same-origin", "origin": HOME}, 422),
        ({"sec-fetch-site": "none"}, 422),
        ({}, 422),
    ],
)
def test_only_own_pages_post(bob: Any, headers: dict[str, str], status: int) -> None:
    assert bob.post("/upload", headers=headers).status_code == status
    assert bob.options("/upload", headers=headers).status_code == (403 if status == 403 else 405)


def test_foreign_pages_may_link_but_not_embed(bob: Any, app: FastAPI, world: Any) -> None:
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert bob.get(LAYER, headers=embedded).status_code == 403
    framed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert bob.get(LAYER, headers={**framed, "sec-fetch-dest": "iframe"}).status_code == 403
    assert world.parts.calls == []
    link = {**framed, "sec-fetch-dest": "document", **PAGE}
    assert bob.get("/?case=c1", headers=link).status_code == 307
    stranger = kit.browser(app).get("/app/?case=c1&x=%22%3E<b>", headers=link)
    assert stranger.status_code == 200, "the strict cookie comes along at the second try"
    assert 'content="0; url=/app/?case=c1&amp;x=%22%3E%3Cb%3E"' in stranger.text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:7860", 200),
        ("localhost", 200),
        ("LOCALHOST:9", 200),
        ("[::1]:7860", 200),
        ("127.0.0.2", 200),
        ("evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("localhost@evil.example", 400),
        ("10.0.0.7", 400),
        ("", 400),
        ("[::1", 400),
    ],
)
def test_other_host_names_are_refused(app: FastAPI, host: str, status: int) -> None:
    assert kit.browser(app).get("/health", headers={"host": host}).status_code == status


def test_known_hosts_of_a_server_on_the_network(tmp_path: Path, world: Any) -> None:
    import dataclasses

    def status(bound: str, host: str, *others: str) -> int:
        world.settings = dataclasses.replace(world.settings, host=bound)
        client = kit.browser(create_app(world, (), hosts=others))
        return int(client.get("/health", headers={"host": host}).status_code)

    assert status("0.0.0.0", "10.0.0.7:7860") == 200
    assert status("0.0.0.0", "evil.example") == 400
    assert status("reading-room", "reading-room:7860") == 200
    assert status("127.0.0.1", "lightbox.example", "lightbox.example") == 200


# Answers


def test_every_answer_carries_the_security_headers(bob: Any, app: FastAPI) -> None:
    anonymous = kit.browser(app)
    answers = [
        bob.get("/"),
        bob.get(LAYER),
        bob.get("/nowhere"),
        anonymous.get("/login"),
        anonymous.get("/app/"),
        anonymous.get("/static/pages.css"),
        anonymous.get("/health", headers={"host": "evil.example"}),
    ]
    for answer in answers:
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "camera=()" in answer.headers["permissions-policy"]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert {answers[2].headers["cache-control"], answers[3].headers["cache-control"]} == {
        "no-store"
    }


def test_layers_are_kept_by_the_browser_under_their_version(bob: Any, world: Any) -> None:
    first = bob.get(f"{LAYER}?v=1")
    assert first.content == b"\x01\x02" and first.headers["etag"] == '"abc"'
    assert first.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert first.headers["vary"] == "Cookie"
    assert bob.get(LAYER).headers["cache-control"] == "private, no-cache"
    known = bob.get(LAYER, headers={"if-none-match": 'W/"x", "abc"'})
    assert known.status_code == 304 and known.content == b""
    assert world.parts.calls[0] == ("layer", "c1", 0, 2)
    assert bob.get("/layers/c1/-1/2.raw").status_code == 404
    assert bob.get("/layers/c1/0/2.png").status_code == 404


def test_the_view_of_a_case_is_json_that_nobody_keeps(bob: Any, world: Any) -> None:
    sent = bob.get("/view/c1.json?target=Benign&method=gradcam")
    assert sent.json() == {"case": "c1", "images": [], "layers": []}
    assert sent.headers["cache-control"] == "no-store"
    assert bob.get("/view/c1.json?target=").status_code == 200
    assert world.parts.calls == [
        ("preview", "c1", "Benign", "gradcam"),
        ("preview", "c1", None, None),
    ]
    assert bob.get("/view/none.json").status_code == 404


def test_the_report_is_a_download_with_a_plain_name(bob: Any, world: Any) -> None:
    sent = bob.get("/reports/c%221;%0d%0ax.pdf?target=malignant")
    assert sent.headers["content-disposition"] == 'inline; filename="lightbox-c1x.pdf"'
    assert world.parts.calls == [("pdf", 'c"1;\r\nx', "malignant")]
    assert sent.headers["cache-control"] == "no-store"


def test_the_root_keeps_the_case_of_a_link(bob: Any) -> None:
    assert bob.get("/?case=a%26b&x=1").headers["location"] == "/app/?case=a%26b"
    assert bob.get("/?__theme=light").headers["location"] == "/app/"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StaleRecord("It was changed."), 409),
        (LimitExceeded("It is too large."), 413),
        (UnreadableFile("It is damaged."), 422),
        (InvalidInput("It is not right."), 422),
        (ReportError("It does not fit."), 422),
        (StorageFailed("The disk is full."), 507),
    ],
)
def test_foreseen_errors_are_one_sentence(
    bob: Any, world: Any, error: Exception, status: int
) -> None:
    world.parts.error = error
    answer = bob.get(LAYER)
    assert (answer.status_code, sentence(answer)) == (status, str(error))
    assert str(error) in bob.get(LAYER, headers=PAGE).text


def test_an_unknown_case_is_404(bob: Any) -> None:
    answer = bob.get("/layers/none/0/0.raw")
    assert (answer.status_code, sentence(answer)) == (404, "There is no such case.")


def test_unforeseen_errors_hide_their_text_even_in_the_log(
    bob: Any, world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world.parts.error = RuntimeError("DOE^JANE in /home/jane/secret.dcm")
    answer = bob.get(LAYER)
    assert answer.status_code == 500
    text = sentence(answer)
    reference = text.removeprefix("Something went wrong (ref ").removesuffix(").")
    assert len(reference) == 4 and int(reference, 16) >= 0
    assert reference in caplog.text and "RuntimeError" in caplog.text
    assert "JANE" not in caplog.text + answer.text and "secret" not in caplog.text
    assert answer.headers["x-frame-options"] == "DENY"


def test_a_failing_database_is_a_sentence_at_the_gate(
    bob: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(token: str | None) -> None:
        raise StorageFailed("The database is busy; please try again in a moment.")

    monkeypatch.setattr(world.accounts, "user_of_session", busy)
    assert bob.get(LAYER).status_code == 507
    assert bob.get("/health").json() == {"status": "ok"}


def test_assets_are_served_without_leaving_their_folder(app: FastAPI) -> None:
    client = kit.browser(app)
    assert "text/css" in client.get("/static/pages.css").headers["content-type"]
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
    assert client.get("/manifest.json").json()["name"] == "Lightbox"
    for path in ("/static/../../pyproject.toml", "/static/%2e%2e/%2e%2e/pyproject.toml"):
        answer = client.get(path)
        assert answer.status_code in (401, 404) and "lightbox" not in answer.text
    for path in ("/docs", "/openapi.json", "/redoc"):
        assert client.get(path).status_code == 401


# Size of bodies


def test_large_bodies_are_refused_while_they_stream(bob: Any, world: Any) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield bytes(250_000)

    stated = bob.post("/logout", content=bytes(EVENT_BYTES + 1))
    assert stated.status_code == 413 and sentence(stated).startswith("This is larger")
    kind = {"content-type": "application/x-www-form-urlencoded"}
    streamed = bob.post("/logout", content=endless(), headers=kind)
    assert streamed.status_code == 413 and sentence(streamed).startswith("This is larger")
    kind = {"content-type": "multipart/form-data; boundary=b"}
    upload = bob.post("/upload", content=endless(), headers=kind)
    assert (upload.status_code, "larger than 1 MB" in sentence(upload)) == (413, True)
    assert world.parts.received == {} and _left(world) == []


def _left(world: Any) -> list[str]:
    """What lies in the folder of uploads."""
    return [path.name for path in (world.settings.workspace / "uploads").glob("*")]


# Uploads


def test_uploaded_folders_arrive_privately_and_are_removed(bob: Any, world: Any) -> None:
    files = [
        ("files", ("p1/mammography.png", b"one")),
        ("files", ("p1/pathology.png", b"two" * 100_000)),
        ("files", ("p1/mammography.png", b"three")),
        ("files", ("p1", b"four")),
        ("files", ("leer/ü 1.dcm", b"")),
    ]
    answer = bob.post("/upload", files=files, data={"note": "ignored"})
    assert answer.status_code == 200 and answer.json()["outcomes"][0]["case"] == "c1"
    assert world.parts.received == {
        "p1/mammography.png": b"one",
        "p1/pathology.png": b"two" * 100_000,
        "again-00003/mammography.png": b"three",
        "again-00004/p1": b"four",
        "leer/ü 1.dcm": b"",
    }
    assert world.parts.mode == 0o700 and not world.parts.folder.exists()
    assert (world.settings.workspace / "uploads").stat().st_mode & 0o777 == 0o700
    assert world.parts.folder.is_relative_to(world.settings.workspace)


def test_an_upload_leaves_nothing_behind_when_reading_fails(bob: Any, world: Any) -> None:
    world.parts.error = UnreadableFile("It is damaged.")
    assert bob.post("/upload", files={"f": ("a.png", b"x")}).status_code == 422
    world.parts.error = OSError("/secret/path")
    answer = bob.post("/upload", files={"f": ("a.png", b"x")})
    assert answer.status_code == 500 and "secret" not in answer.text
    assert _left(world) == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data; boundary=b"),
        (b"--b\r\nContent-Disposition: form-data; name=a; filename=x\r\n\r\nabc", "multi"),
        (b"--b\r\nContent-Disposition: form-data; name=a; filename=x\r\n\r\nabc", None),
        (b"garbage", "multipart/form-data; boundary=b"),
        (b"--b\r\n\r\n\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (b"x", "multipart/form-data"),
        (b"x", "multipart/form-data; boundary=" + "b" * 500),
        (b"{}", "application/json"),
    ],
)
def test_damaged_uploads_are_one_sentence(
    bob: Any, world: Any, body: bytes, kind: str | None
) -> None:
    kind = kind or "multipart/form-data; boundary=b"
    answer = bob.post("/upload", content=body, headers={"content-type": kind})
    assert answer.status_code == 422 and sentence(answer).endswith(".")
    assert world.parts.calls == [] and _left(world) == []


def test_uploads_keep_to_their_limits(
    bob: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = bob.post("/upload", files={"f": ("a.png", bytes(1_000_001))})
    assert large.status_code == 413 and "larger than 1 MB" in sentence(large)
    monkeypatch.setattr("engine.io.limits.Limits.__init__.__defaults__", (1, 1, 1, 1, 2, 1))
    many = bob.post("/upload", files=[("f", (f"{n}.png", b"x")) for n in range(3)])
    assert many.status_code == 413 and "more than 2 files" in sentence(many)
    assert world.parts.calls == [] and _left(world) == []


def test_a_full_disk_is_one_sentence(bob: Any, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> Any:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("app.web.upload._create", full)
    answer = bob.post("/upload", files={"f": ("a.png", b"x")})
    assert answer.status_code == 507 and "disk may be full" in sentence(answer)
