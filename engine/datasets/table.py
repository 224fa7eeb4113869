"""Tables of text, CSV or Parquet, told apart by content."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.datasets.errors import InvalidManifest
from engine.errors import LimitExceeded, UnreadableFile
from engine.io.limits import Limits
from engine.io.source import load

_LIMITS = Limits(max_bytes=1 << 28)
_PARQUET = b"PAR1"

Cells = dict[str, str]


def read_table(path: Path, required: Sequence[str]) -> tuple[bytes, list[Cells]]:
    """The bytes of a table, and its rows with names of columns in lower case.

    A row has an empty cell for each column that the table lacks.

    Raises:
        InvalidManifest: Absent, too large, not a table, or without a required column.
    """
    try:
        data = load(path, _LIMITS).data
    except UnreadableFile:
        raise InvalidManifest("The manifest cannot be opened.") from None
    except LimitExceeded:
        raise InvalidManifest("The manifest is larger than 256 MiB.") from None
    header, rows = _parquet(data) if data.startswith(_PARQUET) else _csv(data)
    names = [name.strip().casefold() for name in header]
    if len(set(names)) < len(names):
        raise InvalidManifest("The manifest has two columns of the same name.")
    missing = [name for name in required if name not in names]
    if missing:
        words = "column" if len(missing) == 1 else "columns"
        raise InvalidManifest(f"The manifest lacks the {words} {', '.join(missing)}.")
    for number, row in enumerate(rows, 2):
        if any("\0" in cell for cell in row):
            raise InvalidManifest(f"Row {number} of the manifest holds a character of no text.")
    return data, [
        defaultdict(str, zip(names, (cell.strip() for cell in row), strict=True)) for row in rows
    ]


def _csv(data: bytes) -> tuple[list[str], list[list[str]]]:
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except UnicodeDecodeError:
        raise InvalidManifest("The manifest is neither Parquet nor CSV in UTF-8.") from None
    except csv.Error:
        raise InvalidManifest("The manifest is not a sound CSV table.") from None
    while lines and _is_blank(lines[-1]):
        lines.pop()
    if not lines:
        raise InvalidManifest("The manifest is empty.")
    for number, line in enumerate(lines, 1):
        if _is_blank(line):
            raise InvalidManifest(f"Row {number} of the manifest is empty.")
        if len(line) != len(lines[0]):
            raise InvalidManifest(
                f"Row {number} of the manifest has {len(line)} cells; "
                f"its header has {len(lines[0])}."
            )
    return lines[0], lines[1:]


def _is_blank(line: list[str]) -> bool:
    return not any(cell.strip() for cell in line)


def _parquet(data: bytes) -> tuple[list[str], list[list[str]]]:
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    try:
        table = parquet.read_table(arrow.BufferReader(data))
        columns = [[_text(value) for value in column.to_pylist()] for column in table.columns]
    except (arrow.ArrowException, OSError, ValueError):
        raise InvalidManifest("The manifest is a damaged Parquet file.") from None
    return list(table.column_names), [list(row) for row in zip(*columns, strict=True)]


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, list | tuple):
        return ";".join(str(part) for part in value)
    return str(value)
