"""Ratings: answers that are never overwritten; the latest revision counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from app.errors import InvalidInput, NotFound, StaleRecord
from app.store.convert import rating_of
from app.store.database import Database, plain, serialise
from app.store.tables import CaseRow, RatingRow
from engine.records import AnswerStatus, Rating

STALE = "This rating was changed in another window; please look at it again."
KEY = ("case_id", "reader", "question", "method", "target", "weights_digest")
COMMENT_LENGTH = 10_000


class Ratings(Database):
    """Keeps answers with their whole history."""

    def keep_rating(
        self,
        *,
        case: str,
        reader: str,
        question: str,
        method: str,
        target: str,
        status: AnswerStatus,
        value: int | None,
        comment: str,
        weights_digest: str,
        expected_revision: int = 0,
    ) -> Rating:
        """Store an answer, as the first one or as a change of the one that was shown.

        Sending the same answer twice stores it once.

        Args:
            case: Pseudonym of the case.
            reader: Pseudonym of the reader.
            question: Id of the question.
            method: Explanation method on the screen.
            target: Class that was explained.
            status: Whether there is a number.
            value: 1 to 5 when answered, else None.
            comment: Free text, at most 10000 characters.
            weights_digest: Model the answer is given on.
            expected_revision: Revision that the reader saw; 0 when there was none.

        Raises:
            InvalidInput: The value does not fit the status, or the comment is too long.
            NotFound: There is no such case.
            StaleRecord: The answer was changed since it was shown.
        """
        _check(status, value, comment)
        row = RatingRow(
            case_id=case,
            reader=reader,
            question=question,
            method=method,
            target=target,
            weights_digest=weights_digest,
            status=AnswerStatus(status).value,
            value=value,
            comment=plain(comment),
        )
        with self._writing() as session:
            return _append(session, row, expected_revision)

    def current_ratings(
        self, reader: str | None = None, case: str | None = None, question: str | None = None
    ) -> list[Rating]:
        """The answers that count, in the order of case, question, reader; None means any."""
        later = aliased(RatingRow)
        same = [getattr(later, name) == getattr(RatingRow, name) for name in KEY]
        is_last = ~select(later.id).where(*same, later.revision > RatingRow.revision).exists()
        wanted = select(RatingRow).where(is_last)
        return self._ratings(_narrowed(wanted, case_id=case, reader=reader, question=question))

    def rating_history(
        self,
        case: str,
        reader: str,
        question: str | None = None,
        method: str | None = None,
        target: str | None = None,
        weights_digest: str | None = None,
    ) -> list[Rating]:
        """All revisions of a reader's answers on a case, first revision first; None means any."""
        return self._ratings(
            _narrowed(
                select(RatingRow),
                case_id=case,
                reader=reader,
                question=question,
                method=method,
                target=target,
                weights_digest=weights_digest,
            )
        )

    def _ratings(self, wanted: Select[Any]) -> list[Rating]:
        order = [RatingRow.case_id, RatingRow.question, RatingRow.reader, RatingRow.method]
        order += [RatingRow.target, RatingRow.weights_digest]
        with self._reading() as session:
            rows = session.scalars(wanted.order_by(*order, RatingRow.revision))
            return [rating_of(row) for row in rows]


def _check(status: AnswerStatus, value: int | None, comment: str) -> None:
    is_number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 5
    if status == AnswerStatus.ANSWERED and not is_number:
        raise InvalidInput("An answer is a whole number from 1 to 5.")
    if status == AnswerStatus.CANNOT_JUDGE and value is not None:
        raise InvalidInput("“Cannot judge” goes without a number.")
    if len(comment) > COMMENT_LENGTH:
        raise InvalidInput(f"A comment has at most {COMMENT_LENGTH} characters.")


def _append(session: Session, row: RatingRow, expected_revision: int) -> Rating:
    """The row with the next revision, or the last row when it says the same."""
    serialise(session)
    if session.get(CaseRow, row.case_id) is None:
        raise NotFound("There is no such case.")
    wanted = _narrowed(select(RatingRow), **{name: getattr(row, name) for name in KEY})
    last = session.scalar(wanted.order_by(RatingRow.revision.desc()).limit(1))
    if last is not None and _says(last) == _says(row):
        return rating_of(last)
    revision = last.revision if last is not None else 0
    if revision != expected_revision:
        raise StaleRecord(STALE)
    row.revision, row.created = revision + 1, datetime.now(UTC)
    try:
        session.add(row)
        session.flush()
    except IntegrityError:
        raise StaleRecord(STALE) from None
    return rating_of(row)


def _says(row: RatingRow) -> tuple[str, int | None, str]:
    return row.status, row.value, row.comment


def _narrowed(wanted: Select[Any], **keys: str | None) -> Select[Any]:
    given = [getattr(RatingRow, name) == key for name, key in keys.items() if key is not None]
    return wanted.where(*given)
