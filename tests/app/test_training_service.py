"""Trainings: fields are checked before anything starts, and a model comes out on the shelf."""

from __future__ import annotations

import csv
import errno
import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from app.errors import InvalidInput, NotAllowed, NotFound
from app.services import Services, processes
from app.services import supervisor as supervising
from app.store.runs import LIVE
from engine.cards import read_card
from engine.datasets.writing import write_phantom_manifest


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kit, admin = _load("small_model"), _load("admin_world")
CHIEF = kit.CHIEF


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def small(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.use(monkeypatch, model)
    admin.quicken(monkeypatch)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = kit.open_services(tmp_path / "workspace")
    admin.add_recipe(made)
    yield made
    for run in made.store.runs(LIVE):
        if run.pid is not None:
            processes.end(run.pid, run.process)
    made.close()


def wrong(services: Services, **changes: str) -> list[tuple[str, str]]:
    named = {name.replace("__", "."): text for name, text in changes.items()}
    return services.training.validate(CHIEF, "tiny", named)


def test_recipes_and_their_fields_are_told(services: Services) -> None:
    assert {"tiny", "crossmodal-demo"} <= set(services.training.recipes(CHIEF))
    fields = {field.path: field for field in services.training.fields(CHIEF, "tiny")}
    assert fields["optimiser.epochs"].value == 2 and fields["network.embed_dim"].value == 16
    assert fields["optimiser.precision"].choices == ("bf16", "32")
    for call in (services.training.fields, services.training.validate):
        with pytest.raises(NotFound):
            call(CHIEF, "none", *([{}] if call == services.training.validate else []))


def test_wrong_fields_are_told_beside_the_field(services: Services) -> None:
    assert wrong(services) == []
    assert wrong(services, optimiser__epochs="5", seed="9") == []
    bad = wrong(services, optimiser__epochs="many", optimiser__batch_size="x")
    assert [path for path, _ in bad] == ["optimiser.epochs", "optimiser.batch_size"]
    assert "whole number" in bad[0][1]
    assert wrong(services, optimiser__warmup="3")[0][0] == "optimiser.warmup"
    assert wrong(services, optimiser__epochs="0")[0][0] == "optimiser.epochs"
    assert wrong(services, optimiser__speed="1")[0][0] == "optimiser.speed"
    assert wrong(services, data__source="cloud")[0][0] == "data.source"
    together = wrong(services, optimiser__batch_size="3", optimiser__accumulation="2")
    assert [path for path, _ in together] == [""] and "multiple" in together[0][1]
    for field in ("embed_dim", "colour"):
        found = wrong(services, **{f"network__{field}": "17"})
        assert found == [("network", found[0][1])] and "network" in found[0][1]


@pytest.mark.parametrize("path", ["name", "data.source", "data.manifest", "data.split"])
def test_what_names_files_is_not_typed(services: Services, path: str, tmp_path: Path) -> None:
    changes = {path: str(tmp_path / "x")}
    assert services.training.validate(CHIEF, "tiny", changes) == [
        (
            path,
            f"{path} cannot be typed; it follows from the name and the data set that are chosen.",
        ),
    ]
    with pytest.raises(InvalidInput, match="cannot be typed"):
        services.training.start(CHIEF, "tiny", "mine", changes)
    assert services.runs.list(CHIEF) == []


def test_a_recipe_of_a_manifest_needs_a_data_set(services: Services) -> None:
    assert "data set" in services.training.validate(CHIEF, "breast-real", {})[0][1]
    with pytest.raises(InvalidInput, match="please choose one"):
        services.training.start(CHIEF, "breast-real", "mine", {})


def test_an_impossible_network_is_refused_before_it_is_built(services: Services) -> None:
    for field, value in (("depth", "20000"), ("embed_dim", "100000"), ("img_size", "65536")):
        begun = time.monotonic()
        (found,) = wrong(services, **{f"network__{field}": value})
        assert found[0] == f"network.{field}" and time.monotonic() - begun < 1.0


def test_a_training_cannot_start_with_a_wrong_field_or_name(services: Services) -> None:
    start = services.training.start
    with pytest.raises(InvalidInput, match="whole number"):
        start(CHIEF, "tiny", "mine", {"optimiser.epochs": "many"})
    for name in ("", "Mine", "../mine", "a b", "x" * 61, "-a"):
        with pytest.raises(InvalidInput, match="name of a model"):
            start(CHIEF, "tiny", name, {})
    with pytest.raises(InvalidInput, match="of this name already"):
        start(CHIEF, "tiny", kit.NAME, {})
    start(CHIEF, "tiny", "mine", {})
    with pytest.raises(InvalidInput, match="will make a model of this name"):
        start(CHIEF, "tiny", "mine", {})
    for user in (None, kit.ANN):
        with pytest.raises(NotAllowed):
            start(user, "tiny", "other", {})
    assert len(services.runs.list(CHIEF)) == 1


def test_a_training_ends_in_a_candidate(services: Services) -> None:
    served = services.models.card()
    view = services.training.start(CHIEF, "tiny", "mine", {"optimiser.epochs": "1"})
    assert (view.state, view.kind, view.result) == ("queued", "training", "")
    assert admin.do(services, view.id).state == "done"
    assert services.runs.view(CHIEF, view.id).result == "mine"
    made = {each.name: each for each in services.registry.list(CHIEF)}["mine"]
    assert (made.origin, made.state, made.run_id, made.deletable) == (
        "trained", "candidate", view.id, True,
    )  # fmt: skip
    assert "mammogram_only" in made.metrics and made.title == "Tiny model"
    folder = services.settings.workspace / "models" / "mine"
    assert admin.files(folder) == {"mine.toml", "mine.safetensors"}
    assert read_card(folder / "mine.toml").weights_digest == made.digest
    assert services.models.card() == served
    case = services.intake.keep(CHIEF, kit.small_case(), source="upload")
    services.registry.activate(CHIEF, "mine")
    review = services.review.open(kit.ANN, case)
    assert len(review.viewer["layers"]) > 0
    assert services.store.latest_prediction(case, made.digest) is not None


def test_a_training_rests_and_goes_on_where_it_was(services: Services) -> None:
    number = services.training.start(CHIEF, "tiny", "mine", {}).id
    info = admin.begin(services, number)
    folder = services._context.supervisor.folder(number)

    def after_a_step() -> None:
        folder.ask("pause")

    code = _work(services, info, after_a_step)
    assert code == 75 and admin.end(services, info, code).state == "paused"
    assert services.runs.view(CHIEF, number).can_resume
    assert services.runs.view(CHIEF, number).share > 0
    services.runs.resume(CHIEF, number)
    assert admin.do(services, number).state == "done"
    assert services.store.model("mine") is not None
    words = [e["event"] for e in services.runs.events(CHIEF, number)]
    assert words.count("paused") == 1 and words[-1] == "finished"


def test_a_cancelled_training_leaves_no_model(services: Services) -> None:
    number = services.training.start(CHIEF, "tiny", "mine", {}).id
    info = admin.begin(services, number)
    folder = services._context.supervisor.folder(number)
    code = _work(services, info, lambda: folder.ask("cancel"))
    assert code == 76 and admin.end(services, info, code).state == "cancelled"
    assert services.store.models() == []


def _work(services: Services, info: Any, then: Any) -> int:
    """Do a run in this process, and do something after its first step."""
    from engine.runs import RunFolder

    say = RunFolder.say

    def saying(self: RunFolder, event: str, **facts: Any) -> None:
        say(self, event, **facts)
        if event == "step" and facts["step"] == 1:
            then()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "say", saying)
        bench = admin.Bench.open(services.settings, services.store)
        folder = services._context.supervisor.folder(info.id)
        return int(admin.work._finish(bench, info, folder))


