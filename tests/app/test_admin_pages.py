"""The administrators' pages without a browser: guards, values, curves, and files in portions."""

from __future__ import annotations

import asyncio
import base64
import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from app.auth import Role, User
from app.errors import InvalidInput, NotFound
from app.ui import admin
from app.ui.admin import transfer
from app.ui.admin.adaptation import AdaptationPage
from app.ui.admin.curves import POINTS, CurveBook, Curves, thinned
from app.ui.admin.datasets import DatasetsPage
from app.ui.admin.live import LivePage
from app.ui.admin.models import ModelsPage
from app.ui.admin.panel import PANELS, panel, script, served, style
from app.ui.admin.training import TrainingPage
from app.ui.admin.transfer import Transfers
from app.ui.admin.values import numbers, plain
from app.ui.panels import WEB
from app.ui.shell import unguarded
from tests.browser import admin_harness as harness

CHIEF = User("chief", "Chief", Role.ADMINISTRATOR)
OTHER = User("deputy", "Deputy", Role.ADMINISTRATOR)
ANN = User("ann", "Ann", Role.READER)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[harness.Fakes]:
    made = harness.Fakes(tmp_path / "workspace", harness.full_bench())
    made.accounts.create_first_administrator("chief", harness.PASSWORD)
    made.accounts.create_user(CHIEF, "ann", "another long password", Role.READER)
    yield made
    made.store.close()


def built(kind: Any, services: Any) -> Any:
    """A page within an application, so that its components exist."""

    async def build() -> LivePage:
        with gr.Blocks():
            return kind(services)

    return asyncio.run(build())


def event(**data: Any) -> Any:
    return SimpleNamespace(_data=data)


def test_every_handler_and_function_is_for_administrators(services: harness.Fakes) -> None:
    async def build() -> gr.Blocks:
        return admin.build(services)

    demo = asyncio.run(build())
    assert unguarded(demo) == []
    handlers = [block for block in demo.fns.values() if block.fn is not None]
    assert {block.fn.required_role for block in handlers} == {Role.ADMINISTRATOR}
    assert {block.api_visibility for block in handlers} == {"private"}
    functions = [f for c in demo.blocks.values() for f in getattr(c, "server_fns", None) or []]
    names = {f.__name__ for f in functions}
    assert names == {
        "thumbnails", "changed_pictures", "export_begin", "export_part", "export_end",
        "import_begin", "import_part", "import_end",
    }  # fmt: skip
    nobody = SimpleNamespace(state=SimpleNamespace(user=None))
    reader = SimpleNamespace(state=SimpleNamespace(user=ANN))
    for function in functions:
        for asked in (nobody, reader, SimpleNamespace()):
            assert set(function(asked, 3)) == {"error"}
    names_of = {block.fn.__name__: block.fn for block in handlers}
    for name in ("register", "begin", "pause", "accept", "activate", "roll_back", "tick", "reopen"):
        inputs = [{}] * (len(inspect.signature(names_of[name]).parameters) - 1)
        asked = SimpleNamespace(username="ann", query_params={})
        with pytest.MonkeyPatch.context() as patch:
            said: list[str] = []
            patch.setattr(gr, "Warning", said.append)
            assert names_of[name](asked, *inputs) == gr.skip()
            assert said and "administrator" in said[0]
    assert services.bench.calls == []


def test_a_served_function_hides_what_went_wrong() -> None:
    def fail(user: User, argument: Any) -> None:
        raise ValueError("/secret/place")

    def refuse(user: User, argument: Any) -> None:
        raise NotFound("There is no such run.")

    asked = SimpleNamespace(state=SimpleNamespace(user=CHIEF))
    assert served(fail)(asked)["error"].startswith("Something went wrong (ref ")
    assert served(refuse)(asked, 1) == {"error": "There is no such run."}


@pytest.mark.parametrize("name", sorted(PANELS))
def test_a_panel_has_its_script_its_events_and_no_value(name: str) -> None:
    file, draw, events = PANELS[name]
    made = panel(name)
    assert made.value is None and "${" not in made.html_template
    assert f"function {draw}(" in script(name) and script(name).count("function mountAdmin(") == 1
    assert all(f"'{each}'" in made.js_on_load for each in events)
    own = (WEB / file).read_text("utf-8")
    sent = {part.split("'")[0] for part in own.split("page.send('")[1:]}
    offered = {each for other, _, found in PANELS.values() if other == file for each in found}
    assert sent and sent <= offered
    assert "innerHTML" not in script(name) and "http://" not in script(name).replace(
        "http://www.w3.org/2000/svg", ""
    )
    assert ".lba-table" in style()


