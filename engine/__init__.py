"""Lightbox's engine: read cases, predict, explain. Heavy parts are imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.io import read_case
    from engine.toolkit import ExplainabilityToolkit
    from engine.workflow import explain, load_system, predict

__all__ = ["ExplainabilityToolkit", "explain", "load_system", "predict", "read_case"]

_HOMES = {
    "ExplainabilityToolkit": "engine.toolkit",
    "read_case": "engine.io",
    "predict": "engine.workflow",
    "explain": "engine.workflow",
    "load_system": "engine.workflow",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
