"""The page "Which method": what it reads, says and draws; and the command that feeds it."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from app import cli
from app.commands import benchmark as command
from app.errors import NotAllowed
from app.services import Services
from app.services.benchmarks import FOLDER, Trust
from app.ui import trust
from app.ui.trust_figures import energy_figure, faithfulness_figure, sanity_figure
from app.ui.trust_html import absent, sorted_methods, tables, verdicts
from engine.benchmark import Benchmark, from_json, to_json
from engine.cards import read_card


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kit, drawn = _load("small_model"), _load("benchmark_sample")
IMAGE = "mammography"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = kit.write_model(tmp_path_factory.mktemp("model"))
    return folder


@pytest.fixture
def services(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.setattr("app.services.benchmarks.shipped_folder", lambda: tmp_path / "shipped")
    kit.use(monkeypatch, model)
    made = kit.open_services(tmp_path / "ws")
    (tmp_path / "ws" / FOLDER).mkdir()
    yield made
    made.close()


@pytest.fixture
def found(services: Services) -> Benchmark:
    """A benchmark of the active model, kept in the workspace."""
    made: Benchmark = drawn.sample(services.models.card())
    return keep(services, made, "new")


def keep(services: Services, benchmark: Benchmark, name: str) -> Benchmark:
    path = services.settings.workspace / FOLDER / f"{name}.json"
    path.write_text(to_json(benchmark), "utf-8")
    return from_json(path.read_text("utf-8"))


def test_the_newest_benchmark_of_the_same_weights_counts(
    services: Services, found: Benchmark
) -> None:
    keep(services, replace(found, made="2020-01-01T00:00:00+00:00"), "old")
    keep(
        services, replace(found, made="2030-01-01T00:00:00+00:00", weights_digest="0" * 64), "other"
    )
    got = services.benchmarks.trust(kit.ANN)
    assert got.benchmark == found and got.others == 1
    assert services.benchmarks.models(kit.ANN) == (("Small model, version 0", kit.NAME),)
    assert services.benchmarks.trust(kit.ANN, "no such model").card.name == kit.NAME


def test_damaged_files_are_skipped_without_telling_their_names(
    services: Services, found: Benchmark, caplog: pytest.LogCaptureFixture
) -> None:
    folder = services.settings.workspace / FOLDER
    (folder / "Doe-Jane.json").write_bytes(b"\xff\xfe{")
    (folder / "Doe-John.json").write_text('{"version": 9}', "utf-8")
    assert services.benchmarks.trust(kit.ANN).benchmark == found
    assert len(caplog.records) == 2 and "Doe" not in caplog.text


def test_only_those_who_are_signed_in_may_read(services: Services) -> None:
    for call in (services.benchmarks.models, services.benchmarks.trust):
        assert call.required_role is kit.Role.OBSERVER
        with pytest.raises(NotAllowed):
            call(None)


def test_without_a_benchmark_the_command_is_given(services: Services) -> None:
    got = services.benchmarks.trust(kit.ANN)
    assert got.benchmark is None
    view, order, top, *figures, below = trust.shown(got, None, "best")
    assert "lightbox benchmark-explainers --model crossmodal-demo" in top and below == ""
    assert got.card.weights_digest[:12] in top
    assert [each["visible"] for each in (view, order, *figures)] == [False] * 5
    assert "other weights" in absent(Trust(got.card, None, 1, "x"))


def test_the_page_says_what_was_measured_and_what_fails(
    services: Services, found: Benchmark
) -> None:
    got = services.benchmarks.trust(kit.ANN)
    view, order, top, energy, faithful, sanity, below = trust.shown(got, None, "best")
    assert view["value"] == "mammogram/mammography" and order["value"] == "best"
    for words in (
        found.weights_digest[:12], "18 of 24 right", "2026-01-02 03:04 UTC", found.command,
        "Does not find the lesion (1.0 x chance", "hardly changes when all weights are destroyed",
        "Prototypes reads prototypes", "7 without a lesion left out", "reach 5 x chance",
    ):  # fmt: skip
        assert words in top
    levels = re.findall(r'lbt-row is-(\w+)"', top)
    rank = ["use", "caution", "avoid", "unknown", "refused"]
    assert levels == sorted(levels, key=rank.index) and {"use", "avoid", "refused"} <= set(levels)
    assert all(each["visible"] for each in (energy, faithful, sanity))
    for words in ("Deletion ↓", "lower is better", "chance 0.55", "n 24", "What these numbers are"):
        assert words in below


def test_the_tables_can_be_ordered(found: Benchmark) -> None:
    (arm,) = found.arms
    names = [each.title for _, each in sorted_methods(arm, IMAGE, "name")]
    assert names == sorted(names, key=str.casefold) and "Prototypes" not in names
    for metric, rising in (("deletion", True), ("insertion", False)):
        values = [each.cell(metric, IMAGE).value for _, each in sorted_methods(arm, IMAGE, metric)]
        assert values == sorted(values, reverse=not rising) and len(set(values)) > 2
    places = [place for place, _ in sorted_methods(arm, IMAGE, "best")]
    assert places == list(range(1, len(places) + 1))


def test_unknown_choices_fall_back(services: Services, found: Benchmark) -> None:
    got = services.benchmarks.trust(kit.ANN)
    view, order, *_ = trust.shown(got, "nowhere/none", "not a metric")
    assert view["value"] == "mammogram/mammography" and order["value"] == "best"


def test_another_image_is_named_beside_the_verdicts(services: Services, found: Benchmark) -> None:
    (arm,) = found.arms
    got = services.benchmarks.trust(kit.ANN)
    words = "The verdicts are about the mammogram"
    assert words in verdicts(got, found, arm, "pathology")
    assert words not in verdicts(got, found, arm, IMAGE)


def test_words_are_escaped(services: Services, found: Benchmark) -> None:
    evil = "<img src=x onerror=alert(1)>"
    (arm,) = found.arms
    method = replace(arm.methods[0], title=evil)
    arm = replace(arm, methods=(method, *arm.methods[1:]), failed={evil: 1})
    card = replace(services.models.card(), title=evil)
    text = verdicts(Trust(card, found, 0, evil), found, arm) + tables(arm, IMAGE)
    text += absent(Trust(card, None, 0, evil))
    for figure in (energy_figure(arm, IMAGE), sanity_figure(arm), faithfulness_figure(arm, IMAGE)):
        text += json.dumps(figure.to_plotly_json(), default=str)
    assert "<img" not in text and "&lt;img" in text


def test_figures_hold_every_method_with_its_marks(found: Benchmark) -> None:
    (arm,) = found.arms
    energy = energy_figure(arm, IMAGE)
    assert energy is not None
    assert sum(len(trace.x) for trace in energy.data) == 6
    assert sorted(shape.x0 for shape in energy.layout.shapes) == [1.0, 5.0]
    assert energy.layout.xaxis.range[1] > max(max(trace.x) for trace in energy.data)
    sanity = sanity_figure(arm)
    assert sanity is not None and max(sanity.data[0].x) == pytest.approx(0.7)
    assert [shape.x0 for shape in sanity.layout.shapes] == [0.5]
    scatter = faithfulness_figure(arm, IMAGE)
    assert scatter is not None and sum(len(trace.x) for trace in scatter.data) == 6
    assert {shape.x0 for shape in scatter.layout.shapes} >= {0.55}
    for figure in (energy, sanity, scatter):
        assert "NaN" not in figure.to_json()
    nothing = replace(arm, methods=(arm.methods[-1],))
    assert energy_figure(nothing, IMAGE) is sanity_figure(nothing) is None
    assert faithfulness_figure(nothing, IMAGE) is None


def test_the_command_measures_and_keeps(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kit.use(monkeypatch, model)
    monkeypatch.setattr(command, "phantoms", lambda seed, count: [kit.small_case(seed)])
    out = tmp_path / "there" / "b.json"
    words = ("lightbox", "benchmark-explainers", "--cases", "1", "--seed", "9", "--device", "cpu",
             "--methods", "gradcam", "--arms", "mammogram", "--sanity-cases", "0",
             "--stability-cases", "0", "--out", str(out))  # fmt: skip
    monkeypatch.setattr(sys, "argv", list(words))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert "| Grad-CAM |" in said.out and "case 1: maps (1 of 1 passes" in said.err
    got = from_json(out.read_text("utf-8"))
    assert got.command == (
        "lightbox benchmark-explainers --model crossmodal-demo --cases 1 --seed 9 "
        "--methods gradcam --arms mammogram --sanity-cases 0 --stability-cases 0"
    )
    assert got.labels == {"Invasive": 1} and [each.name for each in out.parent.iterdir()] == [
        "b.json"
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--methods", "nothing"), "nothing"),
        (("--arms", "nowhere"), "There is no arm 'nowhere'"),
        (("--out", "."), "Name a file"),
    ],
)
def test_the_command_refuses_before_the_work(
    options: tuple[str, str],
    sentence: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kit.use(monkeypatch, model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["lightbox", "benchmark-explainers", "--device", "cpu", *options]
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert sentence in capsys.readouterr().err


def test_phantoms_go_on_until_enough_have_a_lesion() -> None:
    cases = list(command.phantoms(5_000_000, 2))
    marked = [case.truth is not None and case.truth.mask is not None for case in cases]
    assert sum(marked) == 2 and marked[-1]


def test_the_page_costs_no_torch() -> None:
    """Reading and drawing a benchmark must not load what measures it."""
    code = "import sys, engine.benchmark.table, app.ui.trust_html; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_ships_is_about_the_weights_that_ship() -> None:
    """The benchmark in the assets is of the demonstration weights, and one method localises."""
    folder = Path(__file__).resolve().parents[2] / "assets"
    shipped = from_json((folder / "benchmarks" / "crossmodal-demo.json").read_text("utf-8"))
    card = read_card(folder / "cards" / "crossmodal-demo.toml")
    assert shipped.weights_digest == card.weights_digest
    for arm in shipped.arms:
        first = arm.images[0]
        heat = [m.cell("energy_ratio", first) for m in arm.methods if not m.refused]
        assert max(c.low for c in heat if c is not None and c.n >= 8 and c.low is not None) >= 5
