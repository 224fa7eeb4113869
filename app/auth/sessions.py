"""Logins: how one is opened, goes on, is locked, and ends."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from app.auth.base import AccountsBase, user_of_account
from app.auth.records import Account, Login, Standing
from app.auth.roles import User
from app.auth.tokens import new_token, token_digest
from app.errors import NotAllowed, StorageFailed

ENDED = "This login has ended; please sign in again."
NOT_RIGHT = "The password is not right."
NO_PASSWORD = "This account has no password; unlock it through your organisation's sign-in."


class Sessions(AccountsBase):
    """The use cases of one browser's login."""

    def open_session(self, user: User, *, client: str = "", by: str = "password") -> str:
        """A new login; the token returned goes into the browser's cookie and nowhere else.

        Args:
            user: Who was recognised just now.
            client: Network address of the browser, for the audit trail.
            by: How the user was recognised.
        """
        token, now = new_token(), self._now()
        self._store.add_login(Login(token_digest(token), user.name, now, now, now + self._life))
        self._note(user, "sign in", client=client, **({} if by == "password" else {"by": by}))
        return token

    def user_of_session(self, token: str | None) -> User | None:
        """The signed-in user of a token; None when it is unknown, ended, idle, locked or too old.

        A disk that is full does not sign anybody out at once: the time of the request is then
        not noted.
        """
        found = self._live(token)
        if found is None or found[0].locked:
            return None
        login, account = found
        now = self._now()
        if now - login.last_seen >= min(timedelta(minutes=1), self._idle / 10):
            with suppress(StorageFailed):
                self._store.touch_login(login.digest, now)
        return user_of_account(account)

    def standing(self, token: str | None) -> Standing | None:
        """What is left of a login; asking is no use of it. None once it has ended."""
        found = self._live(token)
        if found is None:
            return None
        login, account = found
        now = self._now()
        until = login.expires - now
        return Standing(
            user=user_of_account(account),
            digest=login.digest,
            locked=login.locked,
            idle_left_s=min(login.last_seen + self._idle - now, until).total_seconds(),
            absolute_left_s=until.total_seconds(),
            idle_s=self._idle.total_seconds(),
            has_password=bool(account.password_hash),
        )

    def stay(self, token: str | None) -> Standing | None:
        """Count this moment as a use of a login that is not locked."""
        found = self._live(token)
        if found is not None and not found[0].locked:
            self._store.touch_login(found[0].digest, self._now())
        return self.standing(token)

    def lock(self, token: str | None, *, client: str = "") -> None:
        """Lock the screen of a login: until it is unlocked, its browser can do nothing else.

        Raises:
            NotAllowed: There is no such login.
        """
        login, account = self._needed(token)
        if not login.locked:
            self._store.lock_login(login.digest, locked=True)
            self._note(account, "lock screen", client=client)

    def unlock(self, token: str | None, password: str, *, client: str = "") -> User:
        """Unlock the screen of a login.

        Raises:
            NotAllowed: The password is not right, too many attempts failed, or the login ended.
        """
        login, account = self._needed(token)
        if not account.password_hash:
            raise NotAllowed(NO_PASSWORD)
        self._throttle.attempt(client, account.name)
        if not self._passwords.verify(account.password_hash, password):
            self._note(account, "unlock screen", result="refused", client=client)
            raise NotAllowed(NOT_RIGHT)
        self._throttle.succeeded(client, account.name)
        return self._unlock(login, account, client)

    def unlock_by_identity(self, digest: str, user: User, *, client: str = "") -> None:
        """Unlock a login whose owner was recognised by the identity provider just now.

        Args:
            digest: SHA-256 of the login's token. user: Who was recognised.
            client: Network address of the browser, for the audit trail.

        Raises:
            NotAllowed: It has ended, or belongs to another account.
        """
        found = self._living(self._store.login(digest))
        if found is None or found[1].name != user.name:
            raise NotAllowed(ENDED)
        self._unlock(*found, client)

    def owner_of(self, digest: str) -> User | None:
        """The user of a login that has not ended and is not locked, by its token's SHA-256."""
        found = self._living(self._store.login(digest))
        return None if found is None or found[0].locked else user_of_account(found[1])

    def close_session(self, token: str | None) -> None:
        """End a login that another one replaces; an unknown token is no error."""
        if token:
            self._store.revoke_login(token_digest(token))

    def sign_out(self, token: str | None, *, client: str = "", reason: str = "") -> None:
        """End a login because its user, or the end of the time allowed, says so."""
        found = self._live(token)
        self.close_session(token)
        if found is not None:
            self._note(found[1], "sign out", client=client, **({"why": reason} if reason else {}))

    def _unlock(self, login: Login, account: Account, client: str) -> User:
        self._store.touch_login(login.digest, self._now())
        self._store.lock_login(login.digest, locked=False)
        self._note(account, "unlock screen", client=client)
        return user_of_account(account)

    def _live(self, token: str | None) -> tuple[Login, Account] | None:
        """A login that has not ended, and its active account."""
        return self._living(self._store.login(token_digest(token)) if token else None)

    def _living(self, login: Login | None) -> tuple[Login, Account] | None:
        now = self._now()
        if login is None or login.revoked or now >= login.expires:
            return None
        if now - login.last_seen >= self._idle:
            return None
        account = self._store.account(login.account)
        return None if account is None or not account.active else (login, account)

    def _needed(self, token: str | None) -> tuple[Login, Account]:
        found = self._live(token)
        if found is None:
            raise NotAllowed(ENDED)
        return found