def test_a_model_of_the_same_name_in_the_meantime_gets_its_own(
    services: Services, model: Path
) -> None:
    number = services.training.start(CHIEF, "tiny", "mine", {"optimiser.epochs": "1"}).id
    card = model / f"{kit.NAME}.toml"
    services._context.shelf.install(card, "mine", origin="imported", who="chief")
    admin.do(services, number)
    assert services.runs.view(CHIEF, number).result == "mine-2"
    assert {model.name for model in services.store.models()} == {"mine", "mine-2"}


def test_a_full_disk_is_one_sentence_and_leaves_everything_as_it_was(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/DOE/weights")

    number = services.training.start(CHIEF, "tiny", "mine", {"optimiser.epochs": "1"}).id
    monkeypatch.setattr("app.services.shelf.shutil.copyfile", full)
    failed = admin.do(services, number)
    assert failed.state == "failed" and "disk is full" in failed.message
    assert "DOE" not in failed.message and services.store.models() == []
    assert admin.files(services.settings.workspace / "models") == set()
    monkeypatch.undo()
    services.runs.resume(CHIEF, number)


def test_an_unforeseen_error_quotes_nothing(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(*_: Any, **__: Any) -> None:
        raise RuntimeError("patient DOE^JANE")

    number = services.training.start(CHIEF, "tiny", "mine", {}).id
    monkeypatch.setattr("engine.training.run.train", odd)
    failed = admin.do(services, number)
    assert failed.message.startswith("Something went wrong (ref ")


def test_a_data_set_decides_classes_and_is_used(services: Services, tmp_path: Path) -> None:
    path = write_phantom_manifest(tmp_path / "set", 24, height=128, width=128, tile=128)
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    malignant = {"In situ": "Malignant", "Invasive": "Malignant"}
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        for row in rows:
            table.writerow({**row, "class": malignant.get(row["class"], row["class"]), "grade": ""})
    data = services.datasets.register(
        CHIEF, "Phantoms", str(path), "Normal,Benign,Malignant", "Benign,Malignant"
    )
    early = services.training.validate(CHIEF, "tiny", {}, data.id)
    assert early[0][0] == "" and "not ready" in early[0][1]
    assert admin.do(services, data.run_id).state == "done"
    assert services.datasets.problems(CHIEF, data.id) == []
    assert services.datasets.list(CHIEF)[0].state == "ready"
    changes = {"optimiser.epochs": "1", "data.pairing": "patient"}
    number = services.training.start(CHIEF, "tiny", "three", changes, data.id).id
    done = admin.do(services, number)
    assert done.state == "done", done.message
    card = services.models.card("three")
    assert card.classes == ("Normal", "Benign", "Malignant")
    assert services.models.run(lambda system: system.card.name, "three") == "three"
    waiting = services.training.start(CHIEF, "tiny", "four", changes, data.id).id
    with path.open("a", encoding="utf-8") as stream:
        csv.DictWriter(stream, list(rows[0])).writerow(rows[0])
    assert "changed since" in admin.do(services, waiting).message
    services.datasets.recheck(CHIEF, data.id)
    admin.do(services, services.datasets.list(CHIEF)[0].run_id)
    services.runs.resume(CHIEF, waiting)
    assert "changed since" in admin.do(services, waiting).message
    with path.open("a", encoding="utf-8") as stream:
        csv.DictWriter(stream, list(rows[0])).writerow(rows[1])
    late = services.training.validate(CHIEF, "tiny", {}, data.id)
    assert "changed since" in late[0][1]


def test_a_real_worker_trains_and_is_cancelled(services: Services) -> None:
    """With the real command line, in a process of its own."""
    services.supervise()
    changes = {"optimiser.epochs": "2000"}
    number = services.training.start(CHIEF, "tiny", "mine", changes).id

    def wait(*states: str, steps: int = 0) -> Any:
        deadline = time.monotonic() + 120
        while True:
            view = services.runs.view(CHIEF, number)
            said = [e for e in services.runs.events(CHIEF, number) if e["event"] == "step"]
            if view.state in states and len(said) >= steps:
                return view
            assert time.monotonic() < deadline and view.state not in {"failed", "done"} - {*states}
            time.sleep(0.05)

    wait("running", steps=2)
    services.runs.cancel(CHIEF, number)
    view = wait("cancelled")
    assert view.memory_mb > 50 and view.minutes > 0 and services.store.models() == []
    assert services.runs.log(CHIEF, number) == ""


def test_the_command_refuses_a_run_that_nobody_started(services: Services) -> None:
    number = services.training.start(CHIEF, "tiny", "mine", {}).id
    made = subprocess.run(
        [*supervising._worker(number)],
        env=supervising._environment(services.settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 1 and "not started by a server" in made.stderr
    assert services.runs.view(CHIEF, number).state == "queued"
