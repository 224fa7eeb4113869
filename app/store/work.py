"""Records of the administrator's work as the store tells them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class RunInfo:
    """A run without its result.

    Args:
        id: Number. kind: "check", "training", "adaptation" or "comparison". title: In words.
        owner: Login name. state: See `app.store.runs.STATES`.
        created: When it was asked for. queued: When it last joined the queue. started: When it
            first ran. begun: When its present or last attempt began. ended: When it ended. All UTC.
        pid: Process of the present attempt, or None. process: What tells this process from a later
            one of the same number.
        heard: Events that were there when the attempt began.
        settings: Plain values. model: Name of the model that came out of it, or empty.
        message: One sentence, or empty. memory_mb: Most memory so far, megabytes.
        seconds: Time of all attempts that are over.
    """

    id: int
    kind: str
    title: str
    owner: str
    state: str
    created: datetime
    queued: datetime
    started: datetime | None
    begun: datetime | None
    ended: datetime | None
    pid: int | None
    process: str
    heard: int
    settings: Mapping[str, Any]
    model: str
    message: str
    memory_mb: int
    seconds: float


@dataclass(frozen=True)
class DatasetInfo:
    """A data set: where its manifest lies, and what the last check found.

    Args:
        path: Of the manifest.
        classes, grades: Names the manifest was checked against.
        digest: SHA-256 of the manifest checked; empty before. found: Counts and problems; or None.
        run_id: Last check.
    """

    id: int
    name: str
    created: datetime
    who: str
    path: str
    classes: tuple[str, ...]
    grades: tuple[str, ...]
    digest: str
    found: Mapping[str, Any] | None
    run_id: int | None


@dataclass(frozen=True)
class ModelInfo:
    """A model in the workspace: digests of its weights and card, and where it comes from."""

    name: str
    digest: str
    card_digest: str
    origin: str
    created: datetime
    who: str
    parent: str
    run_id: int | None


@dataclass(frozen=True)
class ActivationInfo:
    """One change of the model that serves; `kind` is "activate" or "roll_back"."""

    id: int
    model: str
    digest: str
    kind: str
    who: str
    created: datetime
