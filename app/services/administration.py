"""What administrators see: the audit trail and the models installed."""

from __future__ import annotations

from dataclasses import dataclass

from app.auth import Role, User, check, requires
from app.errors import NotFound
from app.services.audit_file import AuditFilter, audit_csv, audit_json, filter_of
from app.services.context import Context
from app.services.layers import Layer
from app.store import AuditEntry
from engine.records import ModelCard


@dataclass(frozen=True)
class AuditCheck:
    """Whether the trail is whole.

    Args:
        broken_at: First position that does not fit; None when all do.
        last: Position of the newest row, 0 for none. digest: Its digest; to be noted elsewhere,
            since a trail that lost its newest rows is whole in itself.
    """

    broken_at: int | None
    last: int
    digest: str


class Administration:
    """Reads; accounts themselves are managed by `Accounts`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @requires(Role.ADMINISTRATOR)
    def audit(
        self,
        user: User | None,
        limit: int = 200,
        *,
        before: int | None = None,
        wanted: AuditFilter | None = None,
    ) -> list[AuditEntry]:
        """The last things that were done, newest first.

        Args:
            limit: Most rows. before: Only rows of a lower position. wanted: Which rows; all if
                None.
        """
        named = (wanted or AuditFilter()).named()
        return self._context.store.audit(limit, before=before, **named)

    @requires(Role.ADMINISTRATOR)
    def audit_names(self, user: User | None) -> tuple[list[str], list[str]]:
        """Every account and every action that the trail mentions."""
        return self._context.store.audit_names()

    @requires(Role.ADMINISTRATOR)
    def audit_is_intact(self, user: User | None) -> bool:
        """Whether the chain of the audit trail is unbroken."""
        return self._context.store.verify_audit() is None

    @requires(Role.ADMINISTRATOR)
    def audit_check(self, user: User | None) -> AuditCheck:
        """Whether the chain is unbroken, and where it ends."""
        store = self._context.store
        newest = store.audit(1)
        last, digest = (newest[0].position, newest[0].digest) if newest else (0, "")
        return AuditCheck(store.verify_audit(), last, digest)

    @requires(Role.ADMINISTRATOR)
    def audit_export(
        self,
        user: User | None,
        kind: str,
        *,
        who: str = "",
        action: str = "",
        object: str = "",
        since: str = "",
        until: str = "",
    ) -> Layer:
        """The rows that fit as a file, oldest first; that it was made is a row itself.

        Args:
            kind: "csv" or "json".
            who: Account. action: What was done. object: Pseudonym; empty for any.
            since: First day or time, ISO 8601, UTC. until: Last day, or time before which.

        Raises:
            NotFound: There is no such kind of file.
            InvalidInput: A time is not understood.
        """
        admin, store = check(user, Role.ADMINISTRATOR), self._context.store
        make = {"csv": audit_csv, "json": audit_json}.get(kind)
        wanted = filter_of(who, action, object, since, until)
        if make is None:
            raise NotFound("The audit trail is given as csv or json.")
        made = make(store.audit_rows(**wanted.named()), store.verify_audit())
        self._context.record(admin, "export audit", kind=kind)
        return made

    @requires(Role.ADMINISTRATOR)
    def cards(self, user: User | None) -> list[ModelCard]:
        """Cards of all models installed."""
        return self._context.models.cards()
