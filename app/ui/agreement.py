"""The agreement page: how the readers agree, question by question."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.auth import User
from app.services import Agreement, Services
from app.ui.figures import agreement_figure, distribution_figure
from app.ui.shell import guarded

ALL = "All maps"
HEADERS = ["Question", "Coefficient", "Weights", "Value", "95 % interval", "Cases", "Readers",
           "Ratings", "Missing", "Remarks"]  # fmt: skip


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
        coefficients = gr.Plot(label="Coefficients with 95 % intervals")
        answers = gr.Plot(label="Answers given")
        table = gr.Dataframe(
            headers=HEADERS, datatype="str", interactive=False, wrap=True, label="Numbers"
        )

        def refresh(user: User, wanted: str) -> tuple[Any, ...]:
            chosen = None if wanted == ALL else wanted
            return shown(services.ratings.agreement(user, chosen))

        outputs = [readers, coefficients, answers, table]
        guard = guarded(services)
        tab.select(guard(refresh), method, outputs, api_visibility="private")
        method.change(guard(refresh), method, outputs, api_visibility="private")


def shown(parts: tuple[Agreement, ...]) -> tuple[Any, ...]:
    """Text, figures and table of the page."""
    readers = sorted({reader for part in parts for reader in part.readers})
    text = (
        f"{len(readers)} reader(s) have rated."
        if readers
        else "Nobody has rated yet. Agreement needs two readers who rate the same maps."
    )
    coefficients = agreement_figure({part.question: part.estimates for part in parts})
    answers = distribution_figure({part.question: part.counts for part in parts})
    return text, coefficients, answers, [row for part in parts for row in _rows(part)]


def _rows(part: Agreement) -> list[list[str]]:
    rows = []
    for estimate in part.estimates:
        interval = (
            f"{estimate.low:.2f} to {estimate.high:.2f} ({estimate.interval})"
            if estimate.low is not None and estimate.high is not None
            else ""
        )
        rows.append(
            [
                part.question,
                estimate.name,
                estimate.weights,
                "undefined" if estimate.value is None else f"{estimate.value:.2f}",
                interval,
                str(estimate.cases),
                str(estimate.raters),
                str(estimate.ratings),
                str(estimate.missing),
                " ".join(text for text in (estimate.reason, *estimate.notes) if text),
            ]
        )
    return rows
