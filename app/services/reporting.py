"""The report of a case, as PDF and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import InvalidInput
from app.services.context import Context
from app.services.evidence_about import About, about, settings_of
from app.services.layers import Layer, layer
from app.services.review import Reviews
from app.store import ExplanationRow
from app.version import VERSION
from engine.errors import EngineError
from engine.records import Score

if TYPE_CHECKING:
    from reports.content import Report

DICOM = "application/dicom"
TRUTH_FROM = Role.ORGANISER
"""Readers stay blind to what is known about a case from outside, as on their screens."""


class Reporting:
    """Prints what the review shows."""

    def __init__(self, context: Context, reviews: Reviews) -> None:
        self._context = context
        self._reviews = reviews

    @requires(Role.READER)
    def case_pdf(self, user: User | None, case_id: str, target: str | None = None) -> Layer:
        """A PDF of a case with the maps of one target; readers see their own ratings in it.

        The same content in the same layout is the same report, made once: asked for again, the
        same bytes come back.

        Raises:
            NotFound: No such case, or not the user's. ReportError: It cannot be printed.
        """
        from reports.pdf import pdf_bytes

        who, context = check(user, Role.READER), self._context
        report = self._as_made(self._report(who, case_id, target))
        made = layer(pdf_bytes(report), "application/pdf")
        try:
            context.store.keep_report(
                case=case_id,
                report_id=report.id,
                digest=made.etag,
                maker=who.name,
                created=report.created,
            )
        except InvalidInput:
            earlier = self._as_made(report)  # made before, perhaps at this very moment elsewhere
            if earlier.created != report.created:
                made = layer(pdf_bytes(earlier), "application/pdf")
        context.record(who, "report", case_id, report=report.id)
        return made

    @requires(Role.READER)
    def case_json(self, user: User | None, case_id: str, target: str | None = None) -> Layer:
        """The content of the PDF as JSON; as `case_pdf`."""
        from reports.case_json import case_json

        who = check(user, Role.READER)
        report = self._as_made(self._report(who, case_id, target))
        self._context.record(who, "report", case_id, report=report.id, form="json")
        return layer(case_json(report), "application/json")

    @requires(Role.READER)
    def case_dicom(self, user: User | None, case_id: str, target: str | None = None) -> Layer:
        """The PDF as DICOM Encapsulated PDF, under the pseudonym; as `case_pdf`."""
        from engine.export.dicom_pdf import pdf_dicom_bytes

        who = check(user, Role.READER)
        pdf = self.case_pdf(who, case_id, target).data
        case = self._context.store.case(case_id)
        made = pdf_dicom_bytes(pdf, case, "AI explanation report", f"Lightbox {VERSION}")
        return layer(made, DICOM)

    @requires(Role.READER)
    def case_sr(self, user: User | None, case_id: str, target: str | None = None) -> Layer:
        """Prediction, lesions, scores and ratings as DICOM Comprehensive SR; as `case_pdf`.

        Raises:
            InvalidInput: There is no prediction of the case to report.
        """
        from engine.export.dicom import file_bytes
        from engine.export.dicom_sr import Findings, measurement_report
        from engine.export.objects import sources_of

        who = check(user, Role.READER)
        report = self._report(who, case_id, target)
        if report.prediction is None or report.card is None:
            raise InvalidInput("There is no prediction of this case, so there is no SR to write.")
        software = f"Lightbox {VERSION}"
        found = Findings(
            report.case,
            report.card,
            report.prediction,
            sources_of(report.case, report.planes(), software),
            software,
            report.scores,
            report.ratings,
        )
        made = layer(file_bytes(measurement_report(found)), DICOM)
        self._context.record(who, "report", case_id, form="dicom-sr")
        return made

    def _as_made(self, report: Report) -> Report:
        """The report with the time at which it was first made."""
        for row in self._context.store.reports(report.case.id):
            if row.report_id == report.id:
                moment = row.created
                moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                return replace(report, created=moment)
        return report

    def _report(self, who: User, case_id: str, target: str | None) -> Report:
        from reports.content import Provenance, compose

        context = self._context
        context.require_sight(who, case_id)
        case = context.store.case(case_id)
        card, prediction, explanations = None, None, []
        scores: dict[str, list[Score]] = {}
        sanity: dict[str, str] = {}
        try:
            card = context.models.card()
            result = self._reviews.result(case, card, target or None)
            prediction = result.prediction
            explanations = [context.store.explanation(row.id) for row in result.rows]
            this = about(context, case, card, result.target)
            for row in result.rows:
                scores[row.method], sanity[row.method] = self._measured(this, row)
        except EngineError as error:
            case = replace(case, warnings=(*case.warnings, str(error)))
        if not who.role.covers(TRUTH_FROM):
            case = replace(case, truth=None)
        mine = None if who.role is Role.ADMINISTRATOR else who.name
        return compose(
            case,
            prediction,
            explanations,
            context.store.current_ratings(reader=mine, case=case_id),
            created=datetime.now(UTC).replace(microsecond=0),
            provenance=Provenance(
                f"Lightbox {VERSION}", device=context.settings.device, operator=who.name
            ),
            card=card,
            scores={method: found for method, found in scores.items() if found},
            sanity={method: words for method, words in sanity.items() if words},
        )

    def _measured(self, this: About, row: ExplanationRow) -> tuple[list[Score], str]:
        """Stored scores of one map, and what the sanity check says of its method."""
        from engine.explainers import EXPLAINERS

        store = self._context.store
        stored = store.evidence_rows(this.case.id, this.card.weights_digest, this.target)
        numbers = {entry.key: entry.id for entry in reversed(stored)}
        found: dict[str, Mapping[str, Any]] = {}
        for kind in ("scores", "stability", "sanity"):
            key = this.key(kind, row.method, settings_of(row, EXPLAINERS[row.method]))
            if key in numbers:
                found[kind] = store.evidence(numbers[key])[1]
        scores = [Score(**score) for content in found.values() for score in content["scores"]]
        told = found.get("sanity", {})
        return scores, f"{told['verdict']}. {told['text']}" if told else ""
