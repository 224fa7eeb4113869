"""Models: installed ones, which of them serves, comparisons, and one file in or out."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.auth import User
from app.services import Services
from app.services.run_views import ComparisonView, RunView
from app.ui.admin.live import Chosen, Guard, LivePage
from app.ui.admin.panel import EVERY, panel, served
from app.ui.admin.transfer import Transfers
from app.ui.admin.values import attempt, dataset_choices, model_value, plain, source_of
from app.ui.model import NAMES

LOG_LINES = 40
LOWER_IS_BETTER = ("brier", "ece", "loss", "calibration_error", "expected_calibration_error")


class ModelsPage(LivePage):
    """The tab and its handlers."""

    name = "models"

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._transfers = Transfers(services)

    def build(self, guard: Guard) -> None:
        """Add the contents of the tab."""
        moves = self._transfers
        functions = (
            moves.export_begin, moves.export_part, moves.export_end,
            moves.import_begin, moves.import_part, moves.import_end,
        )  # fmt: skip
        shown = panel("models", [served(each) for each in functions])
        self.panels = [shown]
        self.wire(guard)
        after = [self.chosen, shown, self.timer]
        for event, handler in (
            (shown.activate, self.activate),
            (shown.roll_back, self.roll_back),
            (shown.delete, self.delete),
            (shown.compare, self.compare),
            (shown.cancel, self.cancel),
            (shown.model, self.show_model),
        ):
            event(guard(handler), self.chosen, after, **EVERY)

    def value(
        self, user: User, chosen: Chosen, *, again: bool = False
    ) -> tuple[dict[str, Any], bool]:
        """The models, the comparisons, and what of both is open."""
        registry = self.services.registry
        models = list(registry.list(user))
        names = [each.name for each in models]
        runs, opened = self.runs(user, "comparison", chosen)
        name = chosen.get("model") if chosen.get("model") in names else None
        value: dict[str, Any] = {
            "models": [model_value(each) for each in models],
            "before": registry.can_roll_back(user),
            "chosen": name or (names[0] if names else None),
            "datasets": dataset_choices(self.services.datasets.list(user)),
            "runs": plain(runs),
            "comparing": opened.id if opened else None,
            "comparison": self._comparison(user, opened) if opened else None,
            "address": f"models&model={name}" if name else "models",
        }
        return value, self.any_live(runs)

    def picked(self, data: dict[str, Any]) -> Chosen:
        """The model or the comparison that an event names."""
        if "run" in data:
            return {"run": int(data["run"])}
        return {"model": str(data["model"])}

    def show_model(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """A model that has just come, or that another page names."""
        return self.shown(user, chosen | {"model": str(event._data["name"])})

    def activate(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Put a model to use."""
        name, work = str(event._data["name"]), self.services.registry.activate
        return self.act(user, chosen, lambda: work(user, name), f"“{name}” is in use now.")

    def roll_back(self, user: User, chosen: Chosen) -> tuple[Any, ...]:
        """Put the model before to use again."""
        done, answer = attempt("page", lambda: self.services.registry.roll_back(user), "")
        if done is not None:
            answer |= {"text": f"Rolled back: “{done.name}” is in use again."}
        return self.shown(user, chosen, answer)

    def delete(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Remove a model."""
        name, work = str(event._data["name"]), self.services.registry.delete
        return self.act(user, chosen, lambda: work(user, name), f"“{name}” was deleted.")

    def compare(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Queue a comparison of two models."""
        a, b, source = (str(event._data[name]) for name in ("a", "b", "source"))
        run, answer = attempt(
            "compare",
            lambda: self.services.registry.compare(user, a, b, source_of(source)),
            "Queued.",
        )
        return self.shown(user, chosen if run is None else chosen | {"run": run.id}, answer)

    def _comparison(self, user: User, run: RunView) -> dict[str, Any]:
        """A comparison, and its outcome once there is one."""
        found = self.services.registry.comparison(user, run.id) if run.state == "done" else None
        log = self.services.runs.log(user, run.id, LOG_LINES) if run.state == "failed" else ""
        return {"run": plain(run), "outcome": _outcome(found), "log": log}


def _outcome(found: ComparisonView | None) -> dict[str, Any] | None:
    """A comparison with its rows named."""
    if found is None:
        return None
    keys = ("metric", "a", "b", "difference", "low", "high")
    rows = [dict(zip(keys, row, strict=True)) for row in found.rows]
    for row in rows:
        metric = str(row["metric"])
        row["title"] = NAMES.get(metric) or metric.replace("_", " ").capitalize()
        row["lower_is_better"] = metric in LOWER_IS_BETTER
    return {**plain(found), "rows": rows}
