"""What a check of a manifest found: problems by kind, with the rows they concern."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a manifest.

    Args:
        kind: Short name, such as "class", "box" or "leak".
        severity: With an error, training cannot start.
        rows: Numbers of the rows concerned; empty for the table as a whole.
        message: One sentence; names neither files nor patients.
    """

    kind: str
    severity: Severity
    rows: tuple[int, ...]
    message: str


@dataclass(frozen=True)
class Check:
    """Everything a check found.

    Args:
        problems: Errors first.
        classes, sites, splits, modalities: Images by name; classes also where there is none.
        patients: Number of patients.
        rows: Number of images.
    """

    problems: tuple[Problem, ...]
    classes: Mapping[str, int] = field(default_factory=dict)
    sites: Mapping[str, int] = field(default_factory=dict)
    splits: Mapping[str, int] = field(default_factory=dict)
    modalities: Mapping[str, int] = field(default_factory=dict)
    patients: int = 0
    rows: int = 0

    @property
    def is_usable(self) -> bool:
        """Whether training may start."""
        return not any(problem.severity == "error" for problem in self.problems)


def error(kind: str, rows: Iterable[int], message: str) -> Problem:
    """A problem that keeps training from starting."""
    return Problem(kind, "error", tuple(sorted(set(rows))), message)


def warning(kind: str, rows: Iterable[int], message: str) -> Problem:
    """A problem to know about."""
    return Problem(kind, "warning", tuple(sorted(set(rows))), message)
