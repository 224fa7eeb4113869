"""What all services share: settings, store, accounts, models, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.auth import Accounts, Role, User
from app.errors import NotFound
from app.services.jobs import Jobs
from app.services.layers import Memory
from app.services.models import Models
from app.services.shelf import Shelf
from app.services.supervisor import Supervisor
from app.settings import Settings
from app.store import Store
from engine.records import Case

PIXEL_MEMORY = 256 * 1024 * 1024

GUEST = User("reader", "Demonstration reader", Role.READER)
"""The one named reader of an open demonstration workspace."""

OPERATOR = User("operator", "Command line", Role.ADMINISTRATOR)
"""Whoever can run commands on this machine may read its files anyway."""


@dataclass(frozen=True)
class Context:
    """Shared parts of the services; background work lets interactive use of the models go first."""

    settings: Settings
    store: Store
    accounts: Accounts
    models: Models
    demonstration: bool
    memory: Memory = field(default_factory=lambda: Memory(PIXEL_MEMORY))
    jobs: Jobs = field(init=False)
    shelf: Shelf = field(init=False)
    supervisor: Supervisor = field(init=False)

    def __post_init__(self) -> None:
        made = {
            "jobs": Jobs(between=self.models.turnstile.give_way),
            "shelf": Shelf(self.store, self.settings.workspace / "models"),
            "supervisor": Supervisor(self.store, self.settings),
        }
        for name, part in made.items():
            object.__setattr__(self, name, part)
        self.models.connect(self.store, self.shelf.folder)

    def case(self, case_id: str) -> Case:
        """A case with its pixels, kept in memory while there is room, for pages that ask often.

        Raises:
            NotFound: There is no such case.
        """
        found: Case = self.memory.get(
            ("case", case_id),
            lambda: self.store.case(case_id),
            lambda case: sum(image.pixels.nbytes for image in case.images),
        )
        return found

    def require_sight(self, user: User, case_id: str) -> None:
        """Refuse a case that the user may not see, in the same words as one that is not there.

        Raises:
            NotFound: There is no such case, or it is not the user's.
        """
        if user.role is Role.ADMINISTRATOR or self.store.may_see(case_id, user.name):
            return
        raise NotFound("There is no such case.")

    def record(self, user: User, action: str, case_id: str = "", **detail: str | int) -> None:
        """Write a row of the audit trail."""
        self.store.record(user.name, action, case_id, detail, role=user.role.value)
