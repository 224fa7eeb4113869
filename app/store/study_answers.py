"""Answers of reader studies: drafts, what is handed in, and how the reading stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NotFound, StaleRecord
from app.store.database import Database, plain, serialise
from app.store.study_growth import deviate
from app.store.study_rows import (
    ABSENT,
    NOT_HERE,
    By,
    Given,
    found,
    info,
    note,
    reader_info,
    reading_info,
    readings_of,
)
from app.store.study_standing import (
    ReadingInfo,
    Standing,
    StudyInfo,
    in_order,
)
from app.store.study_submit import (
    CHANGED,
    check_turn,
    content_digest,
    count_in,
    has_heat,
    is_known,
    keep_submission,
    odd_clock,
)
from app.store.study_tables import (
    StudyAnswerRow,
    StudyOutputRow,
    StudyReaderRow,
    StudyReadingRow,
    StudyRow,
    StudySubmissionRow,
)
from app.store.study_timing import believed
from engine.study.records import ReadStatus, StudyQuestion
from engine.study.warmup import passed

NEAR = timedelta(minutes=2)
"""A draft of another tab within this time means that two tabs are at work."""


@dataclass(frozen=True)
class HandedIn:
    """What became of a reading that was sent.

    Args:
        reading: As it stands now. is_new: False where it had arrived before.
        standing: Of its reader, afterwards.
    """

    reading: ReadingInfo
    is_new: bool
    standing: Standing


@dataclass(frozen=True)
class Submission:
    """A reading as it was handed in.

    Args:
        reading: Row number. revision: From 1. comment, reason: Free text of the reader.
        timing: As `app.store.study_timing.believed` gives it. created: Time, UTC.
        answers: One for each question that was asked.
    """

    reading: int
    revision: int
    comment: str
    reason: str
    timing: Mapping[str, Any]
    created: datetime
    answers: tuple[Given, ...]


class StudyAnswers(Database):
    """Keeps what readers say; nothing that was handed in is ever overwritten."""

    def standings(self, reader: str) -> list[Standing]:
        """How a reader stands in each study, newest first; drafts are not among them."""
        wanted = select(StudyReaderRow.study_id).where(StudyReaderRow.reader == plain(reader))
        with self._reading() as session:
            numbers = session.scalars(wanted.order_by(StudyReaderRow.study_id.desc())).all()
            return [_standing(session, number, reader) for number in numbers]

    def standing(self, reader: str, code: str) -> Standing:
        """How a reader stands in a study.

        Raises:
            NotFound: There is no such study, or it is not the reader's.
        """
        with self._reading() as session:
            number = session.scalar(select(StudyRow.id).where(StudyRow.code == plain(code)))
            if number is None:
                raise NotFound(ABSENT)
            return _standing(session, number, reader)

    def reading(self, reader: str, token: str) -> tuple[Standing, ReadingInfo]:
        """A reading by its token, with how its reader stands.

        Raises:
            NotFound: There is no such reading, or it is not the reader's.
        """
        with self._reading() as session:
            row = _own(session, reader, token)
            return _standing(session, row.study_id, reader), reading_info(row)

    def note_reading(self, reader: str, token: str, *, shown: bool = False) -> None:
        """Note when a reading was first asked for or, if `shown`, first on the screen.

        Raises:
            NotFound: There is no such reading, or it is not the reader's.
        """
        with self._writing() as session:
            row, now = _own(session, reader, token, held=True), datetime.now(UTC)
            row.served = row.served or now
            if shown and row.shown is None:
                row.shown = now

    def study_draft(self, reader: str, token: str) -> tuple[dict[str, Any], int]:
        """The draft of a reading and its number; empty and 0 where there is none."""
        with self._reading() as session:
            row = _own(session, reader, token)
            return dict(row.draft or {}), row.draft_sequence

    def keep_draft(
        self, reader: str, token: str, sequence: int, draft: Mapping[str, Any], tab: str
    ) -> tuple[int, bool]:
        """Keep a draft unless a newer one is there, or the reading was handed in.

        Returns:
            Number of the draft that is kept, and whether another tab is at work on it.

        Raises:
            NotFound: There is no such reading, or it is not the reader's.
        """
        with self._writing() as session:
            row, now = _own(session, reader, token, held=True), datetime.now(UTC)
            other = bool(row.draft_tab) and row.draft_tab != tab
            is_near = row.draft_saved is not None and now - row.draft_saved < NEAR
            if row.revision or sequence <= row.draft_sequence:
                return row.draft_sequence, other and is_near
            row.draft, row.draft_sequence = dict(draft), sequence
            row.draft_tab, row.draft_saved = plain(tab)[:64], now
            return sequence, other and is_near

    def hand_in(
        self,
        reader: str,
        token: str,
        key: str,
        answers: Sequence[Given],
        *,
        asked: Sequence[StudyQuestion],
        comment: str,
        reason: str,
        timing: Mapping[str, Any],
        revision: int,
        by: By,
    ) -> HandedIn:
        """Keep a reading together with its row of the audit trail, whole or not at all.

        Sending it again under the same key, or the same answers once more, changes nothing.

        Args:
            reader: Login name. token: Of the reading. key: Drawn by the browser for this sending.
            answers: Checked against `asked`, all questions of the study.
            comment: Free text. reason: Why a handed-in answer is changed.
            timing: As the browser tells it. revision: That the reader saw; 0 for none.

        Raises:
            NotFound: There is no such reading, or it is not the reader's.
            StaleRecord: It was handed in otherwise already, or the study was changed or closed.
            InvalidInput: It is not its turn yet, or a change has no reason.
        """
        with self._writing() as session:
            serialise(session)
            row, now = _own(session, reader, token, held=True), datetime.now(UTC)
            digest = content_digest(answers, comment)
            standing = _standing(session, row.study_id, reader)
            if is_known(session, row, key, digest):
                return HandedIn(reading_info(row), False, standing)
            check_turn(standing, reading_info(row), revision, reason, now)
            if standing.study.protocol.questions != tuple(asked):
                raise StaleRecord(CHANGED)
            kept, doubted = believed(
                timing, row.shown or row.served, now, has_heat=has_heat(standing.study, row.arm)
            )
            keep_submission(
                session, row, key, digest, answers, plain(comment), plain(reason), kept, now
            )
            if doubted:
                deviate(session, row.study_id, "clock", standing.reader.code, odd_clock(row))
            count_in(session, standing, row, now)
            note(
                session,
                by,
                "study_answer",
                standing.study.code,
                reader=standing.reader.code,
                reading=row.id,
                revision=row.revision,
                digest=digest,
            )
            return HandedIn(reading_info(row), True, _standing(session, row.study_id, reader))

    def pause_study(self, reader: str, code: str, paused: bool, by: By) -> Standing:
        """Begin a break, or go on; how the reader stands afterwards.

        Raises:
            NotFound: There is no such study, or it is not the reader's.
        """
        with self._writing() as session:
            serialise(session)
            number = session.scalar(select(StudyRow.id).where(StudyRow.code == plain(code)))
            row = None if number is None else session.get(StudyReaderRow, (number, plain(reader)))
            if number is None or row is None:
                raise NotFound(ABSENT)
            if paused and row.paused is None:
                row.paused, row.breaks = datetime.now(UTC), row.breaks + 1
                note(session, by, "study_break", code, reader=row.code)
            if not paused:
                row.paused, row.sitting, row.sitting_done = None, None, 0
                note(session, by, "study_resume", code, reader=row.code)
            session.flush()
            return _standing(session, number, reader)

    def submissions(self, study_id: int, reading: int | None = None) -> list[Submission]:
        """Everything handed in, of one reading or of all, first revisions first."""
        wanted = (
            select(StudySubmissionRow)
            .join(StudyReadingRow, StudyReadingRow.id == StudySubmissionRow.reading_id)
            .where(StudyReadingRow.study_id == study_id)
            .order_by(StudySubmissionRow.reading_id, StudySubmissionRow.revision)
        )
        if reading is not None:
            wanted = wanted.where(StudyReadingRow.id == reading)
        with self._reading() as session:
            rows = session.scalars(wanted).all()
            answers = _answers(session, study_id, reading)
            return [
                Submission(
                    reading=row.reading_id,
                    revision=row.revision,
                    comment=row.comment,
                    reason=row.reason,
                    timing=dict(row.timing),
                    created=row.created,
                    answers=tuple(answers.get(row.id, ())),
                )
                for row in rows
            ]


def _own(session: Session, reader: str, token: str, *, held: bool = False) -> StudyReadingRow:
    """The row of a reader's own reading; if `held`, nobody else changes it meanwhile."""
    wanted = select(StudyReadingRow).where(StudyReadingRow.token == plain(token))
    row = session.scalar(wanted.with_for_update() if held else wanted)
    if row is None or row.reader != reader:
        raise NotFound(NOT_HERE)
    return row


