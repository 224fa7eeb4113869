"""`lightbox train`: from a recipe to weights and a model card."""

from __future__ import annotations

from pathlib import Path

import typer


def run(recipe: Path, out: Path, device: str, changes: list[str]) -> None:
    """Train, printing one line an epoch; an interrupted run goes on where it was."""
    from engine.training.__main__ import main

    told = [str(recipe), "--out", str(out), "--device", device]
    code = main([*told, *(part for change in changes for part in ("--set", change))])
    if code:
        raise typer.Exit(code)
    typer.echo("The model card was written with its weights.")
