"""What is kept about accounts and logins, and what a store must do to keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from app.auth.roles import Role, User


@dataclass(frozen=True)
class Account:
    """One account.

    Args:
        name: Login name, unique; lower case.
        display: Name shown on the page.
        role: What the account may do.
        password_hash: argon2id hash; never shown.
        active: False once deactivated; accounts are not removed, since ratings name them.
        created: Time, UTC.
        must_change: True when the password was set by somebody else.
        subject: Issuer and name at an identity provider, with a space between; None for none.
    """

    name: str
    display: str
    role: Role
    password_hash: str
    active: bool
    created: datetime
    must_change: bool = False
    subject: str | None = None

    def __repr__(self) -> str:
        return f"Account(name={self.name!r}, role={self.role.value!r}, active={self.active})"


@dataclass(frozen=True)
class Login:
    """One login in a browser.

    Args:
        digest: SHA-256 of the token in the browser's cookie.
        account: Name of the account.
        created: Time of the login, UTC.
        last_seen: Time of the last request, UTC; kept to about a minute.
        expires: Absolute end, UTC.
        revoked: True once signed out, or ended by an administrator.
        locked: True while its screen is locked.
    """

    digest: str
    account: str
    created: datetime
    last_seen: datetime
    expires: datetime
    revoked: bool = False
    locked: bool = False


@dataclass(frozen=True)
class Standing:
    """A login that has not ended, as its own browser may know it.

    Args:
        user: Whose login it is.
        digest: SHA-256 of its token.
        locked: True while its screen is locked.
        idle_left_s: Seconds until it ends unless it is used.
        absolute_left_s: Seconds until it ends in any case.
        idle_s: How long it may be unused, seconds.
        has_password: False when its account signs in through an identity provider only.
    """

    user: User
    digest: str
    locked: bool
    idle_left_s: float
    absolute_left_s: float
    idle_s: float
    has_password: bool


@dataclass(frozen=True)
class Identity:
    """Somebody as an identity provider knows them.

    Args:
        issuer: The provider.
        subject: Name that the provider never gives to anybody else.
        name: Name for signing in elsewhere, or e-mail address; may be empty.
        display: Name for people; may be empty.
        role: Role that the provider states; None for none.
    """

    issuer: str
    subject: str
    name: str
    display: str
    role: Role | None = None

    @property
    def key(self) -> str:
        """What an account keeps of it."""
        return f"{self.issuer} {self.subject}"


class AccountStore(Protocol):
    """Where accounts and logins are kept."""

    def has_accounts(self) -> bool:
        """True when at least one account exists."""

    def add_account(self, account: Account, *, only_first: bool = False) -> bool:
        """Keep an account; False when the name is taken or, if `only_first`, when any exists."""

    def account(self, name: str) -> Account | None:
        """The account of a name, or None."""

    def accounts(self) -> list[Account]:
        """All accounts, by name."""

    def set_password(self, name: str, password_hash: str, *, must_change: bool) -> None:
        """Replace the password hash."""

    def set_role(self, name: str, role: Role) -> bool:
        """Change the role; False when it is the last active administrator."""

    def account_of_subject(self, subject: str) -> Account | None:
        """The account of somebody at an identity provider, or None."""

    def set_subject(self, name: str, subject: str) -> bool:
        """Tie an account to an identity; False when another account has it."""

    def deactivate_account(self, name: str) -> bool:
        """Deactivate; False when it is the last active administrator."""

    def add_login(self, login: Login) -> None:
        """Keep a login."""

    def login(self, digest: str) -> Login | None:
        """The login of a token digest, or None."""

    def touch_login(self, digest: str, seen: datetime) -> None:
        """Note the time of a request."""

    def lock_login(self, digest: str, *, locked: bool) -> None:
        """Lock or unlock the screen of one login."""

    def revoke_login(self, digest: str) -> None:
        """End one login."""

    def record(
        self,
        who: str,
        action: str,
        object: str = "",
        detail: Mapping[str, str | int | float | bool | None] | None = None,
        result: str = "ok",
        *,
        role: str = "",
        client: str = "",
    ) -> object:
        """Append a row to the audit trail."""

    def revoke_logins(self, account: str, *, but: str = "") -> None:
        """End all logins of an account except the one with the digest `but`."""
