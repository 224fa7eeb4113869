"""What a manifest can do wrong; a message names rows and columns, never a path or a patient."""

from __future__ import annotations

from collections.abc import Iterable

from engine.errors import EngineError

SHOWN = 5


class InvalidManifest(EngineError):
    """A manifest, or a split of it, cannot be used as it stands."""


def in_rows(numbers: Iterable[int]) -> str:
    """Row numbers for a sentence: "row 4", "rows 4 and 9", "rows 4, 9, 11, 12, 13 and 7 more"."""
    known = sorted(set(numbers))
    if len(known) == 1:
        return f"row {known[0]}"
    if len(known) <= SHOWN:
        return f"rows {', '.join(map(str, known[:-1]))} and {known[-1]}"
    return f"rows {', '.join(map(str, known[:SHOWN]))} and {len(known) - SHOWN} more"
