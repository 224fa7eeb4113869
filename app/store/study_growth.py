"""How a study grows: codes of its cases and readers, the rows of its plan, its deviations."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import InvalidInput
from app.store.database import plain
from app.store.study_tables import (
    StudyCaseRow,
    StudyDeviationRow,
    StudyReaderRow,
    StudyReadingRow,
    StudyRow,
)
from app.store.tables import CaseRow
from engine.study.records import Protocol, Reading

CODE_BYTES = 2
TRIES = 200


def free_code(session: Session) -> str:
    """A code that no study has; short, since people say it aloud."""
    for attempt in range(TRIES):
        code = f"ST-{secrets.token_hex(CODE_BYTES + attempt // 50).upper()}"
        if session.scalar(select(StudyRow.id).where(StudyRow.code == code)) is None:
            return code
    raise InvalidInput("No more studies can be made.")


def add_codes(session: Session, row: StudyRow, protocol: Protocol) -> None:
    """Codes of cases and readers that have none yet; existing ones never change."""
    mine = select(StudyCaseRow).where(StudyCaseRow.study_id == row.id)
    cases = {known.case_id: known.code for known in session.scalars(mine)}
    theirs = select(StudyReaderRow.reader).where(StudyReaderRow.study_id == row.id)
    readers = set(session.scalars(theirs))
    wanted = dict.fromkeys(protocol.cases, "C") | {
        training.case: "T" for training in protocol.training if training.case not in protocol.cases
    }
    fresh = [case for case in wanted if case not in cases]
    known = set(session.scalars(select(CaseRow.id).where(CaseRow.id.in_(fresh))))
    if set(fresh) - known:
        raise InvalidInput("A case of the study does not exist any more.")
    counts = dict.fromkeys("CT", 0)
    for code in cases.values():
        counts[code[0]] += 1
    for case in fresh:
        letter = wanted[case]
        counts[letter] += 1
        code = f"{letter}{counts[letter]:03d}"
        session.add(StudyCaseRow(study_id=row.id, case_id=case, code=code))
    number = len(readers)
    for reader in _shuffled([r for r in protocol.readers if r not in readers], row.code):
        number += 1
        session.add(_reader_row(row.id, reader, f"R{number:02d}"))
    session.flush()


def _shuffled(names: list[str], code: str) -> list[str]:
    """Names in an order that tells nothing of the order in which they were added."""
    return sorted(names, key=lambda name: sha256(f"{code} {name}".encode()).digest())


def _reader_row(study_id: int, reader: str, code: str) -> StudyReaderRow:
    return StudyReaderRow(
        study_id=study_id,
        reader=reader,
        code=code,
        specialty="",
        experience="",
        overridden=0,
        excused=False,
        breaks=0,
        sitting_done=0,
    )


def add_readings(session: Session, study_id: int, readings: Sequence[Reading]) -> None:
    """Rows of the plan, each under a token that tells nothing."""
    session.add_all(
        StudyReadingRow(
            study_id=study_id,
            token=secrets.token_hex(16),
            reader=reading.reader,
            session=reading.session,
            position=reading.position,
            case_id=reading.case,
            arm=reading.arm,
            label=plain(reading.label),
            replicate=reading.replicate,
            stage=reading.stage,
            training=reading.training,
            revision=0,
            draft_sequence=0,
            draft_tab="",
        )
        for reading in readings
    )
    session.flush()


def deviate(session: Session, study_id: int, kind: str, reader: str, text: str) -> None:
    session.add(
        StudyDeviationRow(
            study_id=study_id,
            created=datetime.now(UTC),
            kind=kind,
            reader=reader,
            text=plain(text),
        )
    )
