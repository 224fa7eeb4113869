"""Adaptations: chosen cases, an outcome that is judged, and a candidate or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.auth import User
from app.errors import InvalidInput, NotAllowed, NotFound, StorageFailed
from app.services import Services, run_cases
from app.services.run_views import BeforeAfter
from engine.datasets.manifest import read_manifest
from engine.datasets.splits import make_split, write_split
from engine.datasets.writing import write_phantom_manifest
from engine.errors import ModelUnavailable
from tests.app.shelf_world import ANN, CHIEF, SHIPPED, admin, kit, model, services, small

MANIFEST_RECIPE = '[data]\nsource = "manifest"\nmanifest = "/none.csv"\n'


@pytest.fixture
def cases(services: Services) -> list[str]:
    return [
        services.intake.keep(CHIEF, kit.small_case(seed, label), source="upload")
        for seed, label in ((5, "Invasive"), (6, "Normal"), (7, "Benign"))
    ]


def kept(services: Services, number: int, **changes: Any) -> None:
    """Change what an adaptation reported."""
    result = services.store.run_result(number)
    services.store.keep_run_result(number, {**result, **changes})


def done(services: Services, cases: list[str], steps: int = 2, **more: Any) -> int:
    """An adaptation that came to its end; its run."""
    view = services.adaptation.start(CHIEF, "", cases, "tent", steps, **more)
    ended = admin.do(services, view.id)
    assert ended.state == "done", ended.message
    kept(services, view.id, rolled_back="")
    return view.id


def test_methods_and_cases_are_told(services: Services, cases: list[str]) -> None:
    assert [name for name, _ in services.adaptation.methods(CHIEF)] == ["eata", "tent", "sar"]
    assert {case for case, _ in services.adaptation.cases(CHIEF)} == set(cases)
    assert all(label.startswith(case) for case, label in services.adaptation.cases(CHIEF))


def test_what_cannot_be_started(services: Services, cases: list[str]) -> None:
    def refused(words: str, kind: type[Exception] = InvalidInput, **changes: Any) -> None:
        asked = {"model": "", "case_ids": cases, "method": "eata", "steps": 3} | changes
        with pytest.raises(kind, match=words):
            services.adaptation.start(CHIEF, **asked)

    refused("choose the cases", case_ids=[])
    refused("does not exist", case_ids=[*cases, "none"])
    refused("no such method", method="magic")
    for steps in (0, -1, 1001, True):
        refused("from 1 to 1000", steps=steps)
    refused("phantoms or a data set", source="cloud")
    refused("no such data set", NotFound, source=9)
    refused("no model card", ModelUnavailable, model="none")
    assert services.runs.list(CHIEF) == []


def test_an_outcome_is_told_and_accepted(services: Services, cases: list[str]) -> None:
    served = services.models.card()
    before = (services.models.folder(SHIPPED) / served.weights).read_bytes()
    view = services.adaptation.start(CHIEF, "", [*cases, cases[0]], "eata", 2)
    with pytest.raises(NotFound, match="not done yet"):
        services.adaptation.outcome(CHIEF, view.id)
    ended = admin.do(services, view.id)
    assert ended.state == "done", ended.message
    made = services.adaptation.outcome(CHIEF, view.id)
    assert (made.model, made.method, made.cases) == (SHIPPED, "eata", 3)
    assert sum(made.histogram_before.values()) == sum(made.histogram_after.values()) == 3
    assert set(made.histogram_before) == set(kit.CLASSES)
    assert made.entropy.before is not None and made.sensitivity.before is not None
    assert made.accuracy.before is not None and made.accuracy.before_low is not None
    assert made.accuracy.before_low <= made.accuracy.before <= (made.accuracy.before_high or 0)
    assert (services.models.folder(SHIPPED) / served.weights).read_bytes() == before
    assert services.models.card() == served


def test_a_candidate_is_made_once_and_serves_when_activated(
    services: Services, cases: list[str]
) -> None:
    number = done(services, cases)
    assert services.adaptation.outcome(CHIEF, number).can_accept
    for name in ("", "Bad name", "../x"):
        with pytest.raises(InvalidInput, match="name of a model"):
            services.adaptation.accept(CHIEF, number, name)
    with pytest.raises(InvalidInput, match="of this name already"):
        services.adaptation.accept(CHIEF, number, SHIPPED)
    made = services.adaptation.accept(CHIEF, number, "fitted")
    assert (made.origin, made.state, made.parent, made.run_id) == (
        "adapted", "candidate", SHIPPED, number,
    )  # fmt: skip
    assert services.models.active == SHIPPED
    assert services.adaptation.outcome(CHIEF, number).accepted == "fitted"
    assert services.runs.view(CHIEF, number).result == "fitted"
    for call in (lambda: services.adaptation.accept(CHIEF, number, "again"),
                 lambda: services.adaptation.discard(CHIEF, number)):  # fmt: skip
        with pytest.raises(InvalidInput):
            call()
    services.registry.activate(CHIEF, "fitted")
    services.review.open(ANN, cases[0])
    assert services.store.latest_prediction(cases[0], made.digest) is not None
    assert services.registry.roll_back(CHIEF).name == SHIPPED
    said = [row.action for row in services.administration.audit(CHIEF)]
    assert {"adaptation_accept", "model_install", "run_adaptation"} <= set(said)


def test_what_was_rolled_back_or_discarded_is_not_accepted(
    services: Services, cases: list[str]
) -> None:
    number = done(services, cases)
    kept(services, number, rolled_back="The answers have collapsed.")
    made = services.adaptation.outcome(CHIEF, number)
    assert made.rolled_back == "The answers have collapsed." and not made.can_accept
    with pytest.raises(InvalidInput, match="taken back by its guard"):
        services.adaptation.accept(CHIEF, number, "fitted")
    kept(services, number, rolled_back="")
    services.adaptation.discard(CHIEF, number)
    assert services.adaptation.outcome(CHIEF, number).discarded
    with pytest.raises(InvalidInput, match="accepted or discarded"):
        services.adaptation.accept(CHIEF, number, "fitted")
    assert services.store.models() == []
    folder = services._context.supervisor.folder(number).path
    assert not (folder / "candidate").exists()


def test_of_two_who_judge_at_once_one_is_refused(
    services: Services, cases: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one accepts, another one accepts and discards."""
    number, install = done(services, cases), services._context.shelf.install
    refused: list[str] = []

    def slow(*given: Any, **more: Any) -> Any:
        for call in (lambda: services.adaptation.accept(CHIEF, number, "second"),
                     lambda: services.adaptation.discard(CHIEF, number)):  # fmt: skip
            with pytest.raises(InvalidInput) as caught:
                call()
            refused.append(str(caught.value))
        return install(*given, **more)

    monkeypatch.setattr(services._context.shelf, "install", slow)
    assert services.adaptation.accept(CHIEF, number, "first").name == "first"
    assert len(refused) == 2 and [model.name for model in services.store.models()] == ["first"]


