"""The tables of the administrator's work: data sets, runs, models and which one serves."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables import Base


class RunRow(Base):
    """Long work in a process of its own; its arrays and what it says lie in its folder."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    title: Mapped[str] = mapped_column(String(200))
    owner: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16), index=True)
    created: Mapped[datetime]
    queued: Mapped[datetime]
    started: Mapped[datetime | None]
    begun: Mapped[datetime | None]
    ended: Mapped[datetime | None]
    pid: Mapped[int | None]
    process: Mapped[str] = mapped_column(String(64))
    heard: Mapped[int]
    settings: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None]
    model: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)
    memory_mb: Mapped[int]
    seconds: Mapped[float]

    __table_args__ = (
        CheckConstraint("kind IN ('check', 'training', 'adaptation', 'comparison')", name="kind"),
        CheckConstraint(
            "state IN ('queued', 'running', 'pausing', 'paused', 'cancelling', 'cancelled',"
            " 'failed', 'done')",
            name="state",
        ),
    )


class DatasetRow(Base):
    """A manifest on this machine, and what its last check has found."""

    __tablename__ = "datasets"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(128), unique=True)
    created: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(64))
    path: Mapped[str] = mapped_column(Text)
    classes: Mapped[list[Any]]
    grades: Mapped[list[Any]]
    digest: Mapped[str] = mapped_column(String(64))
    found: Mapped[dict[str, Any] | None]
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))


class ModelRow(Base):
    """A model that was trained, adapted or imported here; its files lie in the workspace."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    card_digest: Mapped[str] = mapped_column(String(64))
    origin: Mapped[str] = mapped_column(String(16))
    created: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(64))
    parent: Mapped[str] = mapped_column(String(64))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))

    __table_args__ = (
        CheckConstraint("origin IN ('trained', 'adapted', 'imported')", name="origin"),
    )


class ActivationRow(Base):
    """One change of the model that serves; the last row counts."""

    __tablename__ = "activations"

    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    who: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("kind IN ('activate', 'roll_back')", name="kind"),
        Index("ix_activations_model", "model"),
    )


class HolderRow(Base):
    """The server that looks after the runs now, since only one may."""

    __tablename__ = "holders"

    what: Mapped[str] = mapped_column(String(16), primary_key=True)
    holder: Mapped[str] = mapped_column(String(160))
    seen: Mapped[datetime]
