"""Evidence about maps: scores, stability and sanity checks; a new finding is a new row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import defer

from app.errors import InvalidInput, NotFound
from app.store.database import Database, json_text
from app.store.rows import EvidenceRow
from app.store.tables import CaseRow, EvidenceRecord

KINDS = ("scores", "stability", "sanity")


class EvidenceRows(Database):
    """Keeps what was found out about the maps of a case."""

    def keep_evidence(
        self,
        case_id: str,
        *,
        weights_digest: str,
        target: str,
        kind: str,
        method: str,
        key: str,
        content: Mapping[str, Any],
    ) -> int:
        """Store what was found about one method; its number.

        Args:
            case_id: Pseudonym. weights_digest: Model. target: What was explained.
            kind: One of `KINDS`. method: Registry name.
            key: Digest of all that the content depends on. content: Plain values.

        Raises:
            NotFound: There is no such case.
            InvalidInput: The kind is unknown, or the content cannot be stored.
            StorageFailed: The disk is full, or the database busy.
        """
        if kind not in KINDS:
            raise InvalidInput("There is no such kind of evidence.")
        row = EvidenceRecord(
            case_id=case_id,
            weights_digest=weights_digest,
            target=target,
            kind=kind,
            method=method,
            key=key,
            content=_checked(content),
        )
        with self._writing() as session:
            if session.get(CaseRow, case_id) is None:
                raise NotFound("There is no such case.")
            row.created = datetime.now(UTC)
            session.add(row)
            session.flush()
            return row.id

    def evidence_rows(self, case_id: str, weights_digest: str, target: str) -> list[EvidenceRow]:
        """All that was found about the maps of a case and target, newest first, without content."""
        wanted = (
            select(EvidenceRecord)
            .where(
                EvidenceRecord.case_id == case_id,
                EvidenceRecord.weights_digest == weights_digest,
                EvidenceRecord.target == target,
            )
            .order_by(EvidenceRecord.id.desc())
            .options(defer(EvidenceRecord.content))
        )
        with self._reading() as session:
            return [_public(row) for row in session.scalars(wanted)]

    def evidence(self, evidence_id: int) -> tuple[EvidenceRow, dict[str, Any]]:
        """What was found, by its number, with its content.

        Raises:
            NotFound: There is no such row.
        """
        with self._reading() as session:
            row = session.get(EvidenceRecord, evidence_id)
            if row is None:
                raise NotFound("There is no such evidence.")
            return _public(row), dict(row.content)


def _checked(content: Mapping[str, Any]) -> dict[str, Any]:
    """Content that JSON can hold."""
    try:
        json_text(content)
    except (ValueError, TypeError):
        raise InvalidInput("What was measured cannot be stored.") from None
    return dict(content)


def _public(row: EvidenceRecord) -> EvidenceRow:
    return EvidenceRow(
        id=row.id,
        case=row.case_id,
        weights_digest=row.weights_digest,
        target=row.target,
        kind=row.kind,
        method=row.method,
        key=row.key,
        created=row.created,
    )
