"""What the store tells beside the records of the engine: summaries without pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from engine.records import Modality


class CaseStatus(StrEnum):
    """How far the work on a case is, for one viewer."""

    NEW = "new"
    EXPLAINED = "explained"
    RATED = "rated"


@dataclass(frozen=True)
class CaseSummary:
    """One line of the worklist.

    Args:
        id: Pseudonym.
        created: Time it was stored, UTC.
        modalities: Of its images, by position.
        images: Number of images.
        frames: Number of frames in all images together.
        label_known: True when the truth is known.
        status: Rated (by the viewer, when there is one), explained, or new.
        owner: Who stored it.
        source: Where it came from, such as "upload" or "demonstration".
        shared: True when all readers may see it.
        thumbnail: PNG, or None.
    """

    id: str
    created: datetime
    modalities: tuple[Modality, ...]
    images: int
    frames: int
    label_known: bool
    status: CaseStatus
    owner: str
    source: str
    shared: bool
    thumbnail: bytes | None


@dataclass(frozen=True)
class MapInfo:
    """A heat map without its values; fields as in `engine.records.HeatMap`."""

    image: int
    frame: int
    grid: tuple[int, int]
    localised: bool
    reason: str


@dataclass(frozen=True)
class ExplanationRow:
    """An explanation without arrays; fields as in `engine.records.Explanation`."""

    id: int
    case: str
    prediction: int
    created: datetime
    method: str
    target: str
    settings: Mapping[str, Any]
    maps: tuple[MapInfo, ...]
    model: str
    weights_digest: str
    seconds: float


@dataclass(frozen=True)
class EvidenceRow:
    """What was found out about one method's map, without the content.

    Args:
        id: Row number. case: Pseudonym. weights_digest: Model. target: What was explained.
        kind: "scores", "stability" or "sanity". method: Registry name.
        key: Digest of all that the content depends on. created: Time, UTC.
    """

    id: int
    case: str
    weights_digest: str
    target: str
    kind: str
    method: str
    key: str
    created: datetime


@dataclass(frozen=True)
class ReportInfo:
    """A PDF that was made: its case, its own id, SHA-256 of the file, maker and time (UTC)."""

    id: int
    case: str
    report_id: str
    digest: str
    maker: str
    created: datetime


@dataclass(frozen=True)
class AuditEntry:
    """One thing that somebody did.

    Args:
        position: Place in the chain, from 1.
        created: Time, UTC.
        who: Name of the account, or of the open workspace's reader.
        action: What was done, such as "view" or "export".
        object: Pseudonym of what it was done to; empty for none.
        detail: Plain values without identifiers.
        result: "ok", or how it failed.
        digest: SHA-256 over this row and the digest before it.
        role: Role of the account at that time, where it was noted.
        client: Network address of the browser, where it was noted.
        previous: Digest of the row before, on which this one builds.
    """

    position: int
    created: datetime
    who: str
    action: str
    object: str
    detail: Mapping[str, Any]
    result: str
    digest: str
    role: str = ""
    client: str = ""
    previous: str = ""
