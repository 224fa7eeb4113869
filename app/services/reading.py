"""The reading room: a reader's own readings, one after another, blind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import InvalidInput, NotFound
from app.services import reading_submit as sent
from app.services.cases import Cases
from app.services.context import Context
from app.services.layers import Layer
from app.services.reading_item import Items, asked_json
from app.store import By, Given, ReadingInfo, Standing, Submission
from app.store.study_rows import NOT_HERE
from app.store.study_standing import (
    Situation,
    ahead,
    left_in_sitting,
    may_change,
    may_look,
    situation,
)
from engine.study.records import ReadStatus, TrainingCase

EVENTS = ("shown",)


class ReadingRoom:
    """What a reader does in studies; everything is found by the reader's own name."""

    def __init__(
        self, context: Context, cases: Cases, clock: Callable[[], datetime] | None = None
    ) -> None:
        self._context = context
        self._items = Items(context, cases)
        self._clock = clock or (lambda: datetime.now(UTC))

    @requires(Role.READER)
    def studies(self, user: User | None) -> list[dict[str, Any]]:
        """The studies that somebody reads in, newest first."""
        who, now = check(user, Role.READER), self._clock()
        return [
            {
                "code": standing.study.code,
                "title": standing.study.title,
                "done": standing.done,
                "planned": len(standing.readings),
                **_state(situation(standing, now)),
            }
            for standing in self._context.store.standings(who.name)
        ]

    @requires(Role.READER)
    def room(self, user: User | None, code: str) -> dict[str, Any]:
        """A study as its reader sees it, and where to go on.

        Raises:
            NotFound: There is no such study, or the user does not read in it.
        """
        who, now = check(user, Role.READER), self._clock()
        standing = self._context.store.standing(who.name, code)
        study, design = standing.study, standing.study.design
        return {
            "code": study.code,
            "title": study.title,
            "text": study.protocol.text,
            "questions": asked_json(study.protocol.questions),
            "limits": {"minutes": design.session_minutes, "readings": design.session_readings},
            "allow_changes": design.allow_changes,
            "progress": _progress(standing, now),
            **_state(situation(standing, now)),
            **_next(standing, now),
        }

    @requires(Role.READER)
    def item(self, user: User | None, token: str) -> dict[str, Any]:
        """One reading: what is shown, what is asked, and what was answered so far.

        Raises:
            NotFound: There is no such reading, it is another reader's, or not its turn yet.
        """
        standing, reading = self._own(user, token)
        if reading.served is None:
            self._context.store.note_reading(reading.reader, token)
        study, closing = standing.study, reading.is_closing
        asked = self._items.questions(study, reading)
        before, after = standing.before(reading), standing.after(reading)
        return {
            "token": token,
            "code": study.code,
            "label": reading.label,
            "position": standing.readings.index(reading) + 1,
            "planned": len(standing.readings),
            "session": reading.session,
            "stage": reading.stage,
            "training": reading.training,
            "kind": "closing" if closing else "case",
            "viewer": None if closing else self._items.viewer(study, reading),
            "prediction": None if closing else self._items.prediction(study, reading),
            "questions": [question.id for question in asked],
            "revision": reading.revision,
            "read_only": bool(reading.revision) and not may_change(standing, reading),
            "previous_stage": self._previous_stage(standing, reading),
            "previous": _open_token(standing, before),
            "following": _open_token(standing, after),
            "ahead": self._ahead(standing, reading),
            **self._said(reading),
        }

    @requires(Role.READER)
    def save_draft(
        self,
        user: User | None,
        token: str,
        sequence: int,
        answers: Any,
        tab: str,
        comment: str = "",
    ) -> dict[str, Any]:
        """Keep what is typed so far; an older one than is kept already is left out.

        Raises:
            NotFound: As `item`. InvalidInput: It is too long, or cannot be read.
        """
        standing, reading = self._own(user, token)
        asked = self._items.questions(standing.study, reading)
        draft = {"answers": sent.draft(asked, answers), "comment": sent.text(comment)}
        kept, other = self._context.store.keep_draft(
            reading.reader, token, sent.whole(sequence), draft, sent.mark(tab)
        )
        return {"sequence": kept, "other_tab": other}

    @requires(Role.READER)
    def submit(
        self,
        user: User | None,
        token: str,
        key: str,
        answers: Any,
        comment: str = "",
        timing: Mapping[str, Any] | None = None,
        revision: int = 0,
        reason: str = "",
    ) -> dict[str, Any]:
        """Hand in a reading; sent again under the same key, it changes nothing.

        Args:
            key: Drawn by the page for this sending. answers: As `reading_submit.given` takes them.
            comment: Free text. timing: As the browser's clock tells it.
            revision: That the page shows; 0 before anything was handed in.
            reason: Why a handed-in answer is changed.

        Raises:
            NotFound: There is no such reading, or it is another reader's.
            InvalidInput: An answer does not fit, or it is not its turn.
            StaleRecord: It was handed in otherwise already, or the study is closed.
        """
        who, store = check(user, Role.READER), self._context.store
        standing, reading = store.reading(who.name, token)
        protocol = standing.study.protocol
        asked = self._items.questions(standing.study, reading)
        done = store.hand_in(
            who.name,
            token,
            sent.mark(key),
            sent.given(asked, answers, self._items.sizes(reading)),
            asked=protocol.questions,
            comment=sent.text(comment),
            reason=sent.text(reason),
            timing=timing if isinstance(timing, Mapping) else {},
            revision=sent.whole(revision),
            by=By(who.name, who.role.value),
        )
        now = self._clock()
        return {
            "revision": done.reading.revision,
            "feedback": _feedback(protocol.training, reading, answers),
            "progress": _progress(done.standing, now),
            **_state(situation(done.standing, now)),
            **_next(done.standing, now),
        }

    @requires(Role.READER)
    def event(self, user: User | None, token: str, kind: str) -> None:
        """Note that a reading is on the screen for the first time.

        Raises:
            NotFound: As `item`. InvalidInput: It is no such event.
        """
        if kind not in EVENTS:
            raise InvalidInput("There is no such event.")
        _, reading = self._own(user, token)
        if reading.shown is None:
            self._context.store.note_reading(reading.reader, token, shown=True)

    @requires(Role.READER)
    def take_break(self, user: User | None, code: str) -> dict[str, Any]:
        """Begin a break; the room as it is then.

        Raises:
            NotFound: There is no such study, or the user does not read in it.
        """
        return self._pause(user, code, True)

    @requires(Role.READER)
    def resume(self, user: User | None, code: str) -> dict[str, Any]:
        """Go on after a break; the room as it is then. Raises as `take_break`."""
        return self._pause(user, code, False)

    @requires(Role.READER)
    def image(self, user: User | None, token: str, n: int, frame: int) -> Layer:
        """Pixels of one frame of a reading.

        Raises:
            NotFound: As `item`, or there is no such image.
        """
        return self._items.image(self._own(user, token)[1], n, frame)

    @requires(Role.READER)
    def heat(self, user: User | None, token: str, n: int) -> Layer:
        """Codes of one map of a reading.

        Raises:
            NotFound: As `item`, or there is no such map.
        """
        standing, reading = self._own(user, token)
        return self._items.heat(standing.study, reading, n)

    def _pause(self, user: User | None, code: str, paused: bool) -> dict[str, Any]:
        who = check(user, Role.READER)
        by = By(who.name, who.role.value)
        self._context.store.pause_study(who.name, code, paused, by)
        return self.room(user, code)

    def _own(self, user: User | None, token: str) -> tuple[Standing, ReadingInfo]:
        """A reading of the user that may be looked at now."""
        who = check(user, Role.READER)
        standing, reading = self._context.store.reading(who.name, token)
        if not may_look(standing, reading, self._clock()):
            raise NotFound(NOT_HERE)
        return standing, reading

    def _said(self, reading: ReadingInfo) -> dict[str, Any]:
        """What was handed in, or else the draft."""
        draft, sequence = self._context.store.study_draft(reading.reader, reading.token)
        if not reading.revision:
            comment = str(draft.get("comment", ""))
            return {
                "answers": draft.get("answers", {}),
                "comment": comment,
                "draft_sequence": sequence,
            }
        last = self._last(reading)
        return {"answers": _answers(last), "comment": last.comment, "draft_sequence": sequence}

    def _last(self, reading: ReadingInfo) -> Submission:
        return self._context.store.submissions(reading.study, reading.id)[-1]

    def _previous_stage(self, standing: Standing, reading: ReadingInfo) -> dict[str, Any] | None:
        """The reader's own answers of the stage before."""
        before = standing.before(reading)
        if reading.stage < 2 or before is None or not before.revision:
            return None
        return _answers(self._last(before)) if before.case == reading.case else None

    def _ahead(self, standing: Standing, reading: ReadingInfo) -> str | None:
        """Token of the reading whose pixels may be fetched already."""
        if reading != situation(standing, self._clock()).next:
            return None
        found = ahead(standing, reading)
        return None if found is None else found.token


