"""What the probe found lately, in memory only: a few answers of each user, never stored."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any

from app.services.layers import Layer

ANSWERS = 6
"""Answers kept for each user."""

USERS = 32
"""Users whose answers are kept; whoever asked longest ago is forgotten first."""


@dataclass(frozen=True)
class Answer:
    """One removal and what came of it.

    Args:
        id: Handle, drawn at random. case: Pseudonym.
        value: What the page shows, with addresses of the pictures.
        pictures: The pictures, by their number in the addresses.
    """

    id: str
    case: str
    value: dict[str, Any]
    pictures: tuple[Layer, ...]


class Results:
    """The latest answers of each user; safe for several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._users: OrderedDict[str, OrderedDict[str, Answer]] = OrderedDict()
        self._jobs: dict[tuple[str, str], str] = {}

    def keep(self, user: str, answer: Answer) -> None:
        """Remember an answer, forgetting the oldest where there are too many."""
        with self._lock:
            mine = self._users.setdefault(user, OrderedDict())
            self._users.move_to_end(user)
            mine[answer.id] = answer
            while len(mine) > ANSWERS:
                mine.popitem(last=False)
            while len(self._users) > USERS:
                self._users.popitem(last=False)

    def of(self, user: str, case: str) -> list[Answer]:
        """The answers of a user about a case, newest first."""
        with self._lock:
            mine = list(self._users.get(user, {}).values())
        return [answer for answer in reversed(mine) if answer.case == case]

    def find(self, user: str, answer_id: str) -> Answer | None:
        """One answer of this user; None where there is none, or it is forgotten."""
        with self._lock:
            return self._users.get(user, OrderedDict()).get(answer_id)

    def await_job(self, user: str, case: str, job: str | None) -> None:
        """Remember, or with None forget, the computation a user waits for."""
        with self._lock:
            self._jobs.pop((user, case), None)
            if job is not None:
                self._jobs[(user, case)] = job

    def job(self, user: str, case: str) -> str | None:
        """The computation that a user waits for."""
        with self._lock:
            return self._jobs.get((user, case))
