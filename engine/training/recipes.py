"""Recipes: one frozen dataclass, read from TOML, unknown fields refused."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any

from engine.errors import InvalidRecipe

_POSITIVE = (
    "train_cases",
    "validation_cases",
    "test_cases",
    "epochs",
    "batch_size",
    "learning_rate",
)

_KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "tuple": tuple,
    "Mapping": Mapping,
}
_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    (int, float): "a number",
    tuple: "a list",
    Mapping: "a table",
}


@dataclass(frozen=True)
class Recipe:
    """How a model is trained on phantoms.

    Args:
        name: Name of the model card that results. title: Its name for people.
        system: Registry name of the system.
        version: Version of the weights.
        network: Constructor arguments of the network.
        seed: Of weights, order and augmentation. Phantoms have seeds of their own.
        train_cases, validation_cases, test_cases: Phantoms in each split; the splits take disjoint
            seeds.
        epochs: Passes over the training phantoms. batch_size: Cases per step.
        learning_rate: Peak rate of AdamW, reached after `warmup` (share of all steps), then cosine.
        weight_decay: Of matrices; biases, norms, tokens and gates have none.
        clip: Largest gradient norm. ema: Decay of the averaged weights that are kept.
        max_skipped: Consecutive non-finite steps after which the run fails.
        intended_use, training_data, limits: Texts of the model card.
    """

    name: str
    title: str
    system: str
    version: str
    network: Mapping[str, Any]
    intended_use: str
    training_data: str
    limits: tuple[str, ...]
    seed: int = 0
    train_cases: int = 4000
    validation_cases: int = 400
    test_cases: int = 600
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip: float = 1.0
    ema: float = 0.998
    max_skipped: int = 20
    classes: tuple[str, ...] = ("Normal", "Benign", "In situ", "Invasive")
    grades: tuple[str, ...] = ("Benign", "In situ", "Invasive")

    def __post_init__(self) -> None:
        for item in fields(self):
            _check_kind(item.name, getattr(self, item.name), str(item.type))
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise InvalidRecipe(f"{name} must be positive, not {getattr(self, name)}.")


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe; `overrides` replace fields of the file.

    Raises:
        InvalidRecipe: Not TOML, a missing or unknown field, or a value out of range.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InvalidRecipe("There is no recipe at this place.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise InvalidRecipe("The recipe is not valid TOML.") from None
    table |= dict(overrides or {})
    unknown = sorted(set(table) - {item.name for item in fields(Recipe)})
    if unknown:
        raise InvalidRecipe(f"The recipe has unknown fields: {', '.join(unknown)}.")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    missing = [item.name for item in fields(Recipe) if _is_needed(item) and item.name not in values]
    if missing:
        raise InvalidRecipe(f"The recipe lacks fields: {', '.join(missing)}.")
    return Recipe(**values)


def _is_needed(item: Field[Any]) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def _check_kind(name: str, value: Any, kind: str) -> None:
    """Refuse a value of another kind than the field's; whole numbers serve as real ones."""
    wanted = _KINDS[kind.partition("[")[0]]
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise InvalidRecipe(f"{name} must be {_WORDS[wanted]}, not {value!r}.")
