"""Data sets: manifests registered on this server, what their checks found, some pictures."""

from __future__ import annotations

import base64
from typing import Any

import gradio as gr

from app.auth import User
from app.errors import NotFound
from app.ui.admin.live import Chosen, Guard, LivePage
from app.ui.admin.panel import EVERY, panel, served
from app.ui.admin.values import attempt, is_live, plain

PICTURES = 12


class DatasetsPage(LivePage):
    """The tab and its handlers."""

    name = "datasets"

    def build(self, guard: Guard) -> None:
        """Add the contents of the tab."""
        shown = panel("datasets", [served(self.thumbnails)])
        self.panels = [shown]
        self.wire(guard)
        after = [self.chosen, shown, self.timer]
        shown.register(guard(self.register), self.chosen, after, **EVERY)
        shown.recheck(guard(self.recheck), self.chosen, after, **EVERY)
        shown.remove(guard(self.remove), self.chosen, after, **EVERY)

    def value(
        self, user: User, chosen: Chosen, *, again: bool = False
    ) -> tuple[dict[str, Any], bool]:
        """The list, and the data set that is open with its problems."""
        datasets = self.services.datasets.list(user)
        wanted = chosen.get("dataset")
        opened = next((each for each in datasets if each.id == wanted), None)
        if opened is None and datasets:
            opened = datasets[0]
        going = any(each.state == "checking" for each in datasets)
        value = {
            "datasets": plain(datasets),
            "chosen": opened.id if opened else None,
            "problems": [],
            "run": None,
            "address": f"datasets&dataset={opened.id}" if opened else "datasets",
        }
        if opened is not None:
            value["problems"] = plain(self.services.datasets.problems(user, opened.id))
            if opened.state == "checking" and opened.run_id is not None:
                run = self.services.runs.view(user, opened.run_id)
                value["run"] = plain(run) if is_live(run) else None
        return value, going

    def picked(self, data: dict[str, Any]) -> Chosen:
        """The data set that an event names."""
        return {"dataset": int(data["dataset"])}

    def register(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Register a manifest by its place on this server.

        The page calls it `manifest`: Gradio takes what is called `path` for a file of its own.
        """
        names = ("name", "manifest", "classes", "grades")
        name, place, classes, grades = (str(event._data.get(n) or "").strip() for n in names)
        made, answer = attempt(
            "register",
            lambda: self.services.datasets.register(user, name, place, classes, grades),
            "Registered. The check goes on in the background.",
        )
        return self.shown(user, chosen if made is None else {"dataset": made.id}, answer)

    def recheck(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Check a data set again."""
        number = int(event._data["dataset"])
        return self.act(user, chosen, lambda: self.services.datasets.recheck(user, number), "")

    def remove(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Forget a data set."""
        number = int(event._data["dataset"])
        work = self.services.datasets.remove
        return self.act(user, {}, lambda: work(user, number), "The data set was removed.")

    def thumbnails(self, user: User, number: Any) -> dict[str, Any]:
        """Some images of a data set, base64, with a caption each."""
        if isinstance(number, bool) or not isinstance(number, int):
            raise NotFound("There is no such data set.")
        found = self.services.datasets.thumbnails(user, number, PICTURES)
        return {
            "pictures": [
                {"png": base64.b64encode(png).decode("ascii"), "caption": caption}
                for png, caption in found
            ]
        }