def _state(now: Situation) -> dict[str, Any]:
    since = None if now.since is None else now.since.isoformat(timespec="seconds")
    return {"state": now.state, "from": since, "message": now.message}


def _next(standing: Standing, now: datetime) -> dict[str, Any]:
    following = situation(standing, now).next
    return {"next": None if following is None else following.token}


def _progress(standing: Standing, now: datetime) -> dict[str, Any]:
    following = standing.following or (standing.readings[-1] if standing.readings else None)
    return {
        "done": standing.done,
        "planned": len(standing.readings),
        "session": 1 if following is None else following.session,
        "sessions": max((reading.session for reading in standing.readings), default=1),
        "left_in_session": left_in_sitting(standing, now),
    }


def _open_token(standing: Standing, reading: ReadingInfo | None) -> str | None:
    """Token of a neighbour that was handed in already."""
    return None if reading is None or not reading.revision else reading.token


def _answers(said: Submission) -> dict[str, Any]:
    return {given.question: _answer(given) for given in said.answers}


def _answer(given: Given) -> dict[str, Any]:
    return {
        "status": ReadStatus(given.status).value,
        "value": given.value,
        "text": given.text,
        "marks": given.marks,
        "reason": given.reason,
    }


def _feedback(training: tuple[TrainingCase, ...], reading: ReadingInfo, answers: Any) -> str | None:
    """What a reader is told after a training case; None elsewhere."""
    if not reading.training:
        return None
    case = next((t for t in training if (t.case, t.arm) == (reading.case, reading.arm)), None)
    if case is None:
        return None
    right = all(
        _value(answers, question) in expected for question, expected in case.expected.items()
    )
    verdict = "" if not case.expected else "As expected." if right else "Not as expected."
    return " ".join(part for part in (verdict, case.feedback) if part) or None


def _value(answers: Any, question: str) -> Any:
    entry = answers.get(question) if isinstance(answers, Mapping) else None
    return entry.get("value") if isinstance(entry, Mapping) else None
