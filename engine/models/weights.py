"""Weights and cards: read without pickle, verified, refused where they do not match."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from engine.errors import ModelUnavailable
from engine.records import ModelCard

_TUPLES = ("limits", "classes", "grades")


def cards_folder() -> Path:
    """Where the cards and weights that ship with Lightbox lie."""
    return Path(str(files("assets"))) / "cards"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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


def load_weights(network: nn.Module, path: Path, digest: str) -> None:
    """Load safetensors into a network, every key matching.

    Raises:
        ModelUnavailable: The file is absent or damaged, its digest is not that of the card, or its
            tensors do not fit the network.
    """
    if not path.is_file():
        raise ModelUnavailable("The weights of this model are not installed.")
    found = sha256_of(path)
    if found != digest:
        raise ModelUnavailable(
            "The weights of this model are not the ones its card describes "
            f"(digest {found[:12]}, expected {digest[:12]}), so they were not loaded."
        )
    try:
        network.load_state_dict(load_file(path), strict=True)
    except (SafetensorError, RuntimeError):
        raise ModelUnavailable(
            "The weights of this model do not fit its network, so they were not loaded."
        ) from None


def save_weights(network: nn.Module, path: Path) -> str:
    """Write a network's tensors as safetensors, via a temporary name; return the SHA-256."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial)
    partial.replace(path)
    return sha256_of(path)
