"""The audit trail: append-only rows, each bound to the one before it by its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from app.errors import InvalidInput
from app.store.database import Database, json_text, plain, serialise
from app.store.rows import AuditEntry
from app.store.tables import AuditRow, utc_text

START = "0" * 64
PAGE = 1000
TRIM = "audit_trim"
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
        *,
        role: str = "",
        client: str = "",
    ) -> AuditEntry:
        """Append a row in a transaction of its own; the arguments are those of `append`."""
        with self._writing() as session:
            row = append(session, who, action, object, detail, result, role=role, client=client)
        return _public(row)

    def audit(
        self,
        limit: int = 100,
        *,
        before: int | None = None,
        who: str | None = None,
        action: str | None = None,
        object: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[AuditEntry]:
        """Rows, newest first.

        Args:
            limit: Most rows given.
            before: Only rows of a lower position, for paging.
            who: Only of this account.
            action: Only of this action.
            object: Only about this pseudonym.
            since: Only from this time on.
            until: Only before this time.
        """
        wanted = select(AuditRow).order_by(AuditRow.position.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(AuditRow.position < before)
        wanted = _filtered(wanted, {"who": who, "action": action, "object": object}, since, until)
        with self._reading() as session:
            return [_public(row) for row in session.scalars(wanted)]

    def audit_rows(
        self,
        *,
        who: str | None = None,
        action: str | None = None,
        object: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[AuditEntry]:
        """All rows that fit, oldest first, read a page at a time; arguments as for `audit`."""
        named = {"who": who, "action": action, "object": object}
        position = 0
        while True:
            wanted = select(AuditRow).where(AuditRow.position > position)
            wanted = _filtered(wanted, named, since, until).order_by(AuditRow.position).limit(PAGE)
            with self._reading() as session:
                found = [_public(row) for row in session.scalars(wanted)]
            if not found:
                return
            yield from found
            position = found[-1].position

    def audit_names(self) -> tuple[list[str], list[str]]:
        """Every account and every action that the trail mentions, each in alphabetical order."""
        with self._reading() as session:
            return (
                list(session.scalars(select(AuditRow.who).distinct().order_by(AuditRow.who))),
                list(session.scalars(select(AuditRow.action).distinct().order_by(AuditRow.action))),
            )

    def verify_audit(self) -> int | None:
        """None when the chain is whole, else the first position that does not fit.

        A trail whose oldest rows were removed by `trim_audit` is whole as long as a row of it says
        so, and names the digest on which the remaining chain is built.
        """
        with self._reading() as session:
            rows = _page(session, 0)
            expected, previous = 1, START
            if rows and rows[0].position > 1:
                told = _trimmed(session, rows[0].position)
                if told is None:
                    return 1
                expected, previous = rows[0].position, told
            while rows:
                for row in rows:
                    fits = row.position == expected and row.previous == previous
                    if not fits or row.digest != _digest(row):
                        return expected
                    expected, previous = expected + 1, row.digest
                session.expunge_all()
                rows = _page(session, expected)
        return None

    def trim_audit(self, who: str, before: datetime, *, through: int, role: str = "") -> int:
        """Remove the oldest rows; the number removed, which the trail itself then tells.

        Args:
            who: Name of the account that asks.
            before: Rows of this time and later stay, and so do all that follow one of them.
            through: No row of a higher position is removed, such as the last one exported.
            role: Role of that account.
        """
        with self._writing() as session:
            serialise(session)
            newer = select(AuditRow.position).where(AuditRow.created >= before)
            stays = session.scalar(newer.order_by(AuditRow.position).limit(1))
            old = select(AuditRow).where(AuditRow.position <= through)
            if stays is not None:
                old = old.where(AuditRow.position < stays)
            last = session.scalar(old.order_by(AuditRow.position.desc()).limit(1))
            if last is None:
                return 0
            gone = delete(AuditRow).where(AuditRow.position <= last.position)
            detail: dict[str, Plain] = {"through": last.position, "digest": last.digest}
            append(session, who, TRIM, "", detail, role=role)
            session.flush()
            session.expunge_all()
            return int(getattr(session.execute(gone), "rowcount", 0))


def append(
    session: Session,
    who: str,
    action: str,
    object: str = "",
    detail: Mapping[str, Plain] | None = None,
    result: str = "ok",
    *,
    role: str = "",
    client: str = "",
) -> AuditRow:
    """Append a row within a transaction that writes, so that both are kept or neither is.

    Args:
        session: Of `Database._writing`; its other writers wait until it ends.
        who: Name of the account.
        action: What was done, such as "view", "rate" or "export".
        object: Pseudonym of what it was done to.
        detail: Plain values; the caller puts no identifier in it.
        result: "ok", or how it failed.
        role: Role of the account at that time, where it is known.
        client: Network address of the browser, where it matters.

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
        role=plain(role)[:16],
        client=plain(client)[:64],
    )
    serialise(session)
    last = session.scalar(select(AuditRow).order_by(AuditRow.position.desc()).limit(1))
    row.position = last.position + 1 if last is not None else 1
    row.previous = last.digest if last is not None else START
    row.digest = _digest(row)
    session.add(row)
    session.flush()
    return row


def _page(session: Session, first: int) -> Sequence[AuditRow]:
    """The next rows of the chain, from position `first` on."""
    wanted = select(AuditRow).where(AuditRow.position >= first).order_by(AuditRow.position)
    return session.scalars(wanted.limit(PAGE)).all()


def _filtered(
    wanted: Select[Any],
    named: Mapping[str, str | None],
    since: datetime | None,
    until: datetime | None,
) -> Select[Any]:
    for name, value in named.items():
        if value is not None:
            wanted = wanted.where(getattr(AuditRow, name) == value)
    if since is not None:
        wanted = wanted.where(AuditRow.created >= since)
    return wanted if until is None else wanted.where(AuditRow.created < until)


def _trimmed(session: Session, first: int) -> str | None:
    """Digest that the row at position `first` must build on, if the trail tells of a removal."""
    for text in session.scalars(select(AuditRow.detail).where(AuditRow.action == TRIM)):
        told = json.loads(text)
        if told.get("through") == first - 1:
            return str(told.get("digest", ""))
    return None


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
    """SHA-256 over everything in the row, and so over all rows before it.

    Role and client came later: rows without them are digested as they were before.
    """
    fields = [row.position, utc_text(row.created), row.who, row.action, row.object]
    fields += [row.detail, row.result, row.previous]
    if row.role or row.client:
        fields += [row.role, row.client]
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
        role=row.role,
        client=row.client,
        previous=row.previous,
    )
