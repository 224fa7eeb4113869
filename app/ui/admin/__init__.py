"""The administrators' application: data sets, training, adaptation, models, accounts, audit."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.auth import Role, User
from app.services import Services
from app.ui.admin.accounts import AccountsPage
from app.ui.admin.adaptation import AdaptationPage
from app.ui.admin.audit import AUDIT, AuditPage
from app.ui.admin.datasets import DatasetsPage
from app.ui.admin.live import Chosen, LivePage
from app.ui.admin.models import ModelsPage
from app.ui.admin.panel import EVERY, QUIET
from app.ui.admin.training import TrainingPage
from app.ui.admin.values import is_number
from app.ui.header import header, header_value
from app.ui.model import card_text
from app.ui.shell import guarded

__all__ = ["AUDIT", "build"]

TITLES = {
    "datasets": "Data sets",
    "training": "Training",
    "adaptation": "Adaptation",
    "models": "Models",
}
NUMBERS = ("dataset", "run")
"""Parameters of an address that are numbers; `model` is a name (`page` is Gradio's own)."""


def build(services: Services) -> gr.Blocks:
    """The application; the gate lets administrators in only, and so does every handler."""
    guard = guarded(services, Role.ADMINISTRATOR)
    with gr.Blocks(
        title="Lightbox administration", analytics_enabled=False, fill_width=True
    ) as demo:
        top = header()
        people, trail = AccountsPage(services), AuditPage(services)
        training, models = TrainingPage(services), ModelsPage(services)
        pages = [DatasetsPage(services), training, AdaptationPage(services), models]
        with gr.Tabs(selected="accounts", elem_id="lb-tabs") as tabs:
            with gr.Tab("Accounts", id="accounts") as accounts_tab:
                table = people.build(guard)
            _enter(guard, accounts_tab, None, pages)
            for page in pages:
                with gr.Tab(TITLES[page.name], id=page.name, render_children=True) as tab:
                    page.build(guard)
                    if page is models:
                        with gr.Accordion("Cards of all models, in full", open=False):
                            cards = gr.Markdown()
                _enter(guard, tab, page, pages)
            with gr.Tab("Audit trail", id="audit") as audit_tab:
                audit = trail.build(guard)
            _enter(guard, audit_tab, None, pages)
        desk = _Desk(services, people, pages)
        demo.load(guard(desk.start), None, [top, table, cards], **QUIET)
        everything = [part for page in pages for part in page.outputs]
        demo.load(guard(desk.reopen), None, [tabs, *everything], **QUIET)
        audit_tab.select(guard(trail.audit), None, audit, **QUIET)
        moved = [tabs, training.timer, *models.outputs]
        training.panels[0].model(guard(desk.to_model), None, moved, **EVERY)
    return demo


def _enter(guard: Any, tab: gr.Tab, page: LivePage | None, pages: list[LivePage]) -> None:
    """Fill a tab when it is opened, and stop looking at the others."""
    others = [each.timer for each in pages if each is not page]

    def leave(user: User) -> Any:
        return [gr.Timer(active=False)] * len(others)

    tab.select(guard(leave), None, others, **QUIET)
    if page is not None:
        tab.select(guard(page.opened), page.chosen, page.outputs, **QUIET)


class _Desk:
    """Handlers that concern several tabs."""

    def __init__(self, services: Services, people: AccountsPage, pages: list[LivePage]) -> None:
        self._services, self._people, self._pages = services, people, pages

    def start(self, user: User) -> tuple[Any, ...]:
        """Header, accounts, model cards."""
        cards = [card_text(card) for card in self._services.administration.cards(user)]
        top = header_value(self._services, user)
        return top, self._people.table(user), "\n\n---\n\n".join(cards)

    def reopen(self, user: User, request: gr.Request) -> list[Any]:
        """The tab that the address names, with what was open in it, as after a reload."""
        asked = dict(request.query_params or {})
        wanted = str(asked.get("tab", ""))
        is_known = wanted in TITLES
        # Where no tab is named the tabs are left alone: somebody may have opened one meanwhile.
        filled: list[Any] = [gr.Tabs(selected=wanted) if is_known else gr.skip()]
        for page in self._pages:
            if page.name == wanted:
                filled += page.opened(user, _chosen(asked))
            else:
                filled += [gr.skip()] * len(page.outputs)
        return filled

    def to_model(self, user: User, event: gr.EventData) -> list[Any]:
        """From a run to the model that came out of it."""
        models = next(page for page in self._pages if page.name == "models")
        return [
            gr.Tabs(selected=models.name),
            gr.Timer(active=False),
            *models.opened(user, {"model": str(event._data["name"])}),
        ]


def _chosen(asked: dict[str, Any]) -> Chosen:
    """What an address says is open."""
    found: Chosen = {k: int(asked[k]) for k in NUMBERS if is_number(asked.get(k))}
    return found | ({"model": str(asked["model"])} if "model" in asked else {})
