"""The model page: the card of the active model, as facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from app.auth import User
from app.services import Services
from app.ui.shell import guarded
from engine.errors import EngineError
from engine.records import ModelCard

NAMES = {
    "accuracy": "Accuracy",
    "macro_auc": "Macro AUC",
    "box_iou": "Mean box IoU",
    "grade_quadratic_kappa": "Grade, quadratic kappa",
    "lesion_dice": "Lesion Dice",
    "dice_with_normals": "Dice, normal cases included",
    "cases": "Test cases",
}


def build(services: Services) -> None:
    """Add the tab to the application being built."""

    def read(user: User) -> str:
        """The card of the model that serves now."""
        return _active_text(services)

    with gr.Tab("Model", id="model") as tab:
        text = gr.Markdown(_active_text(services))
    tab.select(
        guarded(services)(read), None, text, show_progress="hidden", api_visibility="private"
    )


def _active_text(services: Services) -> str:
    try:
        return card_text(services.models.card())
    except EngineError as error:
        return str(error)


def card_text(card: ModelCard) -> str:
    """The card as Markdown."""
    lines = [
        f"## {card.title}, version {card.version}",
        f"**{card.intended_use}**",
        f"Trained on: {card.training_data}",
        "### Limits",
        *(f"- {limit}" for limit in card.limits),
        "### Measured on held-out cases, with 95 % intervals",
        *_metrics(card),
        "### Facts",
        *(f"- {name.replace('_', ' ')}: {value}" for name, value in card.facts.items()),
        f"- weights (SHA-256): `{card.weights_digest}`",
    ]
    return "\n\n".join(lines[:3]) + "\n\n" + "\n".join(lines[3:])


def _metrics(card: ModelCard) -> list[str]:
    parts = list(card.metrics)
    if not parts:
        return ["No figures are stated."]
    titles = [part.replace("_", " ") for part in parts]
    rows = ["", "| | " + " | ".join(titles) + " |", "|---" * (len(parts) + 1) + "|"]
    for key, name in NAMES.items():
        cells = [_figure(card.metrics[part], key) for part in parts]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*rows, ""]


def _figure(figures: Mapping[str, Any], key: str) -> str:
    """A figure, and its interval where one is stated."""
    bounds = figures.get(f"{key}_interval")
    shown = _number(figures.get(key))
    return f"{shown} ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else shown


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str("–" if value is None else value)
