"""Checkpoints of a run: written whole or not at all, read as data only."""

from __future__ import annotations

import errno
import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from engine.errors import EngineError

LAST, BEST = "last.pt", "best.pt"
FULL = (
    "The checkpoint cannot be written: the disk is full, or closed to Lightbox. "
    "The last one is whole."
)
UNWRITTEN = "The checkpoint cannot be written to the folder of the run. The last one is whole."
DAMAGED = "The checkpoint of this run is damaged; choose another folder, or remove it."
ABSENT = "A checkpoint of this run is missing from its folder; choose another folder."
CLOSED = "The checkpoint of this run cannot be opened; please check who may read its folder."
CLOSING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What the system says of a disk that is full, or closed to us."""
DAMAGES = (
    pickle.UnpicklingError, EOFError, RuntimeError, LookupError, ValueError, TypeError,
    AttributeError, struct.error, zipfile.BadZipFile,
)  # fmt: skip
"""What a damaged archive, or a file that is none, does to the reader."""
STREAM_WORDS = ("inline_container", "streamwriter", "stream", "file write")
"""In what torch says when a file takes no more."""


class TrainingFailed(EngineError):
    """Training cannot go on."""


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write under a temporary name, then take the place of the last one at once.

    Raises:
        TrainingFailed: The disk is full or closed; what was there before is untouched.
    """
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as stream:
            torch.save(dict(content), stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise TrainingFailed(FULL if error.errno in CLOSING else UNWRITTEN) from None
    except RuntimeError as error:
        if not any(word in str(error).lower() for word in STREAM_WORDS):
            raise
        raise TrainingFailed(FULL) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What `write_checkpoint` wrote.

    Raises:
        TrainingFailed: The file is absent, closed to us or damaged.
    """
    try:
        found = torch.load(path, weights_only=True, map_location=device)
    except FileNotFoundError:
        raise TrainingFailed(ABSENT) from None
    except OSError:
        raise TrainingFailed(CLOSED) from None
    except torch.OutOfMemoryError:
        raise
    except DAMAGES:
        raise TrainingFailed(DAMAGED) from None
    if not isinstance(found, dict):
        raise TrainingFailed(DAMAGED)
    return found
