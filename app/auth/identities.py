"""Accounts of people whom an identity provider vouches for: made at the first login, or linked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.auth.base import (
    NAME,
    RESERVED,
    AccountsBase,
    normal_name,
    shown_name,
    user_of_account,
)
from app.auth.records import Account, Identity
from app.auth.roles import Role, User, check, requires
from app.errors import InvalidInput, NotAllowed

SUBJECT_LENGTH = 512
TAKEN = (
    "An account of the same name exists already. Sign in to it with its password, then link it to "
    "your organisation's sign-in under “Change your password”."
)
NO_ROLE = "Your organisation has given you no role in Lightbox; please ask an administrator."
NO_NAME = "Your organisation's sign-in gives no name that Lightbox can use."
ENDED = "This account was deactivated; please ask an administrator."
FIRST = "The first administrator is created with a password; please do that first."
OTHERS = "This sign-in of your organisation belongs to another account already."
PREFIXES = ("", "lightbox-", "lightbox_", "lightbox:")


class Identities(AccountsBase):
    """The use cases of signing in elsewhere."""

    def authenticate_identity(
        self, identity: Identity, default: Role | None, *, client: str = ""
    ) -> User:
        """The user whom an identity provider vouched for; the account is made at the first time.

        A role that the provider states replaces the account's at each login, except that the last
        administrator stays one.

        Args:
            identity: What the provider said, verified.
            default: Role of a new account where the provider states none; None refuses it.
            client: Network address of the browser, for the audit trail.

        Raises:
            NotAllowed: The account is deactivated, its name is taken by another one, it has no
                role, or there is no administrator yet.
        """
        if not self._store.has_accounts():
            raise NotAllowed(FIRST)
        try:
            account = self._store.account_of_subject(identity.key)
            if account is None:
                account = self._join(identity, default, client)
            if not account.active:
                raise NotAllowed(ENDED)
        except NotAllowed:
            self._store.record("unknown", "sign in", "", {"by": "oidc"}, "refused", client=client)
            raise
        return user_of_account(self._follow(account, identity.role, client))

    @requires(Role.OBSERVER)
    def link_identity(self, user: User | None, identity: Identity, *, client: str = "") -> None:
        """Let the signed-in user's account be entered through the identity provider too.

        Raises:
            InvalidInput: The identity belongs to another account.
        """
        who = check(user, Role.OBSERVER)
        if len(identity.key) > SUBJECT_LENGTH or not self._store.set_subject(
            who.name, identity.key
        ):
            raise InvalidInput(OTHERS)
        self._note(who, "link identity", who.name, client=client)

    def _join(self, identity: Identity, default: Role | None, client: str) -> Account:
        """The account made for an identity."""
        role = identity.role or default
        if role is None:
            raise NotAllowed(NO_ROLE)
        name = account_name(identity.name)
        if not name or len(identity.key) > SUBJECT_LENGTH:
            raise NotAllowed(NO_NAME)
        display = shown_name(identity.display, name)
        account = Account(name, display, role, "", True, self._now(), subject=identity.key)
        if not self._store.add_account(account):
            raise NotAllowed(TAKEN)
        self._note(account, "create account", name, client=client, by="oidc", to=role.value)
        return account

    def _follow(self, account: Account, role: Role | None, client: str) -> Account:
        """The account with the role that the provider states."""
        if role is None or role is account.role:
            return account
        if not self._store.set_role(account.name, role):
            return account
        before = account.role.value
        self._note(
            account, "change role", account.name, client=client, before=before, to=role.value
        )
        return self._known(account.name)


def account_name(stated: str) -> str:
    """A name for an account, from a name or an e-mail address; empty when none can be made."""
    name = normal_name(stated).split("@", 1)[0]
    kept = "".join(each if each.isascii() and (each.isalnum() or each in "._-") else "-"
                   for each in name).strip("-._")  # fmt: skip
    return kept if NAME.fullmatch(kept) and kept not in RESERVED else ""


def role_of(claims: Mapping[str, Any], path: str) -> Role | None:
    """The highest of our roles that a claim names; None where it names none.

    Args:
        claims: Of the identity token.
        path: Name of the claim, with dots between nested ones, such as "realm_access.roles". A
            claim whose own name has dots is found too. Empty for none.
    """
    if not path:
        return None
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    stated = found.replace(",", " ").split() if isinstance(found, str) else found
    if not isinstance(stated, list | tuple):
        return None
    words = {str(each).strip().lower() for each in stated}
    held = [role for role in Role if words & {f"{prefix}{role.value}" for prefix in PREFIXES}]
    return held[-1] if held else None
