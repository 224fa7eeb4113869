"""The model page: the card of the active model, as facts."""

from __future__ import annotations

import gradio as gr

from app.services import Services
from engine.errors import EngineError
from engine.records import ModelCard

NAMES = {
    "accuracy": "Accuracy",
    "macro_auc": "Macro AUC",
    "box_iou": "Mean box IoU",
    "grade_quadratic_kappa": "Grade, quadratic kappa",
    "lesion_dice": "Lesion Dice",
    "cases": "Test cases",
}


def build(services: Services) -> None:
    """Add the tab to the application being built."""
    with gr.Tab("Model", id="model"):
        try:
            text = card_text(services.models.card())
        except EngineError as error:
            text = str(error)
        gr.Markdown(text)


def card_text(card: ModelCard) -> str:
    """The card as Markdown."""
    lines = [
        f"## {card.title}, version {card.version}",
        f"**{card.intended_use}**",
        f"Trained on: {card.training_data}",
        "### Limits",
        *(f"- {limit}" for limit in card.limits),
        "### Measured on held-out phantoms",
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
        cells = [_number(card.metrics[part].get(key)) for part in parts]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*rows, ""]


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str("–" if value is None else value)
