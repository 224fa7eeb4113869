"""Accounts: roles, passwords, slow guessing, logins that end, and form tokens."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from app.auth import (
    RULE,
    Accounts,
    AccountStore,
    Passwords,
    Role,
    Throttle,
    User,
    form_token,
    is_form_token,
    requires,
)
from app.errors import InvalidInput, NotAllowed, NotFound, StorageFailed
from app.store import Store

GOOD, OTHER = "correct horse battery", "another long password"
HERE = "127.0.0.1"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def seconds(self) -> float:
        return self.time.timestamp()

    def forward(self, **delta: float) -> None:
        self.time += timedelta(**delta)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as opened:
        yield opened


@pytest.fixture
def accounts(store: Store, clock: Clock) -> Accounts:
    kept: AccountStore = store
    light = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    return Accounts(kept, passwords=light, throttle=Throttle(clock.seconds), now=clock.now)


@pytest.fixture
def admin(accounts: Accounts) -> User:
    return accounts.create_first_administrator("Ann", GOOD, "Ann  Adams")


def test_the_first_administrator_is_created_once(accounts: Accounts) -> None:
    assert not accounts.has_accounts()
    user = accounts.create_first_administrator(" ANN ", GOOD)
    assert user == User("ann", "ann", Role.ADMINISTRATOR) and accounts.has_accounts()
    with pytest.raises(NotAllowed, match="exists already"):
        accounts.create_first_administrator("eve", GOOD)


def test_sign_in_with_name_and_password(accounts: Accounts, admin: User) -> None:
    assert accounts.authenticate("Ann", GOOD, HERE) == admin
    wrong = [("ann", "wrong password"), ("nobody", GOOD), ("", ""), ("ann", "x" * 100_000)]
    sentences = set()
    for name, password in wrong:
        with pytest.raises(NotAllowed) as caught:
            accounts.authenticate(name, password, HERE)
        sentences.add(str(caught.value))
    assert len(sentences) == 1


def test_an_unknown_name_costs_a_hash_too(
    accounts: Accounts, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str | None] = []
    verify = accounts._passwords.verify

    def counted(stored: str | None, password: str) -> bool:
        verified.append(stored)
        return verify(stored, password)

    monkeypatch.setattr(accounts._passwords, "verify", counted)
    with pytest.raises(NotAllowed):
        accounts.authenticate("nobody", GOOD, HERE)
    assert verified == [None]
    assert not verify(None, "no account has this password")


@pytest.mark.parametrize("password", ["", "123456789", "x" * 257, "Administrator"])
def test_a_weak_password_is_refused(accounts: Accounts, password: str) -> None:
    with pytest.raises(InvalidInput, match="password"):
        accounts.create_first_administrator("administrator", password)
    assert not accounts.has_accounts() and "10 characters" in RULE


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 64, "ann\0", "安", "-a", "<b>"])
def test_an_odd_name_is_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(InvalidInput, match="name has"):
        accounts.create_first_administrator(name, GOOD)


def test_the_same_letters_typed_differently_are_the_same_password(accounts: Accounts) -> None:
    accounts.create_first_administrator("ann", "Cafe\u0301 au lait")
    assert accounts.authenticate("ann", "Caf\u00e9 au lait", HERE).name == "ann"


def test_five_failures_lock_and_each_lock_doubles(
    accounts: Accounts, admin: User, clock: Clock
) -> None:
    def fail(times: int) -> str:
        for _ in range(times):
            with pytest.raises(NotAllowed) as caught:
                accounts.authenticate("ann", "wrong password", HERE)
        return str(caught.value)

    assert "not right" in fail(5) and "in 1 minute." in fail(1)
    with pytest.raises(NotAllowed, match="Too many"):
        accounts.authenticate("ANN", GOOD, HERE)
    assert accounts.authenticate("ann", GOOD, "10.0.0.9") == admin
    clock.forward(seconds=61)
    assert "not right" in fail(5) and "in 2 minutes." in fail(1)
    clock.forward(seconds=121)
    assert accounts.authenticate("ann", GOOD, HERE) == admin
    assert "not right" in fail(4)
    clock.forward(seconds=301)
    assert "not right" in fail(4)
    assert accounts.authenticate("ann", GOOD, HERE) == admin


def test_the_throttle_forgets_but_not_what_is_locked(clock: Clock) -> None:
    throttle = Throttle(clock.seconds)
    for _ in range(5):
        throttle.attempt(HERE, "ann")
    for n in range(10_001):
        throttle.attempt(HERE, f"name-{n}")
    assert len(throttle._records) <= 10_000
    with pytest.raises(NotAllowed):
        throttle.attempt(HERE, "ann")


def test_a_login_ends_when_idle_old_or_closed(
    accounts: Accounts, admin: User, clock: Clock
) -> None:
    token = accounts.open_session(admin)
    assert accounts.user_of_session(token) == admin
    assert [accounts.user_of_session(t) for t in (None, "", "forged", token + "x")] == [None] * 4
    for _ in range(9):
        clock.forward(minutes=50)
        assert accounts.user_of_session(token) == admin
    clock.forward(minutes=31)
    assert accounts.user_of_session(token) is None
    token = accounts.open_session(admin)
    clock.forward(minutes=60)
    assert accounts.user_of_session(token) is None
    one, two = accounts.open_session(admin), accounts.open_session(admin)
    accounts.close_session(one)
    accounts.close_session(None)
    assert accounts.user_of_session(one) is None and accounts.user_of_session(two) == admin


def test_a_full_disk_signs_nobody_out(
    accounts: Accounts, admin: User, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = accounts.open_session(admin)

    def full(*_: object) -> None:
        raise StorageFailed("The disk is full.")

    monkeypatch.setattr(store, "touch_login", full)
    clock.forward(minutes=30)
    assert accounts.user_of_session(token) == admin


def test_the_database_holds_no_token_and_no_password(
    accounts: Accounts, admin: User, store: Store, tmp_path: Path
) -> None:
    token = accounts.open_session(admin)
    store.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("lightbox.sqlite3*"))
    assert b"argon2id" in kept
    assert token.encode() not in kept and GOOD.encode() not in kept


def test_a_password_change_ends_other_logins(accounts: Accounts, admin: User) -> None:
    here, there = accounts.open_session(admin), accounts.open_session(admin)
    with pytest.raises(NotAllowed, match="present password"):
        accounts.change_password(admin, "wrong password", OTHER)
    for bad in ("short", GOOD):
        with pytest.raises(InvalidInput):
            accounts.change_password(admin, GOOD, bad)
    accounts.change_password(admin, GOOD, OTHER, token=here)
    assert accounts.user_of_session(here) == admin and accounts.user_of_session(there) is None
    assert accounts.authenticate("ann", OTHER, HERE) == admin
    with pytest.raises(NotAllowed, match="sign in"):
        accounts.change_password(None, OTHER, GOOD)


def test_an_administrator_manages_accounts(accounts: Accounts, admin: User) -> None:
    bob = accounts.create_user(admin, "bob", GOOD, Role.READER, "Dr Bob")
    assert bob.must_change and [a.name for a in accounts.accounts(admin)] == ["ann", "bob"]
    assert {a.password_hash for a in accounts.accounts(admin)} == {""}
    with pytest.raises(InvalidInput, match="exists already"):
        accounts.create_user(admin, "BOB", GOOD, Role.READER)
    accounts.change_password(bob, GOOD, OTHER)
    assert not accounts.authenticate("bob", OTHER, HERE).must_change
    token = accounts.open_session(bob)
    accounts.reset_password(admin, "bob", GOOD)
    assert accounts.user_of_session(token) is None
    assert accounts.authenticate("bob", GOOD, HERE).must_change
    token = accounts.open_session(bob)
    accounts.deactivate(admin, "bob")
    assert accounts.user_of_session(token) is None
    with pytest.raises(NotAllowed):
        accounts.authenticate("bob", GOOD, HERE)
    with pytest.raises(InvalidInput, match="last administrator"):
        accounts.deactivate(admin, "ann")
    with pytest.raises(NotFound):
        accounts.deactivate(admin, "nobody")


def test_a_reader_manages_nothing(accounts: Accounts, admin: User) -> None:
    bob = accounts.create_user(admin, "bob", GOOD, Role.READER)
    guarded = (
        lambda user: accounts.create_user(user, "eve", GOOD, Role.ADMINISTRATOR),
        lambda user: accounts.accounts(user),
        lambda user: accounts.deactivate(user, "ann"),
        lambda user: accounts.reset_password(user, "ann", OTHER),
    )
    for work in guarded:
        for user in (bob, None):
            with pytest.raises(NotAllowed):
                work(user)
    assert [a.name for a in accounts.accounts(admin)] == ["ann", "bob"]
    assert accounts.authenticate("ann", GOOD, HERE) == admin


def test_an_old_hash_is_renewed(accounts: Accounts, admin: User, store: Store) -> None:
    old = PasswordHasher(time_cost=2, memory_cost=64, parallelism=1).hash(GOOD)
    store.set_password("ann", old, must_change=False)
    accounts.authenticate("ann", GOOD, HERE)
    account = store.account("ann")
    assert account is not None and ",t=1," in account.password_hash != old
    assert "argon2" not in repr(account)


def test_the_default_hash_is_argon2id_with_a_salt() -> None:
    passwords = Passwords()
    one, two = passwords.hash(GOOD), passwords.hash(GOOD)
    assert one.startswith("$argon2id$") and one != two
    assert passwords.verify(one, GOOD) and not passwords.verify(one, OTHER)
    assert not passwords.verify("not a hash", GOOD) and not passwords.is_outdated(one)


def test_the_guard_checks_marks_and_passes_on() -> None:
    class Service:
        """A service with one guarded method."""

        @requires(Role.READER)
        def read(self, user: User | None, n: int, *, twice: bool = False) -> int:
            """Doubles."""
            return n * (2 if twice else 1)

        @requires(Role.ADMINISTRATOR)
        def manage(self, user: User | None) -> str:
            return "done"

    reader, chief = User("bob", "Bob", Role.READER), User("ann", "Ann", Role.ADMINISTRATOR)
    service = Service()
    assert service.read(reader, 2, twice=True) == 4 and service.read(chief, 3) == 3
    assert service.manage(chief) == "done"
    with pytest.raises(NotAllowed, match="administrator"):
        service.manage(reader)
    with pytest.raises(NotAllowed, match="sign in"):
        service.read(None, 1)
    assert Service.read.required_role is Role.READER and Service.read.__doc__ == "Doubles."
    assert not hasattr(Service.__init__, "required_role")
    assert Role.ADMINISTRATOR.covers(Role.READER) and not Role.READER.covers(Role.ADMINISTRATOR)


def test_a_form_token_serves_one_session_for_a_while() -> None:
    key = b"k" * 32
    token = form_token(key, "session")
    assert is_form_token(key, "session", token)
    assert not is_form_token(key, "other", token)
    assert not is_form_token(b"x" * 32, "session", token)
    assert not is_form_token(key, "session", token, seconds=-1)
    assert not any(is_form_token(key, "session", bad) for bad in ("", "a.b.c", token[:-2], "安"))
