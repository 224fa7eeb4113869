"""From a recipe to weights and a model card."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from engine.datasets.source import Source
from engine.errors import InvalidRecipe
from engine.models.base import MODELS
from engine.models.breast import BreastCancerDiagnosisModel
from engine.models.starting import start_from
from engine.models.weights import save_weights, sha256_of
from engine.runs import RunFolder
from engine.training.card import card_text
from engine.training.checkpoints import FULL, TrainingFailed
from engine.training.evaluate import FIGURES, measure
from engine.training.journal import Report
from engine.training.loop import Trainer
from engine.training.recipe_files import recipe_toml
from engine.training.recipes import Recipe
from engine.training.sources import Splits, sources_of

RECIPE_FILE = "recipe.toml"
RESAMPLES = 2000
ARTIFICIAL = "Pairs of mammogram and pathology are artificial: of different patients, same class."


def train(
    recipe: Recipe,
    folder: Path,
    device: torch.device | str = "cpu",
    *,
    fabric: Fabric | None = None,
    report: Report | None = None,
    processes: int = 2,
) -> Path:
    """Train by a recipe; write `<name>.safetensors` and `<name>.toml` into `folder`.

    Called again with the same recipe and folder, it goes on where it was. The test split is looked
    at once, at the end.

    Args:
        device: Where to run, when `fabric` is None.
        fabric: Processes, devices and precision; launched.
        report: Called with each epoch's row. processes: How many make phantoms.

    Returns:
        Path of the model card.

    Raises:
        InvalidRecipe: The recipe does not fit the system or the data.
        EngineError: The data cannot be used, or training cannot go on.
        Paused, Cancelled: Somebody asked for it through the folder.
    """
    fabric = fabric or one_device(recipe, torch.device(device))
    run = RunFolder(folder)
    if fabric.is_global_zero:
        run.clear()
    fabric.barrier()
    try:
        return _train(recipe, folder, fabric, run, report, processes)
    except OSError:
        raise TrainingFailed(FULL) from None


def one_device(recipe: Recipe, device: torch.device) -> Fabric:
    """A Fabric of one process on one device, in the recipe's precision."""
    return Fabric(
        accelerator="cuda" if device.type == "cuda" else "cpu",
        devices=1,
        precision=precision_of(recipe),
    )


def precision_of(recipe: Recipe) -> Any:
    """Fabric's word for the recipe's precision."""
    return "bf16-mixed" if recipe.optimiser.precision == "bf16" else "32-true"


def network_table(recipe: Recipe) -> dict[str, Any]:
    """Arguments of the network, with as many classes and grades as the recipe names."""
    counts = {"num_classes": len(recipe.classes), "num_grades": max(2, len(recipe.grades))}
    return {**recipe.network, **counts}


def built(recipe: Recipe) -> BreastCancerDiagnosisModel:
    """The network of a recipe, seeded, with the weights that it starts from.

    Raises:
        InvalidRecipe: The network table does not fit the system.
        ModelUnavailable: The weights to start from are absent or do not fit.
    """
    torch.manual_seed(recipe.seed)
    try:
        network = MODELS[recipe.system].build(network_table(recipe))
    except (TypeError, ValueError) as error:
        raise InvalidRecipe(f"The [network] table does not fit the system: {error}.") from None
    if not isinstance(network, BreastCancerDiagnosisModel):
        raise InvalidRecipe(f"System {recipe.system} is not trained by this kind of recipe.")
    if recipe.start.weights:
        start_from(network, recipe.start.weights)
    return network


def input_sizes(recipe: Recipe, network: BreastCancerDiagnosisModel) -> tuple[tuple[int, int], int]:
    """Sides of the mammogram and pathology inputs, and of the lesion grid."""
    size = int(recipe.network.get("img_size", 224))
    sizes = (size, int(recipe.network.get("pathology_size", size)))
    return sizes, size // network.patch_size * network.lesion_map.cells