def test_a_candidate_that_could_not_be_stored_can_be_accepted_again(
    services: Services, cases: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any, **more: Any) -> None:
        raise StorageFailed("The disk is full.")

    number = done(services, cases)
    with monkeypatch.context() as patch:
        patch.setattr(services._context.shelf, "install", full)
        with pytest.raises(StorageFailed):
            services.adaptation.accept(CHIEF, number, "first")
    assert services.adaptation.accept(CHIEF, number, "first").name == "first"


def test_cases_that_a_model_learnt_from_are_no_test_cases(
    services: Services, tmp_path: Path
) -> None:
    """However its data set is registered, and whatever has become of the model's own."""
    path = write_phantom_manifest(tmp_path / "set", 40, height=128, width=128, tile=128)
    manifest = read_manifest(path, kit.CLASSES, ())
    drawn = make_split(manifest, seed=9)
    run = services.store.add_run(
        "training", "A", "chief", {"recipe": MANIFEST_RECIPE, "dataset": 7}
    )
    folder = services._context.supervisor.folder(run.id).path
    write_split(drawn, folder / "split.json")
    add = services.store.add_model
    marks = {"digest": "a" * 64, "card_digest": "b" * 64}
    add("own", "chief", **marks, origin="trained", run_id=run.id)
    add("child", "chief", **marks, origin="adapted", parent="own")
    add("orphan", "chief", **marks, origin="adapted", parent="gone")
    add("guest", "chief", **marks, origin="imported")
    store, settings = services.store, services.settings

    def tested(*names: str) -> set[str]:
        pasts = [run_cases._past(store, settings, name) for name in names]
        split = run_cases._split(manifest, "test", pasts)
        return {row.key for row in manifest.rows if split.of(row) == "test"}

    own = {row.key for row in manifest.rows if drawn.of(row) == "test"}
    assert tested("own") == tested("child") == tested("child", SHIPPED) == own != tested(SHIPPED)
    doubtful = run_cases.unsure(store, settings, 3, ("own", "child", "orphan", "guest", SHIPPED))
    assert doubtful == ("orphan", "guest")
    assert run_cases.unsure(store, settings, "phantoms", ("guest",)) == ()
    (folder / "split.json").unlink()
    assert run_cases.unsure(store, settings, 3, ("own", "child")) == ("own", "child")


