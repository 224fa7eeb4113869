"""Who reads in a study: how far each reader is, who leaves, and what is waived for whom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import InvalidInput
from app.services.context import Context
from app.services.study_access import by, own_study
from app.services.study_progress import progress
from app.store import StudyInfo

NEEDS_REASON = "Please give a reason; the report of the study will name it."
MOST_REASON = 1000
MOST_FACT = 128


class StudyReaders:
    """What an organiser does about the readers of a study."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @requires(Role.ORGANISER)
    def withdraw(self, user: User | None, study_id: int, reader: str, reason: str) -> None:
        """A reader leaves the study; what was handed in stays.

        Raises:
            NotFound: No such study of the user's, or no such reader in it.
            InvalidInput: There is no reason, or the study is not open.
        """
        text = "Reader {code} left the study. Reason: " + _reason(reason)
        self._reader(user, study_id, reader, "withdraw", text, withdrawn=datetime.now(UTC))

    @requires(Role.ORGANISER)
    def override_washout(self, user: User | None, study_id: int, reader: str, reason: str) -> None:
        """Let a reader begin the next session before the washout ends. Raises as `withdraw`."""
        who = check(user, Role.ORGANISER)
        study, told = self._own(who, study_id), _reason(reason)
        following = self._context.store.standing(reader, study.code).following
        if following is None:
            raise InvalidInput("This reader has read everything, so no session is left to begin.")
        session = following.session
        text = f"Reader {{code}} began session {session} before the washout ended. Reason: {told}"
        self._reader(user, study_id, reader, "override_washout", text, overridden=session)

    @requires(Role.ORGANISER)
    def excuse_training(self, user: User | None, study_id: int, reader: str, reason: str) -> None:
        """A reader goes on in spite of the training criterion. Raises as `withdraw`."""
        text = "Reader {code} went on without passing the training. Reason: " + _reason(reason)
        self._reader(user, study_id, reader, "excuse_training", text, excused=True)

    @requires(Role.ORGANISER)
    def describe_reader(
        self, user: User | None, study_id: int, reader: str, specialty: str, experience: str
    ) -> None:
        """Say who a reader is, such as "Radiology", "5-10 years". Raises as `withdraw`."""
        if max(len(specialty), len(experience)) > MOST_FACT:
            raise InvalidInput(f"This has at most {MOST_FACT} characters.")
        self._reader(
            user,
            study_id,
            reader,
            "describe_reader",
            "",
            specialty=specialty.strip(),
            experience=experience.strip(),
        )

    @requires(Role.ORGANISER)
    def name_observers(self, user: User | None, study_id: int, names: Sequence[str]) -> None:
        """Say who else may look at the analysis.

        Raises:
            NotFound: No such study of the user's. InvalidInput: A name has no account, or reads.
        """
        who = check(user, Role.ORGANISER)
        self._own(who, study_id)
        self._context.store.set_observers(study_id, [str(name) for name in names], by(who))

    @requires(Role.ORGANISER)
    def progress(self, user: User | None, study_id: int) -> dict[str, Any]:
        """How far each reader is.

        Raises:
            NotFound: No such study of the user's.
        """
        study = self._own(check(user, Role.ORGANISER), study_id)
        names = {account.name: account.display for account in self._context.store.accounts()}
        return progress(self._context, study, lambda name: names.get(name, name), datetime.now(UTC))

    def _own(self, who: User, study_id: int) -> StudyInfo:
        return own_study(self._context, who, study_id)

    def _reader(
        self,
        user: User | None,
        study_id: int,
        reader: str,
        change: str,
        text: str,
        **values: object,
    ) -> None:
        who = check(user, Role.ORGANISER)
        self._own(who, study_id)
        self._context.store.change_reader(study_id, reader, change, text, by(who), **values)


def _reason(reason: str) -> str:
    """A reason that was given, with braces kept apart from the code's place.

    Raises:
        InvalidInput: There is none, or it is too long.
    """
    told = reason.strip()
    if not told:
        raise InvalidInput(NEEDS_REASON)
    if len(told) > MOST_REASON:
        raise InvalidInput(f"A reason has at most {MOST_REASON} characters.")
    return told.replace("{", "(").replace("}", ")")
