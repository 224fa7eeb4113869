"""From a recipe to weights and a model card."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from engine.datasets.check import check
from engine.datasets.manifest import read_manifest
from engine.datasets.source import Source
from engine.errors import InvalidRecipe
from engine.models.base import MODELS
from engine.models.breast import BreastCancerDiagnosisModel
from engine.models.starting import StartReport, start_from
from engine.models.weights import save_weights
from engine.runs import RunFolder
from engine.training.card import card_text
from engine.training.checkpoints import CLOSING, LAST, TrainingFailed
from engine.training.evaluate import FIGURES, measure
from engine.training.journal import Report
from engine.training.loop import Trainer
from engine.training.recipe_files import recipe_toml
from engine.training.recipes import Recipe
from engine.training.sources import Splits, sources_of

RECIPE_FILE = "recipe.toml"
RESAMPLES = 2000
SHOWN = 3
"""Errors of a data set that its refusal names."""
CLOSED_DISK = "The training cannot go on: the disk is full, or closed to Lightbox."
NO_FILE = "The training cannot go on: a file or folder that it needs cannot be used."
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
    try:
        run = RunFolder(folder)
        if fabric.is_global_zero:
            run.clear()
        fabric.barrier()
        return _train(recipe, folder, fabric, run, report, processes)
    except OSError as error:
        raise TrainingFailed(CLOSED_DISK if error.errno in CLOSING else NO_FILE) from None


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
    """Arguments of the network, with as many classes and grades as the recipe names.

    Which class each grade is goes with them where the network would not guess it.
    """
    classes, grades = recipe.classes, recipe.grades
    counts = {"num_classes": len(classes), "num_grades": max(2, len(grades))}
    if len(classes) != counts["num_grades"] + 1 or grades == classes[1:]:
        return {**recipe.network, **counts}
    named = [classes.index(name) for name in grades if name in classes]
    graded = named if len(named) == counts["num_grades"] else []
    return {"graded_classes": graded, **recipe.network, **counts}


def built(recipe: Recipe) -> BreastCancerDiagnosisModel:
    """The network of a recipe, seeded, with the weights that it starts from.

    Raises:
        InvalidRecipe: The network table does not fit the system.
        ModelUnavailable: The weights to start from are absent or do not fit.
    """
    return _begun(recipe)[0]


def _begun(recipe: Recipe) -> tuple[BreastCancerDiagnosisModel, StartReport | None]:
    """See `built`; with what it started from, None for random weights."""
    torch.manual_seed(recipe.seed)
    try:
        network = MODELS[recipe.system].build(network_table(recipe))
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        told = str(error).partition("\n")[0].rstrip(".")
        raise InvalidRecipe(f"The [network] table does not fit the system: {told}.") from None
    if not isinstance(network, BreastCancerDiagnosisModel):
        raise InvalidRecipe(f"System {recipe.system} is not trained by this kind of recipe.")
    if not recipe.start.weights:
        return network, None
    source = recipe.start.weights
    return network, start_from(network, source, classes=recipe.classes, grades=recipe.grades)


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
    network, start = _begun(recipe)
    sizes, cells = input_sizes(recipe, network)
    if fabric.is_global_zero:
        run.say("started", name=recipe.name, seed=recipe.seed)
        if not (folder / LAST).is_file():
            _check_data(recipe, run)
        sources_of(recipe, sizes, cells, folder, processes=processes)  # makes what others read
    fabric.barrier()
    splits = sources_of(recipe, sizes, cells, folder, processes=processes)
    network.to(fabric.device)
    trainer = Trainer(
        fabric, recipe, folder, network, splits.train, splits.validation,
        run_facts(recipe, splits, start), report,
    )  # fmt: skip
    trainer.resume()
    if fabric.is_global_zero:
        _write(folder / RECIPE_FILE, recipe_toml(recipe))
    best = trainer.fit()
    card = folder / f"{recipe.name}.toml"
    if fabric.is_global_zero:
        metrics = test_figures(best, splits.test, fabric.device, recipe)
        digest = save_weights(best, folder / f"{recipe.name}.safetensors")
        facts = card_facts(recipe, splits, trainer, start)
        _write(card, card_text(_as_carded(recipe), facts, metrics, digest))
        run.say("finished", card=card.name, metrics=metrics)
    fabric.barrier()
    return card


def _write(path: Path, text: str) -> None:
    """Write a text via a temporary name, so that it is whole or as it was."""
    draft = path.with_name(f"{path.name}.partial")
    draft.write_text(text, "utf-8")
    draft.replace(path)


def _check_data(recipe: Recipe, run: RunFolder) -> None:
    """Say what is wrong with the data set.

    Raises:
        InvalidRecipe: Something is wrong that keeps training from starting.
        InvalidManifest: The manifest cannot be read as a table.
        Paused, Cancelled: Somebody asked for it.
    """
    if recipe.data.source != "manifest":
        return
    manifest = read_manifest(Path(recipe.data.manifest), recipe.classes, recipe.grades)
    found = check(manifest, progress=lambda done, whole: run.obey())
    for problem in found.problems:
        if problem.severity == "warning":
            run.say("warning", message=problem.message)
    errors = [p.message.rstrip(".") for p in found.problems if p.severity == "error"]
    if errors:
        more = len(errors) - SHOWN
        told = [*errors[:SHOWN], *([f"and {more} more"] if more > 0 else [])]
        raise InvalidRecipe(f"The data set cannot be used: {'; '.join(told)}.")


def run_facts(recipe: Recipe, splits: Splits, start: StartReport | None) -> dict[str, Any]:
    """What a checkpoint must agree with to be gone on from."""
    facts: dict[str, Any] = {"recipe": recipe_digest(recipe), "data": splits.digests}
    return facts | {"start": start.digest} if start is not None and start.digest else facts


def recipe_digest(recipe: Recipe) -> str:
    """SHA-256 of the recipe as written, hexadecimal."""
    return hashlib.sha256(recipe_toml(recipe).encode("utf-8")).hexdigest()


def _as_carded(recipe: Recipe) -> Recipe:
    """The recipe as its card states it: the network whole, and what the pairing limits."""
    limits = recipe.limits
    if recipe.data.source == "manifest" and recipe.data.pairing == "label":
        limits = (*limits, ARTIFICIAL)
    return replace(recipe, limits=limits, network=network_table(recipe))


def card_facts(
    recipe: Recipe, splits: Splits, trainer: Trainer, start: StartReport | None
) -> dict[str, Any]:
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
        "start": _start(start),
        "train_data": splits.train.digest,
        "test_data": splits.test.digest,
    }


def _start(start: StartReport | None) -> str:
    """What the training started from, in words; a file by its digest, never by its place."""
    if start is None:
        return "random weights"
    return f"weights of SHA-256 {start.digest}" if start.digest else start.source


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
            found[_key(f"mammogram_only_{name}", found)] = {
                key: part[key] for key in ("cases", *FIGURES) if part[key] is not None
            }
    return found


def _key(text: str, taken: Container[str] = ()) -> str:
    """A text as a bare TOML key, numbered from 2 where another text has become the same one."""
    key = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in text)
    names = (f"{key}_{number}" if number > 1 else key for number in count(1))
    return next(name for name in names if name not in taken)
