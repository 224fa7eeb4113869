"""Ratings collected elsewhere: one row per answer, read into a study of its own."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from datetime import datetime

from engine.errors import EngineError, LimitExceeded
from engine.study.import_questions import question_of
from engine.study.records import (
    Arm,
    ArmKind,
    Protocol,
    ReaderFacts,
    ReadStatus,
    StudyAnswer,
    StudyFacts,
    StudyQuestion,
    StudyState,
    Timing,
)
from engine.study.sheets import looks_like_formula

NEEDED = ("reader_id", "case_id", "question_id", "answer")
UNNAMED_ARM = "all"
MOST_BYTES = 256 * 2**20
LONGEST = 10_000

Row = dict[str, str]


class UnreadableTable(EngineError):
    """A table of ratings cannot be understood; the message names the row."""


def import_csv(data: bytes) -> StudyFacts:
    """Read ratings in long format.

    Args:
        data: UTF-8 text, separated by commas, semicolons or tabs, with a header row. Columns
            reader_id, case_id, question_id and answer are needed; condition, replicate and the
            other columns of the export are used where they are present, and others are ignored.
            An empty answer is missing; answers may be scores or words.

    Returns:
        A locked, unblinded study. What was assumed (such as a scale) is told in `deviations`.

    Raises:
        UnreadableTable: the text, a column, or a row cannot be used.
        LimitExceeded: the file is too large.
    """
    if len(data) > MOST_BYTES:
        raise LimitExceeded("The table is larger than 256 MB, which is more than can be read here.")
    rows = list(_rows(data))
    if not rows:
        raise UnreadableTable("The table has a header, but no row with an answer.")
    _no_duplicates(rows)
    by_question: dict[str, list[tuple[int, Row]]] = {}
    for number, row in rows:
        by_question.setdefault(row["question_id"], []).append((number, row))
    questions: list[StudyQuestion] = []
    notes: list[str] = []
    scores: dict[int, float] = {}
    for name, mine in by_question.items():
        question, values, assumed = question_of(name, mine, UnreadableTable)
        questions.append(question)
        notes += assumed
        scores.update(values)
    arms = dict.fromkeys(_arm(row) for _, row in rows if row["case_id"])
    protocol = Protocol(
        "Imported ratings",
        cases=tuple(dict.fromkeys(row["case_id"] for _, row in rows if row["case_id"])),
        readers=tuple(dict.fromkeys(row["reader_id"] for _, row in rows)),
        arms=tuple(Arm(arm, arm, ArmKind.EXPLANATION) for arm in arms),
        questions=tuple(questions),
    )
    answers = tuple(_answer(number, row, scores.get(number)) for number, row in rows)
    return StudyFacts(
        "IMPORT",
        1,
        StudyState.LOCKED,
        protocol,
        _readers(rows),
        answers,
        deviations=("The ratings were collected outside Lightbox.", *notes),
        unblinded=True,
    )


def _rows(data: bytes) -> Iterator[tuple[int, Row]]:
    """Rows with their numbers, the header being row 1; empty rows left out."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableTable("The table is not UTF-8 text; save it as CSV UTF-8.") from None
    if not text.strip():
        raise UnreadableTable("The table is empty.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    number = 0
    try:
        header = [name.strip().lower() for name in next(reader)]
        _check_header(header)
        for number, cells in enumerate(reader, start=2):
            if any(cell.strip() for cell in cells):
                yield number, _row(number, header, cells)
    except csv.Error:
        raise UnreadableTable(f"The table cannot be read after row {max(number, 1)}.") from None


def _delimiter(text: str) -> str:
    first = text.split("\n", 1)[0]
    return max(",;\t", key=first.count)


def _check_header(header: list[str]) -> None:
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise UnreadableTable(
            f"The table has no column {', '.join(missing)}; it needs {', '.join(NEEDED)}."
        )
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise UnreadableTable(f"The table has the column {twice[0][:40]} twice.")


def _row(number: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) > len(header):
        raise UnreadableTable(f"Row {number} has more cells than the header has columns.")
    row = {name: _unguarded(cell.strip()) for name, cell in zip(header, cells, strict=False)}
    row = {name: row.get(name, "") for name in header}
    for name in ("reader_id", "question_id"):
        if not row[name]:
            raise UnreadableTable(f"Row {number} has no {name}.")
    if max(map(len, row.values())) > LONGEST:
        raise UnreadableTable(f"Row {number} has a cell of more than {LONGEST} characters.")
    return row


def _unguarded(cell: str) -> str:
    """A cell without the apostrophe that our own export puts before a formula."""
    return cell[1:] if cell[:1] == "'" and looks_like_formula(cell[1:]) else cell


def _no_duplicates(rows: list[tuple[int, Row]]) -> None:
    seen: dict[tuple[str, ...], int] = {}
    for number, row in rows:
        key = (
            row["reader_id"], row["case_id"], _arm(row), row["question_id"],
            str(_whole(number, row, "replicate", 1)),
        )  # fmt: skip
        if key in seen:
            raise UnreadableTable(
                f"Rows {seen[key]} and {number} answer the same question for the same reader and "
                "case."
            )
        seen[key] = number


def _arm(row: Row) -> str:
    if not row["case_id"]:
        return ""
    return row.get("condition", "") or UNNAMED_ARM


def _answer(number: int, row: Row, value: float | None) -> StudyAnswer:
    status = _status(number, row)
    if not row["answer"] and status is ReadStatus.ANSWERED:
        status = ReadStatus.SKIPPED
    text = row["answer"] if value is None and status is ReadStatus.ANSWERED else ""
    correct = {"true": True, "1": True, "false": False, "0": False}
    return StudyAnswer(
        row["reader_id"],
        row["case_id"],
        _arm(row),
        row["question_id"],
        status,
        value if status is ReadStatus.ANSWERED else None,
        text=text,
        session=_whole(number, row, "session", 1),
        position=_whole(number, row, "position", 0),
        replicate=_whole(number, row, "replicate", 1),
        label=row.get("method_code", ""),
        revision=_whole(number, row, "revision", 1),
        revisions=_whole(number, row, "n_revisions", 1),
        reason=row.get("reason", ""),
        comment=row.get("comment", ""),
        timing=Timing(
            _time(number, row, "shown_at"),
            _time(number, row, "submitted_at"),
            active_ms=_whole(number, row, "active_ms", 0),
        ),
        modality=row.get("modality", ""),
        view=row.get("view", ""),
        laterality=row.get("laterality", ""),
        ai_prediction=row.get("ai_prediction") or None,
        ai_confidence=_number(number, row, "ai_confidence"),
        ai_correct=correct.get(row.get("ai_correct", "").lower()),
        truth=row.get("ground_truth") or None,
        weights_digest=row.get("model_hash", ""),
    )


def _status(number: int, row: Row) -> ReadStatus:
    written = row.get("answer_status", "").lower() or str(ReadStatus.ANSWERED)
    try:
        return ReadStatus(written)
    except ValueError:
        known = ", ".join(str(status) for status in ReadStatus)
        raise UnreadableTable(f"Row {number}: answer_status must be one of {known}.") from None


def _number(number: int, row: Row, name: str) -> float | None:
    written = row.get(name, "")
    if not written:
        return None
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UnreadableTable(f"Row {number}: {name} must be a number.")
    return value


def _whole(number: int, row: Row, name: str, default: int) -> int:
    value = _number(number, row, name)
    if value is None:
        return default
    if value < 0 or value != int(value):
        raise UnreadableTable(f"Row {number}: {name} must be a whole number, not negative.")
    return int(value)


def _time(number: int, row: Row, name: str) -> datetime | None:
    written = row.get(name, "")
    if not written:
        return None
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        raise UnreadableTable(f"Row {number}: {name} must be a time in ISO 8601.") from None


def _readers(rows: list[tuple[int, Row]]) -> tuple[ReaderFacts, ...]:
    first: dict[str, Row] = {}
    for _, row in rows:
        first.setdefault(row["reader_id"], row)
    return tuple(
        ReaderFacts(code, row.get("reader_role", ""), row.get("years_experience_band", ""))
        for code, row in first.items()
    )
