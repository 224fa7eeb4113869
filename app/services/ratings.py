"""Ratings: the form of one reader, saving, and the agreement of all."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import InvalidInput, StaleRecord
from app.services.context import GUEST, Context
from app.services.layers import Layer, layer
from app.services.review import METHODS
from engine.errors import EngineError
from engine.metrics.protocol import QUESTIONS
from engine.records import AnswerStatus, Rating

if TYPE_CHECKING:
    from engine.metrics.agreement import Estimate

SCALE = (1, 2, 3, 4, 5)
COLUMNS = (
    "case_id", "reader_id", "question_id", "question_text", "method", "target", "answer_status",
    "answer", "comment", "revision", "submitted_at", "model_hash",
)  # fmt: skip
OTHER_MODEL = (
    "Another model is in use since this map was shown, so the answer was not saved; please open "
    "the case again."
)
FORMULA_STARTS = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")  # with their full-width forms


@dataclass(frozen=True)
class Agreement:
    """Agreement of the readers on one question.

    Args:
        question: Its text. estimates: Coefficients, or why they are undefined.
        counts: Answers 1 to 5, then "cannot judge".
        items: Case and map pairs that anybody rated. readers: Who rated.
    """

    question: str
    estimates: tuple[Estimate, ...]
    counts: tuple[int, ...]
    items: int
    readers: tuple[str, ...]


class Ratings:
    """Saves answers and compares readers."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @requires(Role.OBSERVER)
    def form(
        self,
        user: User | None,
        case_id: str,
        *,
        method: str,
        target: str,
        weights: str | None = None,
    ) -> dict[str, Any]:
        """Value of the rating form: questions, the reader's own answers, progress.

        Args:
            weights: Digest of the weights whose maps are on the screen, empty where there are no
                maps; the active ones when None.
        """
        who = check(user, Role.OBSERVER)
        self._context.require_sight(who, case_id)
        weights_digest, methods = self._made(case_id, target, method, weights)
        mine = [
            rating
            for rating in self._context.store.current_ratings(reader=who.name)
            if rating.weights_digest == weights_digest
        ]
        shown = [r for r in mine if (r.case, r.method, r.target) == (case_id, method, target)]
        cases = self._context.store.case_summaries(who.name)
        return {
            "version": 0,
            "case": case_id,
            "reader": who.display,
            "questions": [
                {"id": q.id, "text": q.text, "anchors": list(q.anchors)} for q in QUESTIONS
            ],
            "methods": [{"id": name, "title": title} for name, title in methods],
            "method": method,
            "target": target,
            "weights": weights_digest,
            "answers": {rating.question: _answer(rating) for rating in shown},
            "history": {rating.question: rating.revision for rating in shown},
            "progress": {"rated": len({rating.case for rating in mine}), "cases": len(cases)},
            "read_only": not who.role.covers(Role.READER),
            "error": "",
        }

    def _made(
        self, case_id: str, target: str, method: str, weights: str | None
    ) -> tuple[str, list[tuple[str, str]]]:
        """Digest of the weights, and the maps they made of a target, as (id, title).

        Beside the usual maps, the one that is asked for is listed.
        """
        try:
            digest = self._context.models.card().weights_digest if weights is None else weights
        except EngineError:
            return "", []
        found = {
            row.method
            for row in self._context.store.explanations(case_id, digest)
            if row.target == target
        }
        if not found:
            return digest, []
        from engine.explainers import EXPLAINERS

        listed = dict.fromkeys((*METHODS, method))
        return digest, [(name, EXPLAINERS[name].title) for name in listed if name in found]

    @requires(Role.READER)
    def rate(
        self,
        user: User | None,
        *,
        case: str,
        question: str,
        method: str,
        target: str,
        status: str,
        value: int | None,
        comment: str,
        revision: int,
        weights: str = "",
    ) -> Rating:
        """Save one answer on a map that was really made for this case; a change is a new row.

        Args:
            weights: Digest of the weights that made the map on the screen; those of the model in
                use when empty.

        Raises:
            InvalidInput: Unknown question or map, or a value that does not fit.
            NotFound: No such case, or not the user's.
            StaleRecord: The answer was changed in another window, or another model serves by now.
        """
        who, context = check(user, Role.READER), self._context
        context.require_sight(who, case)
        if question not in {known.id for known in QUESTIONS}:
            raise InvalidInput("There is no such question.")
        if status not in set(AnswerStatus):
            raise InvalidInput("The answer is neither a number nor 'cannot judge'.")
        digest = context.models.card().weights_digest
        if weights not in ("", digest):
            raise StaleRecord(OTHER_MODEL)
        made = context.store.explanations(case, digest)
        if not any((row.method, row.target) == (method, target) for row in made):
            raise InvalidInput("This map was not made for this case, so it cannot be rated.")
        rating = context.store.keep_rating(
            case=case,
            reader=who.name,
            question=question,
            method=method,
            target=target,
            status=AnswerStatus(status),
            value=value,
            comment=comment,
            weights_digest=digest,
            expected_revision=revision,
        )
        context.record(who, "rate", case, question=question, revision=rating.revision)
        return rating

    @requires(Role.OBSERVER)
    def agreement(
        self, user: User | None, method: str | None = None, *, only: str | None = None
    ) -> tuple[Agreement, ...]:
        """Agreement per question over all readers, on the cases that the user may see.

        Args:
            method: Keep ratings of one explanation method; all when None.
            only: Keep one question.
        """
        who = check(user, Role.OBSERVER)
        visible = {row.id for row in self._context.store.case_summaries(
            who.name, everything=who.role is Role.ADMINISTRATOR
        )}  # fmt: skip
        is_open = not self._context.accounts.has_accounts()
        ratings = [
            rating
            for rating in self._context.store.current_ratings()
            if rating.case in visible
            and (method is None or rating.method == method)
            and (is_open or rating.reader != GUEST.name)
        ]
        return tuple(
            _agreement(q.text, [r for r in ratings if r.question == q.id])
            for q in QUESTIONS
            if only is None or q.id == only
        )

    @requires(Role.ADMINISTRATOR)
    def export_csv(self, user: User | None) -> Layer:
        """All answers that count, one row each; cells that a spreadsheet would run are quoted."""
        who = check(user, Role.ADMINISTRATOR)
        texts = {question.id: question.text for question in QUESTIONS}
        ratings = self._context.store.current_ratings()
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer)
        writer.writerow(COLUMNS)
        writer.writerows([_plain(cell) for cell in _row(r, texts)] for r in ratings)
        self._context.record(who, "export", rows=len(ratings))
        return layer(buffer.getvalue().encode("utf-8-sig"), "text/csv; charset=utf-8")


