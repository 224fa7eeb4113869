"""Brings a database to the present shape of the tables, or refuses one of the future."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError

from app.errors import NewerDatabase, StorageFailed
from app.store.failures import BUSY

if TYPE_CHECKING:
    from alembic.config import Config

SCRIPTS = Path(__file__).parent / "migrations"
REVISIONS = ("0001", "0002", "0003", "0004", "0005")
MIGRATION_LOCK = 0x1B0C4
PATIENCE_SECONDS = 5.0
NEWER = "This database was written by a newer version of Lightbox; please install that version."


def upgrade(database: Engine, writers: Engine) -> None:
    """Apply the migrations that are missing.

    A present database costs one query; Alembic is imported only when there is work to do.

    Args:
        database: For looking, without a lock and without changing the file.
        writers: The same, with transactions that lock from their beginning.

    Raises:
        NewerDatabase: The database has a revision that this program does not know.
        StorageFailed: A SQLite file stays locked by another program.
    """
    with database.connect() as connection:
        if _revision(connection) == REVISIONS[-1]:
            return
    if database.dialect.name == "sqlite":
        _write_ahead(database)
    with writers.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        if _revision(connection) != REVISIONS[-1]:
            _apply(connection)


def config_for(connection: Connection) -> Config:
    """Alembic's configuration, built in code, over an open connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _apply(connection: Connection) -> None:
    from alembic import command

    command.upgrade(config_for(connection), "head")


def _revision(connection: Connection) -> str | None:
    """The revision of the database; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    if any(revision not in REVISIONS for revision in found):
        raise NewerDatabase(NEWER)
    return found[0] if found else None


def _write_ahead(database: Engine) -> None:
    """Switch a SQLite file to write-ahead logging, which the file then keeps.

    The switch does not wait for others by itself, so it is tried for a while.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _is_switched(database):
        if time.monotonic() > deadline:
            raise StorageFailed(BUSY)
        time.sleep(0.05)


def _is_switched(database: Engine) -> bool:
    """Try the switch once; False when another connection was in the way."""
    connection = database.raw_connection()
    try:
        connection.cursor().execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return False
        raise OperationalError("PRAGMA journal_mode", None, error) from None
    finally:
        connection.close()
    return True
