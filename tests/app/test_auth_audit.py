"""The audit trail: filters, files, what was removed by rule, and the command line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from app.auth import Role, User
from app.cli import app as command
from app.commands import audit as commands
from app.errors import AppError, InvalidInput, NotAllowed, NotFound, StorageFailed
from app.services import Services
from app.store import Store
from app.store.audit import append
from tests.app import small_model as kit

CHIEF = kit.CHIEF
ROLES = {role: User(role.value[:3], role.value, role) for role in Role}


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = kit.open_services(tmp_path)
    yield made
    made.close()


@pytest.fixture
def store(services: Services) -> Store:
    return services.store


def run(*words: str) -> Any:
    return CliRunner().invoke(command, ["audit", *words])


def change(store: Store, statement: str, **values: object) -> None:
    """Tamper with the database as somebody with access to its file could."""
    with store._database.begin() as connection:
        connection.execute(text(statement), values)


def test_role_and_client_are_part_of_the_chain(store: Store) -> None:
    store.record("ann", "view")
    store.record("ann", "sign in", role="reader", client="10.0.0.7")
    entry = store.audit(1)[0]
    assert (entry.role, entry.client, entry.previous) == (
        "reader", "10.0.0.7", store.audit(2)[1].digest,
    )  # fmt: skip
    assert store.verify_audit() is None
    for name, value in (("role", "administrator"), ("client", "10.0.0.8")):
        kept = getattr(entry, name)
        change(store, f"UPDATE audit SET {name} = :value WHERE position = 2", value=value)
        assert store.verify_audit() == 2
        change(store, f"UPDATE audit SET {name} = :value WHERE position = 2", value=kept)
    change(store, "UPDATE audit SET client = 'x' WHERE position = 1")
    assert store.verify_audit() == 1, "a row written without a client is not given one later"


def test_a_row_is_kept_with_its_transaction_or_not_at_all(store: Store) -> None:
    with store._writing() as session:
        append(session, "ann", "first")
        append(session, "ann", "second", detail={"n": 1})
    with pytest.raises(InvalidInput), store._writing() as session:
        append(session, "ann", "third")
        append(session, "ann", "fourth", detail={"n": [1]})  # type: ignore[dict-item]
    assert [entry.action for entry in store.audit()] == ["second", "first"]
    assert store.verify_audit() is None


def test_rows_are_found_by_account_action_object_and_time(services: Services) -> None:
    store, office = services.store, services.administration
    for n, (who, action) in enumerate((("ann", "view"), ("bob", "view"), ("ann", "rate"))):
        store.record(who, action, f"LB-{n}")
    assert store.audit_names() == (["ann", "bob"], ["rate", "view"])
    assert [e.object for e in store.audit_rows(who="ann")] == ["LB-0", "LB-2"]
    today = datetime.now(UTC).date()
    tomorrow = (today + timedelta(days=1)).isoformat()
    for asked, count in (
        ({"who": "ann"}, 2),
        ({"who": "ann", "action": "view"}, 1),
        ({"object": "LB-1"}, 1),
        ({"since": today.isoformat(), "until": today.isoformat(), "action": "view"}, 2),
        ({"since": tomorrow}, 0),
        ({"until": "2020-01-01T00:00"}, 0),
    ):
        made = json.loads(office.audit_export(CHIEF, "json", **asked).data)
        assert len(made["rows"]) == count and made["intact"], asked
    for wrong in ("yesterday", "2026-13-01", "9999-12-31"):
        with pytest.raises(InvalidInput, match="written like"):
            office.audit_export(CHIEF, "csv", until=wrong)
    with pytest.raises(NotFound):
        office.audit_export(CHIEF, "xlsx")


def test_the_files_hold_all_rows_and_run_nothing(services: Services) -> None:
    services.store.record("=cmd", "@view", "-1", {"note": 'a,\n"b" 安'})
    sent = services.administration.audit_export(CHIEF, "csv")
    assert sent.data.startswith(b"\xef\xbb\xbf") and sent.media_type.startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(sent.data.decode("utf-8-sig"))))
    assert (rows[0]["who"], rows[0]["action"], rows[0]["object"]) == ("'=cmd", "'@view", "'-1")
    assert json.loads(rows[0]["detail"]) == {"note": 'a,\n"b" 安'}
    newest = services.store.audit(1)[0]
    assert (newest.who, newest.action, newest.role) == ("chief", "export audit", "administrator")
    made = json.loads(services.administration.audit_export(CHIEF, "json").data)
    chain = [(row["previous"], row["digest"]) for row in made["rows"]]
    assert [previous for previous, _ in chain[1:]] == [digest for _, digest in chain[:-1]]


def test_more_rows_than_a_page_are_read_in_order(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.audit.PAGE", 3)
    for n in range(8):
        store.record("ann", "view", f"LB-{n}")
    assert [e.position for e in store.audit_rows()] == list(range(1, 9))
    assert store.verify_audit() is None


@pytest.mark.parametrize("role", [Role.OBSERVER, Role.READER, Role.ORGANISER, None])
def test_only_administrators_see_the_trail(services: Services, role: Role | None) -> None:
    office, user = services.administration, ROLES[role] if role else None
    calls: list[Any] = [
        lambda: office.audit(user),
        lambda: office.audit_names(user),
        lambda: office.audit_check(user),
        lambda: office.audit_export(user, "csv"),
    ]
    for call in calls:
        with pytest.raises(NotAllowed):
            call()


def test_accounts_leave_their_trace(services: Services) -> None:
    accounts, store = services.accounts, services.store
    chief = accounts.create_first_administrator("chief", "correct horse battery")
    accounts.create_user(chief, "bob", "another long password", Role.READER)
    accounts.change_role(chief, "bob", Role.ORGANISER)
    with pytest.raises(NotAllowed):
        accounts.authenticate("bob", "wrong password", "10.0.0.7")
    with pytest.raises(NotAllowed):
        accounts.authenticate("a password typed as a name", "x", "10.0.0.7")
    bob = accounts.authenticate("bob", "another long password", "10.0.0.7")
    token = accounts.open_session(bob, client="10.0.0.7")
    accounts.lock(token)
    with pytest.raises(NotAllowed):
        accounts.unlock(token, "wrong password")
    accounts.unlock(token, "another long password")
    accounts.sign_out(token, reason="idle")
    told = [(e.who, e.role, e.action, e.object, e.result) for e in reversed(store.audit())]
    assert told == [
        ("chief", "administrator", "create account", "chief", "ok"),
        ("chief", "administrator", "create account", "bob", "ok"),
        ("chief", "administrator", "change role", "bob", "ok"),
        ("bob", "organiser", "sign in", "", "refused"),
        ("unknown", "", "sign in", "", "refused"),
        ("bob", "organiser", "sign in", "", "ok"),
        ("bob", "organiser", "lock screen", "", "ok"),
        ("bob", "organiser", "unlock screen", "", "refused"),
        ("bob", "organiser", "unlock screen", "", "ok"),
        ("bob", "organiser", "sign out", "", "ok"),
    ]
    assert [e.client for e in store.audit(who="bob", action="sign in")] == ["10.0.0.7"] * 2
    assert store.audit(action="change role")[0].detail == {"before": "reader", "to": "organiser"}
    assert "password typed" not in str(store.audit()) and store.verify_audit() is None


# The command line


def test_verify_says_whether_the_chain_is_whole(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--workspace", str(tmp_path))
    empty = run("verify", *place)
    assert empty.exit_code == 0 and "empty" in empty.output
    for n in range(5):
        store.record("ann", "view", f"LB-{n}")
    whole = run("verify", *place)
    newest = store.audit(1)[0]
    assert whole.exit_code == 0 and f"(5:{newest.digest})" in whole.output
    told = json.loads(run("verify", "--json", *place).output)
    assert told == {"intact": True, "broken_at": None, "last": 5, "digest": newest.digest}
    noted = f"5:{newest.digest}"
    assert run("verify", "--head", noted, *place).exit_code == 0
    change(store, "DELETE FROM audit WHERE position = 5")
    assert run("verify", *place).exit_code == 0, "lost newest rows need a note to show"
    lost = run("verify", "--head", noted, *place)
    assert lost.exit_code == 1 and "noted earlier" in lost.output
    change(store, "UPDATE audit SET who = 'eve' WHERE position = 3")
    broken = run("verify", *place)
    assert broken.exit_code == 1 and "row 3" in broken.output
    told = json.loads(run("verify", "--json", *place).output)
    assert (told["intact"], told["broken_at"]) == (False, 3)


@pytest.mark.parametrize("head", ["", "5", "x:y", "5:", "-1:aa", "9" * 30 + ":a"])
def test_a_noted_row_has_its_form(store: Store, tmp_path: Path, head: str) -> None:
    failed = run("verify", "--workspace", str(tmp_path), "--head", head)
    assert isinstance(failed.exception, InvalidInput)


def test_verify_makes_no_database(tmp_path: Path) -> None:
    absent = run("verify", "--workspace", str(tmp_path / "nowhere"))
    assert isinstance(absent.exception, NotFound) and not (tmp_path / "nowhere").exists()
    (tmp_path / "lightbox.sqlite3").write_bytes(b"no database at all" * 100)
    damaged = run("verify", "--workspace", str(tmp_path))
    assert isinstance(damaged.exception, AppError)


def test_export_writes_what_fits(store: Store, tmp_path: Path) -> None:
    store.record("ann", "view", "LB-1")
    store.record("bob", "view", "LB-2")
    place = ("--workspace", str(tmp_path))
    out = tmp_path / "trail" / "all.json"
    done = run("export", "--out", str(out), "--who", "ann", *place)
    assert done.exit_code == 0 and "1 row(s)" in done.output
    assert [row["object"] for row in json.loads(out.read_text("utf-8"))["rows"]] == ["LB-1"]
    table = tmp_path / "all.csv"
    assert run("export", "--out", str(table), *place).exit_code == 0
    assert len(table.read_text("utf-8-sig").splitlines()) == 4, "head, two views, one export"
    assert store.audit(1)[0].who == "operator"
    blocked = run("export", "--out", str(table / "below.csv"), *place)
    assert isinstance(blocked.exception, StorageFailed)


def test_old_rows_are_removed_only_by_the_rule_and_after_being_written(
    store: Store, tmp_path: Path
) -> None:
    for n in range(6):
        store.record("ann", "view", f"LB-{n}")
    before = [entry.digest for entry in reversed(store.audit())]
    flags: dict[str, object] = {"workspace": tmp_path}
    out = tmp_path / "old.json"
    later = datetime.now(UTC) + timedelta(days=800)
    with pytest.raises(InvalidInput, match="audit_days"):
        commands.trim(out, flags, now=later)
    flags["audit_days"] = 2192
    commands.trim(out, flags, now=later)
    assert not out.exists() and len(store.audit()) == 6, "nothing is old enough yet"
    flags["audit_days"] = 700
    commands.trim(out, flags, now=later)
    kept = json.loads(out.read_text("utf-8"))["rows"]
    assert [row["digest"] for row in kept] == before
    rest = store.audit()
    assert [(e.position, e.action, e.who) for e in rest] == [(7, "audit_trim", "operator")]
    assert rest[0].previous == before[-1] and rest[0].detail["through"] == 6
    assert store.verify_audit() is None
    store.record("ann", "view")
    assert store.verify_audit() is None
    with pytest.raises(InvalidInput, match="exists already"):
        commands.trim(out, flags, now=later)
    change(store, "DELETE FROM audit WHERE position = 7")
    assert store.verify_audit() == 1
    with pytest.raises(StorageFailed, match="broken"):
        commands.trim(tmp_path / "more.json", flags, now=later)


def test_only_the_oldest_rows_in_a_row_are_removed(store: Store) -> None:
    for n in range(5):
        store.record("ann", "view", f"LB-{n}")
    middle = next(e.created for e in store.audit() if e.position == 3)
    assert store.trim_audit("operator", middle, through=5) == 2
    assert [e.position for e in store.audit_rows()] == [3, 4, 5, 6]
    assert store.verify_audit() is None
    assert store.trim_audit("operator", middle, through=5) == 0
    later = datetime.now(UTC) + timedelta(days=1)
    assert store.trim_audit("operator", later, through=4) == 2
    assert store.verify_audit() is None
    change(store, "DELETE FROM audit WHERE position = 5")
    assert store.verify_audit() is not None