def _train(
    recipe: Recipe,
    folder: Path,
    fabric: Fabric,
    run: RunFolder,
    report: Report | None,
    processes: int,
) -> Path:
    if recipe.optimiser.pcgrad and fabric.world_size > 1:
        raise InvalidRecipe("optimiser.pcgrad runs in one process only.")
    network = built(recipe)
    sizes, cells = input_sizes(recipe, network)
    if fabric.is_global_zero:
        (folder / RECIPE_FILE).write_text(recipe_toml(recipe), "utf-8")
        run.say("started", name=recipe.name, seed=recipe.seed)
        sources_of(recipe, sizes, cells, folder, processes=processes)  # makes what others read
    fabric.barrier()
    splits = sources_of(recipe, sizes, cells, folder, processes=processes)
    network.to(fabric.device)
    trainer = Trainer(
        fabric, recipe, folder, network, splits.train, splits.validation,
        {"recipe": recipe_digest(recipe), "data": splits.digests}, report,
    )  # fmt: skip
    best = trainer.fit()
    card = folder / f"{recipe.name}.toml"
    if fabric.is_global_zero:
        metrics = test_figures(best, splits.test, fabric.device, recipe)
        digest = save_weights(best, folder / f"{recipe.name}.safetensors")
        facts = card_facts(recipe, splits, trainer)
        card.write_text(card_text(_as_carded(recipe), facts, metrics, digest), "utf-8")
        run.say("finished", card=card.name, metrics=metrics)
    fabric.barrier()
    return card


def recipe_digest(recipe: Recipe) -> str:
    """SHA-256 of the recipe as written, hexadecimal."""
    return hashlib.sha256(recipe_toml(recipe).encode("utf-8")).hexdigest()


def _as_carded(recipe: Recipe) -> Recipe:
    """The recipe as its card states it: the network whole, and what the pairing limits."""
    limits = recipe.limits
    if recipe.data.source == "manifest" and recipe.data.pairing == "label":
        limits = (*limits, ARTIFICIAL)
    return replace(recipe, limits=limits, network=network_table(recipe))


def card_facts(recipe: Recipe, splits: Splits, trainer: Trainer) -> dict[str, Any]:
    """What the card states of the training."""
    state = trainer.state
    return {
        "recipe": recipe.name,
        "recipe_digest": recipe_digest(recipe),
        "seed": recipe.seed,
        "epochs": state.epoch,
        "steps": state.step,
        "skipped_steps": state.skipped,
        "batch_size": recipe.optimiser.batch_size,
        "learning_rate": recipe.optimiser.learning_rate,
        "train_cases": len(splits.train),
        "validation_cases": len(splits.validation),
        "test_cases": len(splits.test),
        "train_patients": len(set(splits.train.patients.tolist())),
        "sites": list(splits.train.site_names),
        "start": _start(recipe.start.weights),
        "train_data": splits.train.digest,
        "test_data": splits.test.digest,
    }


def _start(weights: str) -> str:
    """What the training started from, in words; a file by its digest, never by its place."""
    if not weights:
        return "random weights"
    path = Path(weights)
    return f"weights of SHA-256 {sha256_of(path)}" if path.is_file() else weights


def test_figures(
    network: BreastCancerDiagnosisModel, test: Source, device: torch.device, recipe: Recipe
) -> dict[str, Mapping[str, Any]]:
    """Figures of the test split with patient-level intervals, with pathology and without, by site.

    Raises:
        EngineError: The test split cannot be read.
    """
    workers = recipe.data.workers
    found: dict[str, Mapping[str, Any]] = {}
    if recipe.data.pairing != "none":
        found["with_pathology"] = measure(
            network, test, device, resamples=RESAMPLES, workers=workers
        )
    found["mammogram_only"] = measure(
        network, test, device, pathology=False, resamples=RESAMPLES, workers=workers
    )
    for number, name in enumerate(test.site_names):
        rows = torch.from_numpy((test.sites == number).nonzero()[0])
        if 0 < len(rows) < len(test):
            part = measure(network, test.subset(rows), device, pathology=False, workers=workers)
            found[_key(f"mammogram_only_{name}")] = {
                key: part[key] for key in ("cases", *FIGURES) if part[key] is not None
            }
    return found


def _key(text: str) -> str:
    """A text as a bare TOML key."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in text)
