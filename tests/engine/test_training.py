"""Training by a tiny recipe: resumable to the bit, and what it writes loads again."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.cards import read_card
from engine.datasets.source import Source
from engine.errors import Cancelled, EngineError, Paused
from engine.models.weights import sha256_of
from engine.phantoms import phantom_case
from engine.runs import RunFolder
from engine.training import checkpoints
from engine.training.checkpoints import BEST, LAST, TrainingFailed, read_checkpoint
from engine.training.groups import decayed_weights, parameter_groups, trunk_depths
from engine.training.loop import Trainer
from engine.training.objective import Objective
from engine.training.recipe_files import recipe_toml
from engine.training.recipes import Recipe
from engine.training.run import built, one_device, train
from engine.training.sources import Splits
from engine.workflow import explain, load_system, predict
from tests.engine.training_world import CPU, small_splits, tiny

torch.set_num_threads(1)  # nets this small only lose by sharing the processor
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return tiny()


@pytest.fixture(scope="module")
def splits(recipe: Recipe) -> dict[str, Source]:
    return small_splits(recipe)


def trainer(recipe: Recipe, splits: dict[str, Source], folder: Path, report: Any = None) -> Trainer:
    return Trainer(
        one_device(recipe, CPU), recipe, folder, built(recipe), splits["train"],
        splits["validation"], {"recipe": "tiny"}, report,
    )  # fmt: skip


def same(first: Any, second: Any) -> bool:
    """Whether two checkpoints hold the same bits."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(v, second[k]) for k, v in first.items())
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


@pytest.mark.parametrize("stops", [(1,), (1, 2, 3), (4, 5)])
def test_a_paused_run_goes_on_bit_for_bit(
    recipe: Recipe, splits: dict[str, Source], tmp_path: Path, stops: tuple[int, ...]
) -> None:
    trainer(recipe, splits, tmp_path / "whole").fit()
    folder = RunFolder(tmp_path / "parts")
    for stop in stops:
        torch.manual_seed(stop)  # nothing may hang on what was drawn before
        part = trainer(recipe, splits, tmp_path / "parts")
        sound = part._journal_step

        def watched(part: Trainer = part, sound: Any = sound, stop: int = stop) -> None:
            sound()
            if part.state.step == stop:
                folder.ask("pause")

        part._journal_step = watched  # type: ignore[method-assign]
        with pytest.raises(Paused):
            part.fit()
        folder.clear()
        assert part.state.step == stop
    trainer(recipe, splits, tmp_path / "parts").fit()
    for name in (LAST, BEST):
        ends = [read_checkpoint(tmp_path / part / name) for part in ("whole", "parts")]
        assert same(*ends), name
    said = [[e["loss"] for e in RunFolder(tmp_path / part).events() if e["event"] == "step"]
            for part in ("whole", "parts")]  # fmt: skip
    assert said[0] == said[1] and len(said[0]) == 6
    with (tmp_path / "parts" / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2", "3"]
    assert list((tmp_path / "parts" / "tensorboard").iterdir())


def test_a_run_that_is_killed_goes_on_from_its_last_checkpoint(
    recipe: Recipe, splits: dict[str, Source], tmp_path: Path
) -> None:
    whole = trainer(recipe, splits, tmp_path / "whole")
    whole.fit()

    class Killed(Exception):
        pass

    def kill(row: dict[str, Any]) -> None:
        raise Killed

    with pytest.raises(Killed):
        trainer(recipe, splits, tmp_path / "parts", kill).fit()
    (tmp_path / "parts" / "last.partial").write_bytes(b"half a checkpoint")
    trainer(recipe, splits, tmp_path / "parts").fit()
    assert same(*(read_checkpoint(tmp_path / part / LAST) for part in ("whole", "parts")))
    assert not (tmp_path / "parts" / "last.partial").exists()


def test_a_cancelled_run_says_so(recipe: Recipe, splits: dict[str, Source], tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.ask("cancel")
    with pytest.raises(Cancelled):
        trainer(recipe, splits, tmp_path).fit()
    assert folder.events()[-1]["event"] == "cancelled"


def test_a_full_disk_leaves_the_last_checkpoint(
    recipe: Recipe, splits: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer(tiny(optimiser__epochs=1), splits, tmp_path).fit()
    before = (tmp_path / LAST).read_bytes()

    def full(content: Any, stream: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.torch, "save", full)
    with pytest.raises(TrainingFailed, match="disk is full"):
        trainer(recipe, splits, tmp_path).fit()
    assert (tmp_path / LAST).read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))


def test_a_folder_of_another_recipe_is_refused(
    recipe: Recipe, splits: dict[str, Source], tmp_path: Path
) -> None:
    trainer(tiny(optimiser__epochs=1), splits, tmp_path).fit()
    other = trainer(recipe, splits, tmp_path)
    other.facts = {"recipe": "other"}
    with pytest.raises(TrainingFailed, match="another network or recipe"):
        other.fit()
    (tmp_path / LAST).write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingFailed, match="damaged"):
        trainer(recipe, splits, tmp_path).fit()


