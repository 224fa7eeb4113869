"""The administrators' panels as components; their page text never holds a value.

A panel's value is drawn by JavaScript part by part, and only where it has changed, so that polling
neither flickers nor takes away what somebody is typing.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import gradio as gr

from app.auth import Role, User, check
from app.errors import AppError, unforeseen
from app.ui.panels import WEB, theme_css
from engine.errors import EngineError

logger = logging.getLogger(__name__)

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
EVERY = {**QUIET, "trigger_mode": "multiple"}
KIT = ("admin_kit.js", "admin_chart.js")

# Script, drawing function and events of each panel. Gradio offers an event only where its name
# stands in quotes in the script.
PANELS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "datasets": (
        "admin_datasets.js",
        "drawAdminDatasets",
        ("register", "choose", "recheck", "remove"),
    ),
    "training": (
        "admin_training.js",
        "drawAdminTraining",
        ("choose", "pause", "resume", "cancel", "model"),
    ),
    "training_form": (
        "admin_training.js",
        "drawAdminTrainingForm",
        ("recipe", "validate", "begin"),
    ),
    "adaptation": (
        "admin_adaptation.js",
        "drawAdminAdaptation",
        ("choose", "cancel", "accept", "discard", "model"),
    ),
    "adaptation_form": ("admin_adaptation.js", "drawAdminAdaptationForm", ("begin",)),
    "models": (
        "admin_models.js",
        "drawAdminModels",
        ("choose", "activate", "roll_back", "delete", "compare", "cancel", "model"),
    ),
}

_MOUNT = """
const LIGHTBOX_EVENTS = [{events}];
const LIGHTBOX_SERVER = typeof server === 'undefined' ? {{}} : server;
mountAdmin(element, () => props.value, (name, data) => {{
  if (LIGHTBOX_EVENTS.includes(name)) trigger(name, data);
}}, LIGHTBOX_SERVER, {draw});
watch('value', () => {{ if (element.panel) element.panel.update(); }});
"""


@cache
def script(name: str) -> str:
    """JavaScript of one panel, `name` being a key of `PANELS`: the shared pieces, then its own."""
    own, _, _ = PANELS[name]
    files = [*KIT, own]
    if own != "admin_training.js":  # tables of metrics, progress and banners of runs
        files.insert(len(KIT), "admin_training.js")
    return "\n".join((WEB / file).read_text("utf-8") for file in files)


@cache
def style() -> str:
    """CSS of every panel of the administrators."""
    return theme_css() + (WEB / "admin.css").read_text("utf-8")


def panel(name: str, functions: Sequence[Callable[..., Any]] = ()) -> gr.HTML:
    """A panel that is empty until it gets a value.

    Args:
        name: Key of `PANELS`. functions: Guarded functions that its script may call (see `served`).
    """
    _, draw, events = PANELS[name]
    quoted = ", ".join(f"'{event}'" for event in events)
    sided = " is-sided" if name == "datasets" else ""
    return gr.HTML(
        value=None,
        html_template=f'<div class="lbx lba{sided}" hidden></div>',
        css_template=style(),
        js_on_load=script(name) + _MOUNT.format(events=quoted, draw=draw),
        apply_default_css=False,
        server_functions=list(functions) or None,
    )


def served(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn `function(user, argument)` into one that a panel's script calls; administrators only.

    Gradio hands such functions the bare request, in which the gate has noted who asks. Errors
    meant for users come back as `{"error": sentence}`.
    """

    def wrapper(asked: gr.Request, argument: Any = None) -> Any:
        try:
            noted = getattr(getattr(asked, "state", None), "user", None)
            user: User = check(noted, Role.ADMINISTRATOR)
            return function(user, argument)
        except (AppError, EngineError) as error:
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
    marked.required_role = Role.ADMINISTRATOR
    return wrapper
