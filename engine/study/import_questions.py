"""What kind of question a column of answers belongs to, as far as the answers tell."""

from __future__ import annotations

import math

from engine.errors import EngineError
from engine.study.forms import FORMS
from engine.study.records import QuestionKind, ReadStatus, StudyQuestion

FIVE = (1.0, 5.0)
MOST_POINTS = 21
MOST_LABELS = 50
# Items of the forms asked once per reader, which are scored also when they are imported.
CLOSING = {q.id: q.group for form in FORMS.values() for q in form.questions if not q.per_case}
Numbered = list[tuple[int, dict[str, str]]]


def question_of(
    name: str, rows: Numbered, refusal: type[EngineError]
) -> tuple[StudyQuestion, dict[int, float], tuple[str, ...]]:
    """The question behind some rows.

    Columns scale_min and scale_max declare a scale. Without them whole numbers from 1 to 5 are
    taken for a 1 to 5 scale, other whole numbers for a scale from the least to the greatest, and
    words for choices without an order.

    Args:
        name: Of the question. rows: Row number and row. refusal: Error to raise.

    Returns:
        The question; row number to value; what was assumed.
    """
    given = [(number, row) for number, row in rows if _has_answer(row)]
    with_case = {bool(row["case_id"]) for _, row in rows}
    if len(with_case) > 1:
        bare = next(number for number, row in rows if not row["case_id"])
        raise refusal(f"Row {bare} has no case_id.")
    text = next((row["question_text"] for _, row in rows if row.get("question_text")), name)
    values = {number: _value(row["answer"]) for number, row in given}
    is_per_case = with_case == {True}
    group = "" if is_per_case else CLOSING.get(name, "")
    common = {"id": name, "text": text, "per_case": is_per_case, "group": group}
    if any(value is None for value in values.values()):
        return _of_words(common, given)
    numbers = {number: value for number, value in values.items() if value is not None}
    ends = _declared(rows, refusal)
    if ends is not None:
        return _declared_question(common, numbers, ends, refusal)
    return _assumed(common, numbers)


def _has_answer(row: dict[str, str]) -> bool:
    return bool(row["answer"]) and row.get("answer_status", "") in ("", str(ReadStatus.ANSWERED))


def _value(written: str) -> float | None:
    """A finite number, a comma counting as a point; None for words."""
    try:
        value = float(written.replace(",", ".") if written.count(",") == 1 else written)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _of_words(
    common: dict[str, object], given: Numbered
) -> tuple[StudyQuestion, dict[int, float], tuple[str, ...]]:
    """Choices, or free text where nearly every answer differs."""
    labels = sorted({row["answer"] for _, row in given})
    if len(labels) > MOST_LABELS:
        return StudyQuestion(kind=QuestionKind.TEXT, **common), {}, ()  # type: ignore[arg-type]
    at = {label: float(i) for i, label in enumerate(labels)}
    question = StudyQuestion(
        kind=QuestionKind.CHOICE,
        choices=tuple(labels),
        ordered=False,
        **common,  # type: ignore[arg-type]
    )
    note = f"Question {question.id}: answers in words were taken for choices without an order."
    return question, {number: at[row["answer"]] for number, row in given}, (note,)


def _declared(rows: Numbered, refusal: type[EngineError]) -> tuple[float, float] | None:
    """Ends of the scale where the table names them."""
    for number, row in rows:
        low, high = row.get("scale_min", ""), row.get("scale_max", "")
        if low or high:
            ends = _value(low), _value(high)
            if ends[0] is None or ends[1] is None or not ends[0] < ends[1]:
                raise refusal(f"Row {number}: scale_min must be a number below scale_max.")
            return ends[0], ends[1]
    return None


def _declared_question(
    common: dict[str, object],
    numbers: dict[int, float],
    ends: tuple[float, float],
    refusal: type[EngineError],
) -> tuple[StudyQuestion, dict[int, float], tuple[str, ...]]:
    low, high = ends
    off = next((n for n, value in numbers.items() if not low <= value <= high), None)
    if off is not None:
        raise refusal(f"Row {off}: the answer is not on the scale from {low:g} to {high:g}.")
    are_whole = all(v == int(v) for v in (*ends, *numbers.values()))
    is_scale = are_whole and high - low < MOST_POINTS
    kind = QuestionKind.SCALE if is_scale else QuestionKind.NUMBER
    return StudyQuestion(kind=kind, low=low, high=high, **common), numbers, ()  # type: ignore[arg-type]


def _assumed(
    common: dict[str, object], numbers: dict[int, float]
) -> tuple[StudyQuestion, dict[int, float], tuple[str, ...]]:
    values = numbers.values()
    low, high = min(values, default=FIVE[0]), max(values, default=FIVE[1])
    name = common["id"]
    if FIVE[0] <= low and high <= FIVE[1] and all(v == int(v) for v in values):
        low, high = FIVE
    elif not all(v == int(v) for v in values) or high - low >= MOST_POINTS or low == high:
        note = f"Question {name}: answers were taken for numbers without a scale."
        question = StudyQuestion(kind=QuestionKind.NUMBER, low=low, high=high, **common)  # type: ignore[arg-type]
        return question, numbers, (note,)
    note = f"Question {name}: the scale was taken to be {low:g} to {high:g}."
    return StudyQuestion(low=low, high=high, **common), numbers, (note,)  # type: ignore[arg-type]
