"""Mounted Gradio pages behind the gate: who may call what, and that no file ever leaks."""

import asyncio
import importlib.util
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from app.errors import InvalidInput, NotAllowed
from app.web.server import (
    GRADIO_ENVIRONMENT,
    MountSpec,
    address_of,
    create_app,
    listen,
    prepare_gradio,
    serve,
)
from app.web.session import user_of
from app.web.surface import is_open


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kit = _load("web_world")
SECRET = "the contents of a private file"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name in (*GRADIO_ENVIRONMENT, "GRADIO_TEMP_DIR"):
            patch.setenv(name, "")
        made = kit.with_people(kit.world(tmp_path_factory.mktemp("work")))
        prepare_gradio(made.settings)
        yield made
        made.store.close()


@pytest.fixture(scope="module")
def app(world: Any) -> Any:
    """The application; built inside an event loop, since Gradio would leave loops open else."""

    async def built() -> Any:
        return mounted(world)

    return asyncio.run(built())


def mounted(world: Any) -> Any:
    """Two small pages behind the gate."""
    import gradio as gr

    def whoami(request: gr.Request) -> str:
        user = user_of(request, world)
        return f"{request.username}/{user.name if user else None}"

    def crash(text: str) -> str:
        raise RuntimeError(SECRET)

    with gr.Blocks() as clinician:
        box, file, out = gr.Textbox(), gr.File(), gr.JSON()
        gr.Button("who").click(whoami, None, box, api_name="whoami")
        gr.Button("echo").click(lambda value: value, out, out, api_name="echo")
        gr.Button("text").click(lambda value: value, box, box, api_name="text")
        gr.Button("file").click(lambda value: str(value), file, box, api_name="file")
        gr.Button("crash").click(crash, box, box, api_name="crash")
    with gr.Blocks() as administrator:
        field = gr.Textbox()
        gr.Button("only administrators see this").click(whoami, None, field, api_name="whoami")
    mounts = (
        MountSpec("/app", clinician, css="body {color: #eee}", js="() => 1"),
        MountSpec("/admin", administrator, kit.Role.ADMINISTRATOR),
    )
    made = create_app(world, mounts)
    assert clinician.has_launched and administrator.has_launched
    return made


@pytest.fixture(scope="module")
def people(app: Any) -> Iterator[dict[str, Any]]:
    """Browsers: of nobody, of a reader and of an administrator; the first runs the queue."""
    with kit.browser(app) as nobody:
        bob, ann = kit.browser(app), kit.browser(app)
        bob.portal = ann.portal = nobody.portal
        assert kit.sign_in(bob, "bob").status_code == kit.sign_in(ann, "ann").status_code == 303
        yield {"nobody": nobody, "bob": bob, "ann": ann}


def call(client: Any, name: str, *data: Any, mount: str = "/app") -> tuple[int, str]:
    """Post an event and read its answer."""
    asked = client.post(f"{mount}/gradio_api/call/{name}", json={"data": list(data)})
    if asked.status_code != 200:
        return asked.status_code, asked.text
    answer = client.get(f"{mount}/gradio_api/call/{name}/{asked.json()['event_id']}")
    return answer.status_code, answer.text


@pytest.mark.parametrize(
    ("path", "reader", "administrator"),
    [
        ("/app/", 200, 200),
        ("/app/config", 200, 200),
        ("/app/gradio_api/info", 200, 200),
        ("/app/gradio_api/app_id", 200, 200),
        ("/app/theme.css", 200, 200),
        ("/admin/", 403, 200),
        ("/admin/config", 403, 200),
        ("/admin/gradio_api/info", 403, 200),
        ("/admin/theme.css", 403, 200),
    ],
)
def test_who_may_open_gradio(
    people: dict[str, Any], path: str, reader: int, administrator: int
) -> None:
    assert people["nobody"].get(path).status_code == 401
    answer = people["bob"].get(path)
    assert answer.status_code == reader
    assert "only administrators see this" not in answer.text
    assert people["ann"].get(path).status_code == administrator


def test_handlers_learn_who_asks(people: dict[str, Any]) -> None:
    assert call(people["bob"], "whoami")[1].endswith('data: ["bob/bob"]\n\n')
    assert call(people["ann"], "whoami")[1].endswith('data: ["ann/ann"]\n\n')
    assert call(people["ann"], "whoami", mount="/admin")[1].endswith('data: ["ann/ann"]\n\n')
    assert call(people["nobody"], "whoami")[0] == 401
    assert call(people["bob"], "whoami", mount="/admin")[0] == 403


def test_the_queue_streams_through_the_gate(people: dict[str, Any]) -> None:
    def join(client: Any, mount: str) -> Any:
        body = {"data": [], "fn_index": 0, "session_hash": "abc", "trigger_id": None}
        return client.post(f"{mount}/gradio_api/queue/join", json=body)

    assert join(people["nobody"], "/app").status_code == 401
    assert join(people["bob"], "/admin").status_code == 403
    assert join(people["bob"], "/app").status_code == 200
    stream = people["bob"].get("/app/gradio_api/queue/data?session_hash=abc")
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert "process_completed" in stream.text and "bob/bob" in stream.text
    assert stream.headers["x-frame-options"] == "DENY"


