"""Accounts and logins in the database: what `app.auth.AccountStore` asks for."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select, update

from app.auth import Account, Login, Role
from app.store.database import Database, plain, serialise
from app.store.tables import LoginRow, UserRow


class AccountRows(Database):
    """Keeps accounts and logins."""

    def has_accounts(self) -> bool:
        """True when at least one account exists."""
        with self._reading() as session:
            return session.scalar(select(UserRow.name).limit(1)) is not None

    def add_account(self, account: Account, *, only_first: bool = False) -> bool:
        """Keep an account; False when the name is taken or, if `only_first`, when any exists."""
        with self._writing() as session:
            serialise(session)
            taken = select(UserRow.name).limit(1)
            if not only_first:
                taken = taken.where(UserRow.name == account.name)
            if session.scalar(taken) is not None:
                return False
            session.add(
                UserRow(
                    name=account.name,
                    display=plain(account.display),
                    role=account.role.value,
                    password_hash=account.password_hash,
                    active=account.active,
                    created=account.created,
                    must_change=account.must_change,
                )
            )
        return True

    def account(self, name: str) -> Account | None:
        """The account of a name, or None."""
        with self._reading() as session:
            row = session.get(UserRow, plain(name))
            return None if row is None else _account(row)

    def accounts(self) -> list[Account]:
        """All accounts, by name."""
        with self._reading() as session:
            return [_account(row) for row in session.scalars(select(UserRow).order_by("name"))]

    def set_password(self, name: str, password_hash: str, *, must_change: bool) -> None:
        """Replace the password hash."""
        changed = update(UserRow).where(UserRow.name == name)
        with self._writing() as session:
            session.execute(changed.values(password_hash=password_hash, must_change=must_change))

    def deactivate_account(self, name: str) -> bool:
        """Deactivate; False when it is the last active administrator."""
        others = select(func.count()).where(
            UserRow.active.is_(True),
            UserRow.role == Role.ADMINISTRATOR.value,
            UserRow.name != name,
        )
        with self._writing() as session:
            serialise(session)
            if not session.scalar(others):
                row = session.get(UserRow, name)
                if row is not None and row.role == Role.ADMINISTRATOR.value:
                    return False
            session.execute(update(UserRow).where(UserRow.name == name).values(active=False))
        return True

    def add_login(self, login: Login) -> None:
        """Keep a login."""
        with self._writing() as session:
            session.add(
                LoginRow(
                    digest=login.digest,
                    account=login.account,
                    created=login.created,
                    last_seen=login.last_seen,
                    expires=login.expires,
                    revoked=login.revoked,
                )
            )

    def login(self, digest: str) -> Login | None:
        """The login of a token digest, or None."""
        with self._reading() as session:
            row = session.get(LoginRow, digest)
            if row is None:
                return None
            return Login(
                row.digest, row.account, row.created, row.last_seen, row.expires, row.revoked
            )

    def touch_login(self, digest: str, seen: datetime) -> None:
        """Note the time of a request."""
        with self._writing() as session:
            changed = update(LoginRow).where(LoginRow.digest == digest)
            session.execute(changed.values(last_seen=seen))

    def revoke_login(self, digest: str) -> None:
        """End one login."""
        with self._writing() as session:
            changed = update(LoginRow).where(LoginRow.digest == digest)
            session.execute(changed.values(revoked=True))

    def revoke_logins(self, account: str, *, but: str = "") -> None:
        """End all logins of an account except the one with the digest `but`."""
        changed = update(LoginRow).where(LoginRow.account == account, LoginRow.digest != but)
        with self._writing() as session:
            session.execute(changed.values(revoked=True))


def _account(row: UserRow) -> Account:
    return Account(
        name=row.name,
        display=row.display,
        role=Role(row.role),
        password_hash=row.password_hash,
        active=row.active,
        created=row.created,
        must_change=row.must_change,
    )
