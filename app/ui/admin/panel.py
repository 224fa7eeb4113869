"""The administrators' panels as components; see `app.ui.kit` for how they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import gradio as gr

from app.auth import Role
from app.ui import kit
from app.ui.kit import EVERY, KIT, QUIET

__all__ = ["EVERY", "PANELS", "QUIET", "panel", "script", "served", "style"]

# Script, drawing function and events of each panel. Gradio offers an event only where its name
# stands in quotes in the script.
PANELS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "datasets": (
        "admin_datasets.js",
        "drawAdminDatasets",
        ("register", "choose", "recheck", "remove"),
    ),
    "training": (
        "admin_training.js",
        "drawAdminTraining",
        ("choose", "pause", "resume", "cancel", "model"),
    ),
    "training_form": (
        "admin_training.js",
        "drawAdminTrainingForm",
        ("recipe", "validate", "begin"),
    ),
    "adaptation": (
        "admin_adaptation.js",
        "drawAdminAdaptation",
        ("choose", "cancel", "accept", "discard", "model"),
    ),
    "adaptation_form": ("admin_adaptation.js", "drawAdminAdaptationForm", ("begin",)),
    "models": (
        "admin_models.js",
        "drawAdminModels",
        ("choose", "activate", "roll_back", "delete", "compare", "cancel", "model"),
    ),
}


@cache
def script(name: str) -> str:
    """JavaScript of one panel, `name` being a key of `PANELS`: the shared pieces, then its own."""
    own, _, _ = PANELS[name]
    files = [*KIT, own]
    if own != "admin_training.js":  # tables of metrics, progress and banners of runs
        files.insert(len(KIT), "admin_training.js")
    return kit.joined(*files)


def style() -> str:
    """CSS of every panel of the administrators."""
    return kit.style("admin.css")


def panel(name: str, functions: Sequence[Callable[..., Any]] = ()) -> gr.HTML:
    """A panel that is empty until it gets a value.

    Args:
        name: Key of `PANELS`. functions: Guarded functions that its script may call (see `served`).
    """
    _, draw, events = PANELS[name]
    sided = "is-sided" if name == "datasets" else ""
    return kit.drawn_panel(script(name), style(), draw, events, functions, sided)


def served(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn `function(user, argument)` into one that a panel's script calls; administrators only."""
    return kit.served_to(Role.ADMINISTRATOR, function)
