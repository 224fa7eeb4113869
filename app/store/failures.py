"""The one seam where database and file errors become sentences for people."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import AppError, InvalidInput, StorageFailed

logger = logging.getLogger(__name__)

BUSY = "The database is busy; please try again in a moment."
FULL = "The disk is full, so nothing was stored; please free some space and try again."
READ_ONLY = "The storage is read-only, so nothing was stored."
DAMAGED = "The database is damaged, or is not one of Lightbox."
UNREACHABLE = "The database cannot be reached."
REFUSED = "The database refused a record that contradicts another one."
FAILED = "The database could not do what was asked."
NO_FILE = "The workspace could not be read or written."
UNSTORABLE = "A value cannot be stored: a number or a text is out of range."

_WORDS = (
    (("database or disk is full", "no space left"), FULL),
    (("database is locked", "database table is locked", "lock timeout"), BUSY),
    (("readonly", "read-only"), READ_ONLY),
    (("malformed", "not a database", "disk i/o error", "no such table"), DAMAGED),
    (("unable to open", "connection", "could not translate host"), UNREACHABLE),
)
_SQLSTATES = {
    "53100": FULL,
    "55P03": BUSY,
    "57014": BUSY,
    "40001": BUSY,
    "40P01": BUSY,
    "25006": READ_ONLY,
}
_ERRNOS = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: FULL,
    errno.EROFS: READ_ONLY,
    errno.EACCES: READ_ONLY,
    errno.EPERM: READ_ONLY,
}


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of SQLAlchemy and of files into `StorageFailed` or `InvalidInput`.

    The causes are cut off, since their texts may hold values and paths; the log gets kinds only.
    """
    try:
        yield
    except AppError:
        raise
    except SQLAlchemyError as error:
        raise _of_database(error) from None
    except (UnicodeEncodeError, OverflowError):
        raise InvalidInput(UNSTORABLE) from None
    except OSError as error:
        logger.warning("file error %s", errno.errorcode.get(error.errno or 0, "unknown"))
        raise StorageFailed(_ERRNOS.get(error.errno or 0, NO_FILE)) from None


def _of_database(error: SQLAlchemyError) -> AppError:
    """The sentence of a database error."""
    cause = error.orig if isinstance(error, StatementError) else None
    state = str(getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", ""))
    logger.warning("database error %s %s", type(error).__name__, state)
    if isinstance(error, PoolTimeout):
        return StorageFailed(BUSY)
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
        return InvalidInput(UNSTORABLE)
    if state.startswith("22"):
        return InvalidInput(UNSTORABLE)
    if state in _SQLSTATES:
        return StorageFailed(_SQLSTATES[state])
    if state.startswith(("SQLITE_CONSTRAINT", "23")):
        return StorageFailed(REFUSED)
    text = str(cause or error).lower()
    found = next((sentence for words, sentence in _WORDS if any(w in text for w in words)), None)
    return StorageFailed(found or FAILED)
