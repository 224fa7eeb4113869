"""What the tabs that watch runs have in common: pausing, resuming, cancelling, and the list."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.auth import User
from app.services.run_views import RunView
from app.ui.admin.values import is_live, of_kind
from app.ui.live import SECONDS, Chosen, Guard, LiveTab

__all__ = ["SECONDS", "Chosen", "Guard", "LivePage"]


class LivePage(LiveTab):
    """A tab that watches runs."""

    def picked(self, data: dict[str, Any]) -> Chosen:
        """What an event says is open now."""
        return {"run": int(data["run"])}

    def pause(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Ask a run to rest."""
        run = int(event._data["run"])
        return self.act(user, chosen, lambda: self.services.runs.pause(user, run), "")

    def resume(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Ask a run to go on."""
        run = int(event._data["run"])
        return self.act(user, chosen, lambda: self.services.runs.resume(user, run), "")

    def cancel(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Ask a run to end."""
        run = int(event._data["run"])
        return self.act(user, chosen, lambda: self.services.runs.cancel(user, run), "")

    def runs(self, user: User, kind: str, chosen: Chosen) -> tuple[list[RunView], RunView | None]:
        """Runs of a kind, newest first, and the one that is open.

        It is the one that goes on where none was chosen, else the newest.
        """
        found = of_kind(self.services.runs.list(user), kind)
        going = [run for run in found if is_live(run) and run.state != "queued"]
        chosen_ones = [run for run in found if run.id == chosen.get("run")]
        return found, next(iter((*chosen_ones, *going, *found)), None)

    @staticmethod
    def any_live(runs: list[RunView]) -> bool:
        """True while one of them goes on or waits."""
        return any(is_live(run) for run in runs)
