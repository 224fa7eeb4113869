"""What is believed of the times that a browser tells: never more than has passed on the server."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

SLACK_MS = 60_000
"""A browser may tell so much more than the server saw, since `shown` travels too."""

MOST_COUNT = 1_000_000


def believed(
    told: Mapping[str, Any], since: datetime | None, now: datetime, *, has_heat: bool
) -> tuple[dict[str, Any], bool]:
    """Times and counts as they are kept, and whether the browser's clock was not believed.

    Args:
        told: "first_ms", "active_ms", "opacity", "window", "method", "heat_seen"; all optional.
        since: When the reading was first shown or asked for, by the server's clock.
        now: When it was handed in. has_heat: Whether the arm has a heat map.

    Returns:
        Values as in `engine.study.records.Timing`; durations lie between 0 and the time that
        passed on the server plus `SLACK_MS`.
    """
    passed = 0 if since is None else max(0, round((now - since).total_seconds() * 1000))
    most = passed + SLACK_MS
    first, is_first_odd = _duration(told.get("first_ms"), most)
    active, is_active_odd = _duration(told.get("active_ms"), most)
    kept: dict[str, Any] = {"first_ms": first, "active_ms": active or 0}
    kept |= {name: _count(told.get(name)) for name in ("opacity", "window", "method")}
    kept["heat_seen"] = (told.get("heat_seen") is True) if has_heat else None
    is_odd = is_first_odd or is_active_odd or (since is not None and now < since)
    return kept | {"clock_doubted": is_odd}, is_odd


def _duration(value: Any, most: int) -> tuple[int | None, bool]:
    """Milliseconds within bounds, and whether they had to be brought there."""
    if value is None:
        return None, False
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None, True
    kept = min(max(0, round(value)), most)
    return kept, kept != round(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0
    return min(max(0, int(value)), MOST_COUNT)
