"""The tab "Adjudication": cases on which readers differ, without the readers' names."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.auth import User
from app.ui.kit import EVERY, attempt, plain
from app.ui.live import Chosen, Guard
from app.ui.study.names import Names
from app.ui.study.panels import panel
from app.ui.study.tab import StudyTab


class AdjudicationTab(StudyTab):
    """The tab and its handlers."""

    name = "adjudication"

    def build(self, guard: Guard) -> None:
        """Add the contents of the tab."""
        shown = panel("adjudication")
        self.panels = [shown]
        self.wire(guard)
        after = [self.chosen, shown, self.timer]
        shown.decide(guard(self.decide), self.chosen, after, **EVERY)

    def value(
        self, user: User, chosen: Chosen, *, again: bool = False
    ) -> tuple[dict[str, Any], bool]:
        """What is flagged, with the answers and what was decided so far."""
        value, row = self.frame(user, chosen)
        value |= {"flags": [], "questions": [], "problem": ""}
        if row is not None and row["state"] != "draft":
            number = int(row["id"])
            found, answer = attempt("page", lambda: self._found(user, number), "")
            value |= found or {"problem": answer["text"]}
        return value, False

    def _found(self, user: User, number: int) -> dict[str, Any]:
        """Flagged items with the words for their conditions and questions."""
        work = self.services.study_analysis
        protocol, flags = work.facts(user, number).protocol, plain(work.adjudication(user, number))
        names = Names.of(protocol)
        for flag in flags:
            flag["arm_title"] = names.arm(flag["arm"])
        return {"flags": flags, "questions": plain(protocol.questions)}

    def decide(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Note what the adjudicator decided; the answers themselves stay as they are."""
        data = event._data
        number = int(data["study"])
        keys = ("case", "arm", "question", "outcome", "reason")
        case, arm, question, outcome, reason = (str(data.get(k) or "").strip() for k in keys)
        work = self.services.study_analysis.adjudicate
        return self.act(
            user,
            chosen,
            lambda: work(user, number, case, arm, question, outcome, reason),
            "The outcome was stored beside the answers.",
        )
