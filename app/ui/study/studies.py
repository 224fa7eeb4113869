"""The tab "Studies": the list, and what can be done with the one that is open."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.auth import User
from app.errors import AppError, InvalidInput
from app.ui.kit import EVERY, attempt, plain
from app.ui.live import Chosen, Guard
from app.ui.study.defaults import new_protocol
from app.ui.study.panels import panel, served
from app.ui.study.tab import Row, StudyTab
from engine.errors import EngineError

MOST_TITLE = 200


class StudiesTab(StudyTab):
    """The tab and its handlers."""

    name = "studies"

    def build(self, guard: Guard) -> None:
        """Add the contents of the tab."""
        shown = panel("studies", [served(self.lonely)])
        self.panels = [shown]
        self.wire(guard)
        after = [self.chosen, shown, self.timer]
        for event, handler in (
            (shown.create, self.create),
            (shown.prepare, self.prepare),
            (shown.open, self.open),
            (shown.lock, self.lock),
            (shown.unblind, self.unblind),
            (shown.copy, self.copy),
            (shown.delete, self.delete),
            (shown.refresh, self.refresh),
            (shown.observers, self.observers),
            (shown.measure, self.measure),
        ):
            event(guard(handler), self.chosen, after, **EVERY)

    def value(
        self, user: User, chosen: Chosen, *, again: bool = False
    ) -> tuple[dict[str, Any], bool]:
        """The list, and the open study with how far it is."""
        value, row = self.frame(user, chosen)
        value["detail"], going = (None, False) if row is None else self._detail(user, row)
        return value, going

    def create(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """A new draft, with the questions of the protocol."""
        title = str(event._data.get("title") or "").strip()

        def work() -> int:
            if not 0 < len(title) <= MOST_TITLE:
                raise InvalidInput(f"A study needs a title of at most {MOST_TITLE} characters.")
            return self.services.studies.create(user, new_protocol(title))

        made, answer = attempt("create", work, "The draft was made; design it on the next tab.")
        return self.shown(user, chosen if made is None else {"study": made}, answer)

    def prepare(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Begin to make the maps and predictions of a study."""
        number, work = int(event._data["study"]), self.services.studies.prepare
        return self.act(user, chosen, lambda: work(user, number), "The preparation has begun.")

    def open(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Let the readers begin."""
        number, sure = int(event._data["study"]), bool(event._data.get("lonely"))
        work = self.services.studies.open
        done = "The study is open; its readers see it under “Reading”."
        return self.act(user, chosen, lambda: work(user, number, confirm_lonely=sure), done)

    def lock(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """End the reading."""
        number, reason = int(event._data["study"]), str(event._data.get("reason") or "")
        work = self.services.studies.lock
        done = "The study is locked; its answers are frozen."
        return self.act(user, chosen, lambda: work(user, number, reason), done)

    def unblind(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Name the conditions."""
        number, work = int(event._data["study"]), self.services.studies.unblind
        return self.act(user, chosen, lambda: work(user, number), "The conditions are named now.")

    def copy(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """A draft of the same design."""
        number, work = int(event._data["study"]), self.services.studies.copy
        made, answer = attempt("page", lambda: work(user, number), "A copy was made, as a draft.")
        return self.shown(user, chosen if made is None else {"study": made}, answer)

    def delete(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Remove a draft."""
        number, work = int(event._data["study"]), self.services.studies.delete
        return self.act(user, {}, lambda: work(user, number), "The draft was deleted.")

    def observers(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Who else may look at the analysis."""
        number = int(event._data["study"])
        names = [str(name) for name in event._data.get("names") or []]
        work = self.services.studies.name_observers
        return self.act(user, chosen, lambda: work(user, number, names), "The observers are named.")

    def measure(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Begin to measure the maps that were shown, to be compared with their ratings."""
        number, work = int(event._data["study"]), self.services.studies.measure_maps
        return self.act(user, chosen, lambda: work(user, number), "The measuring has begun.")

    def refresh(self, user: User, chosen: Chosen) -> tuple[Any, ...]:
        """The list anew, after a download."""
        return self.shown(user, chosen)

    def lonely(self, user: User, number: Any) -> dict[str, Any]:
        """Pairs of readers who would share no case, to be confirmed before a study is opened."""
        if isinstance(number, bool) or not isinstance(number, int):
            raise InvalidInput("There is no such study.")
        found = self.services.studies.preview(user, number)
        return {"pairs": [list(pair) for pair in found.lonely]}

    def _detail(self, user: User, row: Row) -> tuple[dict[str, Any], bool]:
        """How far a study is, and whether that changes by itself."""
        studies, number = self.services.studies, int(row["id"])
        ready = plain(studies.preparation(user, number))
        people = plain(studies.choices(user)).get("observers", [])
        detail: dict[str, Any] = {
            "preparation": ready, "errors": [], "cautions": [], "people": people,
        }  # fmt: skip
        if row["state"] == "draft":
            protocol, _, _ = studies.protocol(user, number)
            try:
                detail |= plain(studies.problems(user, protocol))
            except (AppError, EngineError) as error:
                detail["errors"] = [str(error)]
        else:
            detail["measuring"] = plain(studies.measuring(user, number))
        is_preparing = bool(ready.get("running", 0 < ready["done"] < ready["total"]))
        is_measuring = bool(detail.get("measuring", {}).get("running"))
        is_going = is_measuring or (is_preparing and not ready.get("error"))
        return detail, is_going or row["state"] == "open"
