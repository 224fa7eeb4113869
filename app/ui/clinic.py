"""The clinicians' application: worklist, review, evidence, upload, agreement, model card."""

from __future__ import annotations

from itertools import count
from typing import Any

import gradio as gr

from app.auth import User
from app.errors import AppError, InvalidInput
from app.services import Services
from app.ui import agreement, model
from app.ui import trust as which_method
from app.ui.evidence import EvidencePage
from app.ui.header import header, header_value
from app.ui.panels import Evidence, Findings, Probe, RatingForm, Upload, Worklist
from app.ui.probe import ProbePage
from app.ui.shell import guarded
from app.ui.viewer import Viewer

UNBOUND = (
    "It is not known which model made this map, so the answer was not saved; please open the case "
    "again."
)
NOTHING = gr.EventData(None, {})
QUIET = {"show_progress": "hidden", "trigger_mode": "multiple", "api_visibility": "private"}


def build(services: Services) -> gr.Blocks:
    """The application; see gradio.md for why nothing here holds an identity or pixels."""
    with gr.Blocks(title="Lightbox", analytics_enabled=False, fill_width=True) as demo:
        top = header()
        current = gr.JSON(value={}, visible=False)
        with gr.Tabs(selected="worklist", elem_id="lb-tabs") as tabs:
            with gr.Tab("Worklist", id="worklist") as worklist_tab:
                worklist = Worklist()
            with gr.Tab(  # noqa: SIM117
                "Review", id="review", elem_id="lb-review", render_children=True
            ):
                with gr.Row(equal_height=False):
                    with gr.Column(scale=6, min_width=600, elem_classes="lb-stays"):
                        viewer = Viewer()
                    with gr.Column(scale=2, min_width=270):
                        findings = Findings()
                    with gr.Column(scale=2, min_width=290):
                        form = RatingForm()
            with gr.Tab(
                "Evidence", id="evidence", elem_id="lb-evidence", render_children=True
            ) as evidence_tab:
                evidence = Evidence()
            with gr.Tab(
                "What if", id="what-if", elem_id="lb-what-if", render_children=True
            ) as probe_tab:
                probe = Probe()
            with gr.Tab("Upload", id="upload"):
                upload = Upload(value={"version": 1, "limits": _limits(services)})
            which_method.build(services)
            agreement.build(services)
            model.build(services)
        page = _Page(services)
        shown = [viewer, findings, form, current, tabs]
        guard = guarded(services)
        demo.load(guard(page.start), None, [top, worklist, *shown], **QUIET)
        worklist_tab.select(guard(page.list), None, worklist, **QUIET)
        for panel in (worklist, upload):
            panel.open(guard(page.open), None, shown, **QUIET)
        upload.done(guard(page.list), None, worklist, **QUIET)
        findings.target(guard(page.target), current, shown, **QUIET)
        form.method(guard(page.method), current, shown, **QUIET)
        form.rate(guard(page.rate), None, form, **QUIET)
        form.next(guard(page.next), current, shown, **QUIET)
        form.previous(guard(page.previous), current, shown, **QUIET)
        evidence_page = EvidencePage(services, page.stamp)
        evidence_tab.select(guard(evidence_page.evidence), current, evidence, **QUIET)
        evidence_page.wire(evidence, guard, **QUIET)
        evidence.show(guard(page.show_map), None, shown, **QUIET)
        probe_page = ProbePage(services.probe, page.stamp)
        probe_tab.select(guard(probe_page.probe), current, probe, **QUIET)
        probe_page.wire(probe, guard, **QUIET)
    return demo


