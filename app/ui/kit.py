"""Panels that are drawn part by part, shared by the pages of administrators and of organisers.

The page text of a panel never holds a value. JavaScript draws its value, and only where it has
changed, so that polling neither flickers nor takes away what somebody is typing.
"""

from __future__ import annotations

import inspect
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import gradio as gr

from app.auth import Role, User, check
from app.errors import AppError, unforeseen
from app.ui.panels import WEB, theme_css
from engine.errors import EngineError
from reports.errors import ReportError

logger = logging.getLogger(__name__)

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
EVERY = {**QUIET, "trigger_mode": "multiple"}
KIT = ("admin_kit.js", "admin_chart.js")

_MOUNT = """
const LIGHTBOX_EVENTS = [{events}];
const LIGHTBOX_SERVER = typeof server === 'undefined' ? {{}} : server;
mountAdmin(element, () => props.value, (name, data) => {{
  if (LIGHTBOX_EVENTS.includes(name)) trigger(name, data);
}}, LIGHTBOX_SERVER, {draw});
watch('value', () => {{ if (element.panel) element.panel.update(); }});
"""


@cache
def joined(*names: str) -> str:
    """Scripts of the web folder, one after another."""
    return "\n".join((WEB / name).read_text("utf-8") for name in names)


@cache
def style(*names: str) -> str:
    """The theme, then style sheets of the web folder."""
    return theme_css() + "".join((WEB / name).read_text("utf-8") for name in names)


def drawn_panel(
    script: str,
    css: str,
    draw: str,
    events: Sequence[str],
    functions: Sequence[Callable[..., Any]] = (),
    classes: str = "",
) -> gr.HTML:
    """A panel that is empty until it gets a value.

    Args:
        script: JavaScript that defines `draw`. css: Style sheet.
        draw: Name of the function that draws a value.
        events: What the panel may send; Gradio offers an event only where its name stands in
            quotes in the script.
        functions: Guarded functions that the script may call (see `served_to`).
        classes: Further classes of its root.
    """
    quoted = ", ".join(f"'{event}'" for event in events)
    return gr.HTML(
        value=None,
        html_template=f'<div class="lbx lba{classes and " " + classes}" hidden></div>',
        css_template=css,
        js_on_load=script + _MOUNT.format(events=quoted, draw=draw),
        apply_default_css=False,
        server_functions=list(functions) or None,
    )


def served_to(role: Role, function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn `function(user, argument)` into one that a panel's script calls, for a least role.

    Gradio hands such functions the bare request, in which the gate has noted who asks. Errors
    meant for users come back as `{"error": sentence}`.
    """

    def wrapper(asked: gr.Request, argument: Any = None) -> Any:
        try:
            noted = getattr(getattr(asked, "state", None), "user", None)
            user: User = check(noted, role)
            return function(user, argument)
        except (AppError, EngineError, ReportError) as error:
            return {"error": str(error)}
        except Exception as error:
            return {"error": unforeseen(error, logger, "page function failed, ")}

    marked: Any = wrapper
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    marked.__signature__ = inspect.Signature(
        [
            inspect.Parameter("asked", kind, annotation=gr.Request),
            inspect.Parameter("argument", kind, default=None),
        ]
    )
    marked.__annotations__ = {"asked": gr.Request}
    marked.__name__ = function.__name__
    marked.required_role = role
    return wrapper


def plain(view: Any) -> Any:
    """A view as JSON knows it: times as ISO 8601, UTC; pictures left out."""
    if is_dataclass(view) and not isinstance(view, type):
        found = {item.name: getattr(view, item.name) for item in fields(view)}
        return {key: plain(v) for key, v in found.items() if not isinstance(v, bytes)}
    if isinstance(view, datetime):
        return (view if view.tzinfo else view.replace(tzinfo=UTC)).isoformat()
    if isinstance(view, Mapping):
        return {str(key): plain(v) for key, v in view.items()}
    if isinstance(view, list | tuple):
        return [plain(v) for v in view]
    return view


def said(form: str, text: str, *, good: bool) -> dict[str, Any]:
    """What came of an action, shown beside its form ("page" for the top of the page)."""
    return {"n": secrets.token_hex(4), "form": form, "good": good, "text": text}


def attempt(form: str, work: Callable[[], Any], done: str) -> tuple[Any, dict[str, Any]]:
    """What `work` gives, or None, and what is said of it."""
    try:
        found = work()
    except (AppError, EngineError, ReportError) as error:
        return None, said(form, str(error), good=False)
    return found, said(form, done, good=True)
