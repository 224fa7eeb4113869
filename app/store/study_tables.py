"""The tables of reader studies: design, plan, what is shown, and what readers say."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables import Base


class StudyRow(Base):
    """One study; `protocol` is what the designer made, `model` what answers in it."""

    __tablename__ = "studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(16), unique=True)
    title: Mapped[str] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(String(64), index=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    version: Mapped[int]
    protocol: Mapped[dict[str, Any]]
    model: Mapped[dict[str, Any]]
    observers: Mapped[list[Any]]
    unblinded: Mapped[bool]
    digests: Mapped[dict[str, Any]]
    created: Mapped[datetime]
    opened: Mapped[datetime | None]
    locked: Mapped[datetime | None]
    exported: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("state IN ('draft', 'open', 'locked', 'exported')", name="state"),
    )


class StudyReaderRow(Base):
    """A reader of a study that was opened, and how the reading goes."""

    __tablename__ = "study_readers"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    reader: Mapped[str] = mapped_column(String(64), primary_key=True)
    code: Mapped[str] = mapped_column(String(16))
    specialty: Mapped[str] = mapped_column(String(128))
    experience: Mapped[str] = mapped_column(String(128))
    withdrawn: Mapped[datetime | None]
    overridden: Mapped[int]
    excused: Mapped[bool]
    breaks: Mapped[int]
    paused: Mapped[datetime | None]
    sitting: Mapped[datetime | None]
    sitting_done: Mapped[int]
    last: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("study_id", "code", name="uq_study_readers_code"),
        Index("ix_study_readers_reader", "reader"),
    )


class StudyCaseRow(Base):
    """A case of a study that was opened, and its code."""

    __tablename__ = "study_cases"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True, index=True)
    code: Mapped[str] = mapped_column(String(16))

    __table_args__ = (UniqueConstraint("study_id", "code", name="uq_study_cases_code"),)


class StudyOutputRow(Base):
    """What is shown beside the images of a case in one arm, as it was prepared."""

    __tablename__ = "study_outputs"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    arm: Mapped[str] = mapped_column(String(64), primary_key=True)
    prediction_id: Mapped[int | None] = mapped_column(ForeignKey("predictions.id"))
    explanation_id: Mapped[int | None] = mapped_column(ForeignKey("explanations.id"))
    leading: Mapped[str] = mapped_column(String(128))
    confidence: Mapped[float | None]
    weights_digest: Mapped[str] = mapped_column(String(64))
    content: Mapped[str] = mapped_column(String(64))
    problem: Mapped[str] = mapped_column(Text)


class StudyReadingRow(Base):
    """One row of the plan: a case for a reader in an arm; the token is all the browser knows."""

    __tablename__ = "study_readings"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    token: Mapped[str] = mapped_column(String(64), unique=True)
    reader: Mapped[str] = mapped_column(String(64))
    session: Mapped[int]
    position: Mapped[int]
    case_id: Mapped[str] = mapped_column(String(64))
    arm: Mapped[str] = mapped_column(String(64))
    label: Mapped[str] = mapped_column(String(64))
    replicate: Mapped[int]
    stage: Mapped[int]
    training: Mapped[bool]
    served: Mapped[datetime | None]
    shown: Mapped[datetime | None]
    submitted: Mapped[datetime | None]
    revision: Mapped[int]
    draft: Mapped[dict[str, Any] | None]
    draft_sequence: Mapped[int]
    draft_tab: Mapped[str] = mapped_column(String(64))
    draft_saved: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint(
            "study_id", "reader", "session", "position", name="uq_study_readings_place"
        ),
        UniqueConstraint(
            "study_id",
            "reader",
            "case_id",
            "arm",
            "replicate",
            "training",
            name="uq_study_readings_item",
        ),
        CheckConstraint("revision >= 0", name="revision"),
        CheckConstraint("replicate >= 1", name="replicate"),
    )


class StudySubmissionRow(Base):
    """A reading handed in; a change is a new row with the next revision."""

    __tablename__ = "study_submissions"

    id: Mapped[int] = mapped_column(primary_key=True)
    reading_id: Mapped[int] = mapped_column(ForeignKey("study_readings.id"))
    revision: Mapped[int]
    key: Mapped[str] = mapped_column(String(64))
    content: Mapped[str] = mapped_column(String(64))
    comment: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    timing: Mapped[dict[str, Any]]
    created: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("reading_id", "revision", name="uq_study_submissions_revision"),
        UniqueConstraint("reading_id", "key", name="uq_study_submissions_key"),
        CheckConstraint("revision >= 1", name="revision"),
    )


class StudyAnswerRow(Base):
    """The answer to one question of a reading handed in."""

    __tablename__ = "study_answers"

    submission_id: Mapped[int] = mapped_column(ForeignKey("study_submissions.id"), primary_key=True)
    question: Mapped[str] = mapped_column(String(64), primary_key=True)
    status: Mapped[str] = mapped_column(String(16))
    value: Mapped[float | None]
    text: Mapped[str] = mapped_column(Text)
    marks: Mapped[dict[str, Any] | None]
    reason: Mapped[str] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint(
            "status IN ('answered', 'skipped', 'cannot_judge', 'not_applicable')", name="status"
        ),
        CheckConstraint("status = 'answered' OR value IS NULL", name="value"),
    )


class StudyDeviationRow(Base):
    """Something that departed from the protocol; `reader` is a code, or empty."""

    __tablename__ = "study_deviations"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    created: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(32))
    reader: Mapped[str] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(Text)


class StudyOutcomeRow(Base):
    """What an adjudicator decided; it stands beside the answers, and the last row counts."""

    __tablename__ = "study_outcomes"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    case_id: Mapped[str] = mapped_column(String(64))
    arm: Mapped[str] = mapped_column(String(64))
    question: Mapped[str] = mapped_column(String(64))
    outcome: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    who: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime]