def test_the_page_is_not_stored_and_lends_nothing_to_other_origins(people: dict[str, Any]) -> None:
    page = people["ann"].get("/app/", headers={"origin": "http://localhost:9"})
    assert page.headers["cache-control"] == "no-store"
    assert "'unsafe-eval'" in page.headers["content-security-policy"]
    assert not [name for name in page.headers if name.startswith("access-control-")]
    config = people["ann"].get("/app/config")
    assert config.headers["cache-control"] == "no-store"
    assert config.json()["footer_links"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "upload"),
        ("GET", "upload_progress?upload_id=x"),
        ("GET", "file=/etc/hostname"),
        ("GET", "file/etc/hostname"),
        ("GET", "proxy=https://example.org"),
        ("POST", "run/whoami"),
        ("POST", "api/whoami"),
        ("POST", "process_recording"),
        ("POST", "vibe-edit"),
        ("GET", "deep_link?session_hash=x"),
        ("GET", "custom_component/a/client/component/x.js"),
        ("GET", "token"),
        ("GET", "runs"),
        ("GET", "openapi.json"),
        ("POST", "stream/x"),
        ("POST", "../gradio_api/upload"),
    ],
)
def test_gradio_doors_that_nobody_needs_are_shut(
    people: dict[str, Any], method: str, path: str
) -> None:
    for mount in ("/app", "/admin"):
        for client in people.values():
            shut = client.request(method, f"{mount}/gradio_api/{path}")
            assert shut.status_code == 404, (mount, path)
            assert shut.json() == {"error": "There is nothing at this address."}


def test_the_list_of_open_addresses() -> None:
    for path in (
        "/app/monitoring",
        "/app/login",
        "/admin/pwa_icon/9",
        "/app/gradio_api",
        "/app/file=a\nb",
    ):
        assert not is_open("GET", path)
    assert not is_open("POST", "/app/login") and not is_open("POST", "/app/")
    assert is_open("GET", "/app/assets/index.js") and is_open("POST", "/login")
    assert is_open("GET", "/application") and is_open("GET", "/app/agreement")


@pytest.mark.parametrize("name", ["echo", "text", "file"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_forged_file_path_is_refused(
    people: dict[str, Any], world: Any, tmp_path: Path, name: str, nested: bool
) -> None:
    """Gradio copies any file an event names while `has_launched` is False (gradio.md 3.1)."""
    private = tmp_path / "private.txt"
    private.write_text(SECRET)
    inside = world.settings.workspace / "lightbox.sqlite3"
    for target in (private, inside, Path("/etc/hostname"), Path("pyproject.toml").resolve()):
        forged: Any = {"path": str(target), "meta": {"_type": "gradio.FileData"}}
        forged = {"deep": [forged]} if nested else forged
        status, text = call(people["bob"], name, forged)
        assert status == 200 and "event: error" in text, text
        assert SECRET not in text and "/gradio_api/file=" not in text
    cache = world.settings.workspace / "gradio"
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_errors_of_handlers_stay_on_the_server(people: dict[str, Any]) -> None:
    status, text = call(people["bob"], "crash", "x")
    assert status == 200 and "event: error" in text and SECRET not in text


def test_large_events_are_refused(people: dict[str, Any]) -> None:
    status, text = call(people["bob"], "echo", "x" * 2_000_001)
    assert status == 413 and json.loads(text)["error"].endswith(".")


def test_gradio_is_told_to_keep_to_itself(world: Any, app: Any) -> None:
    folder = world.settings.workspace / "gradio"
    assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {name: os.environ[name] for name in GRADIO_ENVIRONMENT} == GRADIO_ENVIRONMENT
    assert GRADIO_ENVIRONMENT["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert GRADIO_ENVIRONMENT["HF_HUB_OFFLINE"] == "1"


def test_pages_are_mounted_where_the_gate_looks(world: Any) -> None:
    with pytest.raises(ValueError, match="the gate knows"):
        create_app(world, (MountSpec("/other", None),))


# The server


def test_a_port_in_use_is_one_sentence() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInput, match=f"Port {port} is already in use"):
            listen("127.0.0.1", port)
    with listen("127.0.0.1", port) as freed:
        assert freed.getsockname()[1] == port


def test_hosts_of_other_machines_are_one_sentence() -> None:
    with pytest.raises(InvalidInput, match="not an address of this machine"):
        listen("192.0.2.1", 0)
    with pytest.raises(InvalidInput, match="not a name of this machine"):
        listen("not a name", 0)


def test_addresses_for_the_browser() -> None:
    assert address_of("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert address_of("::1", 7860) == "http://[::1]:7860"
    assert address_of("localhost", 7860) == "http://localhost:7860"


def test_the_network_needs_accounts(tmp_path: Path) -> None:
    empty = kit.world(tmp_path, host="0.0.0.0", port=0)
    with pytest.raises(NotAllowed, match="only once there is an administrator"):
        serve(empty, None, empty.settings)
    empty.store.close()


def test_the_server_answers_before_the_browser_opens(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import uvicorn

    servers: list[uvicorn.Server] = []
    start = uvicorn.Server.startup

    async def noted(self: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        servers.append(self)
        await start(self, sockets)

    monkeypatch.setattr(uvicorn.Server, "startup", noted)
    seen: list[tuple[str, int]] = []
    opened = threading.Event()

    def opener(address: str) -> None:
        import httpx

        seen.append((address, httpx.get(f"{address}/health", trust_env=False).status_code))
        servers[0].should_exit = True
        opened.set()

    addresses: list[str] = []
    settings = replace(world.settings, port=0, open_browser=True)
    serve(world, create_app(world, ()), settings, ready=addresses.append, opener=opener)
    assert opened.wait(5) and seen == [(addresses[0], 200)]
    assert addresses[0].startswith("http://127.0.0.1:")
