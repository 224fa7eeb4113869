"""Ratings from a CSV file in long form: one row a reader, case and question.

The columns reader_id, case_id, question_id and answer are read, all others are ignored. An empty
answer is a missing rating. Messages name rows, never what stands in them: the header is row 1.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError

COLUMNS = ("reader_id", "case_id", "question_id", "answer")
DELIMITERS = (",", ";", "\t")
LONGEST_CELL = 2**26


class BadTable(EngineError):
    """A CSV file of ratings cannot be read as such."""


@dataclass(frozen=True, eq=False)
class CsvTable:
    """The ratings of one question.

    Args:
        question: Its identifier.
        ratings: Scores, (N, m); NaN where missing.
        scale: Scores, ascending; 1 to q where the labels are text.
        readers: Identifiers of the columns, ascending.
        cases: Identifiers of the rows, ascending.
        labels: What stands for each score in the file.
        numeric: Whether the labels are the scores themselves.
        first: The score named first; of two scores, the one called positive.
    """

    question: str
    ratings: NDArray[np.float64]
    scale: tuple[float, ...]
    readers: tuple[str, ...]
    cases: tuple[str, ...]
    labels: tuple[str, ...]
    numeric: bool
    first: float


@dataclass(frozen=True)
class CsvScale:
    """A declared scale of a file.

    Args:
        scores: Ascending; 1 to q where the labels are text. labels: In the same order.
        numeric: Whether the labels are numbers. first: The score named first.
    """

    scores: tuple[float, ...]
    labels: tuple[str, ...]
    numeric: bool
    first: float

    def score(self, answer: str) -> float | None:
        """Score of an answer, whose decimal sign may be a comma; None where it is off the scale."""
        if not self.numeric:
            return self.scores[self.labels.index(answer)] if answer in self.labels else None
        number = _number(answer.replace(",", "."))
        return number if number in self.scores else None


def read_scale(labels: Sequence[str]) -> CsvScale:
    """The scale that labels declare: numbers if all are, else text in the order given.

    Raises:
        BadTable: fewer than two labels, an empty one, or one twice.
    """
    names = [label.strip() for label in labels]
    numbers = [_number(name) for name in names]
    numeric = None not in numbers
    scores = [number for number in numbers if number is not None]
    if len(names) < 2:
        raise BadTable("The scale needs at least two labels, separated by commas.")
    if "" in names:
        raise BadTable("A label of the scale is empty.")
    if len(set(names)) < len(names) or (numeric and len(set(scores)) < len(scores)):
        raise BadTable("The scale names a label twice.")
    if not numeric:
        return CsvScale(tuple(range(1, len(names) + 1)), tuple(names), False, 1)
    order = sorted(range(len(scores)), key=lambda place: scores[place])
    ascending = tuple(scores[place] for place in order)
    return CsvScale(ascending, tuple(names[place] for place in order), True, scores[0])


def read_csv(data: bytes, scale: Sequence[str]) -> dict[str, CsvTable]:
    """Tables of ratings by question, in the order in which the questions first occur.

    Args:
        data: The file: UTF-8, with commas, semicolons or tabs.
        scale: Labels of the scale. Numbers are scores; text stands for the scores 1 to q.

    Raises:
        BadTable: the scale or the file cannot be read, with the row.
    """
    declared = read_scale(scale)
    answers: dict[str, dict[tuple[str, str], float]] = {}
    seen: dict[tuple[str, str, str], int] = {}
    for number, (reader, case, question, answer) in _rows(_text(data)):
        if not (reader and case and question):
            raise BadTable(f"Row {number} lacks a reader, a case or a question.")
        before = seen.setdefault((reader, case, question), number)
        if before != number:
            raise BadTable(
                f"Row {number} repeats row {before}: the same reader, case and question."
            )
        score = declared.score(answer) if answer else math.nan
        if score is None:
            raise BadTable(f"The answer in row {number} is not on the scale.")
        answers.setdefault(question, {})[reader, case] = score
    if not answers:
        raise BadTable("The file has a header and no answers.")
    return {question: _table(question, given, declared) for question, given in answers.items()}


def _table(question: str, given: dict[tuple[str, str], float], scale: CsvScale) -> CsvTable:
    readers = sorted({reader for reader, _ in given})
    cases = sorted({case for _, case in given})
    columns = {reader: place for place, reader in enumerate(readers)}
    rows = {case: place for place, case in enumerate(cases)}
    ratings = np.full((len(cases), len(readers)), np.nan)
    for (reader, case), score in given.items():
        ratings[rows[case], columns[reader]] = score
    return CsvTable(
        question, ratings, scale.scores, tuple(readers), tuple(cases),
        scale.labels, scale.numeric, scale.first,
    )  # fmt: skip


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Number and the four cells of every row that is not blank."""
    places, delimiter = _header(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = 0
    while True:
        number += 1
        try:
            row = _next(reader)
        except csv.Error:
            raise BadTable(
                f"Row {number} could not be read; a quotation mark may be wrong, "
                "or a cell too long."
            ) from None
        if row is None:
            return
        if number == 1 or not any(cell.strip() for cell in row):
            continue
        if len(row) <= max(places):
            raise BadTable(f"Row {number} has fewer cells than the header.")
        yield number, [row[place].strip() for place in places]


def _next(reader: Iterator[list[str]]) -> list[str] | None:
    """The next row, with long cells; the limit is one of the whole process, so it is put back."""
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(before)


def _header(text: str) -> tuple[list[int], str]:
    """Where the four columns stand, and what separates cells."""
    first = next(io.StringIO(text, newline=""))
    best: list[str] = []
    for delimiter in DELIMITERS:
        names = [name.strip().strip('"').strip().lower() for name in first.split(delimiter)]
        if set(COLUMNS) <= set(names):
            twice = [name for name in COLUMNS if names.count(name) > 1]
            if twice:
                raise BadTable(f"The header names the column {twice[0]} twice.")
            return [names.index(name) for name in COLUMNS], delimiter
        best = max(best, names, key=lambda found: len(set(COLUMNS) & set(found)))
    lacking = [name for name in COLUMNS if name not in best]
    raise BadTable(f"The file lacks the column {lacking[0]}; it needs {', '.join(COLUMNS)}.")


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise BadTable(f"The file is not UTF-8 text; row {row} holds something else.") from None
    if "\0" in text:
        raise BadTable("The file is not UTF-8 text; it may be a spreadsheet saved in another form.")
    if not text.strip():
        raise BadTable("The file is empty.")
    return text.lstrip("\r\n")


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