def test_the_address_names_the_tab_and_what_is_open(services: harness.Fakes) -> None:
    async def build() -> gr.Blocks:
        return admin.build(services)

    demo = asyncio.run(build())
    reopen = next(b for b in demo.fns.values() if b.fn and b.fn.__name__ == "reopen")

    def opened(**query: str) -> list[Any]:
        found = reopen.fn(SimpleNamespace(username="chief", query_params=query),
                          SimpleNamespace(query_params=query))  # fmt: skip
        assert len(found) == len(reopen.outputs)
        return [each for each in found if each != gr.skip()]

    assert opened() == opened(tab="nowhere") == opened(tab="accounts") == []
    tabs, chosen, value, form, timer = opened(tab="training", run="12", dataset="²")
    assert tabs.selected == "training" and chosen == {"run": 12}
    assert value["chosen"] == 12 and form["recipe"] and timer.active
    _, chosen, value, timer = opened(tab="models", model="screening-first-try", run="9" * 400)
    assert value["chosen"] == "screening-first-try" and not timer.active


def test_data_sets(services: harness.Fakes) -> None:
    page, bench = built(DatasetsPage, services), services.bench
    value, going = page.value(CHIEF, {})
    assert value["chosen"] == 4 and going and value["run"]["share"] == 0.37
    value, _ = page.value(CHIEF, {"dataset": 3})
    assert len(value["problems"]) == 7 and value["run"] is None
    assert page.value(CHIEF, {"dataset": 999})[0]["chosen"] == 4
    chosen, value, timer = page.register(
        CHIEF, {}, event(name=" New ", manifest="/data/x.csv", classes="", grades="")
    )
    assert bench.asked("register") == [("New", "/data/x.csv", "", "")]
    assert chosen == {"dataset": 5} and value["said"]["good"] and timer.active
    _, value, _ = page.register(CHIEF, {}, event(name="x", manifest="/etc/passwd"))
    assert not value["said"]["good"] and "CSV or Parquet" in value["said"]["text"]
    first = value["said"]["n"]
    _, value, _ = page.register(CHIEF, {}, event(name="x", manifest="/etc/passwd"))
    assert value["said"]["n"] != first  # the same refusal is said again
    pictures = page.thumbnails(CHIEF, 3)["pictures"]
    assert len(pictures) == 12 and base64.b64decode(pictures[0]["png"]).startswith(b"\x89PNG")
    for wrong in ("3", None, True, {"id": 3}):
        with pytest.raises(NotFound):
            page.thumbnails(CHIEF, wrong)


def test_training(services: harness.Fakes) -> None:
    page, bench = built(TrainingPage, services), services.bench
    value, going = page.value(CHIEF, {})
    assert going and value["chosen"] == 14  # the one that runs, not the newest, which waits
    assert value["detail"]["now"]["step"] == 560
    assert page.tick(CHIEF, {}) == (value, gr.skip())  # it may not start a timer that was ended
    form = page.form(CHIEF)
    assert form["recipe"] == "crossmodal-demo" and not form["needs_data"]
    assert "name" not in [each["id"] for each in form["fields"]]
    assert {each["why"] for each in form["datasets"]} == {
        "", "is being checked", "has errors", "its check did not end",
    }  # fmt: skip
    changes = {"optimiser.epochs": "x"}
    asked = {"recipe": "crossmodal-demo", "changes": changes, "dataset": None, "name": "m"}
    form = page.validate(CHIEF, event(**asked))
    assert form["messages"][0][0] == "optimiser.epochs"
    *_, form = page.begin(CHIEF, {}, event(**asked))
    assert not form["said"]["good"] and bench.asked("start") == []
    asked["changes"] = {"optimiser.epochs": "3"}
    chosen, value, timer, form = page.begin(CHIEF, {"run": 12}, event(**asked))
    assert bench.asked("start") == [
        ("crossmodal-demo", "m", {"optimiser.epochs": "3"}, None)
    ]  # fmt: skip
    assert value["chosen"] == chosen["run"] != 12 and timer.active and form["said"]["good"]
    _, value, _ = page.pause(CHIEF, {"run": 14}, event(run=14))
    assert value["detail"]["run"]["state"] == "paused"
    _, value, _ = page.cancel(CHIEF, {"run": 14}, event(run=77))
    assert value["said"]["text"] == "There is no such run."


