"""How a reading is handed in: when it may be, what is kept of it, and how the reading goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.errors import InvalidInput, StaleRecord
from app.store.database import json_text, plain
from app.store.study_rows import Given
from app.store.study_standing import (
    CLOSED,
    WITHDRAWN,
    ReadingInfo,
    Standing,
    StudyInfo,
    in_sitting,
    may_change,
    situation,
    washed_out,
)
from app.store.study_tables import (
    StudyAnswerRow,
    StudyReaderRow,
    StudyReadingRow,
    StudySubmissionRow,
)
from engine.study.records import ArmKind, ReadStatus, StudyState

HANDED_IN = "This reading was handed in already; its answer stays as it is."
ELSEWHERE = "This answer was changed in another window; please load the page again."
REUSED = "Another answer was sent under the same mark; please load the page again."
ORDER = "Please hand in the readings in their order; load the page again to go on."
REASON = "Please say why the answer is changed."
CHANGED = "The questions of this study were changed; please load the page again."
TOO_EARLY = "This session may not begin yet; the pause before it is part of the study."
MAPS = (ArmKind.EXPLANATION, ArmKind.DECOY)


def is_known(session: Session, row: StudyReadingRow, key: str, digest: str) -> bool:
    """Whether exactly this has arrived before.

    Raises:
        StaleRecord: Something else has arrived under the key.
    """
    wanted = select(StudySubmissionRow).where(StudySubmissionRow.reading_id == row.id)
    same = session.scalar(wanted.where(StudySubmissionRow.key == plain(key)))
    if same is not None and same.content != digest:
        raise StaleRecord(REUSED)
    last = session.scalar(wanted.order_by(StudySubmissionRow.revision.desc()).limit(1))
    return same is not None or (last is not None and last.content == digest)


def check_turn(
    standing: Standing, reading: ReadingInfo, revision: int, reason: str, now: datetime
) -> None:
    """Refuse what may not be handed in now; a break is no reason, since nothing may be lost."""
    if standing.study.state is not StudyState.OPEN:
        raise StaleRecord(CLOSED)
    if standing.reader.withdrawn is not None:
        raise StaleRecord(WITHDRAWN)
    if reading.revision:
        if not may_change(standing, reading):
            raise StaleRecord(HANDED_IN)
        if revision != reading.revision:
            raise StaleRecord(ELSEWHERE)
        if not reason.strip():
            raise InvalidInput(REASON)
        return
    if reading != standing.following:
        raise InvalidInput(ORDER)
    begins = washed_out(standing, reading)
    if begins is not None and now < begins:
        raise InvalidInput(TOO_EARLY)
    now_state = situation(standing, now)
    if now_state.state in ("failed_training", "preparing"):
        raise InvalidInput(now_state.message)


def keep_submission(
    session: Session,
    row: StudyReadingRow,
    key: str,
    digest: str,
    answers: Sequence[Given],
    comment: str,
    reason: str,
    timing: Mapping[str, Any],
    now: datetime,
) -> None:
    row.revision, row.submitted, row.draft = row.revision + 1, row.submitted or now, None
    submission = StudySubmissionRow(
        reading_id=row.id,
        revision=row.revision,
        key=plain(key),
        content=digest,
        comment=comment,
        reason=reason,
        timing={**timing, "shown_at": None if row.shown is None else row.shown.isoformat()},
        created=now,
    )
    session.add(submission)
    session.flush()
    session.add_all(
        StudyAnswerRow(
            submission_id=submission.id,
            question=given.question,
            status=ReadStatus(given.status).value,
            value=given.value,
            text=plain(given.text),
            marks=given.marks,
            reason=plain(given.reason),
        )
        for given in answers
    )
    session.flush()


def count_in(session: Session, standing: Standing, row: StudyReadingRow, now: datetime) -> None:
    """Count a new reading into the present sitting; a change is not counted."""
    if row.revision > 1:
        return
    stays = in_sitting(standing, _before(standing, row), now)
    began = standing.reader.sitting if stays else (row.shown or row.served or now)
    done = standing.reader.sitting_done + 1 if stays else 1
    changed = update(StudyReaderRow).where(
        StudyReaderRow.study_id == row.study_id, StudyReaderRow.reader == row.reader
    )
    session.execute(changed.values(sitting=began, sitting_done=done, last=now))


def _before(standing: Standing, row: StudyReadingRow) -> ReadingInfo:
    """The reading as it was before it was handed in."""
    return next(reading for reading in standing.readings if reading.id == row.id)


def has_heat(study: StudyInfo, arm: str) -> bool:
    return bool(arm) and study.protocol.arm(arm).kind in MAPS


def odd_clock(row: StudyReadingRow) -> str:
    return (
        f"Session {row.session}, position {row.position}: the browser's clock told a time that "
        "cannot be; it was limited to the time that passed on the server."
    )


def content_digest(answers: Sequence[Given], comment: str) -> str:
    """SHA-256 of all that a reader said."""
    said = [
        [g.question, str(g.status), g.value, plain(g.text), g.marks, plain(g.reason)]
        for g in sorted(answers, key=lambda each: each.question)
    ]
    return hashlib.sha256(json_text([said, plain(comment)]).encode()).hexdigest()
