"""The organisers' application: studies, their design, progress, analysis, adjudication, import."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.auth import Role, User
from app.services import Services
from app.ui.header import header, header_value
from app.ui.kit import EVERY, QUIET
from app.ui.live import Chosen, LiveTab
from app.ui.shell import guarded
from app.ui.study.adjudication import AdjudicationTab
from app.ui.study.analysis import AnalysisTab
from app.ui.study.design import DesignTab
from app.ui.study.importing import ImportTab
from app.ui.study.progress import ProgressTab
from app.ui.study.studies import StudiesTab

__all__ = ["build"]

TITLES = {
    "studies": "Studies",
    "design": "Design",
    "progress": "Progress",
    "analysis": "Analysis",
    "adjudication": "Adjudication",
    "import": "Import",
}
MOST_DIGITS = 15


def build(services: Services) -> gr.Blocks:
    """The application; the mount lets organisers in only, and so does every handler."""
    guard = guarded(services, Role.ORGANISER)
    with gr.Blocks(title="Lightbox studies", analytics_enabled=False, fill_width=True) as demo:
        top = header()
        chosen = gr.JSON(value={}, visible=False)
        studies, analysis = StudiesTab(services, chosen), AnalysisTab(services, chosen)
        pages: list[LiveTab] = [
            studies, DesignTab(services, chosen), ProgressTab(services, chosen), analysis,
            AdjudicationTab(services, chosen), ImportTab(services),
        ]  # fmt: skip
        with gr.Tabs(selected="studies", elem_id="lb-tabs") as tabs:
            for page in pages:
                with gr.Tab(TITLES[page.name], id=page.name, render_children=True) as tab:
                    page.build(guard)
                _enter(guard, tab, page, pages)
        desk = _Desk(services, pages)
        demo.load(guard(desk.start), None, top, **QUIET)
        everything = [part for page in pages for part in page.outputs[1:]]
        reopened = demo.load(guard(desk.reopen), None, [tabs, chosen, *everything], **QUIET)
        reopened.then(guard(desk.compute), chosen, analysis.then(guard)[2], **QUIET)
        moved = [tabs, chosen, *everything]
        studies.panels[0].go(guard(desk.go), chosen, moved, **EVERY).then(
            guard(desk.compute), chosen, analysis.then(guard)[2], **QUIET
        )
    return demo


def _enter(guard: Any, tab: gr.Tab, page: LiveTab, pages: list[LiveTab]) -> None:
    """Fill a tab when it is opened, and stop looking at the others."""
    others = [each.timer for each in pages if each is not page]

    def leave(user: User) -> Any:
        return [gr.Timer(active=False)] * len(others)

    def fill(user: User, chosen: Chosen) -> tuple[Any, ...]:
        """All but what is open: another tab may be changing that at the same time.

        While a page loads nothing is noted as open yet; `reopen` fills its tab then.
        """
        if not chosen and not isinstance(page, ImportTab):
            return (gr.skip(),) * (len(page.outputs) - 1)
        return page.opened(user, chosen)[1:]

    tab.select(guard(leave), None, others, **QUIET)
    shown = tab.select(guard(fill), page.chosen, page.outputs[1:], **QUIET)
    if isinstance(page, AnalysisTab):
        shown.then(*page.then(guard), **QUIET)


class _Desk:
    """Handlers that concern several tabs."""

    def __init__(self, services: Services, pages: list[LiveTab]) -> None:
        self._services, self._pages = services, pages

    def start(self, user: User) -> dict[str, Any]:
        """The header."""
        return header_value(self._services, user)

    def reopen(self, user: User, request: gr.Request) -> list[Any]:
        """The tab that the address names, with the study that was open, as after a reload."""
        asked = dict(request.query_params or {})
        number = str(asked.get("study", ""))
        is_number = number.isascii() and number.isdigit() and len(number) <= MOST_DIGITS
        chosen: Chosen = {"study": int(number)} if is_number else {}
        wanted = str(asked.get("tab", ""))
        return self._filled(user, chosen, wanted if wanted in TITLES else "studies")

    def go(self, user: User, chosen: Chosen, event: gr.EventData) -> list[Any]:
        """From the list to another tab of the same study."""
        wanted = str(event._data.get("tab"))
        opened = {"study": int(event._data["study"])}
        return self._filled(user, opened, wanted if wanted in TITLES else "studies")

    def compute(self, user: User, chosen: Chosen) -> tuple[Any, ...]:
        """The analysis, where its tab has just been opened by another way than its title."""
        analysis = next(page for page in self._pages if isinstance(page, AnalysisTab))
        if not chosen.get("analysis"):
            return (gr.skip(),) * len(analysis.then(lambda each: each)[2])
        return analysis.compute(user, chosen)

    def _filled(self, user: User, chosen: Chosen, wanted: str) -> list[Any]:
        """The wanted tab, what is open, and the parts of all tabs."""
        kept = chosen | {"analysis": wanted == "analysis"}
        filled: list[Any] = [gr.Tabs(selected=wanted), kept]
        for page in self._pages:
            if page.name == wanted:
                filled += page.opened(user, chosen)[1:]
            else:
                filled += [gr.skip()] * (len(page.outputs) - 1)
        return filled
