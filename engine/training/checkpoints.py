"""Checkpoints of a run: written whole or not at all, read as data only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from engine.errors import EngineError

LAST, BEST = "last.pt", "best.pt"
FULL = (
    "The checkpoint cannot be written: the disk is full, or closed to Lightbox. "
    "The last one is whole."
)
DAMAGED = "The checkpoint of this run is damaged; choose another folder, or remove it."


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
    except (OSError, RuntimeError):  # torch reports a full disk as either
        partial.unlink(missing_ok=True)
        raise TrainingFailed(FULL) from None


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What `write_checkpoint` wrote.

    Raises:
        TrainingFailed: The file is damaged.
    """
    try:
        found: dict[str, Any] = torch.load(path, weights_only=True, map_location=device)
    except Exception:  # whatever a damaged archive does to the reader
        raise TrainingFailed(DAMAGED) from None
    return found
