"""The tab "Progress": who has read how much, live; withdrawal, and washout overridden."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.auth import User
from app.ui.kit import EVERY, plain
from app.ui.live import Chosen, Guard
from app.ui.study.panels import panel
from app.ui.study.tab import StudyTab

SECONDS = 4.0


class ProgressTab(StudyTab):
    """The tab and its handlers."""

    name = "progress"

    def build(self, guard: Guard) -> None:
        """Add the contents of the tab."""
        shown = panel("progress")
        self.panels = [shown]
        self.wire(guard)
        after = [self.chosen, shown, self.timer]
        shown.withdraw(guard(self.withdraw), self.chosen, after, **EVERY)
        shown.override(guard(self.override), self.chosen, after, **EVERY)
        shown.excuse(guard(self.excuse), self.chosen, after, **EVERY)
        shown.describe(guard(self.describe), self.chosen, after, **EVERY)

    def value(
        self, user: User, chosen: Chosen, *, again: bool = False
    ) -> tuple[dict[str, Any], bool]:
        """How far each reader is."""
        value, row = self.frame(user, chosen)
        value["progress"] = None
        if row is not None and row["state"] != "draft":
            value["progress"] = plain(self.services.studies.progress(user, int(row["id"])))
        return value, row is not None and row["state"] == "open"

    def withdraw(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """A reader leaves; what was handed in stays."""
        number, reader, reason = _asked(event._data)
        work = self.services.studies.withdraw
        done = "The reader was withdrawn; the answers given so far are kept."
        return self.act(user, chosen, lambda: work(user, number, reader, reason), done)

    def override(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """A reader may begin the next session before the washout has ended."""
        number, reader, reason = _asked(event._data)
        work = self.services.studies.override_washout
        done = "The next session may begin; the report will name this as a deviation."
        return self.act(user, chosen, lambda: work(user, number, reader, reason), done)

    def excuse(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """A reader goes on in spite of the training criterion."""
        number, reader, reason = _asked(event._data)
        work = self.services.studies.excuse_training
        done = "The reader may go on; the report will name this as a deviation."
        return self.act(user, chosen, lambda: work(user, number, reader, reason), done)

    def describe(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """What the report says of a reader: no name, but specialty and experience."""
        number, reader, _ = _asked(event._data)
        specialty, experience = (
            str(event._data.get(key) or "").strip() for key in ("specialty", "experience")
        )
        work = self.services.studies.describe_reader
        return self.act(
            user, chosen, lambda: work(user, number, reader, specialty, experience), "Noted."
        )


def _asked(data: dict[str, Any]) -> tuple[int, str, str]:
    """Study, reader and reason of an event."""
    return int(data["study"]), str(data["reader"]), str(data.get("reason") or "").strip()
