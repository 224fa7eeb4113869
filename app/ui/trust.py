"""The page "Which method": which explanation to trust with this model, on cases of known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from app.auth import User
from app.services import Services
from app.services.benchmarks import Trust
from app.ui.shell import guarded
from app.ui.trust_figures import energy_figure, faithfulness_figure, sanity_figure
from app.ui.trust_html import BEST, NAME, absent, tables, verdicts
from engine.benchmark.records import ArmResult, Benchmark
from engine.metrics.catalogue import METRICS

STYLE = Path(__file__).resolve().parents[2] / "assets" / "web" / "trust.css"
HIDDEN = {"visible": False}
IMAGES = {"mammography": "mammogram", "pathology": "pathology image"}
ORDERS = (("Best first", BEST), ("Name", NAME))
OPTIONS: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def build(services: Services) -> None:
    """Add the tab to the application being built."""
    guard = guarded(services)
    with gr.Tab("Which method", id="trust") as tab:
        with gr.Row():
            model = gr.Dropdown([], label="Model")
            view = gr.Dropdown([], label="Measured on")
            order = gr.Dropdown(list(ORDERS), value=BEST, label="Order of the tables")
        top = _html()
        energy = gr.Plot(label="Heat in the lesion", visible=False)
        with gr.Row():
            faithful = gr.Plot(label="Faithfulness", visible=False)
            sanity = gr.Plot(label="Random weights", visible=False)
        below = _html()

        def open_trust(
            user: User, wanted: str | None, seen: str | None, sort: str
        ) -> tuple[Any, ...]:
            models = services.benchmarks.models(user)
            names = [name for _, name in models]
            chosen = wanted if wanted in names else names[0] if names else None
            box = gr.update(choices=list(models), value=chosen)
            return box, *shown(services.benchmarks.trust(user, chosen), seen, sort)

        def choose_trust(
            user: User, wanted: str | None, seen: str | None, sort: str
        ) -> tuple[Any, ...]:
            return shown(services.benchmarks.trust(user, wanted), seen, sort)

        parts = [view, order, top, energy, faithful, sanity, below]
        asked = [model, view, order]
        tab.select(guard(open_trust), asked, [model, *parts], **OPTIONS)
        for box in asked:
            box.input(guard(choose_trust), asked, parts, **OPTIONS)


def _html() -> gr.HTML:
    return gr.HTML(value="", css_template=STYLE.read_text("utf-8"), apply_default_css=False)


def shown(trust: Trust, seen: str | None, order: str) -> tuple[Any, ...]:
    """Choices, words, figures and tables of the page.

    Args:
        trust: What is known. seen: Id of a view; the first when None or unknown.
        order: `BEST`, `NAME` or a metric.
    """
    benchmark = trust.benchmark
    if benchmark is None or not any(arm.images for arm in benchmark.arms):
        hidden = gr.update(**HIDDEN)
        return hidden, hidden, absent(trust), hidden, hidden, hidden, ""
    views = _views(benchmark)
    arm, image = views.get(seen or "", next(iter(views.values())))
    chosen = f"{arm.id}/{image}"
    measured = {c.metric for m in arm.methods for c in m.cells if c.image == image}
    orders = [*ORDERS, *((METRICS[m].title, m) for m in METRICS if m in measured)]
    order = order if order in {key for _, key in orders} else BEST
    first = image == arm.images[0]
    return (
        gr.update(choices=_titles(views), value=chosen, visible=True),
        gr.update(choices=orders, value=order, visible=True),
        verdicts(trust, benchmark, arm, image),
        _plot(energy_figure(arm, image)),
        _plot(faithfulness_figure(arm, image)),
        _plot(sanity_figure(arm) if first else None),
        tables(arm, image, order),
    )


def _plot(figure: Any) -> Any:
    return gr.update(visible=False) if figure is None else gr.update(value=figure, visible=True)


def _views(benchmark: Benchmark) -> dict[str, tuple[ArmResult, str]]:
    """Arm and image by id, in the order in which they were measured."""
    return {f"{arm.id}/{image}": (arm, image) for arm in benchmark.arms for image in arm.images}


def _titles(views: dict[str, tuple[ArmResult, str]]) -> list[tuple[str, str]]:
    many = {arm.id for arm, _ in views.values() if len(arm.images) > 1}
    return [
        (f"{arm.title}, on the {IMAGES.get(image, image)}" if arm.id in many else arm.title, key)
        for key, (arm, image) in views.items()
    ]
