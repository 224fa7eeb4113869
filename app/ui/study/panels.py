"""The organisers' panels as components; see `app.ui.kit` for how they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import gradio as gr

from app.auth import Role
from app.ui import kit

# Scripts, drawing function and events of each panel. Gradio offers an event only where its name
# stands in quotes in the script.
PANELS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "studies": (
        ("study_list.js",),
        "drawStudies",
        (
            "choose", "create", "go", "prepare", "open", "lock", "unblind", "copy", "delete",
            "refresh", "observers", "measure",
        ),
    ),
    "design": (
        (
            "study_design.js", "study_cases.js", "study_conditions.js", "study_questions.js",
            "study_layout.js", "study_preview.js",
        ),
        "drawStudyDesign",
        ("choose", "save", "reload"),
    ),
    "progress": (
        ("study_progress.js",),
        "drawStudyProgress",
        ("choose", "withdraw", "override", "excuse", "describe"),
    ),
    "analysis": (
        ("study_analysis.js",),
        "drawStudyAnalysisHead",
        ("choose", "filter"),
    ),
    "analysis_agreement": (
        ("study_analysis.js", "study_tables.js"),
        "drawStudyAgreement",
        ("filter",),
    ),
    "analysis_tables": (
        ("study_analysis.js", "study_tables.js"),
        "drawStudyTables",
        ("filter",),
    ),
    "adjudication": (
        ("study_adjudication.js",),
        "drawStudyAdjudication",
        ("choose", "decide"),
    ),
    "import": (
        ("study_analysis.js", "study_import.js"),
        "drawStudyImport",
        ("analyse", "filter", "forget"),
    ),
}  # fmt: skip


@cache
def script(name: str) -> str:
    """JavaScript of one panel: the shared pieces, then its own."""
    return kit.joined(*kit.KIT, "study_kit.js", *PANELS[name][0])


def style() -> str:
    """CSS of every panel of the organisers."""
    return kit.style("admin.css", "study.css")


def panel(name: str, functions: Sequence[Callable[..., Any]] = ()) -> gr.HTML:
    """A panel that is empty until it gets a value.

    Args:
        name: Key of `PANELS`. functions: Guarded functions that its script may call (see `served`).
    """
    _, draw, events = PANELS[name]
    return kit.drawn_panel(script(name), style(), draw, events, functions, f"lbs lbs-{name}")


def served(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn `function(user, argument)` into one that a panel's script calls; organisers only."""
    return kit.served_to(Role.ORGANISER, function)
