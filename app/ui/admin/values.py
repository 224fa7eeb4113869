"""What the services tell, as the plain values that the panels draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.services.run_views import DatasetView, ModelView, RunView
from app.ui.kit import attempt, plain, said
from app.ui.model import NAMES

__all__ = [
    "attempt", "dataset_choices", "is_live", "is_number", "model_choices", "model_value", "numbers",
    "of_kind", "plain", "said", "source_of",
]  # fmt: skip

RESTING = ("paused", "cancelled", "failed", "done")
REASONS = {
    "checking": "is being checked",
    "refused": "has errors",
    "failed": "its check did not end",
}
WHOLE = ("cases", "patients", "images")
UNTOLD = ("seconds", "dice_with_normals")


def is_live(run: RunView | None) -> bool:
    """True while a run goes on or waits, so that its page is worth asking for again."""
    return run is not None and run.state not in RESTING


def of_kind(runs: Sequence[RunView], kind: str) -> list[RunView]:
    """Runs of one kind, the newest first."""
    return sorted((run for run in runs if run.kind == kind), key=lambda run: -run.id)


def dataset_choices(datasets: Sequence[DatasetView]) -> list[dict[str, Any]]:
    """Data sets to choose from; those that cannot be used say why."""
    return [
        {"id": each.id, "name": each.name, "why": REASONS.get(each.state, "")} for each in datasets
    ]


def model_choices(models: Sequence[ModelView]) -> list[dict[str, Any]]:
    """Models to choose from, the active one first."""
    ordered = sorted(models, key=lambda each: each.state != "active")
    return [
        {
            "name": each.name,
            "words": f"{each.name} · {each.title}" + (", in use" * (each.state == "active")),
            "why": each.problem,
        }
        for each in ordered
    ]


def model_value(model: ModelView) -> dict[str, Any]:
    """A model with its figures in a row each."""
    return {**plain(model), "metrics": None, "facts": None, "numbers": numbers(model.metrics)}


def is_number(text: object) -> bool:
    """Whether a text is a whole number that `int` reads, of a length that means something."""
    return isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 16


def source_of(text: str) -> str | int:
    """Where labelled cases come from: the number of a data set, or a word."""
    return int(text) if is_number(text) else text


def numbers(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Figures of a model card as rows of group, title, value and 95 % interval."""
    found: list[dict[str, Any]] = []
    for key, value in metrics.items():
        group, part = "", {key: value}
        if isinstance(value, Mapping) and "value" not in value:
            group, part = key.replace("_", " ").capitalize(), dict(value)
        found += [row for name in part if (row := _row(group, name, part)) is not None]
    order = {title: place for place, title in enumerate(NAMES.values())}
    return sorted(found, key=lambda row: order.get(row["title"], len(order)))


def _row(group: str, name: str, part: Mapping[str, Any]) -> dict[str, Any] | None:
    """One figure, its interval being stated within it or beside it; None for what is no figure."""
    if name.endswith(("_low", "_high", "_interval")) or name in UNTOLD:
        return None
    value: Any = part[name]
    low, high = part.get(f"{name}_low"), part.get(f"{name}_high")
    if isinstance(value, Mapping):
        value, low, high = value.get("value"), value.get("low"), value.get("high")
    elif isinstance(value, list | tuple) and len(value) == 3:
        value, low, high = value
    beside = part.get(f"{name}_interval")
    if isinstance(beside, list | tuple) and len(beside) == 2:
        low, high = beside
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    title = NAMES.get(name) or name.replace("_", " ").capitalize()
    whole = name in WHOLE or isinstance(value, int)
    return {
        "group": group, "title": title, "value": value, "low": low, "high": high, "whole": whole,
    }  # fmt: skip
