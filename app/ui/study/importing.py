"""The tab "Import": ratings collected elsewhere get the same analysis; nothing is stored."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.auth import User
from app.errors import AppError
from app.ui.kit import EVERY
from app.ui.live import Chosen, Guard, LiveTab
from app.ui.study.inbox import Inbox
from app.ui.study.panels import panel, served
from app.ui.study.view import KEYS, AnalysisView, choices, picked_of
from engine.errors import EngineError


class ImportTab(LiveTab):
    """The tab and its handlers; which table is open is kept on the page."""

    name = "import"

    def build(self, guard: Guard) -> None:
        """Add the contents of the tab."""
        self.inbox = Inbox()
        self.view = AnalysisView()
        shown = panel("import", [served(self.inbox.begin), served(self.inbox.part)])
        self.panels = [shown]
        self.view.build()
        after = [self.chosen, shown, *self.view.outputs]
        shown.analyse(guard(self.analyse), None, after, **EVERY)
        shown.filter(guard(self.filter), self.chosen, after, **EVERY)
        shown.forget(guard(self.forget), self.chosen, after, **EVERY)

    def value(
        self, user: User, chosen: Chosen, *, again: bool = False
    ) -> tuple[dict[str, Any], bool]:
        """The form; an analysis is shown only after a file has come."""
        return {"address": "import", "found": None, "problem": "", "table": ""}, False

    def analyse(self, user: User, event: gr.EventData) -> tuple[Any, ...]:
        """A file has come."""
        return self._found(user, {"token": str(event._data["token"]), "table": ""})

    def filter(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Another question or pair of the same table."""
        return self._found(user, chosen | picked_of(event._data))

    def forget(self, user: User, chosen: Chosen) -> tuple[Any, ...]:
        """Nothing is shown any more, and the table is removed."""
        self.inbox.forget(user, chosen.get("token"))
        return ({}, self.value(user, {})[0], *self.view.hidden())

    def _found(self, user: User, chosen: Chosen) -> tuple[Any, ...]:
        """The analysis of a table, or what is wrong with the table."""
        value, _ = self.value(user, chosen)
        try:
            data = self.inbox.table(user, chosen.get("token"))
            facts, analysis = self.services.study_analysis.imported(user, data)
        except (AppError, EngineError) as error:
            return ({}, value | {"problem": str(error)}, *self.view.hidden())
        kept = {key: chosen.get(key, "") for key in ("token", *KEYS)}
        value["found"] = choices(facts, analysis, kept)
        return (kept, value, *self.view.shown(facts, analysis, kept))
