"""Data sets: registered, checked in a process of their own, looked at, and told without paths."""

from __future__ import annotations

import csv
import importlib.util
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from app.auth import User
from app.errors import InvalidInput, NotAllowed, NotFound
from app.services import Services
from app.services.run_cases import decoded_folder
from app.services.run_views import DatasetView
from app.services.runs import MOST_WAITING
from engine.datasets.writing import write_phantom_manifest


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kit, admin = _load("small_model"), _load("admin_world")
ANN, CHIEF = kit.ANN, kit.CHIEF
COUNT = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("DOE-JANE")
    return write_phantom_manifest(folder, COUNT, height=128, width=128, tile=128)


@pytest.fixture(autouse=True)
def small(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.use(monkeypatch, model)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = kit.open_services(tmp_path / "workspace")
    yield made
    made.close()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def manifest(whole: Path, name: str, change: Callable[[list[dict[str, str]]], Any]) -> Path:
    """A changed copy of the manifest beside the whole one, whose images it shares."""
    rows = rows_of(whole)
    change(rows)
    path = whole.with_name(name)
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(rows[0]), extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    return path


def view_of(services: Services, dataset_id: int) -> DatasetView:
    return next(view for view in services.datasets.list(CHIEF) if view.id == dataset_id)


def checked(services: Services, path: Path, name: str = "Phantoms") -> DatasetView:
    view = services.datasets.register(CHIEF, name, str(path))
    assert view.state == "checking" and view.rows == 0
    admin.do(services, view.run_id)
    return view_of(services, view.id)


def test_a_sound_data_set_becomes_ready(services: Services, whole: Path) -> None:
    view = checked(services, whole)
    assert (view.state, view.errors, view.rows, view.patients) == ("ready", 0, 2 * COUNT, COUNT)
    assert set(view.modalities) == {"mammography", "pathology"}
    assert sum(view.sites.values()) == sum(view.classes.values()) == 2 * COUNT
    assert len(view.digest) == 64 and view.who == "chief"
    run = services.runs.view(CHIEF, view.run_id or 0)
    assert (run.kind, run.state, run.title) == ("check", "done", "Check of “Phantoms”")


def test_pictures_are_spread_and_named_by_row(services: Services, whole: Path) -> None:
    view = services.datasets.register(CHIEF, "Phantoms", str(whole))
    assert services.datasets.thumbnails(CHIEF, view.id) == []
    admin.do(services, view.run_id)
    made = services.datasets.thumbnails(CHIEF, view.id, 8)
    captions = [caption for _, caption in made]
    assert len(made) == 8 and len(set(captions)) == 8
    assert len({caption.partition(": ")[2] for caption in captions}) == 8
    for data, caption in made:
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format == "PNG" and picture.size == (128, 128)
        assert caption.startswith("Row ") and "P0" not in caption
    assert len(services.datasets.thumbnails(CHIEF, view.id, 3)) == 3


def test_problems_are_listed_without_paths_or_patients(services: Services, whole: Path) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        rows[0]["class"] = "Odd"
        rows[2]["path"] = "gone/scan.png"

    view = checked(services, manifest(whole, "odd.csv", change))
    assert view.state == "refused" and view.errors >= 2
    problems = services.datasets.problems(CHIEF, view.id)
    assert [each.severity for each in problems] == sorted(each.severity for each in problems)
    assert {2, 4} <= {row for each in problems for row in each.rows}
    told = " ".join(each.message for each in problems) + str(view)
    for secret in ("gone", "scan.png", str(whole.parent), "P0001"):
        assert secret not in told


def test_a_table_that_is_none_is_one_problem(services: Services, tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    path.write_text("a,b\n1,2\n", "utf-8")
    view = checked(services, path)
    assert (view.state, view.errors, view.rows) == ("refused", 1, 0)
    problem = services.datasets.problems(CHIEF, view.id)[0]
    assert "lacks the columns" in problem.message


def test_a_mended_data_set_is_checked_again(services: Services, whole: Path) -> None:
    path = manifest(whole, "mend.csv", lambda rows: rows[0].update({"class": "Odd"}))
    view = checked(services, path)
    with pytest.raises(InvalidInput, match="not ready"):
        services.adaptation.start(CHIEF, "", [_case(services)], "eata", 3, view.id)
    path.write_text(whole.read_text("utf-8"), "utf-8")
    again = services.datasets.recheck(CHIEF, view.id)
    assert again.state == "checking"
    with pytest.raises(InvalidInput, match="not over yet"):
        services.datasets.recheck(CHIEF, view.id)
    admin.do(services, again.run_id)
    assert view_of(services, view.id).state == "ready"
    assert services.datasets.problems(CHIEF, view.id) == []


def _case(services: Services) -> str:
    return services.intake.keep(CHIEF, kit.small_case(), source="upload")


def test_a_check_that_did_not_end_is_told(services: Services, whole: Path) -> None:
    view = services.datasets.register(CHIEF, "Phantoms", str(whole))
    services.runs.cancel(CHIEF, view.run_id or 0)
    found = view_of(services, view.id)
    assert (found.state, found.message) == ("failed", "The check was cancelled.")


def test_a_check_is_cancelled_between_two_images(
    services: Services, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.runner.SAY_SECONDS", 0.0)
    view = services.datasets.register(CHIEF, "Phantoms", str(whole))
    number = view.run_id or 0
    info = admin.begin(services, number)
    folder = services._context.supervisor.folder(number)
    folder.ask("cancel")
    bench = admin.Bench.open(services.settings, services.store)
    code = admin.work._finish(bench, info, folder)
    assert code == 76 and admin.end(services, info, code).state == "cancelled"
    assert view_of(services, view.id).state == "failed"


def test_what_cannot_be_registered(services: Services, whole: Path) -> None:
    register = services.datasets.register
    for path in ("manifest.csv", "", "\0", "~/x.csv"):
        with pytest.raises(InvalidInput, match="whole path"):
            register(CHIEF, "A", path)
    for path in (str(whole.parent), str(whole.with_name("none.csv")), "/\0"):
        with pytest.raises(InvalidInput, match="no manifest at this place") as caught:
            register(CHIEF, "A", path)
        assert str(whole.parent) not in str(caught.value)
    for name in ("", "  ", "x" * 101):
        with pytest.raises(InvalidInput, match="name of a data set"):
            register(CHIEF, name, str(whole))
    with pytest.raises(InvalidInput, match="two classes"):
        register(CHIEF, "A", str(whole), "Benign")
    with pytest.raises(InvalidInput, match="two classes"):
        register(CHIEF, "A", str(whole), "Benign, Benign")
    with pytest.raises(InvalidInput, match="one of the classes"):
        register(CHIEF, "A", str(whole), "Normal, Benign", "Invasive")
    register(CHIEF, " A  set ", str(whole))
    with pytest.raises(InvalidInput, match="of this name already"):
        register(CHIEF, "a set", str(whole))
    assert [view.name for view in services.datasets.list(CHIEF)] == ["A set"]


def test_a_data_set_that_cannot_be_checked_is_not_kept(services: Services, whole: Path) -> None:
    for _ in range(MOST_WAITING):
        services.store.add_run("comparison", "A comparison", CHIEF.name, {})
    with pytest.raises(InvalidInput, match="waiting already"):
        services.datasets.register(CHIEF, "Phantoms", str(whole))
    assert services.datasets.list(CHIEF) == []


def test_copies_of_images_go_with_their_data_set(services: Services, whole: Path) -> None:
    view, other = checked(services, whole), checked(services, whole, "Others")
    folders = [decoded_folder(services.settings, each.id) for each in (view, other)]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "x.npz").touch()
    run = services.store.add_run("training", "A training", "chief", {"dataset": view.id}).id
    services.store.change_run(run, {"state": "failed"})
    with pytest.raises(InvalidInput, match="failed and may go on"):
        services.datasets.remove(CHIEF, view.id)
    services.runs.cancel(CHIEF, run)
    services.datasets.remove(CHIEF, view.id)
    assert not folders[0].exists() and folders[1].exists() and whole.is_file()


def test_a_data_set_in_use_is_kept_and_its_files_always(services: Services, whole: Path) -> None:
    view = services.datasets.register(CHIEF, "Phantoms", str(whole))
    with pytest.raises(InvalidInput, match="used by a run"):
        services.datasets.remove(CHIEF, view.id)
    admin.do(services, view.run_id)
    services.datasets.remove(CHIEF, view.id)
    assert whole.is_file()
    for call in (services.datasets.problems, services.datasets.thumbnails,
                 services.datasets.recheck, services.datasets.remove):  # fmt: skip
        with pytest.raises(NotFound):
            call(CHIEF, view.id)


def test_a_data_set_removed_under_its_check_is_told(services: Services, whole: Path) -> None:
    view = services.datasets.register(CHIEF, "Phantoms", str(whole))
    services.store.remove_dataset(view.id)
    failed = admin.do(services, view.run_id)
    assert (failed.state, failed.message) == ("failed", "There is no such data set.")


def test_a_manifest_changed_since_its_check_shows_no_pictures(
    services: Services, whole: Path
) -> None:
    path = manifest(whole, "late.csv", lambda rows: None)
    view = checked(services, path)
    manifest(whole, "late.csv", lambda rows: rows.pop())
    with pytest.raises(InvalidInput, match="changed since it was checked"):
        services.datasets.thumbnails(CHIEF, view.id)


def test_data_sets_are_for_administrators_and_on_record(services: Services, whole: Path) -> None:
    data = services.datasets
    calls: tuple[Callable[[User | None], Any], ...] = (
        lambda user: data.list(user), lambda user: data.register(user, "A", str(whole)),
        lambda user: data.problems(user, 1),
        lambda user: data.thumbnails(user, 1), lambda user: data.recheck(user, 1),
        lambda user: data.remove(user, 1),
    )  # fmt: skip
    for call in calls:
        for user in (None, ANN):
            with pytest.raises(NotAllowed):
                call(user)
    view = checked(services, whole)
    data.remove(CHIEF, view.id)
    said = [row.action for row in services.administration.audit(CHIEF)]
    assert said[:3] == ["dataset_remove", "run_check", "dataset_register"]
