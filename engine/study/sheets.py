"""Tables as files: CSV that a spreadsheet cannot take for formulas, Parquet, JSON; same bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULA_STARTS = frozenset("=+-@")
BLANKS = frozenset("\t\r\n")


def plain_cell(cell: Any) -> Any:
    """A cell of a CSV: text that looks like a formula gets an apostrophe first; None is empty."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if isinstance(cell, str) and looks_like_formula(cell):
        return f"'{cell}"
    return cell


def looks_like_formula(text: str) -> bool:
    """Whether a spreadsheet might run the text."""
    return text[:1] in FORMULA_STARTS | BLANKS or text.lstrip()[:1] in FORMULA_STARTS


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """UTF-8 with a byte order mark, comma, CRLF, one header row."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow([plain_cell(name) for name in header])
    writer.writerows([plain_cell(cell) for cell in row] for row in rows)
    return buffer.getvalue().encode("utf-8-sig")


def json_bytes(content: Any) -> bytes:
    """JSON with two spaces, keys as they come, a line feed at the end."""
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def parquet_bytes(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Parquet with one typed column per name.

    Args:
        columns: Name to "text", "integer", "number" or "boolean". rows: Name to value or None.
    """
    import pyarrow as pa
    from pyarrow import parquet

    types = {
        "text": pa.string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
    }
    arrays = [pa.array([row[name] for row in rows], types[kind]) for name, kind in columns.items()]
    buffer = io.BytesIO()
    parquet.write_table(pa.table(arrays, names=list(columns)), buffer, compression="snappy")
    return buffer.getvalue()