def test_training_changes_the_network(splits: dict[str, Source], tmp_path: Path) -> None:
    recipe = tiny(optimiser__epochs=6)
    rows: list[dict[str, Any]] = []
    before = built(recipe).state_dict()
    after = trainer(recipe, splits, tmp_path, rows.append).fit().state_dict()
    assert any(not torch.equal(before[name], value) for name, value in after.items())
    assert all(torch.isfinite(value).all() for value in after.values())
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["total"] < rows[0]["total"]
    assert all(row["skipped"] == 0 for row in rows)
    assert all(0 <= row["accuracy"] <= 1 and 0 <= row["box_iou"] <= 1 for row in rows)


def test_steps_that_are_not_finite_are_skipped_and_then_stop_the_run(
    splits: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, steps = Objective.forward, []

    def spoilt(self: Any, step: int, **inputs: Any) -> Any:
        steps.append(step)
        loss, parts = sound(self, step, **inputs)
        return loss * (float("nan") if len(steps) in (2, 6, 7, 8) else 1.0), parts

    monkeypatch.setattr(Objective, "forward", spoilt)
    rows: list[dict[str, Any]] = []
    recipe = tiny(optimiser__batch_size=2, optimiser__max_skipped=3)
    with pytest.raises(TrainingFailed, match="3 steps in a row"):
        trainer(recipe, splits, tmp_path, rows.append).fit()
    assert len(steps) == 8 and [row["skipped"] for row in rows] == [1]
    stored = read_checkpoint(tmp_path / LAST)
    assert stored["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in stored["network"].values())


def test_bf16_stays_finite_over_two_hundred_steps(tmp_path: Path) -> None:
    """Acceptance check 20, the part about training."""
    recipe = tiny(
        data__train_cases=32, optimiser__epochs=25, optimiser__precision="bf16",
        data__validation_cases=8,
    )  # fmt: skip
    splits = {
        "train": small_splits(recipe, 32)["train"],
        "validation": small_splits(recipe)["test"],
    }
    trainer(recipe, splits, tmp_path).fit()
    losses = [e["loss"] for e in RunFolder(tmp_path).events() if e["event"] == "step"]
    assert len(losses) == 200 and all(loss is not None for loss in losses)
    assert sum(losses[-20:]) < sum(losses[:20])
    stored = read_checkpoint(tmp_path / LAST)
    assert stored["skipped"] == 0
    assert all(torch.isfinite(value).all() for value in stored["network"].values())


def test_early_stopping_ends_a_run_that_gets_no_better(
    splits: dict[str, Source], tmp_path: Path
) -> None:
    recipe = tiny(
        optimiser__epochs=30, optimiser__patience=2, optimiser__learning_rate=1e-12,
        optimiser__ema=1.0,
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    trainer(recipe, splits, tmp_path, rows.append).fit()
    assert len(rows) == 3


def test_portions_give_the_step_of_the_whole_batch(
    splits: dict[str, Source], tmp_path: Path
) -> None:
    """Without parts that look across the batch, two portions are one batch."""
    plain = {
        "optimiser__precision": "32", "objective__alignment": 0.0, "network.mixstyle": 0.0,
        "network.dropout": 0.0, "optimiser__epochs": 1, "objective__modality_dropout": 0.0,
    }  # fmt: skip
    losses = []
    for portions in (1, 2):
        recipe = tiny(**plain, optimiser__accumulation=portions)
        rows: list[dict[str, Any]] = []
        trainer(recipe, splits, tmp_path / str(portions), rows.append).fit()
        losses.append(rows[0]["classification"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("kind", ["irm", "vrex"])
def test_a_penalty_on_sites_is_part_of_the_loss(
    splits: dict[str, Source], tmp_path: Path, kind: str
) -> None:
    recipe = tiny(
        objective__generalisation=kind, objective__anneal_steps=2, objective__penalty=50.0
    )
    rows: list[dict[str, Any]] = []
    trainer(recipe, splits, tmp_path, rows.append).fit()
    assert all(row["penalty"] >= 0 for row in rows) and any(row["penalty"] > 0 for row in rows)


def test_projected_gradients_train_too(splits: dict[str, Source], tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    recipe = tiny(optimiser__pcgrad=True, optimiser__epochs=6)
    trainer(recipe, splits, tmp_path, rows.append).fit()
    assert rows[-1]["total"] < rows[0]["total"]


def test_groups_go_by_module_and_not_by_name(recipe: Recipe) -> None:
    """Acceptance check 14: no matrix of a trunk MLP learns at the heads' rate."""
    slow = tiny(optimiser__trunk_rate=0.1, optimiser__layer_decay=0.5)
    network = built(slow)
    groups = parameter_groups(network, slow.optimiser)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(rates) == len(list(network.parameters()))
    block = network.encoder.blocks[0]
    head = slow.optimiser.learning_rate
    assert rates[id(block.mlp.fc1.weight)] == pytest.approx(head * 0.1)
    assert rates[id(network.encoder.cls_token)] == pytest.approx(head * 0.05)
    assert rates[id(block.adapter1["mammography"].up.weight)] == head
    assert rates[id(network.classification.layers[0].weight)] == head
    assert rates[id(network.task_weights.log_variances)] == pytest.approx(10 * head)
    assert decays[id(network.task_weights.log_variances)] == 0
    assert decays[id(network.alignment.logit_scale)] == decays[id(network.mammo_gate)] == 0
    assert decays[id(block.mlp.fc1.weight)] == slow.optimiser.weight_decay
    assert trunk_depths(network) and decayed_weights(network)


def test_a_run_writes_a_card_and_weights_that_load_again(
    recipe: Recipe, splits: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.training.run.sources_of", lambda *a, **k: Splits(**splits))
    rows: list[dict[str, Any]] = []
    path = train(tiny(optimiser__epochs=1), tmp_path, CPU, report=rows.append)
    assert len(rows) == 1
    card = read_card(path)
    assert card.name == "tiny" and card.limits == recipe.limits
    assert card.weights_digest == sha256_of(tmp_path / card.weights)
    assert {"with_pathology", "mammogram_only"} <= set(card.metrics)
    figures = card.metrics["with_pathology"]
    assert figures["cases"] == 8
    low, high = figures["accuracy_interval"]
    assert low <= figures["accuracy"] <= high
    assert card.facts["steps"] == 2 and card.facts["seed"] == 11
    assert card.facts["train_data"] == splits["train"].digest
    system = load_system("tiny", device="cpu", folder=tmp_path)
    case = phantom_case(4, "Benign", height=128, width=128, tile=128)
    analysis = explain(system, case)
    assert len(analysis.explanations) == 4 and not analysis.refused
    again = predict(load_system("tiny", device="cpu", folder=tmp_path), case)
    assert dict(again.probabilities) == dict(predict(system, case).probabilities)


def test_a_card_of_three_classes_loads_again(tmp_path: Path) -> None:
    recipe = tiny(
        classes=("Normal", "Benign", "Invasive"), grades=("Benign", "Invasive"),
        data__train_cases=9, data__validation_cases=6, data__test_cases=6, optimiser__epochs=1,
    )  # fmt: skip
    train(recipe, tmp_path, CPU)
    system = load_system("tiny", device="cpu", folder=tmp_path)
    case = phantom_case(4, "Benign", height=128, width=128, tile=128)
    assert set(predict(system, case).probabilities) == {"Normal", "Benign", "Invasive"}


def test_a_line_that_was_torn_costs_no_other(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.say("started")
    with (tmp_path / "events.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"event": "st')
    assert [event["event"] for event in folder.events()] == ["started"]
    folder.say("resumed", loss=float("nan"))
    assert [event["event"] for event in folder.events()] == ["started", "resumed"]
    assert folder.events()[1]["loss"] is None


def command(recipe: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "engine.training", str(recipe), "--out", str(out), *more]


def test_the_command_survives_sigkill_and_obeys(recipe: Recipe, tmp_path: Path) -> None:
    """A process is killed in its midst; the same command then finishes with the same weights."""
    told = tmp_path / "recipe.toml"
    told.write_text(recipe_toml(recipe), "utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    slow = ["--set", "optimiser.epochs=40", "--device", "cpu"]
    out = RunFolder(tmp_path / "run")
    process = subprocess.Popen(command(told, out.path, *slow), cwd=ROOT, env=environment)
    until = time.monotonic() + 90
    while time.monotonic() < until and not (out.path / LAST).exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (out.path / LAST).exists() and not (out.path / "tiny.toml").exists()
    done = subprocess.run(
        command(told, out.path, *slow), cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = [event["event"] for event in out.events()]
    assert said.count("started") == 2 and said[-1] == "finished"
    assert json.loads((out.path / "events.jsonl").read_text("utf-8").splitlines()[0])["time"]
    assert read_card(out.path / "tiny.toml").facts["epochs"] == 40


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path / "none.toml", tmp_path / "out"), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr == "There is no recipe at this place.\n"
    assert RunFolder(tmp_path / "out").events()[-1]["message"] == done.stderr.strip()


def test_an_impossible_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="does not fit the system"):
        train(tiny(**{"network.num_heads": 5}), tmp_path, CPU)


STILL = {
    "network.dropout": "0.0",
    "network.mixstyle": "0.0",
    "optimiser.precision": "32",
    "optimiser.epochs": "3",
    "objective.generalisation": "vrex",
    "objective.anneal_steps": "2",
}
"""Nothing that a process draws for its own share; the penalty looks across all shares."""


def test_two_processes_give_the_curve_of_one(recipe: Recipe, tmp_path: Path) -> None:
    told = tmp_path / "recipe.toml"
    told.write_text(recipe_toml(recipe), "utf-8")
    changes = [part for k, v in STILL.items() for part in ("--set", f"{k}={v}")]
    fabric = [sys.executable, "-m", "lightning_fabric.cli", "--accelerator", "cpu"]
    script = str(ROOT / "engine" / "training" / "__main__.py")
    starts = {
        "one": command(told, tmp_path / "one", *changes, "--device", "cpu"),
        "two": [
            *fabric, "--devices", "2", "--strategy", "ddp", script, str(told),
            "--out", str(tmp_path / "two"), *changes,
        ],
    }  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    curves, figures = {}, {}
    for name, start in starts.items():
        done = subprocess.run(start, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        said = RunFolder(tmp_path / name).events()
        curves[name] = [event["loss"] for event in said if event["event"] == "step"]
        figures[name] = [e["validation"]["accuracy"] for e in said if e["event"] == "epoch"]
    assert len(curves["one"]) == 6 and max(curves["one"]) - min(curves["one"]) > 0.05
    assert curves["two"] == pytest.approx(curves["one"], rel=1e-3)
    assert figures["two"] == figures["one"]
