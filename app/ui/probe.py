"""The counterfactual probe: event in, one service call, a new value out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.auth import User
from app.errors import AppError
from app.services.probe import Probes
from engine.errors import EngineError

Value = dict[str, Any]


class ProbePage:
    """Handlers of the panel `Probe`; what went wrong is said there, and the marked region stays.

    Args:
        service: Does the work. stamp: Gives a number that has not been used, so that equal values
            still reach the page.
    """

    def __init__(self, service: Probes, stamp: Callable[[], int]) -> None:
        self._service, self._stamp = service, stamp

    def probe(self, user: User, current: dict[str, str]) -> Value:
        """The panel came into sight: the case and the class that the review shows."""
        case = current.get("case", "")
        if not case:
            return self._stamped({"case": ""})
        return self._stamped(self._service.panel(user, case, current.get("target") or None))

    def remove_region(self, user: User, event: gr.EventData) -> Value:
        """The marked region is removed, and the model asked again."""
        case, target, data = *_asked(event), event._data

        def ask() -> Value:
            return self._service.ask(
                user,
                case,
                image=data.get("image"),
                mask=data.get("mask"),
                fill=data.get("fill"),
                methods=_listed(data.get("methods")),
                target=target,
            )

        return self._tried(user, case, target, ask)

    def outline_box(self, user: User, event: gr.EventData) -> Value:
        """A box was drawn."""
        case, target, data = *_asked(event), event._data
        asked = {"image": data.get("image"), "box": data.get("box"), "target": target}
        return self._tried(user, case, target, lambda: self._service.outline(user, case, **asked))

    def stop_probe(self, user: User, event: gr.EventData) -> Value:
        """The reader no longer waits."""
        case, target = _asked(event)
        return self._tried(user, case, target, lambda: self._service.cancel(user, case, target))

    def wire(self, panel: gr.HTML, guard: Callable[..., Any], **options: Any) -> None:
        """Answer what readers do in the panel."""
        panel.remove(guard(self.remove_region), None, panel, **options)
        panel.outline(guard(self.outline_box), None, panel, **options)
        panel.stop(guard(self.stop_probe), None, panel, **options)

    def _tried(self, user: User, case: str, target: str | None, act: Callable[[], Value]) -> Value:
        try:
            return self._stamped(act())
        except (AppError, EngineError) as error:
            value = self._service.panel(user, case, target)
            return self._stamped(value | {"problem": str(error)})

    def _stamped(self, value: Value) -> Value:
        return value | {"version": self._stamp()}


def _asked(event: gr.EventData) -> tuple[str, str | None]:
    """The case and the target that the reader saw."""
    data = event._data
    return str(data["case"]), str(data.get("target") or "") or None


def _listed(stated: Any) -> list[Any]:
    return list(stated) if isinstance(stated, list | tuple) else []
