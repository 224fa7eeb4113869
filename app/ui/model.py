"""The model page: the card of the active model, as facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from app.auth import User
from app.errors import AppError
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
    except (AppError, EngineError) as error:
        return str(error)


def card_text(card: ModelCard) -> str:
    """The card as Markdown."""
    parts = {name: part for name, part in card.metrics.items() if isinstance(part, Mapping)}
    changed = [name for name, part in parts.items() if _pairs(part)]
    lines = [
        f"## {card.title}, version {card.version}",
        f"**{card.intended_use}**",
        f"Trained on: {card.training_data}",
        "### Limits",
        *(f"- {limit}" for limit in card.limits),
        "### Measured on held-out cases, with 95 % intervals",
        *_metrics({name: part for name, part in parts.items() if name not in changed}),
        *(line for name in changed for line in _changes(name, parts[name])),
        "### Facts",
        *(f"- {_title(name)}: {_said(value)}" for name, value in card.facts.items()),
        f"- weights (SHA-256): `{card.weights_digest}`",
    ]
    return "\n\n".join(lines[:3]) + "\n\n" + "\n".join(lines[3:])


def _metrics(parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not parts:
        return ["No figures are stated."]
    rows = ["", "| | " + " | ".join(map(_title, parts)) + " |", "|---" * (len(parts) + 1) + "|"]
    for key, name in NAMES.items():
        cells = [_figure(part, key) for part in parts.values()]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*rows, ""]


def _changes(name: str, part: Mapping[str, Any]) -> list[str]:
    """What a part of the card says of before and after, under a heading of its own."""
    rows = [f"### {_title(name).capitalize()}, before and after", "", "| | Before | After |"]
    rows += ["|---|---|---|"]
    for title, values in _pairs(part).items():
        cells = (_number(values["before"]), _number(values["after"]))
        rows.append(f"| {title} | {' | '.join(cells)} |")
    plain = {key: value for key, value in part.items() if not isinstance(value, Mapping)}
    return [*rows, "", *(f"- {_title(key)}: {_number(value)}" for key, value in plain.items()), ""]


def _pairs(part: Mapping[str, Any], within: str = "") -> dict[str, Mapping[str, Any]]:
    """Tables that state a value before and one after, at any depth, by their titles."""
    found: dict[str, Mapping[str, Any]] = {}
    for key, value in part.items():
        if not isinstance(value, Mapping):
            continue
        title = f"{within}, {_title(key)}" if within else NAMES.get(key) or _title(key).capitalize()
        if {"before", "after"} <= set(value):
            found[title] = value
        found |= _pairs(value, title)
    return found


def _figure(figures: Mapping[str, Any], key: str) -> str:
    """A figure, and its interval where one is stated."""
    shown, bounds = _number(figures.get(key)), figures.get(f"{key}_interval")
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        return shown
    low, high = (_number(float(b)) if isinstance(b, int | float) else "–" for b in bounds)
    return f"{shown} ({low} to {high})"


def _number(value: object) -> str:
    """A figure in a cell; a dash for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else _line(value)


def _said(value: object) -> str:
    """A fact in words; a table as pairs of name and value."""
    if isinstance(value, Mapping):
        pairs = (f"{_title(k)} {_inner(v)}" for k, v in value.items())
        return ", ".join(pairs) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(_inner, value)) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _line(value)


def _inner(value: object) -> str:
    """A fact within another one."""
    return f"({_said(value)})" if isinstance(value, Mapping | list | tuple) else _said(value)


def _title(name: str) -> str:
    return _line(name.replace("_", " "))


def _line(value: object) -> str:
    """A value on one line, which breaks no table."""
    return " ".join(str(value).split()).replace("|", "/")
