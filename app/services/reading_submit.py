"""What a reader sends, checked against the questions: one clear sentence for what does not fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import InvalidInput
from app.store.study_rows import Given
from engine.study.records import QuestionKind, ReadStatus, StudyQuestion

MOST_TEXT = 10_000
MOST_POINTS = 4000
MOST_KEY = 64
MARKS = (QuestionKind.POINT, QuestionKind.BOX, QuestionKind.OUTLINE)
FEWEST = {QuestionKind.POINT: 1, QuestionKind.BOX: 2, QuestionKind.OUTLINE: 3}
MOST = {QuestionKind.POINT: 100, QuestionKind.BOX: 2, QuestionKind.OUTLINE: MOST_POINTS}
FIELDS = frozenset({"status", "value", "text", "marks", "reason"})

Size = tuple[int, int, int]
"""Width and height of an image in pixels, and its number of frames."""

UNREADABLE = "The answers did not arrive whole; please send them again."
TOO_LONG = f"A text has at most {MOST_TEXT} characters."


def given(asked: Sequence[StudyQuestion], answers: Any, sizes: Sequence[Size]) -> tuple[Given, ...]:
    """The answers to all questions asked, in their order; a question left out was skipped.

    Args:
        asked: Questions of this reading. answers: Question id to "status", "value", "text",
            "marks" and "reason", as the page sent it. sizes: Of the images on the screen.

    Raises:
        InvalidInput: Something does not fit.
    """
    sent = _mapping(answers)
    if set(sent) - {question.id for question in asked}:
        raise InvalidInput("An answer belongs to no question of this reading.")
    return tuple(_given(question, sent.get(question.id), sizes) for question in asked)


def draft(asked: Sequence[StudyQuestion], answers: Any) -> dict[str, Any]:
    """Answers that are not finished, as far as they can be kept; unknown ones are left out.

    Raises:
        InvalidInput: They are too long, or no answers at all.
    """
    sent, kept = _mapping(answers), dict[str, Any]()
    for question in asked:
        entry = sent.get(question.id)
        if isinstance(entry, Mapping):
            status = str(entry.get("status"))
            kept[question.id] = {
                "status": status if status in set(ReadStatus) else ReadStatus.SKIPPED.value,
                "value": _number(entry.get("value")),
                "text": text(entry.get("text")),
                "marks": _draft_marks(entry.get("marks")),
                "reason": text(entry.get("reason")),
            }
    return kept


def text(value: Any) -> str:
    """A text of a reader, of bounded length.

    Raises:
        InvalidInput: It is too long, or no text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(UNREADABLE)
    if len(value) > MOST_TEXT:
        raise InvalidInput(TOO_LONG)
    return value


def mark(value: Any) -> str:
    """The mark under which something is sent.

    Raises:
        InvalidInput: It is none.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MOST_KEY or not value.isascii():
        raise InvalidInput(UNREADABLE)
    return value


def whole(value: Any) -> int:
    """A whole number of the page, such as a revision.

    Raises:
        InvalidInput: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise InvalidInput(UNREADABLE)
    return value


def _mapping(answers: Any) -> Mapping[str, Any]:
    if not isinstance(answers, Mapping):
        raise InvalidInput(UNREADABLE)
    return answers


def _given(question: StudyQuestion, entry: Any, sizes: Sequence[Size]) -> Given:
    if entry is None:
        entry = {"status": ReadStatus.SKIPPED.value}
    if not isinstance(entry, Mapping) or set(entry) - FIELDS:
        raise InvalidInput(UNREADABLE)
    status, reason = _status(question, entry.get("status")), text(entry.get("reason"))
    if status is not ReadStatus.ANSWERED:
        return Given(question.id, status, reason=reason)
    if question.kind in MARKS:
        marks = _marks(question, entry.get("marks"), sizes)
        return Given(question.id, status, marks=marks, reason=reason)
    if question.kind is QuestionKind.TEXT:
        said = text(entry.get("text"))
        if not said.strip():
            return Given(question.id, _status(question, ReadStatus.SKIPPED.value), reason=reason)
        return Given(question.id, status, text=said, reason=reason)
    return Given(question.id, status, value=_value(question, entry.get("value")), reason=reason)


def _status(question: StudyQuestion, stated: Any) -> ReadStatus:
    if not isinstance(stated, str) or stated not in set(ReadStatus):
        raise InvalidInput(UNREADABLE)
    status = ReadStatus(stated)
    if status is ReadStatus.SKIPPED and question.required:
        raise InvalidInput(f"Please answer the question “{question.text}”.")
    evades = status in (ReadStatus.CANNOT_JUDGE, ReadStatus.NOT_APPLICABLE)
    if evades and not question.cannot_judge:
        raise InvalidInput(f"The question “{question.text}” needs an answer.")
    return status


def _value(question: StudyQuestion, value: Any) -> float:
    number = _number(value)
    if number is None:
        raise InvalidInput(f"Please answer the question “{question.text}”.")
    if question.kind is QuestionKind.NUMBER:
        if not question.low <= number <= question.high:
            bounds = f"{question.low:g} to {question.high:g}"
            raise InvalidInput(f"The answer to “{question.text}” lies between {bounds}.")
    elif number not in question.scale:
        raise InvalidInput(f"The answer to “{question.text}” is not one of those offered.")
    return number


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or abs(value) > 1e15 or not math.isfinite(value):
        return None
    return float(value)


def _marks(question: StudyQuestion, marks: Any, sizes: Sequence[Size]) -> dict[str, Any]:
    if not isinstance(marks, Mapping) or set(marks) - {"image", "frame", "points"}:
        raise InvalidInput(f"Please mark the image for the question “{question.text}”.")
    image, frame = whole(marks.get("image", 0)), whole(marks.get("frame", 0))
    if image >= len(sizes) or frame >= sizes[image][2]:
        raise InvalidInput("A mark lies on an image that is not shown.")
    width, height, _ = sizes[image]
    points = _points(marks.get("points"))
    if not FEWEST[question.kind] <= len(points) <= MOST[question.kind]:
        raise InvalidInput(f"The mark for “{question.text}” is not complete.")
    if any(not (0 <= x <= width and 0 <= y <= height) for x, y in points):
        raise InvalidInput("A mark lies outside the image.")
    return {"image": image, "frame": frame, "points": [[x, y] for x, y in points]}


def _points(value: Any) -> list[tuple[float, float]]:
    if not isinstance(value, list) or len(value) > MOST_POINTS:
        raise InvalidInput(UNREADABLE)
    points = []
    for each in value:
        pair = [_number(part) for part in each] if isinstance(each, list) else []
        if len(pair) != 2 or pair[0] is None or pair[1] is None:
            raise InvalidInput(UNREADABLE)
        points.append((round(pair[0], 2), round(pair[1], 2)))
    return points


def _draft_marks(marks: Any) -> dict[str, Any] | None:
    if not isinstance(marks, Mapping):
        return None
    image, frame = whole(marks.get("image", 0)), whole(marks.get("frame", 0))
    points = [list(point) for point in _points(marks.get("points", []))]
    return {"image": image, "frame": frame, "points": points}
