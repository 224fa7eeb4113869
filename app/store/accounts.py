"""Accounts and logins in the database: what `app.auth.AccountStore` asks for."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

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
                same = UserRow.name == account.name
                if account.subject is not None:
                    same = same | (UserRow.subject == account.subject)
                taken = taken.where(same)
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
                    subject=account.subject,
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

    def account_of_subject(self, subject: str) -> Account | None:
        """The account of somebody at an identity provider, or None."""
        with self._reading() as session:
            row = session.scalar(select(UserRow).where(UserRow.subject == plain(subject)))
            return None if row is None else _account(row)

    def set_subject(self, name: str, subject: str) -> bool:
        """Tie an account to an identity; False when another account has it."""
        with self._writing() as session:
            serialise(session)
            owner = session.scalar(select(UserRow.name).where(UserRow.subject == plain(subject)))
            if owner not in (None, name):
                return False
            changed = update(UserRow).where(UserRow.name == name)
            session.execute(changed.values(subject=plain(subject)))
        return True

    def set_role(self, name: str, role: Role) -> bool:
        """Change the role; False when it is the last active administrator."""
        with self._writing() as session:
            serialise(session)
            if role is not Role.ADMINISTRATOR and _is_last_administrator(session, name):
                return False
            session.execute(update(UserRow).where(UserRow.name == name).values(role=role.value))
        return True

    def deactivate_account(self, name: str) -> bool:
        """Deactivate; False when it is the last active administrator."""
        with self._writing() as session:
            serialise(session)
            if _is_last_administrator(session, name):
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
                    locked=login.locked,
                )
            )

    def login(self, digest: str) -> Login | None:
        """The login of a token digest, or None."""
        with self._reading() as session:
            row = session.get(LoginRow, digest)
            if row is None:
                return None
            return Login(
                digest=row.digest,
                account=row.account,
                created=row.created,
                last_seen=row.last_seen,
                expires=row.expires,
                revoked=row.revoked,
                locked=row.locked,
            )

    def touch_login(self, digest: str, seen: datetime) -> None:
        """Note the time of a request."""
        with self._writing() as session:
            changed = update(LoginRow).where(LoginRow.digest == digest)
            session.execute(changed.values(last_seen=seen))

    def lock_login(self, digest: str, *, locked: bool) -> None:
        """Lock or unlock the screen of one login."""
        with self._writing() as session:
            changed = update(LoginRow).where(LoginRow.digest == digest)
            session.execute(changed.values(locked=locked))

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
        subject=row.subject,
    )


def _is_last_administrator(session: Session, name: str) -> bool:
    """True when no other active account is an administrator, and this one is."""
    others = select(func.count()).where(
        UserRow.active.is_(True),
        UserRow.role == Role.ADMINISTRATOR.value,
        UserRow.name != name,
    )
    row = session.get(UserRow, name)
    is_one = row is not None and row.role == Role.ADMINISTRATOR.value
    return is_one and not session.scalar(others)
