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


def cards_folder() -> Path:
    """Where the cards and weights that ship with Lightbox lie."""
    return Path(__file__).resolve().parents[1] / "assets" / "cards"


def read_card(path: Path) -> ModelCard:
    """Read a model card from TOML.

    Raises:
        ModelUnavailable: Absent, malformed, or with missing or unknown fields.
    """
    try:
        table: Mapping[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelUnavailable(f"There is no model card named {path.stem!r}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ModelUnavailable(f"The model card {path.stem!r} is not valid TOML.") from None
    known = {field.name for field in fields(ModelCard)}
    odd = sorted(known ^ (set(table) | {"name"}))
    if odd:
        raise ModelUnavailable(
            f"The model card {path.stem!r} has missing or unknown fields: {', '.join(odd)}."
        )
    values: dict[str, Any] = {k: tuple(v) if k in _TUPLES else v for k, v in table.items()}
    return ModelCard(**{**values, "name": path.stem})


def known_cards(folder: Path | None = None) -> dict[str, Path]:
    """Model cards by name, in alphabetical order."""
    return {path.stem: path for path in sorted((folder or cards_folder()).glob("*.toml"))}
