"""Reports: one row for each PDF that was made."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select

from app.errors import InvalidInput, NotFound
from app.store.database import Database, serialise
from app.store.rows import ReportInfo
from app.store.tables import CaseRow, ReportRow


class Reports(Database):
    """Keeps which report was made of which case, by whom, and with which digest."""

    def keep_report(
        self,
        *,
        case: str,
        report_id: str,
        digest: str,
        maker: str,
        created: datetime | None = None,
    ) -> ReportInfo:
        """Note a PDF.

        Args:
            case: Pseudonym of the case.
            report_id: Number printed on the report, unique.
            digest: SHA-256 of the PDF, hexadecimal.
            maker: Who made it.
            created: Time printed on it; now when None.

        Raises:
            NotFound: There is no such case.
            InvalidInput: A report of this number was noted before.
        """
        with self._writing() as session:
            serialise(session)
            if session.get(CaseRow, case) is None:
                raise NotFound("There is no such case.")
            if session.scalar(select(ReportRow.id).where(ReportRow.report_id == report_id)):
                raise InvalidInput("A report of this number was made before.")
            row = ReportRow(
                case_id=case,
                report_id=report_id,
                digest=digest,
                maker=maker,
                created=created or datetime.now(UTC),
            )
            session.add(row)
            session.flush()
            return _public(row)

    def reports(self, case: str | None = None) -> list[ReportInfo]:
        """Reports made, newest first; of all cases when None."""
        wanted = select(ReportRow).order_by(ReportRow.id.desc())
        if case is not None:
            wanted = wanted.where(ReportRow.case_id == case)
        with self._reading() as session:
            return [_public(row) for row in session.scalars(wanted)]


def _public(row: ReportRow) -> ReportInfo:
    return ReportInfo(row.id, row.case_id, row.report_id, row.digest, row.maker, row.created)
