"""The four roles: every method of every service, every mount, and what one user sees of another."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.auth import Role, User
from app.errors import InvalidInput, NotAllowed, NotFound
from app.services import Services
from app.web import surface
from app.web.gate import PAGES
from app.web.server import GRADIO_ENVIRONMENT, MountSpec, create_app, prepare_gradio
from engine.metrics.protocol import QUESTIONS
from tests.app import small_model as model_kit
from tests.app import web_world as kit

USERS = {role: User(role.value, role.value, role) for role in Role}
LOOKING = {
    "cases": {"worklist", "neighbour", "neighbours", "layer", "thumbnail"},
    "review": {"open", "preview", "heat"},
    "evidence": {"open", "panel", "picture", "tile", "consensus", "sanity"},
    "ratings": {"form", "agreement"},
    "benchmarks": {"models", "trust"},
    "accounts": {"change_password", "link_identity"},
}
"""All that an observer may do; of services of later parts, only that they are guarded."""
OFFICE = ("administration", "runs", "datasets", "training", "adaptation", "registry")
PLAIN = {"settings", "store", "models"}
OWN = {  # of `Accounts`: they ask for a password or a token themselves
    "has_accounts", "create_first_administrator", "user", "authenticate", "authenticate_identity",
    "open_session", "user_of_session", "standing", "stay", "lock", "unlock", "unlock_by_identity",
    "owner_of", "close_session", "sign_out",
}  # fmt: skip
INTERNAL = {
    "scale",
    "pixels",
    "picture",
    "keep",
    "result",
}  # called by services after their own check


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("roles")
    with pytest.MonkeyPatch.context() as patch:
        model_kit.use(patch, model_kit.write_model(folder / "model"))
        made = model_kit.open_services(folder / "workspace")
        yield made
        made.close()


def methods(services: Services) -> list[tuple[str, str, Any]]:
    """Every public method of every service."""
    parts = {n: p for n, p in vars(services).items() if not n.startswith("_") and n not in PLAIN}
    return [
        (part, name, getattr(owner, name))
        for part, owner in parts.items()
        for name in dir(owner)
        if not name.startswith("_") and inspect.ismethod(getattr(owner, name))
    ]


def test_roles_are_ordered() -> None:
    order = ["observer", "reader", "organiser", "administrator"]
    assert [role.value for role in Role] == order
    for high, role in enumerate(Role):
        assert [role.covers(needed) for needed in Role] == [low <= high for low in range(4)]


def test_every_method_refuses_everybody_below_its_role(services: Services) -> None:
    guarded = 0
    for part, name, method in methods(services):
        needed = getattr(method, "required_role", None)
        if needed is None:
            assert name in (OWN if part == "accounts" else INTERNAL), f"{part}.{name} is open"
            continue
        guarded += 1
        refused: list[Any] = [None, "administrator", object()]
        refused += [USERS[role] for role in Role if not role.covers(needed)]
        for user in refused:
            with pytest.raises(NotAllowed):
                method(user)
    assert guarded > 60


def test_an_observer_looks_and_changes_nothing(services: Services) -> None:
    may = {
        (part, name)
        for part, name, method in methods(services)
        if getattr(method, "required_role", None) is Role.OBSERVER
    }
    known = {(part, name) for part, names in LOOKING.items() for name in names}
    assert {each for each in may if each[0] in LOOKING} == known
    assert not [each for each in may if each[0] in OFFICE]
    assert all(
        method.required_role is Role.ADMINISTRATOR
        for part, _, method in methods(services)
        if part in OFFICE
    )


def test_an_observer_sees_shared_cases_and_rates_none(services: Services) -> None:
    chief, ann = model_kit.CHIEF, model_kit.ANN
    shared = services.intake.keep(chief, model_kit.small_case(11), source="upload")
    private = services.intake.keep(ann, model_kit.small_case(12), source="upload")
    observer = USERS[Role.OBSERVER]
    assert [row["id"] for row in services.cases.worklist(observer)] == [shared]
    opened = services.review.open(observer, shared)
    form = services.ratings.form(
        observer, shared, method=opened.method, target=opened.target, weights=opened.weights
    )
    assert form["read_only"] and form["answers"] == {}
    assert services.cases.layer(observer, shared, 0, 0).data
    answer = {
        "question": QUESTIONS[0].id, "method": opened.method, "target": opened.target,
        "status": "answered", "value": 4, "comment": "", "revision": 0,
    }  # fmt: skip
    for call in (
        lambda: services.ratings.rate(observer, case=shared, **answer),
        lambda: services.intake.receive(observer, Path("nowhere")),
        lambda: services.reports.case_pdf(observer, shared),
        lambda: services.probe.panel(observer, shared),
        lambda: services.evidence.run(observer, shared, None, ["rollout"]),
    ):
        with pytest.raises(NotAllowed, match="reader"):
            call()
    for organiser in (USERS[Role.ORGANISER], observer):
        with pytest.raises(NotFound):
            services.review.open(organiser, private)
    assert not services.ratings.form(
        ann, shared, method=opened.method, target=opened.target
    )["read_only"]  # fmt: skip


def test_roles_are_given_by_administrators(services: Services) -> None:
    accounts = services.accounts
    chief = accounts.create_first_administrator("chief", kit.GOOD)
    accounts.create_user(chief, "bob", kit.OTHER, Role.OBSERVER)
    accounts.change_role(chief, "bob", Role.ORGANISER)
    found = services.user("bob")
    assert found is not None and found.role is Role.ORGANISER
    with pytest.raises(NotAllowed):
        accounts.change_role(found, "bob", Role.ADMINISTRATOR)
    with pytest.raises(InvalidInput, match="last administrator"):
        accounts.change_role(chief, "chief", Role.READER)
    with pytest.raises(NotFound):
        accounts.change_role(chief, "nobody", Role.READER)
    accounts.change_role(chief, "bob", Role.ADMINISTRATOR)
    accounts.change_role(chief, "chief", Role.READER)
    with pytest.raises(NotAllowed):
        accounts.accounts(services.user("chief"))


# Over HTTP


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A browser of each role, before small pages on every mount; the first runs their queue."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*GRADIO_ENVIRONMENT, "GRADIO_TEMP_DIR"):
            patch.setenv(name, "")
        world = kit.world(tmp_path_factory.mktemp("work"))
        chief = world.accounts.create_first_administrator("an-administrator", kit.GOOD)
        for role in list(Role)[:-1]:
            made = world.accounts.create_user(chief, f"an-{role.value}", kit.OTHER, role)
            world.accounts.change_password(made, kit.OTHER, kit.GOOD)
        prepare_gradio(world.settings)
        app = asyncio.run(_mounted(world))
        with kit.browser(app) as nobody:
            clients = {"nobody": nobody}
            for role in Role:
                client = kit.browser(app)
                client.portal = nobody.portal
                assert kit.sign_in(client, f"an-{role.value}").status_code == 303
                clients[role.value] = client
            yield clients
        world.store.close()


async def _mounted(world: Any) -> Any:
    import gradio as gr

    def page(text: str) -> Any:
        with gr.Blocks() as demo:
            box = gr.Textbox()
            gr.Button(text).click(lambda: text, None, box, api_name="say")
        return demo

    mounts = [MountSpec(path, page(f"secret of {path}"), least(path)) for path in surface.MOUNTS]
    return create_app(world, mounts)


def least(path: str) -> Role:
    """The lowest role that a mount lets in."""
    return next((role for mount, role, _ in PAGES if mount == path), Role.OBSERVER)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("mount", surface.MOUNTS)
def test_who_may_use_which_mount(people: dict[str, Any], mount: str, role: Role) -> None:
    client, may = people[role.value], role.covers(least(mount))
    for path in ("/", "/config", "/gradio_api/info", "/gradio_api/app_id", "/theme.css"):
        answer = client.get(f"{mount}{path}")
        assert answer.status_code == (200 if may else 403), path
        assert may or "secret" not in answer.text
    body = {"data": [], "fn_index": 0, "session_hash": role.value, "trigger_id": None}
    for path in ("/gradio_api/queue/join", "/gradio_api/call/say"):
        assert client.post(f"{mount}{path}", json=body).status_code == (200 if may else 403), path
    posts = ("/gradio_api/component_server", "/gradio_api/cancel", "/gradio_api/reset")
    for path in posts:
        status = client.post(f"{mount}{path}", json={}).status_code
        assert status == 403 if not may else status != 403, path
    for method, path in (
        ("POST", "/gradio_api/upload"), ("GET", "/gradio_api/file=/etc/hostname"),
        ("POST", "/gradio_api/run/say"), ("POST", "/gradio_api/api/say"), ("GET", "/file=x"),
    ):  # fmt: skip
        assert client.request(method, f"{mount}{path}").status_code == 404, path
    assert people["nobody"].get(f"{mount}/config").status_code == 401


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("/layers/c1/0/2.raw", Role.READER),
        ("/reports/c1.pdf", Role.READER),
        ("/exports/ratings.csv", Role.ADMINISTRATOR),
    ],
)
def test_routes_ask_the_services(people: dict[str, Any], path: str, needed: Role) -> None:
    """The services of this small world ask for the roles given; the routes add no leave."""
    for role in Role:
        status = people[role.value].get(path).status_code
        assert status == (200 if role.covers(needed) else 403), role
    assert people["nobody"].get(path).status_code == 401


def test_uploads_are_refused_before_they_are_kept(people: dict[str, Any]) -> None:
    sent = {"f": ("a.png", b"x" * 1000)}
    refused = people["observer"].post("/upload", files=sent)
    assert refused.status_code == 403 and "reader" in refused.json()["error"]
    assert people["reader"].post("/upload", files=sent).status_code == 200


# One user and another, through the real services


def test_no_reader_sees_anything_of_another_over_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*GRADIO_ENVIRONMENT, "GRADIO_TEMP_DIR"):
        monkeypatch.setenv(name, "")
    model_kit.use(monkeypatch, model_kit.write_model(tmp_path / "model"))
    services = model_kit.open_services(tmp_path / "workspace")
    chief = services.accounts.create_first_administrator("chief", kit.GOOD)
    clients: dict[str, Any] = {}
    app = create_app(services, ())
    for name in ("ann", "bob"):
        made = services.accounts.create_user(chief, name, kit.OTHER, Role.READER)
        services.accounts.change_password(made, kit.OTHER, kit.GOOD)
        clients[name] = kit.browser(app)
        assert kit.sign_in(clients[name], name).status_code == 303
    ann = services.user("ann")
    assert ann is not None
    case = services.intake.keep(ann, model_kit.small_case(), source="upload")
    opened = services.review.open(ann, case)
    number = services.store.explanations(case)[0].id
    services.ratings.rate(
        ann, case=case, question=QUESTIONS[0].id, method=opened.method, target=opened.target,
        status="answered", value=4, comment="a private remark", revision=0,
    )  # fmt: skip
    paths = (
        "/layers/{case}/0/0.raw", "/view/{case}.json", "/evidence/{case}.json",
        "/evidence/picture/{case}/0.png", "/evidence/consensus/{case}/0.png",
        "/thumbnails/{case}.png", "/reports/{case}.pdf",
    )  # fmt: skip
    for pattern in paths:
        path = pattern.format(case=case)
        other = clients["bob"].get(path)
        absent = clients["bob"].get(pattern.format(case="LB-none"))
        assert (other.status_code, other.text) == (404, absent.text), path
        assert clients["ann"].get(path).status_code == 200, path
    for pattern in ("/heat/{}/0.raw", "/evidence/tile/{}/0.png"):
        other = clients["bob"].get(pattern.format(number))
        assert (other.status_code, other.text) == (404, clients["bob"].get(
            pattern.format(999_999)).text)  # fmt: skip
        assert clients["ann"].get(pattern.format(number)).status_code == 200
    bob = services.user("bob")
    assert services.cases.worklist(bob) == []
    assert services.ratings.agreement(bob)[0].items == 0
    with pytest.raises(NotFound):
        services.ratings.form(bob, case, method=opened.method, target=opened.target)
    shared = services.intake.keep(chief, model_kit.small_case(21), source="upload")
    seen = services.review.open(ann, shared)
    services.ratings.rate(
        ann, case=shared, question=QUESTIONS[0].id, method=seen.method, target=seen.target,
        status="answered", value=5, comment="a private remark", revision=0,
    )  # fmt: skip
    form = services.ratings.form(bob, shared, method=seen.method, target=seen.target)
    assert form["answers"] == {} and "private remark" not in str(form)
    services.close()
