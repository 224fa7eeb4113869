"""Training: recipes are filled in, runs are watched, paused, resumed and cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from app.auth import User
from app.services import Services
from app.services.run_views import RunView
from app.services.training import DECIDED
from app.ui.admin.curves import CurveBook
from app.ui.admin.live import Chosen, Guard, LivePage
from app.ui.admin.panel import EVERY, panel
from app.ui.admin.values import attempt, dataset_choices, is_live, numbers, plain, said
from engine.cards import DEFAULT_MODEL

LOG_LINES = 40
HIDDEN = DECIDED
"""Fields that the form fills in by its own boxes."""


class TrainingPage(LivePage):
    """The tab and its handlers."""

    name = "training"
    has_form = True

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._curves = CurveBook()

    def build(self, guard: Guard) -> None:
        """Add the contents of the tab."""
        shown, form = panel("training"), panel("training_form")
        self.panels = [shown, form]
        self.wire(guard)
        after = [self.chosen, shown, self.timer]
        for event, handler in (
            (shown.pause, self.pause),
            (shown.resume, self.resume),
            (shown.cancel, self.cancel),
        ):
            event(guard(handler), self.chosen, after, **EVERY)
        form.recipe(guard(self.recipe), None, form, **EVERY)
        form.validate(guard(self.validate), None, form, **EVERY)
        form.begin(guard(self.begin), self.chosen, [*after, form], **EVERY)

    def value(
        self, user: User, chosen: Chosen, *, again: bool = False
    ) -> tuple[dict[str, Any], bool]:
        """The runs, and the one that is open with its curves and its log."""
        runs, opened = self.runs(user, "training", chosen)
        value: dict[str, Any] = {
            "runs": plain(runs),
            "chosen": opened.id if opened else None,
            "detail": self._detail(user, opened) if opened else None,
            "address": f"training&run={opened.id}" if opened else "training",
        }
        return value, self.any_live(runs)

    def form(
        self,
        user: User,
        recipe: str = "",
        messages: tuple[tuple[str, str], ...] = (),
        answer: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The recipes, the fields of one, the data sets, and what is wrong with the fields."""
        training = self.services.training
        names = list(training.recipes(user))
        usual = DEFAULT_MODEL if DEFAULT_MODEL in names else names[0] if names else ""
        chosen = recipe if recipe in names else usual
        fields = training.fields(user, chosen) if chosen else []
        return {
            "recipes": names,
            "recipe": chosen,
            "fields": [_field(each) for each in fields if each.path not in HIDDEN],
            "datasets": dataset_choices(self.services.datasets.list(user)),
            "needs_data": any(
                each.path == "data.source" and each.value == "manifest" for each in fields
            ),
            "messages": [list(each) for each in messages],
            "busy": sum(is_live(run) for run in self.services.runs.list(user)),
            "said": answer,
        }

    def recipe(self, user: User, event: gr.EventData) -> dict[str, Any]:
        """Another recipe was chosen."""
        return self.form(user, str(event._data["recipe"]))

    def validate(self, user: User, event: gr.EventData) -> dict[str, Any]:
        """What is wrong with what was typed so far; the fields themselves stay as they are."""
        recipe, changes, dataset = _asked(event._data)
        found = self.services.training.validate(user, recipe, changes, dataset)
        return self.form(user, recipe, tuple(found))

    def begin(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Queue a training; nothing is queued while a field is wrong."""
        recipe, changes, dataset = _asked(event._data)
        name = str(event._data.get("name") or "").strip()
        training = self.services.training
        wrong = tuple(training.validate(user, recipe, changes, dataset))
        if wrong:
            answer = said("training", "It was not started: some settings are wrong.", good=False)
            return *self.shown(user, chosen), self.form(user, recipe, wrong, answer)
        run, answer = attempt(
            "training",
            lambda: training.start(user, recipe, name, changes, dataset),
            "Queued. It is listed above.",
        )
        chosen = chosen if run is None else {"run": run.id}
        return *self.shown(user, chosen), self.form(user, recipe, (), answer)

    def _detail(self, user: User, run: RunView) -> dict[str, Any]:
        """A run with its curves, its figures and the end of its log."""
        runs = self.services.runs
        curves = self._curves.of(run.id, lambda after: runs.events(user, run.id, after))
        return {
            "run": plain(run),
            "curves": curves.value(),
            "now": curves.now,
            "metrics": numbers(curves.metrics),
            "log": runs.log(user, run.id, LOG_LINES),
        }


def _field(each: Any) -> dict[str, Any]:
    return {
        "id": each.path, "kind": each.kind, "text": each.text, "help": each.help,
        "choices": list(each.choices),
    }  # fmt: skip


def _asked(data: Mapping[str, Any]) -> tuple[str, dict[str, str], int | None]:
    """Recipe, changed fields and data set as the form sends them."""
    changes = {str(path): str(text) for path, text in dict(data.get("changes") or {}).items()}
    dataset = data.get("dataset")
    return str(data["recipe"]), changes, None if dataset is None else int(dataset)