def _answer(rating: Rating) -> dict[str, Any]:
    return {
        "status": str(rating.status),
        "value": rating.value,
        "comment": rating.comment,
        "revision": rating.revision,
        "saved_at": rating.created.isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


def _agreement(text: str, ratings: Sequence[Rating]) -> Agreement:
    from engine.metrics.agreement import summarise  # brings SciPy, which a start need not wait for

    items = sorted({(r.case, r.method, r.target, r.weights_digest) for r in ratings})
    readers = tuple(sorted({r.reader for r in ratings}))
    rows = {item: row for row, item in enumerate(items)}
    columns = {reader: column for column, reader in enumerate(readers)}
    table = np.full((len(items), len(readers)), np.nan)
    counts = [0] * (len(SCALE) + 1)
    for rating in ratings:
        key = (rating.case, rating.method, rating.target, rating.weights_digest)
        if rating.value is None:
            counts[-1] += 1
        else:
            counts[rating.value - 1] += 1
            table[rows[key], columns[rating.reader]] = rating.value
    return Agreement(text, summarise(table, SCALE), tuple(counts), len(items), readers)


def _row(rating: Rating, texts: Mapping[str, str]) -> tuple[Any, ...]:
    return (
        rating.case,
        rating.reader,
        rating.question,
        texts.get(rating.question, ""),
        rating.method,
        rating.target,
        str(rating.status),
        "" if rating.value is None else rating.value,
        rating.comment,
        rating.revision,
        rating.created.isoformat(timespec="seconds"),
        rating.weights_digest,
    )


def _plain(cell: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe in front."""
    starts = FORMULA_STARTS | {"\t", "\r", "\n"}
    if isinstance(cell, str) and (cell[:1] in starts or cell.lstrip()[:1] in FORMULA_STARTS):
        return f"'{cell}"
    return cell
