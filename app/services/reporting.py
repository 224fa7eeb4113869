"""The PDF of a case."""

from __future__ import annotations

from datetime import UTC, datetime

from app.auth import Role, User, requires
from app.auth.roles import check
from app.services.context import Context
from app.services.layers import Layer, layer
from app.services.review import Reviews
from app.version import VERSION
from engine.errors import EngineError


class Reporting:
    """Prints what the review shows."""

    def __init__(self, context: Context, reviews: Reviews) -> None:
        self._context = context
        self._reviews = reviews

    @requires(Role.READER)
    def case_pdf(self, user: User | None, case_id: str, target: str | None = None) -> Layer:
        """A PDF of a case with the maps of one target; readers see their own ratings in it.

        Raises:
            NotFound: No such case, or not the user's. ReportError: It cannot be printed.
        """
        from reports.content import Provenance, compose
        from reports.pdf import pdf_bytes

        who, context = check(user, Role.READER), self._context
        context.require_sight(who, case_id)
        case = context.store.case(case_id)
        card, prediction, explanations = None, None, []
        try:
            card = context.models.card()
            result = self._reviews.result(case, card, target or None)
            prediction = result.prediction
            explanations = [context.store.explanation(row.id) for row in result.rows]
        except EngineError as error:
            case = type(case)(
                case.id, case.images, case.note, case.truth, (*case.warnings, str(error))
            )
        mine = None if who.role is Role.ADMINISTRATOR else who.name
        report = compose(
            case,
            prediction,
            explanations,
            context.store.current_ratings(reader=mine, case=case_id),
            created=datetime.now(UTC).replace(microsecond=0),
            provenance=Provenance(
                f"Lightbox {VERSION}", device=context.settings.device, operator=who.name
            ),
            card=card,
        )
        made = layer(pdf_bytes(report), "application/pdf")
        context.store.keep_report(
            case=case_id, report_id=report.id, digest=made.etag, maker=who.name
        )
        context.record(who, "report", case_id, report=report.id)
        return made
