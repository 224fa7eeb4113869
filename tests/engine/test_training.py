"""Training by a tiny recipe: resumable to the bit, and what it writes loads again."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.cards import read_card
from engine.errors import EngineError, InvalidRecipe
from engine.models import MODELS
from engine.models.weights import sha256_of
from engine.phantoms import phantom_case
from engine.training import loop
from engine.training.augment import augmented, plain
from engine.training.data import SPLITS, Batch, phantom_arrays, phantom_split
from engine.training.loop import TrainingFailed, fit
from engine.training.recipes import Recipe, read_recipe
from engine.training.run import train
from engine.workflow import explain, load_system, predict

CONFIG = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 1,
    "num_heads": 3,
    "adapter_dim": 8,
    "projection_dim": 8,
    "pathology_size": 32,
    "dropout": 0.1,
    "modality_dropout": 0.4,
}
CPU = torch.device("cpu")
torch.set_num_threads(1)  # nets this small only lose by sharing the processor


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe(
        name="tiny",
        title="Tiny",
        system="crossmodal",
        version="0.1",
        network=CONFIG,
        intended_use="Test model, not for diagnosis.",
        training_data="Eight phantoms.",
        limits=('Knows "nothing".', "Größe."),
        seed=11,
        train_cases=8,
        validation_cases=8,
        test_cases=8,
        epochs=3,
        batch_size=4,
        learning_rate=3e-3,
    )


def drawn(count: int, first: int) -> Batch:
    """Phantoms made in this process."""
    network = MODELS["crossmodal"].build(CONFIG)
    cells = 32 // network.patch_size * network.lesion_map.cells
    classes = ("Normal", "Benign", "In situ", "Invasive")
    rows = [phantom_arrays(first + n, classes, (32, 32), cells) for n in range(count)]
    return Batch(**{k: torch.from_numpy(np.stack([row[k] for row in rows])) for k in rows[0]})


@pytest.fixture(scope="module")
def splits() -> dict[str, Batch]:
    return {name: drawn(8, first) for name, first in SPLITS.items()}


def fitted(
    recipe: Recipe, splits: dict[str, Batch], folder: Path, report: Callable[[Any], None] = print
) -> dict[str, torch.Tensor]:
    """Weights after training in a folder, as a run by the recipe would do it."""
    torch.manual_seed(recipe.seed)
    network = MODELS["crossmodal"].build(recipe.network)
    best = fit(
        recipe, network, splits["train"], splits["validation"], folder, CPU,
        report=report,
    )  # fmt: skip
    return {name: value.clone() for name, value in best.state_dict().items()}


class Interrupted(Exception):
    """Somebody pressed Ctrl+C."""


def test_an_interrupted_run_goes_on_bit_for_bit(
    recipe: Recipe, splits: dict[str, Batch], tmp_path: Path
) -> None:
    whole = fitted(recipe, splits, tmp_path / "whole", lambda row: None)

    def stop(row: dict[str, Any]) -> None:
        raise Interrupted

    for _ in range(2):
        with pytest.raises(Interrupted):
            fitted(recipe, splits, tmp_path / "parts", stop)
    torch.manual_seed(999)
    parts = fitted(recipe, splits, tmp_path / "parts", lambda row: None)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    last = [
        torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "parts")
    ]
    for part in ("network", "averaged"):
        for name, value in last[0][part].items():
            assert torch.equal(value, last[1][part][name]), name
    assert last[0]["epoch"] == last[1]["epoch"] == 3 and last[0]["best"] == last[1]["best"]
    assert torch.equal(last[0]["random"], last[1]["random"])
    with (tmp_path / "parts" / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2", "3"]


def test_training_changes_the_network(
    recipe: Recipe, splits: dict[str, Batch], tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = []
    torch.manual_seed(recipe.seed)
    before = MODELS["crossmodal"].build(recipe.network).state_dict()
    after = fitted(replace(recipe, epochs=6), splits, tmp_path, rows.append)
    assert any(not torch.equal(before[name], value) for name, value in after.items())
    assert all(torch.isfinite(value).all() for value in after.values())
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["total"] < rows[0]["total"]
    assert all(row["skipped"] == 0 for row in rows)
    assert all(0 <= row["accuracy"] <= 1 and 0 <= row["box_iou"] <= 1 for row in rows)


def test_steps_that_are_not_finite_are_skipped_and_then_stop_the_run(
    recipe: Recipe, splits: dict[str, Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, steps = loop.loss_of, []

    def spoilt(network: Any, examples: Any) -> Any:
        steps.append(len(examples.label))
        loss, parts = sound(network, examples)
        return loss * (float("nan") if len(steps) in (2, 6, 7, 8) else 1.0), parts

    monkeypatch.setattr(loop, "loss_of", spoilt)
    rows: list[dict[str, Any]] = []
    with pytest.raises(TrainingFailed, match="3 steps in a row"):
        fitted(replace(recipe, batch_size=2, max_skipped=3), splits, tmp_path, rows.append)
    assert len(steps) == 8 and [row["skipped"] for row in rows] == [1]
    stored = torch.load(tmp_path / "last.pt", weights_only=True)
    assert stored["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in stored["network"].values())


def test_a_run_writes_a_card_and_weights_that_load_again(
    recipe: Recipe, splits: dict[str, Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def split(name: str, count: int, *_: Any, **__: Any) -> Batch:
        asked.append((name, count))
        return splits[name]

    monkeypatch.setattr("engine.training.run.phantom_split", split)
    rows: list[dict[str, Any]] = []
    path = train(replace(recipe, epochs=1), tmp_path, CPU, report=rows.append)
    assert asked == [("train", 8), ("validation", 8), ("test", 8)] and len(rows) == 1
    card = read_card(path)
    assert card.name == "tiny" and card.limits == recipe.limits
    assert card.weights_digest == sha256_of(tmp_path / card.weights)
    assert set(card.metrics) == {"with_pathology", "mammogram_only"}
    assert card.metrics["with_pathology"]["cases"] == 8
    assert card.facts["steps"] == 2 and card.facts["seed"] == 11
    system = load_system("tiny", device="cpu", folder=tmp_path)
    case = phantom_case(4, "Benign", height=128, width=128, tile=128)
    analysis = explain(system, case)
    assert len(analysis.explanations) == 4 and not analysis.refused
    again = predict(load_system("tiny", device="cpu", folder=tmp_path), case)
    assert dict(again.probabilities) == dict(predict(system, case).probabilities)


def test_a_split_made_before_is_read_from_disk(tmp_path: Path, splits: dict[str, Batch]) -> None:
    cells = splits["test"].mask.shape[-1]
    stored = tmp_path / "test-8-32-32.npz"
    np.savez(stored, **{k: v.numpy() for k, v in vars(splits["test"]).items()})
    classes = ("Normal", "Benign", "In situ", "Invasive")
    found = phantom_split("test", 8, classes, (32, 32), cells, cache=tmp_path)
    assert torch.equal(found.mammo, splits["test"].mammo) and len(found) == 8
    assert found.label.tolist() == [SPLITS["test"] % 4 + n % 4 for n in range(8)]


def test_augmentation_moves_box_and_mask_together(splits: dict[str, Batch]) -> None:
    batch = splits["train"]
    same = plain(batch)
    assert same.mammo.min() >= -1 and same.mammo.max() <= 1
    for seed in range(4):
        moved = augmented(batch, torch.Generator().manual_seed(seed))
        twice = augmented(batch, torch.Generator().manual_seed(seed))
        assert torch.equal(moved.mammo, twice.mammo) and torch.equal(moved.box, twice.box)
        assert moved.mammo.shape == same.mammo.shape and moved.mammo.abs().max() <= 1
        for n in torch.nonzero(moved.has_box).flatten().tolist():
            rows, columns = np.nonzero(moved.mask[n].numpy() > 0.5 * float(moved.mask[n].max()))
            side = moved.mask.shape[-1]
            x, y, width, height = (float(value) * side for value in moved.box[n])
            assert x - 1 <= columns.mean() + 0.5 <= x + width + 1
            assert y - 1 <= rows.mean() + 0.5 <= y + height + 1


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


SOUND = (
    'name = "x"\ntitle = "X"\nsystem = "crossmodal"\nversion = "1"\n'
    'intended_use = "None."\ntraining_data = "None."\nlimits = []\n'
)


def test_recipes(tmp_path: Path) -> None:
    path = written(tmp_path / "r.toml", SOUND + "[network]\nimg_size = 32\n")
    made = read_recipe(path, {"epochs": 2})
    assert made.epochs == 2 and made.network == {"img_size": 32} and made.limits == ()
    shipped = Path(__file__).parents[2] / "assets" / "recipes" / "crossmodal-demo.toml"
    assert read_recipe(shipped).name == "crossmodal-demo"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (SOUND + "magic = 1\nwand = 2\n[network]\n", "magic, wand"),
        (SOUND + "epochs = 0\n[network]\n", "epochs must be positive"),
        (SOUND + "learning_rate = -1.0\n[network]\n", "learning_rate must be positive"),
        ('name = "x"\n', "lacks fields"),
        ("name = ", "not valid TOML"),
    ],
)
def test_recipes_that_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InvalidRecipe, match=sentence):
        read_recipe(written(tmp_path / "r.toml", text))


def test_an_absent_recipe_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        read_recipe(tmp_path / "none.toml")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('epochs = "ten"', "epochs must be a whole number"),
        ("learning_rate = true", "learning_rate must be a number"),
        ("title = 3", "title must be text"),
        ("epochs = 0", "epochs must be positive"),
    ],
)
def test_a_recipe_with_a_wrong_value_names_it(tmp_path: Path, change: str, words: str) -> None:
    given = change.partition(" ")[0]
    demo = Path(__file__).resolve().parents[2] / "assets" / "recipes" / "crossmodal-demo.toml"
    lines = [x for x in demo.read_text("utf-8").splitlines() if not x.startswith(f"{given} =")]
    path = tmp_path / "recipe.toml"
    path.write_text("\n".join([change, *lines]), "utf-8")
    with pytest.raises(InvalidRecipe, match=words):
        read_recipe(path)


def test_a_recipe_says_which_fields_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "x"\ntitle = "x"\nsystem = "crossmodal"\nversion = "1"\n[network]\n')
    with pytest.raises(InvalidRecipe, match="intended_use, training_data, limits"):
        read_recipe(path)
