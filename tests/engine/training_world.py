"""A recipe and phantoms small enough to train within a second."""

from __future__ import annotations

from typing import Any

import torch

from engine.datasets.phantoms import SPLITS, phantom_source
from engine.datasets.source import Source
from engine.training.recipe_files import recipe_of
from engine.training.recipes import Recipe
from engine.training.run import built, input_sizes

CONFIG = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 1,
    "num_heads": 3,
    "cross_heads": 3,
    "adapter_dim": 8,
    "projection_dim": 8,
    "pathology_size": 32,
    "dropout": 0.1,
    "mixstyle": 0.5,
}
CPU = torch.device("cpu")
TABLE: dict[str, Any] = {
    "name": "tiny",
    "title": "Tiny",
    "system": "crossmodal",
    "version": "0.1",
    "intended_use": "Test model, not for diagnosis.",
    "training_data": "Eight phantoms.",
    "limits": ['Knows "nothing".', "Größe."],
    "seed": 11,
    "network": CONFIG,
    "data": {"train_cases": 8, "validation_cases": 8, "test_cases": 8, "workers": 0},
    "optimiser": {"epochs": 3, "batch_size": 4, "learning_rate": 3e-3},
}


def tiny(**changes: Any) -> Recipe:
    """The tiny recipe, with fields replaced by dotted path (dots written as two underscores)."""
    return recipe_of(TABLE, {path.replace("__", "."): value for path, value in changes.items()})


def small_splits(recipe: Recipe, count: int = 8) -> dict[str, Source]:
    """Phantoms of each split, made in this process."""
    sizes, cells = input_sizes(recipe, built(recipe))
    return {
        name: phantom_source(first, count, recipe.classes, sizes, cells, workers=0)
        for name, first in SPLITS.items()
    }
