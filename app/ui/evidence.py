"""The evidence tab: every map of the case under review, with what is measured about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.auth import User
from app.services import Services

Value = dict[str, Any]


class EvidencePage:
    """Handlers of the panel `Evidence`: event in, one service call, value out.

    Args:
        services: All use cases. stamp: Gives a number that has not been used, so that equal values
            still reach the page.
    """

    def __init__(self, services: Services, stamp: Callable[[], int]) -> None:
        self._evidence, self._stamp = services.evidence, stamp

    def evidence(self, user: User, current: dict[str, str]) -> Value:
        """The tab was chosen: the case and the class that the review shows."""
        case = current.get("case", "")
        if not case:
            return self._stamped({"case": ""})
        return self._stamped(self._evidence.open(user, case, current.get("target") or None))

    def evidence_target(self, user: User, event: gr.EventData) -> Value:
        """Explain another class, or the segmented lesion."""
        data = event._data
        return self._stamped(self._evidence.open(user, str(data["case"]), str(data["name"])))

    def run_methods(self, user: User, event: gr.EventData) -> Value:
        """Have methods computed."""
        data, methods = event._data, [str(name) for name in event._data.get("methods") or ()]
        settings = data.get("settings") or None
        return self._stamped(self._evidence.run(user, *_asked(data), methods, settings))

    def cancel_job(self, user: User, event: gr.EventData) -> Value:
        """Stop a computation."""
        data = event._data
        return self._stamped(self._evidence.cancel(user, *_asked(data), str(data["job"])))

    def measure(self, user: User, event: gr.EventData) -> Value:
        """Score the maps."""
        return self._stamped(self._evidence.measure(user, *_asked(event._data)))

    def test_stability(self, user: User, event: gr.EventData) -> Value:
        """Test the maps under small changes of the image."""
        return self._stamped(self._evidence.stability(user, *_asked(event._data)))

    def randomise(self, user: User, event: gr.EventData) -> Value:
        """Test the maps against random weights."""
        return self._stamped(self._evidence.randomise(user, *_asked(event._data)))

    def wire(self, panel: gr.HTML, guard: Callable[..., Any], **options: Any) -> None:
        """Answer what readers do in the panel; `show` leads elsewhere and is left out."""
        panel.target(guard(self.evidence_target), None, panel, **options)
        panel.run(guard(self.run_methods), None, panel, **options)
        panel.cancel(guard(self.cancel_job), None, panel, **options)
        panel.measure(guard(self.measure), None, panel, **options)
        panel.stability(guard(self.test_stability), None, panel, **options)
        panel.randomise(guard(self.randomise), None, panel, **options)

    def _stamped(self, value: Value) -> Value:
        return value | {"version": self._stamp()}


def _asked(data: dict[str, Any]) -> tuple[str, str | None]:
    """The case and the target that the reader saw."""
    return str(data["case"]), str(data.get("target") or "") or None
