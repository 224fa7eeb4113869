"""Model cards: what must be known about a model, read from TOML without loading it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from engine.errors import ModelUnavailable
from engine.records import ModelCard

DEFAULT_MODEL = "crossmodal-demo"
"""The model used where none is named."""

_TUPLES = ("limits", "classes", "grades")
_TABLES = ("config", "facts", "metrics")


def cards_folder() -> Path:
    """Where the cards and weights that ship with Lightbox lie."""
    return Path(__file__).resolve().parents[1] / "assets" / "cards"


def read_card(path: Path) -> ModelCard:
    """Read a model card from TOML.

    Raises:
        ModelUnavailable: Absent, malformed, with missing or unknown fields, or with a value of
            another kind than its field has.
    """
    try:
        table: Mapping[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelUnavailable(f"There is no model card named {path.stem!r}.") from None
    except (ValueError, RecursionError):  # no TOML, no UTF-8, a number too long, nested too deep
        raise ModelUnavailable(f"The model card {path.stem!r} is not valid TOML.") from None
    known = {field.name for field in fields(ModelCard)}
    odd = sorted(known ^ (set(table) | {"name"}))
    if odd:
        raise ModelUnavailable(
            f"The model card {path.stem!r} has missing or unknown fields: {', '.join(odd)}."
        )
    wrong = sorted(name for name, value in table.items() if not _is_sound(name, value))
    if wrong:
        raise ModelUnavailable(
            f"The model card {path.stem!r} has values of a wrong kind in these fields: "
            f"{', '.join(wrong)}."
        )
    values: dict[str, Any] = {k: tuple(v) if k in _TUPLES else v for k, v in table.items()}
    return ModelCard(**{**values, "name": path.stem})


def _is_sound(name: str, value: object) -> bool:
    """Whether a value is of its field's kind: a text, a list of texts, or a table.

    The metrics are a table of tables, one for each way of testing.
    """
    if name in _TUPLES:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if name not in _TABLES:
        return isinstance(value, str)
    if not isinstance(value, Mapping):
        return False
    return name != "metrics" or all(isinstance(part, Mapping) for part in value.values())


def known_cards(folder: Path | None = None) -> dict[str, Path]:
    """Model cards by name, in alphabetical order."""
    return {path.stem: path for path in sorted((folder or cards_folder()).glob("*.toml"))}