def _standing(session: Session, study_id: int, reader: str) -> Standing:
    row = session.get(StudyReaderRow, (study_id, plain(reader)), populate_existing=True)
    if row is None:
        raise NotFound(ABSENT)
    study = info(found(session, study_id))
    readings = in_order(reading_info(each) for each in readings_of(session, study_id, reader))
    outputs = select(StudyOutputRow.case_id, StudyOutputRow.arm).where(
        StudyOutputRow.study_id == study_id, StudyOutputRow.problem == ""
    )
    ready = {(case, arm) for case, arm in session.execute(outputs)}
    failed = not row.excused and _failed(session, study, readings)
    return Standing(study, reader_info(row), readings, failed, frozenset(ready))


def _failed(session: Session, study: StudyInfo, readings: Sequence[ReadingInfo]) -> bool:
    """Whether the training is over and its criterion was missed."""
    share, training = study.design.pass_share, [r for r in readings if r.training]
    if share <= 0 or not training or not all(reading.revision for reading in training):
        return False
    wanted = (
        select(StudySubmissionRow.reading_id, StudyAnswerRow.question, StudyAnswerRow.value)
        .join(StudyAnswerRow, StudyAnswerRow.submission_id == StudySubmissionRow.id)
        .where(StudySubmissionRow.reading_id.in_([reading.id for reading in training]))
    )
    items = {reading.id: f"{reading.case}|{reading.arm}" for reading in training}
    given: dict[str, dict[str, float | None]] = {item: {} for item in items.values()}
    for reading, question, value in session.execute(wanted):
        given[items[reading]][question] = value
    return not passed(study.protocol.training, given, share)[0]


def _answers(session: Session, study_id: int, reading: int | None) -> dict[int, list[Given]]:
    """Answers by the number of their submission."""
    wanted = (
        select(StudyAnswerRow)
        .join(StudySubmissionRow, StudySubmissionRow.id == StudyAnswerRow.submission_id)
        .join(StudyReadingRow, StudyReadingRow.id == StudySubmissionRow.reading_id)
        .where(StudyReadingRow.study_id == study_id)
        .order_by(StudyAnswerRow.submission_id, StudyAnswerRow.question)
    )
    if reading is not None:
        wanted = wanted.where(StudyReadingRow.id == reading)
    made: dict[int, list[Given]] = {}
    for row in session.scalars(wanted):
        given = Given(
            row.question, ReadStatus(row.status), row.value, row.text, row.marks, row.reason
        )
        made.setdefault(row.submission_id, []).append(given)
    return made
