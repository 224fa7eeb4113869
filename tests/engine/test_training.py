"""Training by a tiny recipe: resumable to the bit, and what it writes loads again."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engine.cards import read_card
from engine.datasets.augment import Examples, augmented
from engine.datasets.problems import Check, Problem
from engine.datasets.source import Source
from engine.datasets.writing import write_phantom_manifest
from engine.errors import Cancelled, EngineError, InvalidRecipe, Paused
from engine.models.weights import save_weights, sha256_of
from engine.phantoms import phantom_case
from engine.phantoms.site import SITES
from engine.runs import RunFolder
from engine.training import checkpoints, order
from engine.training.__main__ import main
from engine.training.checkpoints import BEST, LAST, TrainingFailed, read_checkpoint
from engine.training.groups import decayed_weights, parameter_groups, trunk_depths
from engine.training.loop import Trainer
from engine.training.objective import Objective, fields_of
from engine.training.pcgrad import pcgrad
from engine.training.recipe_files import recipe_toml
from engine.training.recipes import Recipe
from engine.training.run import _key, built, one_device, train
from engine.training.sources import Splits, sources_of
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
        if len(steps) not in (2, 6, 7, 8):
            return loss, parts
        return loss * float("nan"), parts | {"total": torch.tensor(777.0)}

    monkeypatch.setattr(Objective, "forward", spoilt)
    rows: list[dict[str, Any]] = []
    recipe = tiny(optimiser__batch_size=2, optimiser__max_skipped=3)
    with pytest.raises(TrainingFailed, match="3 steps in a row"):
        trainer(recipe, splits, tmp_path, rows.append).fit()
    assert len(steps) == 8 and [row["skipped"] for row in rows] == [1]
    said = [e["loss"] for e in RunFolder(tmp_path).events() if e["event"] == "step"]
    assert said[1] == 777.0
    accepted = [said[0], *said[2:4]]
    assert rows[0]["total"] == pytest.approx(sum(accepted) / 3, rel=1e-6)
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


def first_batch(made: Trainer) -> tuple[Examples, torch.Tensor]:
    """The first step's cases as the step sees them, all pathology shown."""
    made.prepare()
    made.network.eval()  # nothing is drawn
    batch, seeds = next(iter(made.batches()))
    examples = augmented(batch, seeds, made.recipe.augmentation)
    return examples, examples.has_patho


