"""The audit trail as a file: which rows are asked for, and how they are written."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.errors import InvalidInput
from app.services.layers import Layer, layer
from app.store import AuditEntry

COLUMNS = (
    "position", "time", "who", "role", "action", "object", "detail", "result", "client",
    "previous", "digest",
)  # fmt: skip
RUN = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet run a cell."""


@dataclass(frozen=True)
class AuditFilter:
    """Which rows are wanted; None takes any.

    Args:
        who: Account. action: What was done. object: Pseudonym.
        since: From this time on. until: Before this time.
    """

    who: str | None = None
    action: str | None = None
    object: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def named(self) -> dict[str, Any]:
        """The fields, as the store takes them."""
        return {
            "who": self.who,
            "action": self.action,
            "object": self.object,
            "since": self.since,
            "until": self.until,
        }


def filter_of(who: str, action: str, object: str, since: str, until: str) -> AuditFilter:
    """What a form or a command line asks for; empty texts take any.

    Args:
        who: Account. action: What was done. object: Pseudonym.
        since: First day, or time, ISO 8601; UTC where it names no other.
        until: Last day, which is included, or time before which.

    Raises:
        InvalidInput: A time is not understood.
    """
    return AuditFilter(
        who or None, action or None, object or None, _time(since, 0), _time(until, 1)
    )


def audit_csv(rows: Iterable[AuditEntry], broken_at: int | None) -> Layer:
    """One row each; cells that a spreadsheet would run are quoted.

    Args:
        rows: Oldest first. broken_at: First position that does not fit its chain.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_safe(value) for value in _plain(row).values()])
    return layer(("\ufeff" + buffer.getvalue()).encode(), "text/csv; charset=utf-8")


def audit_json(rows: Iterable[AuditEntry], broken_at: int | None) -> Layer:
    """The rows with their details as objects, and whether the whole trail was unbroken."""
    told = {
        "rows": [_plain(row) | {"detail": dict(row.detail)} for row in rows],
        "intact": broken_at is None,
        "broken_at": broken_at,
    }
    return layer(json.dumps(told, indent=1, ensure_ascii=False).encode(), "application/json")


def _plain(row: AuditEntry) -> dict[str, Any]:
    detail = json.dumps(dict(row.detail), sort_keys=True, ensure_ascii=False)
    values = (
        row.position, row.created.isoformat(timespec="microseconds"), row.who, row.role,
        row.action, row.object, detail, row.result, row.client, row.previous, row.digest,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def _safe(value: object) -> str:
    text = str(value)
    return f"'{text}" if text.startswith(RUN) else text


def _time(text: str, days: int) -> datetime | None:
    """A time; of a day alone its beginning, or, `days` being 1, that of the day after."""
    stated = text.strip()
    if not stated:
        return None
    try:
        found = datetime.fromisoformat(stated)
        if len(stated) <= 10:
            found += timedelta(days=days)
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidInput("A time is written like 2026-01-31 or 2026-01-31T14:30.") from None
