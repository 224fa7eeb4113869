"""The audit trail: append-only rows, each bound to the one before it by its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import InvalidInput
from app.store.database import Database, json_text, plain, serialise
from app.store.rows import AuditEntry
from app.store.tables import AuditRow, utc_text

START = "0" * 64
PAGE = 1000
Plain = str | int | float | bool | None


class AuditTrail(Database):
    """Keeps who did what, so that a changed or removed row shows.

    The chain shows a change, a gap or an insertion. Removing the newest rows does not break it:
    note `audit(1)` elsewhere (its position and digest) to be able to tell.
    """

    def record(
        self,
        who: str,
        action: str,
        object: str = "",
        detail: Mapping[str, Plain] | None = None,
        result: str = "ok",
    ) -> AuditEntry:
        """Append a row.

        Args:
            who: Name of the account.
            action: What was done, such as "view", "rate" or "export".
            object: Pseudonym of what it was done to.
            detail: Plain values; the caller puts no identifier in it.
            result: "ok", or how it failed.

        Raises:
            InvalidInput: A detail is not a plain value.
        """
        row = AuditRow(
            created=datetime.now(UTC),
            who=plain(who)[:64],
            action=plain(action)[:64],
            object=plain(object)[:128],
            detail=_detail(detail or {}),
            result=plain(result)[:32],
        )
        with self._writing() as session:
            serialise(session)
            last = session.scalar(select(AuditRow).order_by(AuditRow.position.desc()).limit(1))
            row.position = last.position + 1 if last is not None else 1
            row.previous = last.digest if last is not None else START
            row.digest = _digest(row)
            session.add(row)
        return _public(row)

    def audit(
        self,
        limit: int = 100,
        *,
        before: int | None = None,
        who: str | None = None,
        action: str | None = None,
        object: str | None = None,
    ) -> list[AuditEntry]:
        """Rows, newest first.

        Args:
            limit: Most rows given.
            before: Only rows of a lower position, for paging.
            who: Only of this account.
            action: Only of this action.
            object: Only about this pseudonym.
        """
        wanted = select(AuditRow).order_by(AuditRow.position.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(AuditRow.position < before)
        given = ((AuditRow.who, who), (AuditRow.action, action), (AuditRow.object, object))
        wanted = wanted.where(*(column == value for column, value in given if value is not None))
        with self._reading() as session:
            return [_public(row) for row in session.scalars(wanted)]

    def verify_audit(self) -> int | None:
        """None when the chain is whole, else the first position that does not fit."""
        expected, previous = 1, START
        with self._reading() as session:
            while rows := _page(session, expected):
                for row in rows:
                    fits = row.position == expected and row.previous == previous
                    if not fits or row.digest != _digest(row):
                        return expected
                    expected, previous = expected + 1, row.digest
                session.expunge_all()
        return None


def _page(session: Session, first: int) -> Sequence[AuditRow]:
    """The next rows of the chain, from position `first` on."""
    wanted = select(AuditRow).where(AuditRow.position >= first).order_by(AuditRow.position)
    return session.scalars(wanted.limit(PAGE)).all()


def _detail(detail: Mapping[str, Plain]) -> str:
    clean: dict[str, Plain] = {}
    for name, value in detail.items():
        if not isinstance(value, str | int | float | bool | None):
            raise InvalidInput("A detail of the audit trail must be a plain value.")
        clean[plain(name)] = plain(value) if isinstance(value, str) else value
    try:
        return json_text(clean)
    except ValueError:
        raise InvalidInput("A detail of the audit trail must be a finite number.") from None


def _digest(row: AuditRow) -> str:
    """SHA-256 over everything in the row, and so over all rows before it."""
    fields = [row.position, utc_text(row.created), row.who, row.action, row.object]
    fields += [row.detail, row.result, row.previous]
    return hashlib.sha256(json_text(fields).encode()).hexdigest()


def _public(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        position=row.position,
        created=row.created,
        who=row.who,
        action=row.action,
        object=row.object,
        detail=json.loads(row.detail),
        result=row.result,
        digest=row.digest,
    )
