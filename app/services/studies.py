"""Studies as their organiser runs them: design, preparation, readers, and the end."""

from __future__ import annotations

import builtins
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import combinations
from typing import TYPE_CHECKING, Any

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import InvalidInput
from app.services.context import Context
from app.services.study_access import by
from app.services.study_changes import allowed, bounded
from app.services.study_digests import digests
from app.services.study_prepare import Preparation
from app.services.study_readers import MOST_REASON, StudyReaders
from app.services.study_scores import StudyScores
from app.store import ReadingInfo, StudyInfo
from engine.errors import EngineError
from engine.study.check import cautions, check_protocol
from engine.study.plan import plan
from engine.study.records import Protocol, Reading, StudyState

if TYPE_CHECKING:
    from engine.study.preview import Preview

LONELY = (
    "Some pairs of readers share no case, so their agreement cannot be known; please confirm that "
    "this is wanted."
)
UNPREPARED = "The maps and predictions of the study are not ready; please prepare them first."


class Studies(StudyReaders):
    """Everything an organiser does; each study belongs to whoever made it."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._preparation = Preparation(context)
        self._scores = StudyScores(context)

    @requires(Role.ORGANISER)
    def list(self, user: User | None) -> builtins.list[dict[str, Any]]:
        """The user's studies, newest first; administrators see all."""
        who, store = check(user, Role.ORGANISER), self._context.store
        everything = who.role is Role.ADMINISTRATOR
        counts = store.study_counts()
        return [
            {
                "id": study.id,
                "code": study.code,
                "title": study.title,
                "state": study.state.value,
                "version": study.version,
                "owner": study.owner,
                "readers": len(study.protocol.readers),
                "cases": len(study.protocol.cases),
                "readings": counts.get(study.id, (0, 0))[0],
                "done": counts.get(study.id, (0, 0))[1],
                "unblinded": study.unblinded,
                "observers": list(study.observers),
                "created": _time(study.created),
                "opened": _time(study.opened),
                "locked": _time(study.locked),
            }
            for study in store.studies(None if everything else who.name)
        ]

    @requires(Role.ORGANISER)
    def create(self, user: User | None, protocol: Protocol) -> int:
        """A new draft; its number.

        Raises:
            InvalidInput: The protocol is beyond all measure.
        """
        who = check(user, Role.ORGANISER)
        bounded(protocol)
        self._check_people(who, protocol)
        return self._context.store.add_study(who.name, protocol, by(who))

    @requires(Role.ORGANISER)
    def save(self, user: User | None, study_id: int, protocol: Protocol, version: int) -> int:
        """Replace the protocol; the new version.

        In an open study cases, readers and training cases can be appended, and questions changed
        until the first answer; new cases are prepared in the background.

        Raises:
            NotFound: No such study of the user's. StaleRecord: It was changed meanwhile.
            InvalidInput: The change is not allowed in this state.
        """
        who = check(user, Role.ORGANISER)
        study = self._own(who, study_id)
        self._check_people(who, protocol, study.protocol)
        if study.state is StudyState.OPEN:
            self._check_sound(protocol)
        left = [r.reader for r in self._context.store.study_readers(study_id) if r.withdrawn]

        def grow(
            before: StudyInfo, rows: Sequence[ReadingInfo], answered: bool
        ) -> tuple[Reading, ...]:
            return allowed(before, protocol, rows, answered, left)

        made = self._context.store.save_study(study_id, protocol, version, by(who), grow)
        changed = self._own(who, study_id)
        if changed.state is StudyState.OPEN and not self._preparation.is_complete(changed):
            self._preparation.start(who, changed)
        return made

    @requires(Role.ORGANISER)
    def protocol(self, user: User | None, study_id: int) -> tuple[Protocol, int, StudyState]:
        """The protocol with its version, and the state of the study.

        Raises:
            NotFound: No such study of the user's.
        """
        study = self._own(check(user, Role.ORGANISER), study_id)
        return study.protocol, study.version, study.state

    @requires(Role.ORGANISER)
    def preview(self, user: User | None, study: int | Protocol) -> Preview:
        """What follows from a design, before anything starts.

        Raises:
            NotFound: No such study of the user's.
        """
        from engine.study.preview import preview

        who = check(user, Role.ORGANISER)
        if isinstance(study, Protocol):
            bounded(study)
            return preview(study)
        return preview(self._own(who, study).protocol)

    @requires(Role.ORGANISER)
    def problems(self, user: User | None, protocol: Protocol) -> dict[str, builtins.list[str]]:
        """What keeps a design from being opened ("errors"), and what weakens it ("cautions")."""
        check(user, Role.ORGANISER)
        bounded(protocol)
        return {"errors": list(_errors(protocol)), "cautions": list(cautions(protocol))}

    @requires(Role.ORGANISER)
    def choices(self, user: User | None) -> dict[str, Any]:
        """Cases, readers, methods and forms that a study can be made of."""
        from engine.explainers import EXPLAINERS
        from engine.study.forms import FORMS

        who, context = check(user, Role.ORGANISER), self._context
        rows = context.store.case_summaries(who.name, everything=who.role is Role.ADMINISTRATOR)
        accounts = [account for account in context.store.accounts() if account.active]
        return {
            "cases": [
                {
                    "id": row.id,
                    "modalities": list(dict.fromkeys(str(m) for m in row.modalities)),
                    "has_truth": row.label_known,
                    "thumbnail": f"/thumbnails/{row.id}.png" if row.thumbnail else None,
                }
                for row in rows
            ],
            "readers": [
                {"name": account.name, "display": account.display}
                for account in accounts
                if account.role.covers(Role.READER)
            ],
            "observers": [{"name": a.name, "display": a.display} for a in accounts],
            "methods": [{"id": m.name, "title": m.title} for m in EXPLAINERS.values()],
            "forms": [{"id": form.id, "title": form.title} for form in FORMS.values()],
        }

    @requires(Role.ORGANISER)
    def prepare(self, user: User | None, study_id: int) -> None:
        """Begin to make the maps and predictions that are missing.

        Raises:
            NotFound: No such study of the user's. InvalidInput: It cannot be prepared.
        """
        who = check(user, Role.ORGANISER)
        study = self._own(who, study_id)
        self._check_arms(study.protocol)
        self._preparation.start(who, study)
        self._context.record(who, "study_prepare", study.code)

    @requires(Role.ORGANISER)
    def preparation(self, user: User | None, study_id: int) -> dict[str, Any]:
        """How far the preparation is: "done", "total", "running", "error".

        Raises:
            NotFound: No such study of the user's.
        """
        return self._preparation.state(self._own(check(user, Role.ORGANISER), study_id))

    @requires(Role.ORGANISER)
    def measure_maps(self, user: User | None, study_id: int) -> None:
        """Begin to measure the maps that were prepared, for the analysis to compare with ratings.

        Raises:
            NotFound: No such study of the user's. InvalidInput: Nothing was prepared.
            ModelUnavailable: The study's model is gone.
        """
        who = check(user, Role.ORGANISER)
        study = self._own(who, study_id)
        self._scores.start(who, study)
        self._context.record(who, "study_measure", study.code)

    @requires(Role.ORGANISER)
    def measuring(self, user: User | None, study_id: int) -> dict[str, Any]:
        """How far the measuring is: "done", "total", "running", "error".

        Raises:
            NotFound: No such study of the user's.
        """
        return self._scores.state(self._own(check(user, Role.ORGANISER), study_id))

    @requires(Role.ORGANISER)
    def open(self, user: User | None, study_id: int, confirm_lonely: bool = False) -> None:
        """Let the readers begin.

        Args:
            confirm_lonely: True where pairs of readers without a common case are wanted.

        Raises:
            NotFound: No such study of the user's. StaleRecord: It was changed meanwhile.
            InvalidInput: The design has errors, or is not prepared.
        """
        who = check(user, Role.ORGANISER)
        study = self._own(who, study_id)
        if study.state is not StudyState.DRAFT:
            raise InvalidInput("Only a draft can be opened.")
        self._check_sound(study.protocol)
        self._check_people(who, study.protocol)
        if not self._preparation.is_complete(study):
            raise InvalidInput(self._preparation.state(study)["error"] or UNPREPARED)
        rows = plan(study.protocol, study.code)
        if not confirm_lonely and _lonely(rows):
            raise InvalidInput(LONELY)
        self._context.store.open_study(study_id, study.version, rows, by(who))

    @requires(Role.ORGANISER)
    def lock(self, user: User | None, study_id: int, reason: str = "") -> None:
        """End the reading, and freeze digests of answers, protocol, model, display and software.

        Raises:
            NotFound: No such study of the user's. InvalidInput: The study is not open.
        """
        who = check(user, Role.ORGANISER)
        study = self._own(who, study_id)
        if len(reason) > MOST_REASON:
            raise InvalidInput(f"A reason has at most {MOST_REASON} characters.")
        store = self._context.store
        store.lock_study(study_id, lambda: digests(self._context, study), reason, by(who))

    @requires(Role.ORGANISER)
    def unblind(self, user: User | None, study_id: int) -> None:
        """Name the arms from now on.

        Raises:
            NotFound: No such study of the user's. InvalidInput: The study is not locked.
        """
        who = check(user, Role.ORGANISER)
        self._own(who, study_id)
        self._context.store.unblind_study(study_id, by(who))

    @requires(Role.ORGANISER)
    def delete(self, user: User | None, study_id: int) -> None:
        """Remove a draft.

        Raises:
            NotFound: No such study of the user's. InvalidInput: It is no draft.
        """
        who = check(user, Role.ORGANISER)
        self._own(who, study_id)
        self._context.store.delete_study(study_id, by(who))

    @requires(Role.ORGANISER)
    def copy(self, user: User | None, study_id: int) -> int:
        """A new draft of the same design; its number.

        Raises:
            NotFound: No such study of the user's.
        """
        who = check(user, Role.ORGANISER)
        protocol = self._own(who, study_id).protocol
        title = f"{protocol.title[:180]} (copy)"
        return self._context.store.add_study(who.name, replace(protocol, title=title), by(who))

    def _check_sound(self, protocol: Protocol) -> None:
        found = _errors(protocol)
        if found:
            raise InvalidInput(found[0])

    def _check_arms(self, protocol: Protocol) -> None:
        """Refuse to prepare what names no method."""
        if not protocol.cases or not protocol.arms:
            raise InvalidInput("There is nothing to prepare; please choose cases and arms first.")
        found = [line for line in _errors(protocol) if "method" in line or "decoy" in line]
        if found:
            raise InvalidInput(found[0])

    def _check_people(self, who: User, protocol: Protocol, before: Protocol | None = None) -> None:
        """Refuse readers without an account, and cases that the organiser does not see.

        What stands in the design already is not asked about again.
        """
        store = self._context.store
        known_readers = set(() if before is None else before.readers)
        names = {a.name for a in store.accounts() if a.active and a.role.covers(Role.READER)}
        if set(protocol.readers) - known_readers - names:
            raise InvalidInput("A reader of the study has no active account that may read.")
        before_cases = () if before is None else before.cases
        trained = () if before is None else tuple(t.case for t in before.training)
        wanted = {*protocol.cases, *(t.case for t in protocol.training)}
        fresh = wanted - {*before_cases, *trained}
        if not fresh:
            return
        everything = who.role is Role.ADMINISTRATOR
        seen = {row.id for row in store.case_summaries(who.name, everything=everything)}
        if fresh - seen:
            raise InvalidInput("A case of the study does not exist, or you may not see it.")


def _lonely(rows: Sequence[Reading]) -> bool:
    """Whether two readers share no case."""
    cases: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.case and not row.training:
            cases[row.reader].add(row.case)
    return any(not cases[a] & cases[b] for a, b in combinations(sorted(cases), 2))


def _errors(protocol: Protocol) -> tuple[str, ...]:
    from engine.explainers import EXPLAINERS

    try:
        return check_protocol(protocol, methods=set(EXPLAINERS))
    except EngineError as error:
        return (str(error),)


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds").replace("+00:00", "Z")