def test_it_is_said_where_a_model_may_have_learnt_from_the_cases(
    services: Services, cases: list[str], tmp_path: Path, model: Path
) -> None:
    path = write_phantom_manifest(tmp_path / "set", 32, height=128, width=128, tile=128)
    data = services.datasets.register(CHIEF, "Phantoms", str(path))
    admin.do(services, data.run_id)
    card = model / f"{SHIPPED}.toml"
    services._context.shelf.install(card, "guest", origin="imported", who="chief")
    run = services.registry.compare(CHIEF, SHIPPED, "guest", str(data.id))
    assert admin.do(services, run.id).state == "done"
    said = services.registry.comparison(CHIEF, run.id).source
    assert said.startswith("the test cases of “Phantoms” (it is not known what guest learnt from")
    number = services.adaptation.start(CHIEF, "guest", cases, "tent", 1, data.id).id
    assert admin.do(services, number).state == "done"
    assert "guest" in services.adaptation.outcome(CHIEF, number).notes[0]


def test_changed_predictions_come_with_their_pictures(services: Services, cases: list[str]) -> None:
    number = done(services, cases)
    rows = [
        {"case": cases[0], "before": [0.7, 0.1, 0.1, 0.1], "after": [0.2, 0.6, 0.1, 0.1],
         "changed": True},
        {"case": cases[1], "before": [0.7, 0.1, 0.1, 0.1], "after": [0.8, 0.1, 0.1, 0.0],
         "changed": False},
        {"case": "LB-gone", "before": [0.0, 0.1, 0.8, 0.1], "after": [0.2, 0.1, 0.1, 0.6],
         "changed": True},
    ]  # fmt: skip
    kept(services, number, rows=rows, source=None, accuracy=None)
    made = services.adaptation.outcome(CHIEF, number)
    first, second = made.changed
    assert (first.case_id, first.before, first.after) == (cases[0], "Normal", "Benign")
    assert (first.before_share, first.after_share) == (0.7, 0.6)
    assert first.picture.startswith(b"\x89PNG") and second.picture == b""
    assert made.sensitivity == made.accuracy == BeforeAfter(None, None)


def test_a_data_set_can_guard(services: Services, cases: list[str], tmp_path: Path) -> None:
    path = write_phantom_manifest(tmp_path / "set", 32, height=128, width=128, tile=128)
    data = services.datasets.register(CHIEF, "Phantoms", str(path))
    admin.do(services, data.run_id)
    number = done(services, cases, source=data.id)
    made = services.adaptation.outcome(CHIEF, number)
    assert made.source_accuracy.before is not None and made.divergence is not None
    run = services.registry.compare(CHIEF, SHIPPED, services.adaptation.accept(
        CHIEF, number, "fitted").name, str(data.id))  # fmt: skip
    assert admin.do(services, run.id).state == "done"
    found = services.registry.comparison(CHIEF, run.id)
    assert found.source == "the test cases of “Phantoms”" and 0 < found.cases < 32


def test_a_cancelled_adaptation_leaves_nothing(services: Services, cases: list[str]) -> None:
    number = services.adaptation.start(CHIEF, "", cases, "sar", 5).id
    info = admin.begin(services, number)
    folder = services._context.supervisor.folder(number)
    folder.ask("cancel")
    bench = admin.Bench.open(services.settings, services.store)
    code = admin.work._finish(bench, info, folder)
    assert code == 76 and admin.end(services, info, code).state == "cancelled"
    with pytest.raises(NotFound):
        services.adaptation.outcome(CHIEF, number)
    assert not (folder.path / "candidate").exists()


def test_adaptations_are_for_administrators(services: Services, cases: list[str]) -> None:
    service = services.adaptation
    calls: tuple[Callable[[User | None], Any], ...] = (
        lambda user: service.methods(user), lambda user: service.cases(user),
        lambda user: service.start(user, "", cases, "eata", 3),
        lambda user: service.outcome(user, 1), lambda user: service.accept(user, 1, "x"),
        lambda user: service.discard(user, 1),
    )  # fmt: skip
    for call in calls:
        for user in (None, ANN):
            with pytest.raises(NotAllowed):
                call(user)
