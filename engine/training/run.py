"""From a recipe to weights and a model card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from engine.errors import InvalidRecipe
from engine.models.base import MODELS
from engine.models.breast import BreastCancerDiagnosisModel
from engine.models.weights import save_weights
from engine.training.data import SPLITS, phantom_split
from engine.training.evaluate import measure
from engine.training.loop import fit
from engine.training.recipes import Recipe


def train(
    recipe: Recipe,
    folder: Path,
    device: torch.device,
    *,
    report: Callable[[dict[str, Any]], None] = lambda row: None,
    workers: int = 2,
) -> Path:
    """Train by a recipe; write `<name>.safetensors` and `<name>.toml` into `folder`.

    The test split is looked at once, at the end.

    Returns:
        Path of the model card.
    """
    torch.manual_seed(recipe.seed)
    try:
        network = MODELS[recipe.system].build(recipe.network)
    except (TypeError, ValueError) as error:
        raise InvalidRecipe(f"The [network] table does not fit the system: {error}.") from None
    assert isinstance(network, BreastCancerDiagnosisModel)
    network.to(device)
    size = int(recipe.network.get("img_size", 224))
    sizes = (size, int(recipe.network.get("pathology_size", size)))
    cells = size // network.patch_size * network.lesion_map.cells
    counts = {
        "train": recipe.train_cases,
        "validation": recipe.validation_cases,
        "test": recipe.test_cases,
    }
    splits = {
        name: phantom_split(
            name, count, recipe.classes, sizes, cells, cache=folder / "phantoms", workers=workers
        )
        for name, count in counts.items()
    }
    best = fit(
        recipe, network, splits["train"], splits["validation"], folder, device, report=report
    )
    metrics = {
        "with_pathology": measure(best, splits["test"], device),
        "mammogram_only": measure(best, splits["test"], device, pathology=False),
    }
    digest = save_weights(best, folder / f"{recipe.name}.safetensors")
    card = folder / f"{recipe.name}.toml"
    card.write_text(card_text(recipe, metrics, digest), "utf-8")
    return card


def card_text(recipe: Recipe, metrics: Mapping[str, Any], digest: str) -> str:
    """The model card as TOML."""
    facts = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "epochs": recipe.epochs,
        "steps": recipe.epochs * -(-recipe.train_cases // recipe.batch_size),
        "train_cases": recipe.train_cases,
        "validation_cases": recipe.validation_cases,
        "test_cases": recipe.test_cases,
        "first_train_seed": SPLITS["train"],
        "first_test_seed": SPLITS["test"],
    }
    head = {
        "system": recipe.system,
        "version": recipe.version,
        "title": recipe.title,
        "intended_use": recipe.intended_use,
        "training_data": recipe.training_data,
        "limits": list(recipe.limits),
        "classes": list(recipe.classes),
        "grades": list(recipe.grades),
        "weights": f"{recipe.name}.safetensors",
        "weights_digest": digest,
    }
    tables = [("config", recipe.network), ("facts", facts)]
    tables += [(f"metrics.{name}", values) for name, values in metrics.items()]
    lines = [f"{key} = {_toml(value)}" for key, value in head.items()]
    for name, values in tables:
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {_toml(v)}" for key, v in values.items() if v is not None]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return json.dumps(value, ensure_ascii=False)
