"""The model card that a training writes: data, recipe, figures with intervals, limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.training.recipe_files import toml_value
from engine.training.recipes import Recipe


def card_text(
    recipe: Recipe,
    facts: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, Any]],
    digest: str,
) -> str:
    """The model card as TOML.

    Args:
        facts: What the training was. metrics: Figures of the test split, by way of testing.
        digest: SHA-256 of the weights, hexadecimal.
    """
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
    lines = [f"{key} = {toml_value(value)}" for key, value in head.items()]
    for name, values in tables:
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {_short(v)}" for key, v in values.items() if v is not None]
    return "\n".join(lines) + "\n"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_short(v) for v in value)}]"
    return toml_value(value)
