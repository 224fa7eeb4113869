"""The use cases of accounts: sign in, stay signed in, change a password, manage others."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from app.auth.passwords import Passwords, check_rule
from app.auth.records import Account, AccountStore, Login
from app.auth.roles import Role, User, check, requires
from app.auth.throttle import Throttle
from app.auth.tokens import new_token, token_digest
from app.errors import InvalidInput, NotAllowed, NotFound, StorageFailed

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
RESERVED = frozenset({"reader", "operator", "unknown"})
"""Names of the open demonstration's reader, of the command line, and of nobody."""
DISPLAY_LENGTH = 100
WRONG = "The name or the password is not right."


def _now() -> datetime:
    return datetime.now(UTC)


class Accounts:
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

    def has_accounts(self) -> bool:
        """False until the first administrator is created."""
        return self._store.has_accounts()

    def create_first_administrator(self, name: str, password: str, display: str = "") -> User:
        """Create the first account; possible once, without being signed in.

        Raises:
            NotAllowed: An account exists already.
            InvalidInput: The name or the password breaks its rule.
        """
        account = self._new(name, password, display, Role.ADMINISTRATOR, must_change=False)
        if not self._store.add_account(account, only_first=True):
            raise NotAllowed("The first administrator exists already; please sign in.")
        self._store.record(account.name, "create account", account.name)
        return _user(account)

    @requires(Role.ADMINISTRATOR)
    def create_user(
        self, user: User | None, name: str, password: str, role: Role, display: str = ""
    ) -> User:
        """Create an account whose owner must change the password at the first login.

        Raises:
            InvalidInput: The name is taken, or the name or the password breaks its rule.
        """
        account = self._new(name, password, display, role, must_change=True)
        if not self._store.add_account(account):
            raise InvalidInput("An account of this name exists already.")
        self._store.record(check(user, Role.ADMINISTRATOR).name, "create account", account.name)
        return _user(account)

    @requires(Role.ADMINISTRATOR)
    def accounts(self, user: User | None) -> list[Account]:
        """All accounts, by name; their hashes are left out."""
        return [replace(account, password_hash="") for account in self._store.accounts()]

    def user(self, name: str) -> User | None:
        """The active user of a login name that was authenticated before."""
        account = self._store.account(_normal(name))
        return _user(account) if account is not None and account.active else None

    def authenticate(self, name: str, password: str, address: str) -> User:
        """The user of a name and password.

        Args:
            name: As typed.
            password: As typed.
            address: Network address of the browser, for slowing down guesses.

        Raises:
            NotAllowed: They are not right, or too many attempts failed; which part was wrong
                is not said.
        """
        known = _normal(name)
        self._throttle.attempt(address, known)
        account = self._store.account(known)
        is_right = self._passwords.verify(account.password_hash if account else None, password)
        if account is None or not is_right or not account.active:
            # A name that is not known is not kept: it may be a password in the wrong field.
            self._store.record(account.name if account else "unknown", "sign in", result="refused")
            raise NotAllowed(WRONG)
        self._throttle.succeeded(address, known)
        if self._passwords.is_outdated(account.password_hash):
            fresh = self._passwords.hash(password)
            self._store.set_password(known, fresh, must_change=account.must_change)
        return _user(account)

    def open_session(self, user: User) -> str:
        """A new login; the token returned goes into the browser's cookie and nowhere else."""
        token, now = new_token(), self._now()
        self._store.add_login(Login(token_digest(token), user.name, now, now, now + self._life))
        self._store.record(user.name, "sign in")
        return token

    def user_of_session(self, token: str | None) -> User | None:
        """The signed-in user of a token; None when it is unknown, ended, idle or too old.

        A disk that is full does not sign anybody out at once: the time of the request is then
        not noted.
        """
        login = self._store.login(token_digest(token)) if token else None
        now = self._now()
        if login is None or login.revoked or now >= login.expires:
            return None
        if now - login.last_seen >= self._idle:
            return None
        account = self._store.account(login.account)
        if account is None or not account.active:
            return None
        if now - login.last_seen >= min(timedelta(minutes=1), self._idle / 10):
            with suppress(StorageFailed):
                self._store.touch_login(login.digest, now)
        return _user(account)

    def close_session(self, token: str | None) -> None:
        """Sign out; an unknown token is no error."""
        if token:
            self._store.revoke_login(token_digest(token))

    @requires(Role.READER)
    def change_password(
        self, user: User | None, old: str, new: str, *, address: str = "", token: str = ""
    ) -> None:
        """Change the own password; all other logins of the account end.

        Args:
            user: The signed-in user.
            old: The password until now.
            new: The password from now on.
            address: Network address of the browser, for slowing down guesses.
            token: Token of the login that stays open; none does when empty.

        Raises:
            NotAllowed: The old password is not right.
            InvalidInput: The new password breaks the rule, or is the old one.
        """
        account = self._known(user.name if user else "")
        self._throttle.attempt(address, account.name)
        if not self._passwords.verify(account.password_hash, old):
            raise NotAllowed("The present password is not right.")
        self._throttle.succeeded(address, account.name)
        if new == old:
            raise InvalidInput("The new password must differ from the present one.")
        self._replace(account.name, new, must_change=False)
        self._store.record(account.name, "change password", account.name)
        self._store.revoke_logins(account.name, but=token_digest(token) if token else "")

    @requires(Role.ADMINISTRATOR)
    def reset_password(self, user: User | None, name: str, password: str) -> None:
        """Set another account's password, to be changed at its next login; its logins end.

        Raises:
            NotFound: There is no such account.
            InvalidInput: The password breaks the rule.
        """
        account = self._known(name)
        self._replace(account.name, password, must_change=True)
        self._store.revoke_logins(account.name)
        self._store.record(check(user, Role.ADMINISTRATOR).name, "set password", account.name)

    @requires(Role.ADMINISTRATOR)
    def deactivate(self, user: User | None, name: str) -> None:
        """End an account and its logins; what it has rated stays.

        Raises:
            NotFound: There is no such account.
            InvalidInput: It is the last active administrator.
        """
        account = self._known(name)
        if not self._store.deactivate_account(account.name):
            raise InvalidInput("The last administrator cannot be deactivated.")
        self._store.revoke_logins(account.name)
        self._store.record(check(user, Role.ADMINISTRATOR).name, "deactivate", account.name)

    def _new(
        self, name: str, password: str, display: str, role: Role, *, must_change: bool
    ) -> Account:
        known = _checked_name(name)
        shown = " ".join(display.split())[:DISPLAY_LENGTH] or known
        check_rule(password, known)
        hashed = self._passwords.hash(password)
        return Account(known, shown, Role(role), hashed, True, self._now(), must_change)

    def _replace(self, name: str, password: str, *, must_change: bool) -> None:
        check_rule(password, name)
        self._store.set_password(name, self._passwords.hash(password), must_change=must_change)

    def _known(self, name: str) -> Account:
        account = self._store.account(_normal(name))
        if account is None:
            raise NotFound("There is no account of this name.")
        return account


def _normal(name: str) -> str:
    """One form of a name: compatible characters, lower case, no space around; 63 at most."""
    return unicodedata.normalize("NFKC", name[:256]).strip().lower()[:63]


def _checked_name(name: str) -> str:
    known = unicodedata.normalize("NFKC", name[:256]).strip().lower()
    if known in RESERVED:
        raise InvalidInput("This name is kept for Lightbox itself; choose another.")
    if not NAME.fullmatch(known):
        raise InvalidInput(
            "An account's name has 1 to 63 letters a to z, digits, dots, hyphens or underscores."
        )
    return known


def _user(account: Account) -> User:
    return User(account.name, account.display, account.role, account.must_change)
