"""Which cases a reader sees nowhere but in the reading room, since a study reads them blind."""

from __future__ import annotations

from sqlalchemy import ColumnElement, select

from app.store.study_tables import StudyCaseRow, StudyReaderRow, StudyRow
from app.store.tables import CaseRow
from engine.study.records import StudyState


def is_read_blind(viewer: str) -> ColumnElement[bool]:
    """Condition on `CaseRow`: the case is in an open study that the viewer reads in.

    The study's own organiser, who chose the cases, goes on seeing them.
    """
    return (
        select(StudyCaseRow.case_id)
        .join(StudyRow, StudyRow.id == StudyCaseRow.study_id)
        .join(StudyReaderRow, StudyReaderRow.study_id == StudyCaseRow.study_id)
        .where(
            StudyCaseRow.case_id == CaseRow.id,
            StudyRow.state == StudyState.OPEN.value,
            StudyRow.owner != viewer,
            StudyReaderRow.reader == viewer,
            StudyReaderRow.withdrawn.is_(None),
        )
        .correlate(CaseRow)
        .exists()
    )
