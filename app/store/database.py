"""One database: how it is opened, and how a transaction is read or written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from app.errors import InvalidInput, StorageFailed
from app.settings import Secret
from app.store.failures import BUSY, translated
from app.store.migrate import upgrade

BUSY_MS = 5000
QUEUE_SECONDS = 30.0
WRITES = "lightbox_writes"
WRITE_LOCK = 0x1B0C5


class Database:
    """A migrated database and its transactions.

    Args:
        url: SQLAlchemy URL.
        busy_ms: How long a writer waits for another one, milliseconds.

    Raises:
        NewerDatabase: It was written by a newer version; it is left as it is.
        StorageFailed: It cannot be opened.
        InvalidInput: The URL is not one.
    """

    def __init__(self, url: str | Secret, *, busy_ms: int = BUSY_MS) -> None:
        self._database = _connectable(_parsed(url), busy_ms)
        self._writers = self._database.execution_options(**{WRITES: True})
        self._queue = Lock()
        try:
            with translated():
                upgrade(self._database, self._writers)
        except BaseException:
            self._database.dispose()
            raise

    def close(self) -> None:
        """Release all connections; the object is of no use afterwards."""
        self._database.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        """A session that sees one state and changes nothing."""
        with translated(), Session(self._database, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        """A session whose changes are kept together, or, after an error, not at all."""
        with (
            translated(),
            self._turn(),
            Session(self._writers, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One writer at a time within this process, since all take one lock in the database anyway.

        SQLite lets waiting writers try again and again, in no order: of fifty at once some would
        come too late. On PostgreSQL each that waits would hold a connection, until none is left
        for the one that writes and has to look something up meanwhile.
        """
        if not self._queue.acquire(timeout=QUEUE_SECONDS):
            raise StorageFailed(BUSY)
        try:
            yield
        finally:
            self._queue.release()


def has_file(url: str | Secret) -> bool:
    """False when the URL names a SQLite file that does not exist; opening it would make it.

    Raises:
        InvalidInput: The URL is not one.
    """
    parsed = _parsed(url)
    return parsed.get_backend_name() != "sqlite" or Path(parsed.database or "").is_file()


def serialise(session: Session) -> None:
    """Let one writer at a time pass here until its transaction ends.

    SQLite has one writer anyway; PostgreSQL takes an advisory lock.
    """
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITE_LOCK})


def plain(value: str) -> str:
    """A text that each database can hold: no NUL, no lone surrogate."""
    return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def json_text(value: object) -> str:
    """Canonical JSON: sorted keys, no space, finite numbers only.

    Raises:
        ValueError: A number is not finite, or an object is of an unknown kind.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_simple
    )


def _column_text(value: object) -> str:
    return json.dumps(value, allow_nan=False, default=_simple)


def _simple(value: object) -> Any:
    """NumPy scalars, small arrays, enumerations and mappings, as JSON knows them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    raise ValueError("a value of this kind cannot be stored")


def _parsed(url: str | Secret) -> URL:
    """The URL, with the driver that we ship for PostgreSQL."""
    try:
        parsed = make_url(url.reveal() if isinstance(url, Secret) else url)
    except (ArgumentError, ValueError):
        raise InvalidInput("The database URL is not valid.") from None
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise InvalidInput("The database must be kept in a file, not in memory.")
    return parsed


def _connectable(url: URL, busy_ms: int) -> Engine:
    """SQLAlchemy's engine; error texts of it never hold values."""
    try:
        database = create_engine(
            url, hide_parameters=True, pool_pre_ping=True, json_serializer=_column_text
        )
    except (ArgumentError, ImportError):
        raise InvalidInput("The driver of this kind of database is not installed.") from None
    if database.dialect.name == "sqlite":
        with translated():
            if not (url.database or "").startswith("file:"):
                Path(url.database or "").parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _prepare_sqlite(database, busy_ms)
    return database


def _prepare_sqlite(database: Engine, busy_ms: int) -> None:
    """Foreign keys, patience, and transactions that begin when SQLAlchemy says so.

    A writer takes the lock at its beginning: one that starts as a reader could not wait later.
    """

    @event.listens_for(database, "connect")
    def connect(connection: Any, record: object) -> None:
        connection.isolation_level = None
        for pragma in ("foreign_keys = ON", "synchronous = FULL", f"busy_timeout = {busy_ms}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(database, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
