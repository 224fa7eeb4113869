"""The registry: what serves can be changed and changed back; what is needed is kept."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.auth import User
from app.errors import InvalidInput, NotAllowed, NotFound, StaleRecord
from app.services import Services, registry
from app.services.shelf_views import served
from app.store import ActivationInfo
from engine.errors import ModelUnavailable
from engine.metrics.protocol import QUESTIONS
from engine.records import AnswerStatus
from tests.app.shelf_world import (
    ANN,
    CHIEF,
    SHIPPED,
    admin,
    kit,
    model,
    services,
    small,
    states,
    two,
)


def test_models_are_listed_the_active_one_first(two: Services) -> None:
    listed = two.registry.list(CHIEF)
    assert listed[0].name == SHIPPED
    assert states(two) == {SHIPPED: "active", "one": "candidate", "two": "candidate"}
    assert {view.origin for view in listed} == {"shipped", "trained"}
    assert [view.deletable for view in listed] == [False, True, True]


def test_a_model_serves_at_once_and_the_one_before_returns(two: Services) -> None:
    case = two.intake.keep(CHIEF, kit.small_case(), source="upload")
    registry = two.registry
    before = two.models.card()
    two.review.open(ANN, case)
    assert registry.can_roll_back(CHIEF) == ""
    with pytest.raises(InvalidInput, match="no model before"):
        registry.roll_back(CHIEF)
    assert registry.activate(CHIEF, "one").state == "active"
    assert two.models.active == "one" and two.models.card().title == "Other model"
    digest = two.models.card().weights_digest
    assert two.store.latest_prediction(case, digest) is None
    two.review.open(ANN, case)
    found = two.store.latest_prediction(case, digest)
    assert found is not None and found[1].model == "one"
    assert registry.can_roll_back(CHIEF) == SHIPPED
    registry.activate(CHIEF, "two")
    assert states(two) == {"two": "active", "one": "retired", SHIPPED: "available"}
    assert registry.roll_back(CHIEF).name == "one"
    assert registry.can_roll_back(CHIEF) == SHIPPED
    assert registry.roll_back(CHIEF).name == SHIPPED and registry.can_roll_back(CHIEF) == ""
    assert two.models.card() == before
    rows = two.administration.audit(CHIEF)
    said = [(row.action, row.object) for row in rows if row.action.startswith("model_")]
    assert said[:4] == [
        ("model_roll_back", SHIPPED), ("model_roll_back", "one"),
        ("model_activate", "two"), ("model_activate", "one"),
    ]  # fmt: skip


def test_another_server_sees_the_change(two: Services, tmp_path: Path) -> None:
    other = kit.open_services(tmp_path / "workspace")
    assert other.models.active == SHIPPED
    two.registry.activate(CHIEF, "one")
    deadline = time.monotonic() + 10
    while other.models.active != "one":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    other.close()


def test_at_most_two_models_are_in_memory_and_none_is_changed(two: Services) -> None:
    weights = {
        name: (two.models.folder(name) / two.models.card(name).weights).read_bytes()
        for name in (SHIPPED, "one", "two")
    }
    for name in (SHIPPED, "one", "two", SHIPPED):
        assert two.models.run(lambda system: system.card.name, name) == name
        assert len(two.models._systems) <= 2
    assert [key[0] for key in two.models._systems] == ["two", SHIPPED]
    for name, data in weights.items():
        assert (two.models.folder(name) / two.models.card(name).weights).read_bytes() == data


def test_a_damaged_model_is_not_activated(two: Services) -> None:
    path = two.models.folder("one") / "w.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelUnavailable, match="not the ones its card describes"):
        two.registry.activate(CHIEF, "one")
    assert two.models.active == SHIPPED and two.store.activations() == []
    with pytest.raises(ModelUnavailable):
        two.registry.export(CHIEF, "one")
    (two.models.folder("two") / "two.toml").unlink()
    with pytest.raises(ModelUnavailable):
        two.registry.activate(CHIEF, "two")
    broken = {view.name: view for view in two.registry.list(CHIEF)}["two"]
    assert broken.problem and broken.deletable and len(two.models.cards()) == 2
    with pytest.raises(NotFound):
        two.registry.activate(CHIEF, "none")


def test_two_who_change_the_model_at_once_are_told(
    two: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = two.models.run

    def slow(work: Callable[[Any], Any], name: str | None = None, **more: Any) -> Any:
        digest = two.models.card("two").weights_digest
        two.store.add_activation("two", digest, "other")
        return run(work, name, **more)

    monkeypatch.setattr(two.models, "run", slow)
    with pytest.raises(StaleRecord):
        two.registry.activate(CHIEF, "one")
    assert [change.model for change in two.store.activations()] == ["two"]


def test_a_roll_back_does_not_take_back_what_was_not_on_the_screen(
    two: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.registry.activate(CHIEF, "one")
    digest = two.models.card("two").weights_digest
    look = registry.shown

    def late(context: Any) -> Any:
        found = look(context)
        if found.last == 1:
            two.store.add_activation("two", digest, "other")
        return found

    monkeypatch.setattr(registry, "shown", late)
    with pytest.raises(StaleRecord, match="Somebody else"):
        two.registry.roll_back(CHIEF)
    assert two.store.active_model() == "two"


def test_a_model_that_is_deleted_while_it_is_loaded_does_not_serve(
    two: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = two.models.run

    def slow(work: Callable[[Any], Any], name: str | None = None, **more: Any) -> Any:
        found = run(work, name, **more)
        two.registry.delete(CHIEF, "one")
        return found

    monkeypatch.setattr(two.models, "run", slow)
    with pytest.raises(StaleRecord, match="deleted or replaced"):
        two.registry.activate(CHIEF, "one")
    assert two.store.activations() == []
    with pytest.raises(StaleRecord, match="deleted or replaced"):
        two.store.add_activation("two", "f" * 64, "chief")


def test_a_model_that_comes_to_serve_while_it_is_deleted_stays(
    two: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = registry.model_view

    def slow(context: Any, name: str) -> Any:
        found = view(context, name)
        two.store.add_activation(name, found.digest, "other")
        return found

    monkeypatch.setattr(registry, "model_view", slow)
    with pytest.raises(StaleRecord, match="Somebody else"):
        two.registry.delete(CHIEF, "one")
    assert two.models.folder("one").is_dir() and two.store.active_model() == "one"


def test_a_model_that_is_rated_while_it_is_deleted_stays(two: Services) -> None:
    case = two.intake.keep(CHIEF, kit.small_case(), source="upload")
    digest = two.models.card("one").weights_digest
    two.store.keep_rating(
        case=case, reader="ann", question=QUESTIONS[0].id, method="relevance", target="Benign",
        status=AnswerStatus.ANSWERED, value=4, comment="", weights_digest=digest,
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="rated its maps"):
        two._context.shelf.remove("one", after=0)
    assert two.models.folder("one").is_dir()


def test_two_installations_under_one_name_spare_the_first(
    two: Services, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = two._context.shelf
    monkeypatch.setattr(shelf, "require_free", lambda name: name)  # both have asked already
    before = admin.files(shelf.folder), two.models.card("one")
    card = admin.variant(model, tmp_path / "late", 0.7)
    with pytest.raises(InvalidInput, match="name already"):
        shelf.install(card, "one", origin="imported", who="chief")
    assert (admin.files(shelf.folder), two.models.card("one")) == before
    assert two.registry.activate(CHIEF, "one").state == "active"


def test_a_folder_that_no_model_has_is_in_nobodys_way(
    two: Services, model: Path, tmp_path: Path
) -> None:
    shelf = two._context.shelf
    (shelf.folder / "three").mkdir()
    (shelf.folder / "three" / "old.txt").write_text("left")
    card = admin.variant(model, tmp_path / "three", 0.7)
    shelf.install(card, "three", origin="imported", who="chief")
    found = sorted(path.name for path in (shelf.folder / "three").iterdir())
    assert found == ["three.toml", "w.safetensors"]
    assert not list(shelf.folder.glob(".draft-*"))


def test_what_was_left_behind_is_swept_at_the_next_start(two: Services) -> None:
    exports = two.settings.workspace / "gradio" / "exports"
    old, new = two._context.shelf.folder / ".draft-old", two._context.shelf.folder / ".draft-new"
    for folder in (old, new, exports / "old", exports / "new"):
        folder.mkdir(parents=True)
    for folder in (old, exports / "old"):
        os.utime(folder, (1, 1))
    kit.open_services(two.settings.workspace).close()
    assert [old.exists(), new.exists()] == [False, True]
    assert [path.name for path in exports.iterdir()] == ["new"]


def test_names_that_are_paths_are_no_models(two: Services, tmp_path: Path, model: Path) -> None:
    shutil.copyfile(model / f"{SHIPPED}.toml", model.parent / "outside.toml")
    for name in ("../outside", f"../{model.name}/{SHIPPED}", str(model.parent / "outside"), ""):
        with pytest.raises(ModelUnavailable):
            two.models.folder(name)
    assert two.models.folder(SHIPPED) == model


def changes(*steps: str) -> list[ActivationInfo]:
    """Activations, "<" before the name for a roll-back."""
    made: list[Any] = [
        ActivationInfo(
            n,
            step.lstrip("<"),
            "",
            "roll_back" if step[0] == "<" else "activate",
            "",
            None,  # type: ignore[arg-type]
        )
        for n, step in enumerate(steps)
    ]
    return made


@pytest.mark.parametrize(
    ("steps", "stack"),
    [
        ((), [SHIPPED]),
        (("a", "b"), [SHIPPED, "a", "b"]),
        (("a", "b", "<a"), [SHIPPED, "a"]),
        (("a", "b", "<a", f"<{SHIPPED}"), [SHIPPED]),
        (("a", "gone", "b"), [SHIPPED, "a", "b"]),
        (("a", "gone", "a"), [SHIPPED, "a"]),
        (("a", "b", "a"), [SHIPPED, "a", "b", "a"]),
        (("a", "b", "<a", "b"), [SHIPPED, "a", "b"]),
    ],
)
def test_what_a_roll_back_returns_to(steps: tuple[str, ...], stack: list[str]) -> None:
    assert served(changes(*steps), {SHIPPED: "", "a": "", "b": ""}) == stack


def test_other_weights_under_an_old_name_never_served(
    two: Services, model: Path, tmp_path: Path
) -> None:
    assert served(changes("a", "b"), {SHIPPED: "", "a": "other", "b": ""}) == [SHIPPED, "b"]
    registry = two.registry
    for name in ("one", "two"):
        registry.activate(CHIEF, name)
    registry.activate(CHIEF, SHIPPED)
    registry.delete(CHIEF, "one")
    card = admin.variant(model, tmp_path / "again", 0.7)
    two._context.shelf.install(card, "one", origin="imported", who="chief")
    assert states(two)["one"] == "candidate" and states(two)["two"] == "retired"
    registry.roll_back(CHIEF)
    assert two.models.active == "two" and registry.can_roll_back(CHIEF) == SHIPPED


def test_models_that_are_needed_are_kept(two: Services) -> None:
    registry = two.registry

    def kept(name: str, words: str) -> None:
        with pytest.raises(InvalidInput, match=words):
            registry.delete(CHIEF, name)
        assert name in states(two)

    kept(SHIPPED, "ships with Lightbox")
    registry.activate(CHIEF, "one")
    kept("one", "in use")
    registry.activate(CHIEF, "two")
    kept("one", "roll-back")
    registry.roll_back(CHIEF)
    run = registry.compare(CHIEF, "two", SHIPPED)
    kept("two", "run that is not over")
    two.runs.cancel(CHIEF, run.id)
    registry.delete(CHIEF, "two")
    with pytest.raises(NotFound):
        registry.delete(CHIEF, "two")
    assert registry.can_roll_back(CHIEF) == SHIPPED


def test_ratings_stay_with_their_weights(two: Services) -> None:
    case = two.intake.keep(CHIEF, kit.small_case(), source="upload")
    two.registry.activate(CHIEF, "one")
    two.review.open(ANN, case)
    for value, revision in ((4, 0), (5, 1)):
        two.ratings.rate(
            ANN, case=case, question=QUESTIONS[0].id, method="relevance", target="Benign",
            status="answered", value=value, comment="", revision=revision,
        )  # fmt: skip
    shown = two.ratings.form(ANN, case, method="relevance", target="Benign")["weights"]
    assert shown == two.models.card("one").weights_digest
    two.registry.activate(CHIEF, "two")
    two.registry.activate(CHIEF, SHIPPED)
    two.review.open(CHIEF, case)
    with pytest.raises(StaleRecord, match="Another model is in use"):
        two.ratings.rate(
            ANN, case=case, question=QUESTIONS[0].id, method="relevance", target="Benign",
            status="answered", value=3, comment="", revision=2, weights=shown,
        )  # fmt: skip
    views = {view.name: view for view in two.registry.list(CHIEF)}
    assert {name: view.ratings for name, view in views.items()} == {"one": 1, "two": 0, SHIPPED: 0}
    with pytest.raises(InvalidInput, match="rated its maps"):
        two.registry.delete(CHIEF, "one")


def test_two_models_are_compared_on_the_same_cases(two: Services) -> None:
    view = two.registry.compare(CHIEF, SHIPPED, "one")
    with pytest.raises(NotFound, match="not done"):
        two.registry.comparison(CHIEF, view.id)
    assert admin.do(two, view.id).state == "done"
    found = two.registry.comparison(CHIEF, view.id)
    assert (found.a, found.b, found.cases) == (SHIPPED, "one", 8)
    assert found.source == "phantoms that neither has seen"
    rows = {row[0]: row[1:] for row in found.rows}
    a, b, difference, low, high = rows["accuracy"]
    assert difference == pytest.approx(b - a) and low <= difference <= high
    assert 0 <= found.disagreements <= 8
    for a_name, b_name, words in ((SHIPPED, SHIPPED, "two different"),):
        with pytest.raises(InvalidInput, match=words):
            two.registry.compare(CHIEF, a_name, b_name)
    with pytest.raises(ModelUnavailable):
        two.registry.compare(CHIEF, "one", "none")
    with pytest.raises(NotFound):
        two.registry.compare(CHIEF, "one", "two", 77)
    with pytest.raises(InvalidInput, match="phantoms or a data set"):
        two.registry.compare(CHIEF, "one", "two", "cloud")


def test_the_registry_is_for_administrators(two: Services) -> None:
    registry = two.registry
    calls: tuple[Callable[[User | None], Any], ...] = (
        lambda user: registry.list(user), lambda user: registry.compare(user, "one", "two"),
        lambda user: registry.comparison(user, 1), lambda user: registry.activate(user, "one"),
        lambda user: registry.can_roll_back(user), lambda user: registry.roll_back(user),
        lambda user: registry.export(user, "one"), lambda user: registry.delete(user, "one"),
        lambda user: registry.import_file(user, Path("x")),
    )  # fmt: skip
    for call in calls:
        for user in (None, ANN):
            with pytest.raises(NotAllowed):
                call(user)
    assert states(two) == {SHIPPED: "active", "one": "candidate", "two": "candidate"}
