"""`lightbox audit verify`, `export` and `trim`: the trail without a server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer

from app.errors import InvalidInput, StorageFailed
from app.services import OPERATOR
from app.services.audit_file import AuditFilter, audit_csv, audit_json, filter_of
from app.settings import Settings
from app.store import Store

KEPT = (
    "All rows are kept: the setting audit_days says how many days a row must be kept before it "
    "may be removed."
)


def verify(flags: Mapping[str, object], *, as_json: bool, head: str | None) -> int:
    """Check the chain; the exit status: 0 when it is whole, 1 when it is not.

    Args:
        flags: Settings of the command line. as_json: Whether a program reads the answer.
        head: Position and digest of a row noted earlier, with a colon between; it must still be
            there, so that removed newest rows show.

    Raises:
        InvalidInput: `head` is not written like that.
        NotFound: There is no database.
    """
    noted = _head(head)
    with _opened(flags) as (store, _):
        newest = store.audit(1)
        broken, lost = store.verify_audit(), noted is not None and not _has(store, *noted)
    last, digest = (newest[0].position, newest[0].digest) if newest else (0, "")
    is_whole = broken is None and not lost
    if as_json:
        told = {"intact": is_whole, "broken_at": broken, "last": last, "digest": digest}
        typer.echo(json.dumps(told | ({} if noted is None else {"head_found": not lost})))
    elif broken is not None:
        typer.echo(f"The audit trail is broken: row {broken} does not fit its chain.", err=True)
    elif lost:
        typer.echo("The audit trail is broken: the row noted earlier is not in it.", err=True)
    elif not newest:
        typer.echo("The audit trail is empty.")
    else:
        typer.echo(f"The audit trail is unbroken up to row {last} ({last}:{digest}).")
    return 0 if is_whole else 1


def export(
    out: Path,
    flags: Mapping[str, object],
    *,
    who: str,
    action: str,
    since: str,
    until: str,
) -> None:
    """Write the rows that fit, oldest first, as JSON or CSV by the ending of the name."""
    wanted = filter_of(who, action, "", since, until)
    kind = "json" if out.suffix.lower() == ".json" else "csv"
    with _opened(flags) as (store, _):
        count = _write(store, out, wanted, kind)
        _note(store, "export audit", kind=kind)
    typer.echo(f"{count} row(s) of the audit trail written.")


def trim(out: Path, flags: Mapping[str, object], *, now: datetime | None = None) -> None:
    """Remove the rows that need not be kept any longer, after they were written to a file.

    Raises:
        InvalidInput: The settings keep all rows, or the file exists already.
        StorageFailed: The chain is broken, or the file cannot be written.
    """
    with _opened(flags) as (store, settings):
        if not settings.audit_days:
            raise InvalidInput(KEPT)
        if store.verify_audit() is not None:
            raise StorageFailed("The audit trail is broken, so that nothing is removed from it.")
        before = (now or datetime.now(UTC)) - timedelta(days=settings.audit_days)
        old = list(store.audit_rows(until=before))
        if not old:
            typer.echo("No row of the audit trail is old enough to be removed.")
            return
        if out.exists():
            raise InvalidInput("The file to write exists already; nothing was removed.")
        _save(out, audit_json(old, None).data)
        count = store.trim_audit(
            OPERATOR.name, before, through=old[-1].position, role=OPERATOR.role.value
        )
    typer.echo(f"{count} row(s) of the audit trail written and removed.")


@contextmanager
def _opened(flags: Mapping[str, object]) -> Iterator[tuple[Store, Settings]]:
    """The store of the settings; none is made where there is none."""
    settings = Settings.load(flags)
    with Store.existing(settings) as store:
        yield store, settings


def _write(store: Store, out: Path, wanted: AuditFilter, kind: str) -> int:
    rows = list(store.audit_rows(**wanted.named()))
    make = audit_json if kind == "json" else audit_csv
    _save(out, make(rows, store.verify_audit()).data)
    return len(rows)


def _save(out: Path, data: bytes) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(data)
    except OSError:
        raise StorageFailed("The file could not be written where you asked.") from None


def _note(store: Store, action: str, **detail: str) -> None:
    store.record(OPERATOR.name, action, "", detail, role=OPERATOR.role.value)


def _head(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    position, _, digest = text.partition(":")
    if not (position.isascii() and position.isdigit() and len(position) <= 18 and digest):
        raise InvalidInput("A noted row is written POSITION:DIGEST, as this command tells it.")
    return int(position), digest


def _has(store: Store, position: int, digest: str) -> bool:
    found = store.audit(1, before=position + 1)
    return bool(found) and (found[0].position, found[0].digest) == (position, digest)
