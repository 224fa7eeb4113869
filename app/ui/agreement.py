"""The agreement page: how the readers agree, question by question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from app.auth import User
from app.services import Agreement, Services
from app.ui.figures import agreement_figure, distribution_figure
from app.ui.shell import guarded

if TYPE_CHECKING:
    from engine.metrics.agreement import Estimate

ALL = "All maps"
HEADERS = ["Question", "Coefficient", "Value", "95 % interval", "Basis", "Remarks"]
WIDTHS = ["20%", "17%", "8%", "17%", "16%", "22%"]
NOBODY = "Nobody has rated yet. Agreement needs two readers who rate the same maps."


def build(services: Services) -> None:
    """Add the tab to the application being built."""
    from app.services.review import METHODS

    with gr.Tab("Agreement", id="agreement") as tab:
        gr.Markdown(
            "Agreement of all readers, per question. One item is one map of one case. "
            "Agreement is not correctness: readers can agree and all be wrong."
        )
        method = gr.Dropdown([ALL, *METHODS], value=ALL, label="Explanation method")
        readers = gr.Markdown()
        coefficients = gr.Plot(label="Coefficients with 95 % intervals", visible=False)
        answers = gr.Plot(label="Answers given", visible=False)
        table = gr.Dataframe(
            headers=HEADERS,
            datatype="str",
            interactive=False,
            wrap=True,
            column_widths=WIDTHS,
            label="Numbers",
            visible=False,
        )

        def refresh(user: User, wanted: str) -> tuple[Any, ...]:
            chosen = None if wanted == ALL else wanted
            return shown(services.ratings.agreement(user, chosen))

        outputs = [readers, coefficients, answers, table]
        guard = guarded(services)
        tab.select(guard(refresh), method, outputs, api_visibility="private")
        method.change(guard(refresh), method, outputs, api_visibility="private")


def shown(parts: tuple[Agreement, ...]) -> tuple[Any, ...]:
    """Text, figures and table of the page; text alone while nobody has rated."""
    readers = sorted({reader for part in parts for reader in part.readers})
    if not readers:
        return NOBODY, *(gr.update(visible=False) for _ in range(3))
    coefficients = agreement_figure({part.question: part.estimates for part in parts})
    answers = distribution_figure({part.question: part.counts for part in parts})
    return (
        f"{len(readers)} {'reader has' if len(readers) == 1 else 'readers have'} rated: "
        f"{', '.join(readers)}.",
        gr.update(value=coefficients, visible=True),
        gr.update(value=answers, visible=True),
        gr.update(value=[row for part in parts for row in _rows(part)], visible=True),
    )


def _rows(part: Agreement) -> list[list[str]]:
    return [_row(part.question, estimate) for estimate in part.estimates]


def _row(question: str, estimate: Estimate) -> list[str]:
    interval = "not estimable"
    if estimate.low is not None and estimate.high is not None:
        interval = f"{estimate.low:.2f} to {estimate.high:.2f} ({estimate.interval})"
    basis = (
        f"{estimate.cases} maps, {estimate.raters} readers, {estimate.ratings} ratings, "
        f"{estimate.missing} missing"
    )
    return [
        question,
        f"{estimate.name} ({estimate.weights} weights)",
        "undefined" if estimate.value is None else f"{estimate.value:.2f}",
        interval,
        basis,
        " ".join(text for text in (estimate.reason, *estimate.notes) if text),
    ]
