"""`lightbox train`: from a recipe to weights and a model card."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer


def run(recipe: Path, out: Path, device: str, changes: Mapping[str, Any]) -> None:
    """Train, printing one line an epoch; an interrupted run goes on where it was."""
    from engine.training.recipes import read_recipe
    from engine.training.run import train
    from engine.workflow import choose_device

    logging.basicConfig(level=logging.WARNING)
    card = train(read_recipe(recipe, changes), out, choose_device(device), report=_line)
    typer.echo(f"Model card {card.name} written with its weights.")


def _line(row: dict[str, Any]) -> None:
    shown = ("epoch", "total", "accuracy", "macro_auc", "box_iou", "lesion_dice", "seconds")
    parts = [f"{name} {row[name]:.3g}" for name in shown if isinstance(row.get(name), int | float)]
    typer.echo("  ".join(parts))
