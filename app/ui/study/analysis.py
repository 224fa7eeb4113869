"""The tab "Analysis": agreement, ratings and comparisons of one study."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.auth import User
from app.errors import AppError
from app.ui.kit import EVERY
from app.ui.live import Chosen, Guard
from app.ui.study.panels import panel
from app.ui.study.tab import StudyTab
from app.ui.study.view import KEYS, AnalysisView, choices, nothing, only, picked_of
from engine.errors import EngineError

DRAFT = "This study is a draft. Its analysis appears with the first answers."


class AnalysisTab(StudyTab):
    """The tab and its handlers.

    An analysis takes seconds, so its head is shown first, and then what it says.
    """

    name = "analysis"

    def build(self, guard: Guard) -> None:
        """Add the contents of the tab."""
        self.view = AnalysisView()
        shown = panel("analysis")
        self.panels = [shown]
        self.view.build()
        self.wire(guard)
        shown.filter(guard(self.filter), self.chosen, self.outputs, **EVERY).then(
            *self.then(guard), **EVERY
        )

    def wire(self, guard: Guard) -> None:
        """Choosing a study shows the head, then the analysis."""
        self.panels[0].choose(guard(self.choose), self.chosen, self.outputs, **EVERY).then(
            *self.then(guard), **EVERY
        )

    def then(self, guard: Guard) -> tuple[Any, Any, list[Any]]:
        """Handler, inputs and outputs of what follows once the head is shown."""
        return guard(self.compute), self.chosen, [self.panels[0], *self.view.outputs]

    def picked(self, data: dict[str, Any]) -> Chosen:
        """Another study; what the last one was limited to is forgotten."""
        return {"study": int(data["study"]), **dict.fromkeys(KEYS, "")}

    def filter(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Another condition, case group, question or pair."""
        return self.shown(user, chosen | picked_of(event._data))

    def value(
        self, user: User, chosen: Chosen, *, again: bool = False
    ) -> tuple[dict[str, Any], bool]:
        """The head, while the analysis is being computed."""
        value, row = self.frame(user, chosen)
        return value | {"busy": row is not None, "found": None, "problem": ""}, False

    def compute(self, user: User, chosen: Chosen) -> tuple[Any, ...]:
        """The analysis of the open study, or why there is none."""
        value, row = self.frame(user, chosen)
        value |= {"busy": False, "found": None, "problem": ""}
        if row is None:
            return (value, *self.view.hidden())
        if row["state"] == "draft":
            return (value | {"problem": DRAFT}, *self.view.hidden())
        work, number = self.services.study_analysis, int(row["id"])
        try:
            facts = work.facts(user, number)
            found = work.analysis(user, number, **only(chosen))
        except (AppError, EngineError) as error:
            return (value | nothing(str(error)), *self.view.hidden())
        value["found"] = choices(facts, found, chosen)
        return (value, *self.view.shown(facts, found, chosen))
