"""The tables of the database, as typed mappings; arrays lie in files beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC, kept as ISO 8601 text with microseconds, so that text order is time order."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Text of an aware time."""
        return None if value is None else utc_text(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Aware time of a text."""
        return None if value is None else datetime.fromisoformat(value)


def utc_text(time: datetime) -> str:
    """ISO 8601 with microseconds and "+00:00"."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcTime(),
        float: Double(),
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
    }


class CaseRow(Base):
    """One pseudonymous examination."""

    __tablename__ = "cases"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    folder: Mapped[str] = mapped_column(String(128), unique=True)
    content: Mapped[str] = mapped_column(String(64), index=True)
    created: Mapped[datetime]
    owner: Mapped[str] = mapped_column(String(64), index=True)
    shared: Mapped[bool]
    source: Mapped[str] = mapped_column(String(32))
    note: Mapped[str] = mapped_column(Text)
    warnings: Mapped[list[Any]]
    thumbnail: Mapped[bytes | None] = mapped_column(LargeBinary)

    images: Mapped[list[ImageRow]] = relationship(order_by="ImageRow.position")
    truth: Mapped[TruthRow | None] = relationship()


class ImageRow(Base):
    """One image of a case, without its pixels."""

    __tablename__ = "images"

    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    modality: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64))
    array_digest: Mapped[str] = mapped_column(String(64))
    frames: Mapped[int]
    height: Mapped[int]
    width: Mapped[int]
    channels: Mapped[int]
    bits: Mapped[int]
    inverted: Mapped[bool]
    laterality: Mapped[str | None] = mapped_column(String(1))
    view: Mapped[str | None] = mapped_column(String(128))
    background: Mapped[float | None]
    spacing: Mapped[dict[str, Any] | None]
    windows: Mapped[list[Any]]
    affine: Mapped[list[Any] | None]
    facts: Mapped[dict[str, Any]]
    warnings: Mapped[list[Any]]


class TruthRow(Base):
    """What is known about a case from outside the model."""

    __tablename__ = "truths"

    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    label: Mapped[str] = mapped_column(String(128))
    grade: Mapped[int | None]
    box: Mapped[dict[str, Any] | None]
    mask_digest: Mapped[str | None] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(Text)


class PredictionRow(Base):
    """What a system said about a case."""

    __tablename__ = "predictions"

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    created: Mapped[datetime]
    model: Mapped[str] = mapped_column(String(128))
    version: Mapped[str] = mapped_column(String(64))
    weights_digest: Mapped[str] = mapped_column(String(64))
    probabilities: Mapped[list[Any]]
    grade: Mapped[dict[str, Any] | None]
    patches: Mapped[list[Any]]
    frames: Mapped[list[Any]]
    warnings: Mapped[list[Any]]
    seconds: Mapped[float]

    case: Mapped[CaseRow] = relationship()
    regions: Mapped[list[RegionRow]] = relationship(order_by="RegionRow.position")

    __table_args__ = (Index("ix_predictions_case", "case_id", "weights_digest"),)


class RegionRow(Base):
    """A lesion found by a prediction."""

    __tablename__ = "regions"

    prediction_id: Mapped[int] = mapped_column(ForeignKey("predictions.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    image: Mapped[int]
    frame: Mapped[int]
    box: Mapped[dict[str, Any] | None]
    score: Mapped[float | None]
    mask: Mapped[str | None] = mapped_column(String(128))
    mask_digest: Mapped[str | None] = mapped_column(String(64))


class ExplanationRecord(Base):
    """One method's answer to "why this class"."""

    __tablename__ = "explanations"

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    prediction_id: Mapped[int] = mapped_column(ForeignKey("predictions.id"), index=True)
    created: Mapped[datetime]
    method: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(128))
    settings: Mapped[dict[str, Any]]
    model: Mapped[str] = mapped_column(String(128))
    weights_digest: Mapped[str] = mapped_column(String(64))
    seconds: Mapped[float]

    case: Mapped[CaseRow] = relationship()
    maps: Mapped[list[MapRecord]] = relationship(order_by="MapRecord.position")

    __table_args__ = (Index("ix_explanations_case", "case_id", "weights_digest"),)


class MapRecord(Base):
    """One heat map of an explanation, without its values."""

    __tablename__ = "maps"

    explanation_id: Mapped[int] = mapped_column(ForeignKey("explanations.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    image: Mapped[int]
    frame: Mapped[int]
    rows: Mapped[int]
    columns: Mapped[int]
    localised: Mapped[bool]
    reason: Mapped[str] = mapped_column(Text)
    file: Mapped[str] = mapped_column(String(128))
    digest: Mapped[str] = mapped_column(String(64))


class EvidenceRecord(Base):
    """What was measured about one method's map of a case, or found by destroying the weights."""

    __tablename__ = "evidence"

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    weights_digest: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(16))
    method: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(64))
    content: Mapped[dict[str, Any]]
    created: Mapped[datetime]

    __table_args__ = (
        Index("ix_evidence_case", "case_id", "weights_digest", "target"),
        CheckConstraint("kind IN ('scores', 'stability', 'sanity')", name="kind"),
    )


class RatingRow(Base):
    """One answer; a change is a new row with the next revision."""

    __tablename__ = "ratings"

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    reader: Mapped[str] = mapped_column(String(64), index=True)
    question: Mapped[str] = mapped_column(String(64))
    method: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(128))
    weights_digest: Mapped[str] = mapped_column(String(64))
    revision: Mapped[int]
    status: Mapped[str] = mapped_column(String(16))
    value: Mapped[int | None]
    comment: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint(
            "case_id",
            "reader",
            "question",
            "method",
            "target",
            "weights_digest",
            "revision",
            name="uq_ratings_answer",
        ),
        CheckConstraint("revision >= 1", name="revision"),
        CheckConstraint(
            "(status = 'answered' AND value IS NOT NULL AND value BETWEEN 1 AND 5)"
            " OR (status = 'cannot_judge' AND value IS NULL)",
            name="value",
        ),
    )


class UserRow(Base):
    """One account."""

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    display: Mapped[str] = mapped_column(String(128))
    role: Mapped[str] = mapped_column(String(16))
    password_hash: Mapped[str] = mapped_column(String(256))
    active: Mapped[bool]
    created: Mapped[datetime]
    must_change: Mapped[bool]
    subject: Mapped[str | None] = mapped_column(String(512))

    __table_args__ = (Index("ix_users_subject", "subject", unique=True),)


class LoginRow(Base):
    """One login in a browser; the token itself is not kept."""

    __tablename__ = "logins"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("users.name"), index=True)
    created: Mapped[datetime]
    last_seen: Mapped[datetime]
    expires: Mapped[datetime]
    revoked: Mapped[bool]
    locked: Mapped[bool] = mapped_column(default=False, server_default=false())


class ReportRow(Base):
    """One PDF that was made."""

    __tablename__ = "reports"

    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), index=True)
    report_id: Mapped[str] = mapped_column(String(64), unique=True)
    digest: Mapped[str] = mapped_column(String(64))
    maker: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime]


class AuditRow(Base):
    """One thing that somebody did; each row holds the digest of the one before it."""

    __tablename__ = "audit"

    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    object: Mapped[str] = mapped_column(String(128))
    detail: Mapped[str] = mapped_column(Text)
    result: Mapped[str] = mapped_column(String(32))
    role: Mapped[str] = mapped_column(String(16), default="", server_default="")
    client: Mapped[str] = mapped_column(String(64), default="", server_default="")
    previous: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))
