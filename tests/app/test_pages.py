"""The pages: both applications are built, and every handler is guarded."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from app.auth import Role, User
from app.errors import NotAllowed, NotFound, StorageFailed
from app.services import Services
from app.ui import admin, agreement, clinic, model
from app.ui.shell import guarded, unguarded, user_of
from app.web.server import MountSpec, create_app
from app.web.session import SESSION
from engine.errors import UnreadableFile
from engine.metrics.protocol import QUESTIONS


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kit, web = _load("small_model"), _load("web_world")
GOOD = "correct horse battery"
SECRET = "/secret/Doe^Jane.dcm"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Services]:
    """A workspace of an administrator, two readers and two cases, for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        kit.use(patch, model_folder)
        made = kit.open_services(tmp_path_factory.mktemp("ws"))
        chief = made.accounts.create_first_administrator("chief", GOOD)
        for name in ("ann", "bob"):
            made.accounts.create_user(chief, name, "another long password", Role.READER)
            reader = made.accounts.authenticate(name, "another long password", "")
            made.accounts.change_password(reader, "another long password", GOOD)
        made.intake.keep(kit.CHIEF, kit.small_case(5), source="upload")
        made.intake.keep(kit.ANN, kit.small_case(6), source="upload")
        yield made
        made.close()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notices that the page showed."""
    shown: list[str] = []
    monkeypatch.setattr(gr, "Warning", shown.append)
    monkeypatch.setattr(gr, "Info", shown.append)
    return shown


@pytest.fixture
def app(services: Services, demos: dict[str, gr.Blocks]) -> Any:
    """The whole application over real services."""

    async def build() -> Any:
        mounts = (
            MountSpec("/app", demos["clinic"], Role.READER),
            MountSpec("/admin", demos["admin"], Role.ADMINISTRATOR),
        )
        return create_app(services, mounts)

    return asyncio.run(build())


def asked(name: str | None, **query: str) -> Any:
    return SimpleNamespace(username=name, query_params=query)


def event(**data: Any) -> Any:
    return SimpleNamespace(_data=data)


def handler(demo: gr.Blocks, name: str) -> Any:
    """The function behind an event, with its guard."""
    return next(b.fn for b in demo.fns.values() if b.fn is not None and b.fn.__name__ == name)


@pytest.fixture(scope="module")
def demos(services: Services) -> dict[str, gr.Blocks]:
    """Built inside an event loop, since Gradio would leave loops open else."""

    async def build() -> dict[str, gr.Blocks]:
        return {"clinic": clinic.build(services), "admin": admin.build(services)}

    return asyncio.run(build())


@pytest.mark.parametrize("name", ["clinic", "admin"])
def test_every_handler_is_guarded_and_none_is_public(
    demos: dict[str, gr.Blocks], name: str
) -> None:
    demo = demos[name]
    assert unguarded(demo) == []
    functions = [block for block in demo.fns.values() if block.fn is not None]
    assert len(functions) >= 5
    assert {block.api_visibility for block in functions} == {"private"}
    least = Role.ADMINISTRATOR if name == "admin" else Role.OBSERVER
    assert {block.fn.required_role for block in functions} == {least}


def test_a_bare_handler_is_found() -> None:
    async def build() -> gr.Blocks:
        with gr.Blocks() as demo:
            button, box = gr.Button(), gr.Textbox()
            button.click(lambda: "x", None, box, api_name="bare")
            gr.HTML(server_functions=[_served])
        return demo

    assert unguarded(asyncio.run(build())) == ["bare", "_served"]


def _served() -> str:
    return "x"


def test_nothing_in_the_configuration_tells_of_a_case_or_a_person(
    demos: dict[str, gr.Blocks], services: Services
) -> None:
    told = [row["id"] for row in services.cases.worklist(kit.CHIEF)] + ["chief", "/tmp", "argon2"]
    for demo in demos.values():
        text = str(demo.get_config_file())
        assert not [word for word in told if word in text]
        assert not [c for c in demo.blocks.values() if isinstance(c, gr.State)]


def test_who_asks_is_looked_up_on_every_call(services: Services, said: list[str]) -> None:
    seen: list[User] = []
    guarded_read = guarded(services)(lambda user: seen.append(user) or "done")
    guarded_admin = guarded(services, Role.ADMINISTRATOR)(lambda user: "done")
    assert guarded_read(asked("ann")) == "done" and seen[0].name == "ann"
    for name in (None, "", "nobody", "reader", "ann' OR 1=1"):
        assert guarded_read(asked(name)) == gr.skip()
    assert said == ["Please sign in first."] * 5
    assert guarded_admin(asked("ann")) == gr.skip() and "administrator" in said[-1]
    assert guarded_admin(asked("chief")) == "done"
    assert user_of(services, asked("ann")) == services.user("ann")
    assert len(seen) == 1


@pytest.mark.parametrize(
    "error", [NotFound("A."), StorageFailed("B."), UnreadableFile("C."), NotAllowed("D.")]
)
def test_errors_for_users_become_a_notice(
    services: Services, said: list[str], error: Exception
) -> None:
    def fail(user: User) -> None:
        raise error

    assert guarded(services)(fail)(asked("ann")) == gr.skip()
    assert said == [str(error)]


def test_other_errors_are_logged_without_their_text(
    services: Services, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(user: User, text: str) -> int:
        return int(text)

    caplog.set_level(logging.DEBUG)
    assert guarded(services)(fail)(asked("ann"), SECRET) == gr.skip()
    (sentence,) = said
    assert sentence.startswith("Something went wrong (ref ") and SECRET not in sentence
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert sentence[26:30] in record.getMessage() and "ValueError" in record.getMessage()
    assert "Doe" not in caplog.text and record.exc_info is None


def test_a_guard_keeps_the_signature_that_gradio_reads(services: Services) -> None:
    def handle(user: User, text: str, data: gr.EventData) -> str:
        return text

    made = guarded(services)(handle)
    names = list(inspect.signature(made).parameters)
    assert names == ["asked", "text", "data"]
    hints = inspect.get_annotations(made)
    assert hints["asked"] is gr.Request and hints["data"] is gr.EventData
    assert made.__name__ == "handle"


def test_a_refused_call_leaves_the_whole_page_as_it_is(
    services: Services, demos: dict[str, gr.Blocks], said: list[str]
) -> None:
    """One `skip` stands for all outputs, also where a handler has several."""
    demo = demos["clinic"]
    block = next(b for b in demo.fns.values() if b.fn is not None and b.fn.__name__ == "next")
    assert len(block.outputs) == 5
    made = asyncio.run(
        demo.postprocess_data(block, block.fn(asked(None), {}), None)  # type: ignore[arg-type]
    )
    assert len(made) == 5 and not any("value" in update for update in made)
    assert said == ["Please sign in first."]


def test_the_first_view(services: Services, demos: dict[str, gr.Blocks], said: list[str]) -> None:
    start = handler(demos["clinic"], "start")
    case = services.cases.worklist(kit.BOB)[0]["id"]
    top, worklist, *shown = start(asked("bob"), asked("bob"))
    assert top["user"] == "bob" and not top["administrator"] and not top["open"]
    assert [row["id"] for row in worklist["cases"]] == [case]
    assert shown == [gr.skip()] * 5
    _, _, viewer, findings, form, current, _ = start(asked("bob"), asked("bob", case=case))
    assert viewer["case"] == findings["case"] == form["case"] == current["case"] == case
    assert viewer["layers"] and current["method"] in kit.METHODS
    assert said == []


def test_a_stale_link_does_not_cost_the_worklist(
    services: Services, demos: dict[str, gr.Blocks], said: list[str]
) -> None:
    start = handler(demos["clinic"], "start")
    hidden = {row["id"] for row in services.cases.worklist(kit.CHIEF)} - {
        row["id"] for row in services.cases.worklist(kit.BOB)
    }
    for wanted in ("LB-none", *hidden, "../../etc/passwd", "<script>"):
        top, worklist, *shown = start(asked("bob"), asked("bob", case=wanted))
        assert top["user"] == "bob" and len(worklist["cases"]) == 1
        assert shown == [gr.skip()] * 5
    assert said == ["There is no such case."] * 4


def test_a_walk_through_the_review(services: Services, said: list[str]) -> None:
    page = clinic._Page(services)
    ann = services.user("ann")
    assert ann is not None
    (first, second) = [row["id"] for row in page.list(ann)["cases"]]
    *_, current, _ = page.open(ann, event(case=first))
    viewer, _, form, current, _ = page.target(ann, current, event(name="Invasive"))
    assert current["target"] == "Invasive" == form["target"]
    viewer, _, form, current, _ = page.method(ann, current, event(method="gradcam"))
    assert {e["method"] for e in viewer["layers"] if e["visible"]} == {"gradcam"}
    answer = {
        "case": first, "question": QUESTIONS[0].id, "method": "gradcam", "target": "Invasive",
        "status": "answered", "value": 4, "comment": "fine", "revision": 0,
        "weights": form["weights"],
    }  # fmt: skip
    saved = page.rate(ann, event(**answer))
    assert saved["error"] == "" and saved["answers"][QUESTIONS[0].id]["value"] == 4
    stale = page.rate(ann, event(**(answer | {"value": 2})))
    assert "another window" in stale["error"]
    assert stale["answers"][QUESTIONS[0].id]["value"] == 4
    for change in ({"value": 9}, {"question": "q"}, {"method": "magic"}, {"comment": "x" * 10_001}):
        assert page.rate(ann, event(**(answer | change)))["error"].endswith(".")
    shown = page.next(ann, current)
    assert shown[3]["case"] == second and shown[3]["method"] == "gradcam"
    assert page.previous(ann, shown[3])[3]["case"] == first
    assert page.next(ann, shown[3]) == (gr.skip(),) * 5
    assert said == ["There is no further case in the worklist."]
    versions = [page.list(ann)["version"] for _ in range(3)]
    assert len(set(versions)) == 3


def test_a_hidden_case_and_none_get_the_same_answer_from_every_route(
    services: Services, app: Any
) -> None:
    (hidden,) = {row["id"] for row in services.cases.worklist(kit.CHIEF)} - {
        row["id"] for row in services.cases.worklist(kit.BOB)
    }
    services.review.open(kit.ANN, hidden)
    number = services.store.explanations(hidden)[0].id
    places = (
        ("/layers/{}/0/0.raw", hidden, "LB-none"),
        ("/thumbnails/{}.png", hidden, "LB-none"),
        ("/reports/{}.pdf", hidden, "LB-none"),
        ("/heat/{}/0.raw", str(number), "987654"),
    )
    asker = User("bob", "bob", Role.READER)
    client = web.browser(app)
    client.cookies.set(SESSION, services.accounts.open_session(asker))
    for place, there, absent in places:
        answers = [client.get(place.format(name)) for name in (there, absent)]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].content == answers[1].content and hidden not in answers[0].text
    assert client.get("/exports/ratings.csv").status_code == 403
    assert client.get("/admin/config").status_code == 403
    owner = web.browser(app)
    owner.cookies.set(SESSION, services.accounts.open_session(User("ann", "ann", Role.READER)))
    assert [owner.get(place.format(there)).status_code for place, there, _ in places] == [200] * 4


def test_another_readers_answer_cannot_be_touched(services: Services) -> None:
    page, bob = clinic._Page(services), services.user("bob")
    (hidden,) = {row["id"] for row in services.cases.worklist(kit.CHIEF)} - {
        row["id"] for row in services.cases.worklist(kit.BOB)
    }
    answer = {"case": hidden, "question": QUESTIONS[0].id, "method": "gradcam",
              "target": "Invasive", "status": "answered", "value": 1, "revision": 0}  # fmt: skip
    with pytest.raises(NotFound):
        page.rate(bob, event(**answer))
    with pytest.raises(NotFound):
        page.open(bob, event(case=hidden))
    assert services.store.current_ratings(reader="bob") == []


def test_the_agreement_page(services: Services) -> None:
    case = services.cases.worklist(kit.BOB)[0]["id"]
    assert agreement.shown(services.ratings.agreement(kit.BOB, "rollout"))[0] == agreement.NOBODY
    services.review.open(kit.ANN, case)
    for user, value in ((kit.ANN, 4), (kit.BOB, 5)):
        services.ratings.rate(
            user, case=case, question=QUESTIONS[1].id, method="relevance", target="Benign",
            status="answered", value=value, comment="", revision=0,
        )  # fmt: skip
    text, coefficients, answers, table = agreement.shown(services.ratings.agreement(kit.ANN))
    assert (
        text.startswith("2 readers have rated") and coefficients["visible"] and answers["visible"]
    )
    rows = table["value"]
    assert rows and all(len(row) == len(agreement.HEADERS) for row in rows)
    cells = [cell for row in rows for cell in row]
    assert all(isinstance(cell, str) and "nan" not in cell.lower().split() for cell in cells)
    undefined = [row for row in rows if row[2] == "undefined"]
    assert undefined and all(row[-1] for row in undefined)


def test_the_model_card_as_text(services: Services) -> None:
    text = model.card_text(services.models.card())
    assert "not for diagnosis" in text and "It knows nothing." in text
    assert services.models.card().weights_digest in text


def test_administration(services: Services, demos: dict[str, gr.Blocks], said: list[str]) -> None:
    demo = demos["admin"]
    start, add = handler(demo, "start"), handler(demo, "add")
    top, table, cards = start(asked("chief"))
    assert top["administrator"] and "Small model" in cards
    assert [row[0] for row in table] == ["ann", "bob", "chief"]
    assert "argon2" not in str(table)
    assert start(asked("ann")) == gr.skip()
    assert add(asked("ann"), "eve", "Eve", "administrator", GOOD) == gr.skip()
    assert services.user("eve") is None
    assert add(asked("chief"), "x y", "", "reader", GOOD) == gr.skip()
    assert add(asked("chief"), "eve", "Eve", "reader", "short") == gr.skip()
    table, *emptied = add(asked("chief"), "eve", "Eve", "reader", GOOD)
    assert emptied == ["", "", ""] and table[-1][0] == "eve" and table[-1][4] == "yes"
    assert handler(demo, "deactivate")(asked("chief"), "chief") == gr.skip()
    assert said[-1] == "The last administrator cannot be deactivated."
    handler(demo, "deactivate")(asked("chief"), "eve")
    assert services.user("eve") is None
    handler(demo, "reset")(asked("chief"), "bob", "yet another password")
    verdict, rows, links, *_ = handler(demo, "audit")(asked("chief"))
    assert "/exports/audit.csv" in links
    assert "unbroken" in verdict and rows and len(rows[0]) == len(admin.AUDIT)
    assert GOOD not in str(said) + str(rows)
