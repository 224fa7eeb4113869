"""`lightbox methods`: every explanation method, what it says, and what it cannot say."""

from __future__ import annotations

import typer

from engine.explainers import EXPLAINERS
from engine.explainers.base import FAMILIES


def run(model: str | None, device: str, *, markdown: bool) -> None:
    """List the methods by family; with a model, say which it cannot serve, and why.

    Args:
        model: Name or path of a card; no model is loaded when None.
        device: "auto", "cpu" or "cuda".
        markdown: As tables.
    """
    refused = _refused(model, device) if model else {}
    for family, title in FAMILIES.items():
        members = [method for method in EXPLAINERS.values() if method.family == family]
        typer.echo(f"\n### {title}\n" if markdown else f"\n{title}")
        if markdown:
            typer.echo(
                "| Name | What it shows | What it cannot say | Settings |\n|---|---|---|---|"
            )
        for method in members:
            settings = ", ".join(f"{name}={value}" for name, value in method.settings.items())
            if markdown:
                slow = " (slow)" if method.slow else ""
                cells = (f"`{method.name}`{slow}", method.summary, method.limits, settings or "–")
                typer.echo("| " + " | ".join(cells) + " |")
                continue
            typer.echo(f"  {method.name}  {'(slow) ' if method.slow else ''}{settings}")
            typer.echo(f"      {method.summary}\n      {method.limits}")
            if method.name in refused:
                typer.echo(f"      Not with this model: {refused[method.name]}")


def _refused(model: str, device: str) -> dict[str, str]:
    from engine.toolkit import ExplainabilityToolkit
    from engine.workflow import load_system

    methods = ExplainabilityToolkit(load_system(model, device=device)).methods
    return {name: reason for name, reason in methods.items() if reason}
