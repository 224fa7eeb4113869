"""The one place where the failures of decoding libraries become sentences for people."""

from __future__ import annotations

import logging
import struct
import threading
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import EngineError, LimitExceeded, UnreadableFile

DAMAGED = "This file is damaged or cut short, so its image cannot be read."

# What libraries are known to raise on damaged input; anything else is a fault of Lightbox.
DECODER_ERRORS: tuple[type[Exception], ...] = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
    RuntimeError,
    OSError,
    EOFError,
    ImportError,
    BufferError,
    StopIteration,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
)

_LOGGERS = (
    "pydicom",
    "pylibjpeg",
    "libjpeg",
    "openjpeg",
    "_openjpeg",
    "rle",
    "jpeg_ls",
    "nibabel",
    "nibabel.global",
    "tifffile",
    "PIL",
)
_LOCK = threading.RLock()  # warning filters and logger levels belong to the whole process


@contextmanager
def decoding(*errors: type[Exception], sentence: str = DAMAGED) -> Iterator[None]:
    """Run decoders in silence; their exceptions become `UnreadableFile`, without their text.

    Args:
        errors: Exception types of a library that do not derive from the usual ones.
        sentence: What the user is told.

    Raises:
        UnreadableFile: A decoder failed.
        LimitExceeded: A decoder ran out of memory.
    """
    with _silence():
        try:
            yield
        except EngineError:
            raise
        except MemoryError:
            raise LimitExceeded("This image needs more memory than is free.") from None
        except (*DECODER_ERRORS, *errors):
            raise UnreadableFile(sentence) from None


@contextmanager
def _silence() -> Iterator[None]:
    """Keep warnings and log lines of libraries, which may quote a file, away from everybody."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
