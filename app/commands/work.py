"""`lightbox work`: the process of one run; started by the server, not by people."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress

import typer

from app.errors import AppError, InvalidInput, unforeseen
from app.services.processes import birth
from app.services.runner import Bench, do
from app.settings import Settings
from app.store import RunInfo, Store
from app.store.runs import LIVE
from engine.errors import Cancelled, EngineError, Paused
from engine.runs import CANCELLED_CODE, PAUSED_CODE, RunFolder

logger = logging.getLogger(__name__)

NICENESS = 5
FULL = "The disk is full, so the run could not go on; please free some space and start it again."
UNUSABLE = "A file that the run needs could not be read or written."
NO_MEMORY = "The memory of this machine did not suffice for the run."


def run(run_id: int, flags: Mapping[str, object]) -> int:
    """Do a run that the server has started; its exit code.

    Args:
        run_id: Number of the run. flags: Settings given on the command line; None where not given.

    Raises:
        AppError: There is no such run, or nobody has started it.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    settings = Settings.load(flags)
    with suppress(AttributeError, OSError):
        os.nice(NICENESS)  # people who wait at a page go first
    with Store.open(settings) as store:
        own = {"pid": os.getpid(), "process": birth(os.getpid()) or "unknown"}
        info = store.change_run(run_id, own, only_in=LIVE)
        if info is None:
            raise InvalidInput("This run was not started by a server, or is over already.")
        folder = RunFolder(settings.workspace / "runs" / str(run_id))
        return _finish(Bench.open(settings, store), info, folder)


def _finish(bench: Bench, info: RunInfo, folder: RunFolder) -> int:
    """Do the run; its exit code, and one sentence on standard error where it failed."""
    try:
        do(bench, info, folder)
    except Paused:
        return _say(folder, "paused", PAUSED_CODE)
    except Cancelled:
        return _say(folder, "cancelled", CANCELLED_CODE)
    except (AppError, EngineError) as error:
        return _fail(folder, str(error))
    except MemoryError:
        return _fail(folder, NO_MEMORY)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return _fail(folder, FULL if is_full else UNUSABLE)
    except Exception as error:  # the edge of the process, as `guarded` is the edge of a page
        return _fail(folder, unforeseen(error, logger, "run failed, "))
    return 0


def _say(folder: RunFolder, word: str, code: int) -> int:
    """Say how it ended, unless the work has said so itself."""
    said = folder.events()
    if not said or said[-1].get("event") != word:
        folder.say(word)
    return code


def _fail(folder: RunFolder, sentence: str) -> int:
    with suppress(OSError):  # the disk may be full; the log and the exit code tell it then
        folder.say("failed", message=sentence)
    typer.echo(sentence, err=True)
    sys.stderr.flush()
    return 1
