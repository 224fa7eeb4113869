"""The use cases of accounts: sign in, stay signed in, change a password, manage others."""

from __future__ import annotations

from dataclasses import replace

from app.auth.base import checked_name, normal_name, shown_name, user_of_account
from app.auth.identities import Identities
from app.auth.passwords import check_rule
from app.auth.records import Account
from app.auth.roles import Role, User, check, requires
from app.auth.sessions import Sessions
from app.auth.tokens import token_digest
from app.errors import InvalidInput, NotAllowed

WRONG = "The name or the password is not right."
NO_PASSWORD = "This account has no password here; change it where your organisation keeps it."


class Accounts(Sessions, Identities):
    """Everything about accounts and logins; arguments as for `AccountsBase`."""

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
        self._note(account, "create account", account.name, to=account.role.value)
        return user_of_account(account)

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
        who = check(user, Role.ADMINISTRATOR)
        self._note(who, "create account", account.name, to=account.role.value)
        return user_of_account(account)

    @requires(Role.ADMINISTRATOR)
    def accounts(self, user: User | None) -> list[Account]:
        """All accounts, by name; their hashes are left out."""
        return [replace(account, password_hash="") for account in self._store.accounts()]

    def user(self, name: str) -> User | None:
        """The active user of a login name that was authenticated before."""
        account = self._store.account(normal_name(name))
        return user_of_account(account) if account is not None and account.active else None

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
        known = normal_name(name)
        self._throttle.attempt(address, known)
        account = self._store.account(known)
        is_right = self._passwords.verify(account.password_hash if account else None, password)
        if account is None or not is_right or not account.active:
            # A name that is not known is not kept: it may be a password in the wrong field.
            self._refused(account, address)
            raise NotAllowed(WRONG)
        self._throttle.succeeded(address, known)
        if self._passwords.is_outdated(account.password_hash):
            fresh = self._passwords.hash(password)
            self._store.set_password(known, fresh, must_change=account.must_change)
        return user_of_account(account)

    @requires(Role.OBSERVER)
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
        if not account.password_hash:
            raise NotAllowed(NO_PASSWORD)
        self._throttle.attempt(address, account.name)
        if not self._passwords.verify(account.password_hash, old):
            raise NotAllowed("The present password is not right.")
        self._throttle.succeeded(address, account.name)
        if new == old:
            raise InvalidInput("The new password must differ from the present one.")
        self._replace(account.name, new, must_change=False)
        self._note(account, "change password", account.name, client=address)
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
        self._note(check(user, Role.ADMINISTRATOR), "set password", account.name)

    @requires(Role.ADMINISTRATOR)
    def change_role(self, user: User | None, name: str, role: Role) -> None:
        """Give another role, from the next request on; what the account has done stays.

        Raises:
            NotFound: There is no such account.
            InvalidInput: It is the last active administrator.
        """
        account, wanted = self._known(name), Role(role)
        if not self._store.set_role(account.name, wanted):
            raise InvalidInput("The last administrator must stay one.")
        who, before = check(user, Role.ADMINISTRATOR), account.role.value
        self._note(who, "change role", account.name, before=before, to=wanted.value)

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
        self._note(check(user, Role.ADMINISTRATOR), "deactivate", account.name)

    def _new(
        self, name: str, password: str, display: str, role: Role, *, must_change: bool
    ) -> Account:
        known = checked_name(name)
        shown = shown_name(display, known)
        check_rule(password, known)
        hashed = self._passwords.hash(password)
        return Account(known, shown, Role(role), hashed, True, self._now(), must_change)

    def _refused(self, account: Account | None, address: str) -> None:
        if account is not None:
            self._note(account, "sign in", result="refused", client=address)
        else:
            self._store.record("unknown", "sign in", result="refused", client=address)

    def _replace(self, name: str, password: str, *, must_change: bool) -> None:
        check_rule(password, name)
        self._store.set_password(name, self._passwords.hash(password), must_change=must_change)