def gradients(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


def test_portions_give_the_step_of_the_whole_batch(
    splits: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classes decompose over cases, so their gradients in two portions are those of one batch."""
    sound = Objective.forward

    def classes_alone(self: Objective, step: int, **inputs: Any) -> Any:
        _, parts = sound(self, step, **inputs)
        return parts["classification"], {"classification": parts["classification"]}

    monkeypatch.setattr(Objective, "forward", classes_alone)
    found = []
    for portions in (1, 2):
        recipe = tiny(optimiser__precision="32", optimiser__accumulation=portions)
        made = trainer(recipe, splits, tmp_path / str(portions))
        parts = made._backward(*first_batch(made))
        found.append((gradients(made.network), float(parts["classification"])))
    (whole, loss), (cut, other) = found
    assert loss == pytest.approx(other, rel=1e-5)
    assert whole.keys() == cut.keys() and "encoder.blocks.0.mlp.fc1.weight" in whole
    assert any(float(value.abs().max()) > 1e-3 for value in whole.values())
    for name, value in whole.items():
        assert torch.allclose(value, cut[name], rtol=1e-4, atol=1e-6), name


def test_grades_in_portions_of_as_many_graded_cases_decompose(
    splits: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = Objective.forward

    def grades_alone(self: Objective, step: int, **inputs: Any) -> Any:
        grade = torch.ones_like(inputs["grade"])  # each case has one, so portions weigh alike
        _, parts = sound(self, step, **{**inputs, "grade": grade})
        return parts["grading"], {"grading": parts["grading"]}

    monkeypatch.setattr(Objective, "forward", grades_alone)
    found = []
    for portions in (1, 2):
        recipe = tiny(
            optimiser__precision="32", optimiser__accumulation=portions,
            **{"network.ordinal": "coral"},
        )  # fmt: skip
        made = trainer(recipe, splits, tmp_path / str(portions))
        made._backward(*first_batch(made))
        found.append(gradients(made.network))
    assert any(float(value.abs().max()) > 1e-3 for value in found[0].values())
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("kind", ["irm", "vrex"])
def test_a_penalty_on_sites_is_part_of_the_loss(
    splits: dict[str, Source], tmp_path: Path, kind: str
) -> None:
    recipe = tiny(
        objective__generalisation=kind, objective__anneal_steps=2, objective__penalty=50.0,
        optimiser__precision="32",
    )  # fmt: skip
    made = trainer(recipe, splits, tmp_path)
    examples, present = first_batch(made)
    told = fields_of(examples, present)
    plain, _ = Objective(made.network, tiny(optimiser__precision="32"))(0, **told)
    objective = Objective(made.network, recipe)
    for step, factor in ((0, 1.0), (1, 1.0), (2, 50.0), (9, 50.0)):
        total, parts = objective(step, **told)
        penalty = float(parts["penalty"].detach())
        assert penalty > 0
        assert float((total - plain).detach()) == pytest.approx(factor * penalty, rel=1e-3)
        assert torch.equal(total, parts["total"])
        each = objective.losses(parts, step)
        assert float(each["penalty"].detach()) == pytest.approx(factor * penalty)
        summed = torch.stack(list(each.values())).sum()
        assert float(summed.detach()) == pytest.approx(float(total.detach()), rel=1e-5)


@pytest.mark.parametrize("kind", ["none", "vrex"])
def test_the_optimiser_begins_anew_with_the_full_penalty(
    splits: dict[str, Source], tmp_path: Path, kind: str
) -> None:
    recipe = tiny(objective__generalisation=kind, objective__anneal_steps=2)
    made = trainer(recipe, splits, tmp_path)
    made.prepare()
    (batch, seeds), *_ = made.batches()
    counts = []
    for _ in range(4):
        made.step(batch, seeds)
        counts.append({int(each["step"]) for each in made.state.optimiser.state.values()})
    assert counts == ([{1}, {2}, {1}, {2}] if kind == "vrex" else [{1}, {2}, {3}, {4}])


def test_projected_gradients_are_those_of_pcgrad(splits: dict[str, Source], tmp_path: Path) -> None:
    recipe = tiny(
        optimiser__pcgrad=True, optimiser__precision="32", objective__generalisation="vrex",
        objective__anneal_steps=5, objective__penalty=40.0,
    )  # fmt: skip
    made = trainer(recipe, splits, tmp_path)
    examples, present = first_batch(made)
    made._backward(examples, present)
    found = gradients(made.network)
    made.network.zero_grad()
    objective = Objective(made.network, recipe)
    total, parts = objective(0, **fields_of(examples, present))
    trunk = list(made.network.encoder.parameters())
    tasks = [
        list(torch.autograd.grad(loss, trunk, retain_graph=True, allow_unused=True))
        for loss in made.network.weighted_losses(parts, objective._weights).values()
    ]
    alone = torch.autograd.grad(parts["penalty"], trunk, retain_graph=True, allow_unused=True)
    tasks.append(list(alone))  # times 1, since annealing is not over
    generator = torch.Generator().manual_seed(order.step_seed(recipe.seed, 0, 0))
    wanted = pcgrad(tasks, generator)
    names = [f"encoder.{name}" for name, _ in made.network.encoder.named_parameters()]
    for name, gradient in zip(names, wanted, strict=True):
        assert (gradient is None) == (name not in found)
        if gradient is not None:
            assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-6), name
    total.backward()
    plain = gradients(made.network)
    fc1 = "encoder.blocks.0.mlp.fc1.weight"
    assert not torch.allclose(found[fc1] * len(tasks), plain[fc1], rtol=1e-3)
    head = "classification.layers.0.weight"
    assert torch.allclose(found[head], plain[head], rtol=1e-4, atol=1e-6)


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
    folder.say("step", site="A\u2028B\x85C")
    assert [event["event"] for event in folder.events()] == ["started", "", "resumed", "step"]
    assert folder.events()[2]["loss"] is None
    assert folder.events(len(folder.events()) - 1)[0]["site"] == "A\u2028B\x85C"
    assert folder.events(len(folder.events())) == []


def command(recipe: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "engine.training", str(recipe), "--out", str(out), *more]


def test_the_command_survives_sigkill_and_obeys(
    recipe: Recipe, splits: dict[str, Source], tmp_path: Path
) -> None:
    """A process is killed in its midst; the same command then finishes with the same weights."""
    told = tmp_path / "recipe.toml"
    told.write_text(recipe_toml(recipe), "utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    slow = ["--set", "optimiser.epochs=40", "--device", "cpu"]
    whole = trainer(tiny(optimiser__epochs=40), splits, tmp_path / "whole").fit()
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
    wanted, found = whole.state_dict(), load_file(out.path / "tiny.safetensors")
    assert wanted.keys() == found.keys()
    assert all(torch.allclose(v, found[n], rtol=1e-4, atol=1e-6) for n, v in wanted.items())


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


def test_the_last_epoch_is_kept_where_the_split_cannot_tell(
    recipe: Recipe, splits: dict[str, Source], tmp_path: Path
) -> None:
    """No figures: each epoch replaces the last; ties too, but these count as stale."""
    made = trainer(tiny(optimiser__patience=2), splits, tmp_path)
    nothing: dict[str, Any] = {"macro_auc": None, "box_iou": None}
    for _ in range(4):
        (tmp_path / BEST).unlink(missing_ok=True)
        assert made._judge(nothing) and (tmp_path / BEST).is_file()
        assert not made._is_stale()
    told = [made._judge({"macro_auc": value, "box_iou": None}) for value in (0.6, 0.6, 0.5)]
    assert told == [True, True, False] and made._is_stale()
    assert not made._judge(nothing) and made.state.best == 0.6
    assert made._judge({"macro_auc": float("nan"), "box_iou": 0.7}) and not made._is_stale()


class Labelled:
    """As much of a source as an order reads."""

    def __init__(self, labels: list[int]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)


def test_cases_without_a_label_are_no_class_of_their_own() -> None:
    labels = np.array([0] * 800 + [1] * 100 + [-1] * 100)
    drawn: Any = Labelled(labels.tolist())
    counts = np.zeros(3)
    for epoch in range(20):
        found = labels[order.epoch_order(drawn, 1, epoch, balanced=True).numpy()]
        counts += [(found == label).sum() for label in (0, 1, -1)]
    assert counts / counts.sum() == pytest.approx([0.45, 0.45, 0.1], abs=0.02)
    unknown: Any = Labelled([-1] * 6)
    assert len(order.epoch_order(unknown, 1, 0, balanced=True)) == 6


def test_checkpoints_say_why_they_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / LAST
    with pytest.raises(TrainingFailed, match="missing"):
        read_checkpoint(path)
    tmp_path.joinpath("folder").mkdir()
    with pytest.raises(TrainingFailed, match="cannot be opened"):
        read_checkpoint(tmp_path / "folder")
    checkpoints.write_checkpoint(path, {"a": torch.arange(1000.0)})
    whole = path.read_bytes()
    for damage in (b"", b"x", b"\x80\x02.", whole[:900], whole[: len(whole) // 2]):
        path.write_bytes(damage)
        with pytest.raises(TrainingFailed, match="damaged"):
            read_checkpoint(path)

    def exhausted(*arguments: Any, **named: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(checkpoints.torch, "load", exhausted)
    with pytest.raises(MemoryError):
        read_checkpoint(path)
    monkeypatch.setattr(checkpoints.torch, "save", exhausted)
    with pytest.raises(MemoryError):
        checkpoints.write_checkpoint(path, {})
    assert not list(tmp_path.glob("*.partial"))


def test_an_error_of_torch_that_is_no_full_disk_is_not_called_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sentence, kind in (("tensor is on meta", RuntimeError), ("PytorchStreamWriter", None)):

        def wrong(*arguments: Any, sentence: str = sentence) -> None:
            raise RuntimeError(sentence)

        monkeypatch.setattr(checkpoints.torch, "save", wrong)
        with pytest.raises(kind or TrainingFailed):
            checkpoints.write_checkpoint(tmp_path / LAST, {})


def test_weights_that_cannot_be_written_are_one_sentence(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 2)
    (tmp_path / "w.partial").mkdir()
    with pytest.raises(EngineError, match="weights cannot be written"):
        save_weights(network, tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()
    assert save_weights(network, tmp_path / "v.safetensors") == sha256_of(
        tmp_path / "v.safetensors"
    )


@pytest.mark.parametrize(
    ("number", "sentence"), [(errno.ENOSPC, "disk is full"), (errno.EMFILE, "cannot be used")]
)
def test_an_error_of_the_system_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, sentence: str
) -> None:
    def wrong(*arguments: Any, **named: Any) -> None:
        raise OSError(number, "somewhere", "/a/path")

    monkeypatch.setattr("engine.training.run.sources_of", wrong)
    with pytest.raises(TrainingFailed, match=sentence) as caught:
        train(tiny(), tmp_path, CPU)
    assert "/a/path" not in str(caught.value)


def test_sites_whose_names_look_alike_keep_their_figures() -> None:
    names = ("北", "東", "x_2")
    found: dict[str, int] = {}
    for number, name in enumerate(names):
        found[_key(f"at_{name}", found)] = number
    assert found == {"at__": 0, "at___2": 1, "at_x_2": 2}


def test_a_recipe_that_is_refused_leaves_the_one_of_the_folder(
    splits: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.training.run.sources_of", lambda *a, **k: Splits(**splits))
    monkeypatch.setattr("engine.training.run.RESAMPLES", 2)
    train(tiny(optimiser__epochs=1), tmp_path, CPU)
    before = (tmp_path / "recipe.toml").read_bytes()
    assert before == recipe_toml(tiny(optimiser__epochs=1)).encode()
    with pytest.raises(TrainingFailed, match="another network or recipe"):
        train(tiny(optimiser__epochs=2), tmp_path, CPU)
    assert (tmp_path / "recipe.toml").read_bytes() == before
    (tmp_path / BEST).unlink()
    with pytest.raises(TrainingFailed, match="missing"):
        train(tiny(optimiser__epochs=1), tmp_path, CPU)


def test_the_card_names_the_weights_that_were_read(
    splits: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the file is another one by the end of the training."""
    monkeypatch.setattr("engine.training.run.RESAMPLES", 2)
    first = tmp_path / "start.safetensors"
    digest = save_weights(built(tiny(seed=5)), first)

    def replaced(*arguments: Any, **named: Any) -> Splits:
        save_weights(built(tiny(seed=6)), first)
        return Splits(**splits)

    monkeypatch.setattr("engine.training.run.sources_of", replaced)
    recipe = tiny(optimiser__epochs=1, start__weights=str(first))
    path = train(recipe, tmp_path / "run", CPU)
    assert read_card(path).facts["start"] == f"weights of SHA-256 {digest}"
    assert str(first) not in path.read_text("utf-8")
    with pytest.raises(TrainingFailed, match="another network or recipe"):
        train(recipe, tmp_path / "run", CPU)  # the file is another one now


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of phantom patients of two sites."""
    folder = tmp_path_factory.mktemp("listed")
    return write_phantom_manifest(folder, 24, sites=SITES[:2], height=128, width=128, tile=128)


def of_manifest(listed: Path, **changes: Any) -> Recipe:
    told = {"data__source": "manifest", "data__manifest": str(listed)}
    return tiny(**told, data__fractions=(0.5, 0.25, 0.25), **changes)


def opened(recipe: Recipe, folder: Path) -> Splits:
    folder.mkdir(exist_ok=True)
    return sources_of(recipe, (32, 32), 8, folder)


def test_the_split_of_a_run_is_that_of_its_settings(listed: Path, tmp_path: Path) -> None:
    recipe = of_manifest(listed)
    first = opened(recipe, tmp_path)
    kept = (tmp_path / "split.json").read_bytes()
    assert opened(recipe, tmp_path).digests == first.digests
    assert (tmp_path / "split.json").read_bytes() == kept
    held = of_manifest(listed, data__hold_out_sites=(SITES[0].name,))
    without = opened(held, tmp_path)  # no checkpoint yet: made anew
    place = without.train.site_names.index(SITES[0].name)
    for part in (without.train, without.validation, without.test):
        assert place not in part.sites
    (tmp_path / LAST).write_bytes(b"begun")
    assert opened(held, tmp_path).digests == without.digests
    for other in (recipe, of_manifest(listed, data__split_seed=4)):
        with pytest.raises(InvalidRecipe, match="begun with another split"):
            opened(other, tmp_path)


def test_a_split_that_is_named_is_only_read(listed: Path, tmp_path: Path) -> None:
    absent = tmp_path / "mistyped.json"
    with pytest.raises(InvalidRecipe, match="no split at the place") as caught:
        opened(of_manifest(listed, data__split=str(absent)), tmp_path / "a")
    assert not absent.exists() and str(absent) not in str(caught.value)
    made = opened(of_manifest(listed), tmp_path / "b")
    named = tmp_path / "b" / "split.json"
    before = named.read_bytes()
    again = opened(of_manifest(listed, data__split=str(named)), tmp_path / "c")
    assert len(again.test) == len(made.test) and (again.test.patients == made.test.patients).all()
    assert named.read_bytes() == before and not (tmp_path / "c" / "split.json").exists()
    held = {"data__hold_out_sites": (SITES[0].name,)}
    with pytest.raises(InvalidRecipe, match="hold_out_sites keeps out"):
        opened(of_manifest(listed, data__split=str(named), **held), tmp_path / "d")


def test_the_data_are_checked_before_training(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.training.run.RESAMPLES", 2)
    recipe = of_manifest(listed, optimiser__epochs=1)
    lines = listed.read_text("utf-8").splitlines()
    wrong = listed.with_name("wrong.csv")
    cells = [line.split(",") for line in lines]
    for row in cells[1:6]:
        row[3] = "absent/mammography.png"
    wrong.write_text("\n".join(map(",".join, cells)) + "\n", "utf-8")
    with pytest.raises(InvalidRecipe, match="The data set cannot be used: ") as caught:
        train(of_manifest(wrong), tmp_path / "wrong", CPU)
    assert "absent/" not in str(caught.value) and not (tmp_path / "wrong" / LAST).exists()
    checked: list[Check] = []

    def warned(manifest: Any, progress: Any = None) -> Check:
        checked.append(Check((Problem("site", "warning", (), "One site only."),)))
        return checked[-1]

    monkeypatch.setattr("engine.training.run.check", warned)
    for _ in range(2):
        train(recipe, tmp_path / "run", CPU)
    assert len(checked) == 1  # a run that has begun is not checked again
    said = RunFolder(tmp_path / "run").events()
    assert [e["message"] for e in said if e["event"] == "warning"] == ["One site only."]
    assert said[0]["event"] == "started" and said[-1]["event"] == "finished"


def test_the_command_survives_a_folder_that_it_cannot_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    told = tmp_path / "recipe.toml"
    told.write_text(recipe_toml(tiny()), "utf-8")
    assert main([str(told), "--out", str(tmp_path / "file" / "out"), "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(tmp_path) not in said
