"""The errors of the application: each message may be shown to a clinician as it stands.

A message never holds a file name, a path, an identifier, a password or pixel data.
"""

from __future__ import annotations

import logging
import secrets
import traceback


class AppError(Exception):
    """Something the user can understand and act upon."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else type(self).__name__


class NotAllowed(AppError):
    """The user is not signed in, or has not the role that the action needs."""


class NotFound(AppError):
    """The record asked for does not exist, or the user may not know that it does."""


class StaleRecord(AppError):
    """The record was changed by somebody else since it was shown."""


class StorageFailed(AppError):
    """The disk is full, the database is locked or read-only, or a stored array is damaged."""


class NewerDatabase(AppError):
    """The database was written by a newer version of the program."""


class InvalidInput(AppError):
    """A value given by the user or by the configuration is not acceptable."""


def unforeseen(error: BaseException, logger: logging.Logger, what: str = "") -> str:
    """The sentence shown for an unforeseen error, which is logged under the same reference.

    It is logged by its kind and place. Its own text is left out, since it may quote a path, an
    identifier or what a reader typed.

    Args:
        error: What happened. logger: Of the module that met it.
        what: What failed, first in the log.
    """
    reference = secrets.token_hex(2).upper()
    places = [
        f"{frame.f_globals.get('__name__', '?')}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    where = " > ".join(places[-4:]) or "an unknown place"
    logger.error("%sref %s: %s at %s", what, reference, type(error).__name__, where)
    return f"Something went wrong (ref {reference})."
