"""A tab whose panels look again while something goes on: a timer, what is open, how actions end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from app.auth import User
from app.services import Services
from app.ui.kit import EVERY, QUIET, attempt

SECONDS = 2.0
"""Between two looks at something that goes on."""

Chosen = dict[str, Any]
Guard = Callable[[Callable[..., Any]], Any]


class LiveTab:
    """A tab whose panels are filled when it is opened, and again while something goes on.

    What is open is kept on the page (`chosen`), so that each tick shows the same; nothing is kept
    here of who looks. Children set `name`, and give `value` and, where they have a form, `form`.

    Args:
        services: What the handlers call.
        chosen: Keeps what is open, where several tabs share it; one of its own otherwise.
    """

    name = ""
    has_form = False

    def __init__(self, services: Services, chosen: gr.JSON | None = None) -> None:
        self.services = services
        self.chosen = gr.JSON(value={}, visible=False) if chosen is None else chosen
        self.timer = gr.Timer(SECONDS, active=False)
        self.panels: list[gr.HTML] = []

    @property
    def outputs(self) -> list[Any]:
        """What `opened` fills: what is open, the panels, the timer."""
        return [self.chosen, *self.panels, self.timer]

    def value(
        self, user: User, chosen: Chosen, *, again: bool = False
    ) -> tuple[dict[str, Any], bool]:
        """What the first panel shows, and whether something goes on.

        Args:
            again: True when the timer asks, and not a person.
        """
        raise NotImplementedError

    def form(self, user: User) -> dict[str, Any]:
        """What the form shows."""
        raise NotImplementedError

    def build(self, guard: Guard) -> None:
        """Add the contents of the tab."""
        raise NotImplementedError

    def opened(self, user: User, chosen: Chosen) -> tuple[Any, ...]:
        """Everything, when the tab is opened or the page is loaded."""
        value, going = self.value(user, chosen)
        forms = [self.form(user)] if self.has_form else []
        return chosen, value, *forms, gr.Timer(active=going)

    def tick(self, user: User, chosen: Chosen) -> tuple[Any, ...]:
        """All anew; the timer ends with the last thing that goes on.

        A tick never starts the timer, which somebody may have ended meanwhile by leaving the tab.
        """
        value, going = self.value(user, chosen, again=True)
        return value, gr.skip() if going else gr.Timer(active=False)

    def choose(self, user: User, chosen: Chosen, event: gr.EventData) -> tuple[Any, ...]:
        """Something in a list was opened."""
        return self.shown(user, chosen | self.picked(event._data))

    def picked(self, data: dict[str, Any]) -> Chosen:
        """What an event says is open now."""
        raise NotImplementedError

    def shown(
        self, user: User, chosen: Chosen, answer: dict[str, Any] | None = None
    ) -> tuple[Any, ...]:
        """What is open, the first panel with what came of an action, and the timer."""
        value, going = self.value(user, chosen)
        return chosen, value | {"said": answer}, gr.Timer(active=going)

    def act(
        self, user: User, chosen: Chosen, work: Callable[[], Any], done: str, form: str = "page"
    ) -> tuple[Any, ...]:
        """Do something and show what came of it, a refusal being shown as well."""
        return self.shown(user, chosen, attempt(form, work, done)[1])

    def wire(self, guard: Guard) -> None:
        """Events that every such tab has."""
        first = self.panels[0]
        after = [self.chosen, first, self.timer]
        self.timer.tick(guard(self.tick), self.chosen, [first, self.timer], **QUIET)
        first.choose(guard(self.choose), self.chosen, after, **EVERY)
