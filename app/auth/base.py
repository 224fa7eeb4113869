"""What the use cases of accounts share: store, clock, hashing, and how names are read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from app.auth.passwords import Passwords
from app.auth.records import Account, AccountStore
from app.auth.roles import User
from app.auth.throttle import Throttle
from app.errors import InvalidInput, NotFound

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
RESERVED = frozenset({"reader", "operator", "unknown"})
"""Names of the open demonstration's reader, of the command line, and of nobody."""
DISPLAY_LENGTH = 100


def _now() -> datetime:
    return datetime.now(UTC)


class AccountsBase:
    """Accounts and logins over a store.

    Args:
        store: Where they are kept.
        session_minutes: Longest life of a login, minutes.
        idle_minutes: Life of a login that is not used, minutes.
        passwords: Hashing; argon2id defaults when None.
        throttle: Slows down guessing.
        now: Clock, UTC.
    """

    def __init__(
        self,
        store: AccountStore,
        *,
        session_minutes: int = 480,
        idle_minutes: int = 60,
        passwords: Passwords | None = None,
        throttle: Throttle | None = None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._store = store
        self._life = timedelta(minutes=session_minutes)
        self._idle = timedelta(minutes=idle_minutes)
        self._passwords = passwords or Passwords()
        self._throttle = throttle or Throttle()
        self._now = now

    def _known(self, name: str) -> Account:
        account = self._store.account(normal_name(name))
        if account is None:
            raise NotFound("There is no account of this name.")
        return account

    def _note(
        self,
        who: Account | User,
        action: str,
        object: str = "",
        result: str = "ok",
        *,
        client: str = "",
        **detail: str,
    ) -> None:
        """A row of the audit trail."""
        self._store.record(
            who.name, action, object, detail, result, role=who.role.value, client=client
        )


def normal_name(name: str) -> str:
    """One form of a name: compatible characters, lower case, no space around; 63 at most."""
    return unicodedata.normalize("NFKC", name[:256]).strip().lower()[:63]


def checked_name(name: str) -> str:
    """The one form of a name for a new account.

    Raises:
        InvalidInput: It is reserved, or breaks the rule.
    """
    known = unicodedata.normalize("NFKC", name[:256]).strip().lower()
    if known in RESERVED:
        raise InvalidInput("This name is kept for Lightbox itself; choose another.")
    if not NAME.fullmatch(known):
        raise InvalidInput(
            "An account's name has 1 to 63 letters a to z, digits, dots, hyphens or underscores."
        )
    return known


def shown_name(display: str, name: str) -> str:
    """The name for people; the account's where there is none."""
    return " ".join(display.split())[:DISPLAY_LENGTH] or name


def user_of_account(account: Account) -> User:
    """The account as the services know it."""
    return User(account.name, account.display, account.role, account.must_change)