class _Page:
    """Handlers: event in, one service call, values out."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._versions = count(1)

    def start(self, user: User, request: gr.Request) -> tuple[Any, ...]:
        """The first view; `?case=ID` opens that case."""
        wanted = dict(request.query_params).get("case") if request.query_params else None
        shown: tuple[Any, ...] = (gr.skip(),) * 5
        try:
            shown = self._show(user, str(wanted)) if wanted else shown
        except AppError as error:  # a stale link must not cost the reader the worklist
            gr.Warning(str(error))
        return header_value(self._services, user), self.list(user), *shown

    def list(self, user: User) -> dict[str, Any]:
        """The worklist."""
        return {"version": self.stamp(), "cases": self._services.cases.worklist(user)}

    def open(self, user: User, event: gr.EventData) -> tuple[Any, ...]:
        """A case chosen in the worklist or after an upload."""
        return self._show(user, str(event._data["case"]))

    def target(self, user: User, current: dict[str, str], event: gr.EventData) -> tuple[Any, ...]:
        """Explain another class."""
        return self._show(user, current["case"], str(event._data["name"]), current.get("method"))

    def method(self, user: User, current: dict[str, str], event: gr.EventData) -> tuple[Any, ...]:
        """Judge another map."""
        return self._show(user, current["case"], current["target"], str(event._data["method"]))

    def show_map(self, user: User, event: gr.EventData) -> tuple[Any, ...]:
        """A map of the evidence tab, in the viewer."""
        data = event._data
        target = str(data.get("target") or "") or None
        return self._show(user, str(data["case"]), target, str(data["method"]))

    def next(
        self, user: User, current: dict[str, str], event: gr.EventData = NOTHING
    ) -> tuple[Any, ...]:
        """The next case of the worklist."""
        return self._step(user, current, 1, event)

    def previous(
        self, user: User, current: dict[str, str], event: gr.EventData = NOTHING
    ) -> tuple[Any, ...]:
        """The case before."""
        return self._step(user, current, -1, event)

    def rate(self, user: User, event: gr.EventData) -> dict[str, Any]:
        """Save one answer and give the form back as stored."""
        data, problem, version = event._data, "", self.stamp()
        weights = str(data.get("weights") or "")
        try:
            if not weights:
                raise InvalidInput(UNBOUND)
            self._services.ratings.rate(
                user,
                case=str(data["case"]),
                question=str(data["question"]),
                method=str(data["method"]),
                target=str(data["target"]),
                status=str(data["status"]),
                value=None if data.get("value") is None else int(data["value"]),
                comment=str(data.get("comment") or ""),
                revision=int(data.get("revision") or 0),
                weights=weights,
            )
        except AppError as error:
            problem = str(error)
        form: dict[str, Any] = self._services.ratings.form(
            user,
            str(data["case"]),
            method=str(data["method"]),
            target=str(data["target"]),
            weights=weights,
        )
        return form | {"error": problem, "version": version}

    def _step(
        self, user: User, current: dict[str, str], step: int, event: gr.EventData
    ) -> tuple[Any, ...]:
        """The neighbour that the page shows already, or else the one that the worklist holds."""
        named = (event._data or {}).get("case")
        here = current.get("case", "")
        found = str(named) if named else self._services.cases.neighbour(user, here, step)
        if found is None:
            gr.Info("There is no further case in the worklist.")
            return (gr.skip(),) * 5
        return self._show(user, found, method=current.get("method"))

    def _show(
        self, user: User, case: str, target: str | None = None, method: str | None = None
    ) -> tuple[Any, ...]:
        review = self._services.review.open(user, case, target, method)
        version = self.stamp()
        state = {"case": review.case, "target": review.target, "method": review.method}
        form = self._services.ratings.form(
            user,
            review.case,
            method=review.method,
            target=review.target,
            weights=review.weights,
        )
        neighbours = self._services.cases.neighbours(user, review.case)
        return (
            review.viewer | {"version": version},
            review.findings | {"version": version},
            form | {"version": version, "neighbours": neighbours},
            state,
            gr.Tabs(selected="review"),
        )

    def stamp(self) -> int:
        """A number that has not been used, so that equal values still reach the page."""
        return next(self._versions)


def _limits(services: Services) -> str:
    return (
        "DICOM, NIfTI, MHA, NRRD, PNG, JPEG or TIFF; single files, folders or a zip archive; "
        f"at most {services.settings.max_upload_mb} MB at once."
    )
