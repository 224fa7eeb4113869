"""Whose study it is: its organiser, administrators, and for looking those named as observers."""

from __future__ import annotations

from app.auth import Role, User
from app.errors import InvalidInput, NotAllowed, NotFound
from app.services.context import Context
from app.store import By, StudyInfo
from app.store.study_rows import ABSENT
from engine.study.records import StudyState

READS_TOO = (
    "You read in this study yourself, so its answers are shown to you after the study is locked."
)


def by(user: User) -> By:
    """Who does something, for the trail."""
    return By(user.name, user.role.value)


def own_study(context: Context, user: User, study_id: int) -> StudyInfo:
    """A study of its organiser; in the same words for one that is somebody else's.

    Raises:
        NotFound: There is no such study, or it is not the user's.
    """
    if isinstance(study_id, bool) or not isinstance(study_id, int):
        raise InvalidInput("A study is named by its number.")
    study = context.store.study(study_id)
    if user.role is not Role.ADMINISTRATOR and study.owner != user.name:
        raise NotFound(ABSENT)
    return study


def seen_study(context: Context, user: User, study_id: int) -> StudyInfo:
    """A study whose answers the user may look at.

    Raises:
        NotFound: There is no such study, or the user has no part in it.
        NotAllowed: The user reads in it, and it is not locked yet; or it is a draft.
    """
    if isinstance(study_id, bool) or not isinstance(study_id, int):
        raise InvalidInput("A study is named by its number.")
    study = context.store.study(study_id)
    is_own = user.role.covers(Role.ORGANISER) and study.owner == user.name
    if not is_own and user.role is not Role.ADMINISTRATOR and user.name not in study.observers:
        raise NotFound(ABSENT)
    if study.state is StudyState.DRAFT:
        raise InvalidInput("The study was not opened yet, so there is nothing to analyse.")
    if study.state is StudyState.OPEN and user.name in study.protocol.readers:
        raise NotAllowed(READS_TOO)
    return study