def test_the_result_of_a_training_is_a_table_with_intervals(services: harness.Fakes) -> None:
    value, _ = built(TrainingPage, services).value(CHIEF, {"run": 11})
    rows = value["detail"]["metrics"]
    row = next(r for r in rows if r["title"] == "Accuracy" and r["group"] == "Mammogram only")
    assert (row["value"], row["low"], row["high"]) == (0.615, 0.576, 0.653)
    assert next(r for r in rows if r["title"] == "Test cases")["whole"]


def test_adaptation(services: harness.Fakes) -> None:
    page, bench = built(AdaptationPage, services), services.bench
    value, going = page.value(CHIEF, {"run": 21})
    outcome = value["detail"]["outcome"]
    assert not going and outcome["can_accept"] and len(outcome["changed"]) == 7
    assert "picture" not in outcome["changed"][0]
    assert len(page.changed_pictures(CHIEF, 21)["pictures"]) == 7
    assert page.tick(CHIEF, {"run": 21})[0]["detail"]["outcome"] == outcome
    assert bench.asked("outcome") == [(21,)]  # each look is a row of the audit trail
    assert page.opened(CHIEF, {"run": 21})[1]["detail"]["outcome"] == outcome
    assert len(page.changed_pictures(OTHER, 21)["pictures"]) == 7
    assert bench.asked("outcome") == [(21,)] * 3
    rolled = page.value(CHIEF, {"run": 22})[0]["detail"]["outcome"]
    assert rolled["rolled_back"] and not rolled["can_accept"]
    asked = {"model": "a", "cases": ["c"], "method": "eata", "steps": 4, "source": "2"}
    chosen, value, timer, _ = page.begin_adaptation(CHIEF, {}, event(**asked))
    assert bench.asked("adapt") == [("a", ["c"], "eata", 4, 2)]
    assert chosen["run"] == value["chosen"] and timer.active
    _, value, _ = page.discard(CHIEF, {"run": 21}, event(run=21))
    assert value["detail"]["outcome"]["discarded"] and value["said"]["good"]


