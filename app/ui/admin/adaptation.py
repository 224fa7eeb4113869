"""Test-time adaptation: target cases are chosen, the outcome is read, and accepted or discarded."""

from __future__ import annotations

import base64
from collections import OrderedDict
from threading import Lock
from typing import Any

import gradio as gr

from app.auth import User
from app.errors import AppError, NotFound
from app.services import Services
from app.services.run_views import OutcomeView, RunView
from app.ui.admin.live import Chosen, Guard, LivePage
from app.ui.admin.panel import EVERY, panel, served
from app.ui.admin.values import attempt, dataset_choices, model_choices, plain, source_of
from engine.errors import EngineError

LOG_LINES = 40
REMEMBERED = 8
"""Outcomes kept in memory."""


class AdaptationPage(LivePage):
    """The tab and its handlers.

    What somebody has opened is remembered, so that the timer and the pictures do not look again:
    each look is a row of the audit trail.
    """

    name = "adaptation"
    has_form = True

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._opened: OrderedDict[tuple[str, int], OutcomeView] = OrderedDict()
        self._lock = Lock()

    def build(self, guard: Guard) -> None:
        """Add the contents of the tab."""
        shown = panel("adaptation", [served(self.changed_pictures)])
        form = panel("adaptation_form")
        self.panels = [shown, form]
        self.wire(guard)
        after = [self.chosen, shown, self.timer]
        shown.cancel(guard(self.cancel), self.chosen, after, **EVERY)
        shown.accept(guard(self.accept), self.chosen, after, **EVERY)
        shown.discard(guard(self.discard), self.chosen, after, **EVERY)
        form.begin(guard(self.begin_adaptation), self.chosen, [*after, form], **EVERY)

    def value(
        self, user: User, chosen: Chosen, *, again: bool = False
    ) -> tuple[dict[str, Any], bool]:
        """The runs, and the one that is open with its outcome."""
        runs, opened = self.runs(user, "adaptation", chosen)
        value: dict[str, Any] = {
            "runs": plain(runs),
            "chosen": opened.id if opened else None,
            "detail": self._detail(user, opened, again) if opened else None,
            "address": f"adaptation&run={opened.id}" if opened else "adaptation",
        }
        return value, self.any_live(runs)

    def form(self, user: User, answer: dict[str, Any] | None = None) -> dict[str, Any]:
        """Models, methods, cases and data sets to choose from."""
        service = self.services.adaptation
        return {
            "models": model_choices(self.services.registry.list(user)),
            "methods": [list(each) for each in service.methods(user)],
            "cases": [list(each) for each in service.cases(user)],
            "datasets": dataset_choices(self.services.datasets.list(user)),
            "said": answer,
        }

    def begin_adaptation(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Queue an adaptation."""
        data = event._data
        run, answer = attempt(
            "adaptation",
            lambda: self.services.adaptation.start(
                user,
                str(data["model"]),
                [str(case) for case in data["cases"]],
                str(data["method"]),
                int(data["steps"]),
                source_of(str(data["source"])),
            ),
            "Queued. It is listed above.",
        )
        chosen = chosen if run is None else {"run": run.id}
        return *self.shown(user, chosen), self.form(user, answer)

    def accept(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Make a candidate of an outcome."""
        run, name = int(event._data["run"]), str(event._data["name"])
        return self.act(
            user,
            chosen,
            lambda: self.services.adaptation.accept(user, run, name),
            "Accepted. Compare and activate the candidate on the Models page.",
        )

    def discard(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Throw an outcome away."""
        run, work = int(event._data["run"]), self.services.adaptation.discard
        return self.act(user, chosen, lambda: work(user, run), "The adaptation was discarded.")

    def changed_pictures(self, user: User, run: Any) -> dict[str, Any]:
        """The images of the cases whose answer changed, base64, by case."""
        if isinstance(run, bool) or not isinstance(run, int):
            raise NotFound("There is no such run.")
        changed = self._outcome(user, run, again=True).changed
        return {
            "pictures": {
                each.case_id: base64.b64encode(each.picture).decode("ascii")
                for each in changed
                if each.picture
            }
        }

    def _outcome(self, user: User, run: int, *, again: bool) -> OutcomeView:
        """An outcome; as it was opened before where that will do."""
        key = (user.name, run)
        with self._lock:
            known = self._opened.get(key) if again else None
        found = known or self.services.adaptation.outcome(user, run)
        with self._lock:
            self._opened[key] = found
            while len(self._opened) > REMEMBERED:
                self._opened.popitem(last=False)
        return found

    def _detail(self, user: User, run: RunView, again: bool) -> dict[str, Any]:
        """A run, and its outcome once there is one; the reason where it cannot be read."""
        outcome, log = None, ""
        try:
            if run.state == "done":
                outcome = self._outcome(user, run.id, again=again)
            else:
                log = self.services.runs.log(user, run.id, LOG_LINES)
        except (AppError, EngineError) as error:
            log = str(error)
        return {"run": plain(run), "outcome": _plain(outcome), "log": log}


def _plain(outcome: OutcomeView | None) -> dict[str, Any] | None:
    return None if outcome is None else {**plain(outcome), "can_accept": outcome.can_accept}
