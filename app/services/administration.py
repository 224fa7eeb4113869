"""What administrators see: the audit trail and the models installed."""

from __future__ import annotations

from app.auth import Role, User, requires
from app.services.context import Context
from app.store import AuditEntry
from engine.records import ModelCard


class Administration:
    """Reads; accounts themselves are managed by `Accounts`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @requires(Role.ADMINISTRATOR)
    def audit(self, user: User | None, limit: int = 200) -> list[AuditEntry]:
        """The last things that were done, newest first."""
        return self._context.store.audit(limit)

    @requires(Role.ADMINISTRATOR)
    def audit_is_intact(self, user: User | None) -> bool:
        """Whether the chain of the audit trail is unbroken."""
        return self._context.store.verify_audit() is None

    @requires(Role.ADMINISTRATOR)
    def cards(self, user: User | None) -> list[ModelCard]:
        """Cards of all models installed."""
        return self._context.models.cards()