def test_an_outcome_that_cannot_be_read_does_not_take_the_page(
    services: harness.Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(user: User, run: int) -> None:
        raise InvalidInput("The outcome is damaged.")

    page = built(AdaptationPage, services)
    monkeypatch.setattr(services.adaptation, "outcome", broken, raising=False)
    value, _ = page.value(CHIEF, {"run": 21})
    assert value["detail"]["outcome"] is None and value["detail"]["run"]["id"] == 21
    assert value["detail"]["log"] == "The outcome is damaged." and len(value["runs"]) > 1


def test_models(services: harness.Fakes) -> None:
    page, bench = built(ModelsPage, services), services.bench
    value, going = page.value(CHIEF, {"model": "gone"})
    assert value["chosen"] == "crossmodal-demo" and not going
    assert value["comparison"]["outcome"]["rows"][3]["lower_is_better"]
    assert not value["comparison"]["outcome"]["rows"][0]["lower_is_better"]
    _, value, _ = page.activate(CHIEF, {}, event(name="screening-first-try"))
    assert value["models"][0]["name"] == "screening-first-try" and value["said"]["good"]
    _, value, _ = page.roll_back(CHIEF, {})
    assert "“crossmodal-demo” is in use again" in value["said"]["text"]
    chosen, value, timer = page.compare(CHIEF, {}, event(a="a", b="b", source="phantoms"))
    assert bench.asked("compare") == [("a", "b", "phantoms")]
    assert timer.active and value["comparing"] == chosen["run"]


def test_views_become_plain_values() -> None:
    made = plain(harness.run(3, "training", "x", "running"))
    assert made["started"] == "2026-11-20T09:18:00+00:00" and made["ended"] is None
    naive = replace(
        harness.run(3, "training", "x", "done"), ended=harness.START.replace(tzinfo=None)
    )
    assert plain(naive)["ended"] == "2026-11-20T09:15:00+00:00"


def test_numbers_are_read_in_every_form() -> None:
    rows = numbers({
        "accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}, "macro_auc": [0.7, 0.6, 0.8],
        "mammogram_only": {"box_iou": 0.2, "box_iou_low": 0.1, "box_iou_high": 0.3,
                           "pathology": False, "seconds": 2.0, "cases": 9, "note": "x"},
    })  # fmt: skip
    found = {(r["group"], r["title"]): (r["value"], r["low"], r["high"]) for r in rows}
    assert found == {
        ("", "Accuracy"): (0.5, 0.4, 0.6), ("", "Macro AUC"): (0.7, 0.6, 0.8),
        ("Mammogram only", "Mean box IoU"): (0.2, 0.1, 0.3),
        ("Mammogram only", "Test cases"): (9, None, None),
    }  # fmt: skip


def test_curves_take_the_later_word_after_a_resume() -> None:
    curves = Curves()
    curves.add(harness.training_events(250))
    assert curves.seen == 1 + 250 + 2
    again = [e for e in harness.training_events(210) if e.get("step", 0) > 190]
    curves.add([{**e, "loss": 9.0} for e in again if e["event"] == "step"])
    value = curves.value()
    assert [step for step, _ in value["loss"]] == list(range(1, 211))
    assert [loss for step, loss in value["loss"] if step > 190] == [9.0] * 20
    curves.add([{"event": "epoch", "epoch": 2, "step": 200, "validation": {"accuracy": 0.25}}])
    assert curves.value()["measures"]["accuracy"][1] == (2, 0.25)
    assert len(curves.value()["validation"]) == 1


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    points = [(float(n), float(n % 2)) for n in range(10_000)]
    made = thinned(points)
    assert len(made) <= POINTS and made[-1] == points[-1] and made[0][0] < 40
    assert all(abs(y - 0.5) < 0.1 for _, y in made[:-1])
    assert thinned(points[:5]) == points[:5]


def test_each_event_is_read_once_and_few_runs_are_kept() -> None:
    book, asked = CurveBook(), []
    events = harness.training_events(10)

    def read(after: int) -> list[dict[str, Any]]:
        asked.append(after)
        return events[after:]

    book.of(1, read)
    assert book.of(1, read).now["step"] == 10
    assert asked == [0, len(events)]
    for run in range(2, 12):
        book.of(run, lambda after: [])
    book.of(1, read)
    assert asked[-1] == 0


def test_a_model_goes_out_and_in_in_portions(services: harness.Fakes) -> None:
    moves = Transfers(services)
    begun = moves.export_begin(CHIEF, "screening-first-try")
    got = b""
    while len(got) < begun["size"]:
        asked = {"token": begun["token"], "offset": len(got)}
        got += base64.b64decode(moves.export_part(CHIEF, asked)["data"])
    moves.export_end(CHIEF, begun["token"])
    assert len(got) == 2_300_000 and not list(services.bench.folder.rglob("*.zip"))
    token = moves.import_begin(CHIEF, len(got))["token"]
    for at in range(0, len(got), transfer.PORTION):
        data = base64.b64encode(got[at : at + transfer.PORTION]).decode()
        moves.import_part(CHIEF, {"token": token, "offset": at, "data": data})
    assert moves.import_end(CHIEF, token) == {"model": "imported-model"}
    assert services.bench.asked("import") == [(got,)]
    assert not list((services.settings.workspace / transfer.FOLDER).iterdir())


def test_a_transfer_is_its_owners_and_takes_nothing_odd(services: harness.Fakes) -> None:
    moves = Transfers(services)
    token = moves.import_begin(CHIEF, 8)["token"]
    good = {"token": token, "offset": 0, "data": base64.b64encode(b"1234").decode()}
    with pytest.raises(NotFound):
        moves.import_part(OTHER, good)
    for change in ({"offset": 2}, {"offset": -1}, {"offset": True}, {"data": "not base64!"},
                   {"data": base64.b64encode(b"123456789").decode()}):  # fmt: skip
        with pytest.raises(InvalidInput):
            moves.import_part(CHIEF, good | change)
    moves.import_part(CHIEF, good)
    with pytest.raises(InvalidInput):  # half a file
        moves.import_end(CHIEF, token)
    assert not list((services.settings.workspace / transfer.FOLDER).iterdir())
    with pytest.raises(NotFound):
        moves.import_end(CHIEF, token)
    for size in (0, -1, "9", transfer.MOST_BYTES + 1):
        with pytest.raises(InvalidInput):
            moves.import_begin(CHIEF, size)
    moves.import_begin(CHIEF, services.settings.max_upload_bytes + 1)


def test_transfers_that_nobody_ended_are_removed(
    services: harness.Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = Transfers(services)
    moves.import_begin(CHIEF, 8)
    monkeypatch.setattr(transfer, "LIFE_SECONDS", -1.0)
    moves.import_begin(CHIEF, 8)
    assert len(list((services.settings.workspace / transfer.FOLDER).iterdir())) == 1
