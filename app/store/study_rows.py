"""Rows of reader studies as records, and the pieces that all of their queries share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.store.audit import append
from app.store.study_standing import ReadingInfo, StudyInfo, StudyReaderInfo
from app.store.study_tables import StudyReaderRow, StudyReadingRow, StudyRow
from engine.study.protocol_json import protocol_from_json
from engine.study.records import Protocol, ReadStatus, StudyState

ABSENT = "There is no such study."
NOT_HERE = "There is no such reading."
MOST_REMEMBERED = 64


class By(NamedTuple):
    """Who does something, for the audit trail: login name and role."""

    name: str
    role: str


@dataclass(frozen=True)
class OutputInfo:
    """What is shown beside the images of a case in one arm.

    Args:
        case: Pseudonym. arm: Id. prediction, explanation: Row numbers; None where the arm has none.
        leading: Class named. confidence: Its probability. weights_digest: Model.
        content: Digest of all that it depends on. problem: Why it could not be made.
    """

    case: str
    arm: str
    prediction: int | None = None
    explanation: int | None = None
    leading: str = ""
    confidence: float | None = None
    weights_digest: str = ""
    content: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Given:
    """An answer as it is kept; the fields as in `engine.study.StudyAnswer`."""

    question: str
    status: ReadStatus
    value: float | None = None
    text: str = ""
    marks: dict[str, Any] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Deviation:
    """Something that departed from the protocol; `reader` is a code, or empty."""

    created: datetime
    kind: str
    reader: str
    text: str


class _Protocols:
    """Protocols by version, since one is read with every answer; safe between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[tuple[str, int, datetime], Protocol] = OrderedDict()

    def of(self, row: StudyRow) -> Protocol:
        key = (row.code, row.version, row.created)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        made = protocol_from_json(row.protocol)
        with self._lock:
            self._known[key] = made
            while len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
        return made


_PROTOCOLS = _Protocols()


def note(session: Session, by: By, action: str, code: str, **detail: str | int) -> None:
    """A row of the audit trail, kept together with what it tells of."""
    append(session, by.name, action, code, detail, role=by.role)


def found(session: Session, study_id: int) -> StudyRow:
    """The row of a study.

    Raises:
        NotFound: There is none.
    """
    row = session.get(StudyRow, study_id) if 0 < study_id < 2**31 else None
    if row is None:
        raise NotFound(ABSENT)
    return row


def info(row: StudyRow) -> StudyInfo:
    """A study as a record."""
    return StudyInfo(
        id=row.id,
        code=row.code,
        title=row.title,
        owner=row.owner,
        state=StudyState(row.state),
        version=row.version,
        protocol=_PROTOCOLS.of(row),
        model=dict(row.model),
        observers=tuple(row.observers),
        unblinded=row.unblinded,
        digests=dict(row.digests),
        created=row.created,
        opened=row.opened,
        locked=row.locked,
    )


def reader_info(row: StudyReaderRow) -> StudyReaderInfo:
    """A reader of a study as a record."""
    names = StudyReaderInfo.__dataclass_fields__
    return StudyReaderInfo(**{name: getattr(row, name) for name in names})


def reading_info(row: StudyReadingRow) -> ReadingInfo:
    """A reading as a record."""
    return ReadingInfo(
        id=row.id,
        token=row.token,
        study=row.study_id,
        reader=row.reader,
        session=row.session,
        position=row.position,
        case=row.case_id,
        arm=row.arm,
        label=row.label,
        replicate=row.replicate,
        stage=row.stage,
        training=row.training,
        served=row.served,
        shown=row.shown,
        submitted=row.submitted,
        revision=row.revision,
    )


def readings_of(
    session: Session, study_id: int, reader: str | None = None
) -> Iterable[StudyReadingRow]:
    """Rows of the plan in their order; of all readers when None."""
    wanted = select(StudyReadingRow).where(StudyReadingRow.study_id == study_id)
    if reader is not None:
        wanted = wanted.where(StudyReadingRow.reader == reader)
    order = (StudyReadingRow.reader, StudyReadingRow.session, StudyReadingRow.position)
    return session.scalars(wanted.order_by(*order))
