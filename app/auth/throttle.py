"""Slows down guessing: failed logins per address and name, with a growing pause."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from app.errors import NotAllowed

FAILURES = 5
WINDOW_SECONDS = 300.0
FIRST_PAUSE_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 3600.0
MOST_KEYS = 10_000


@dataclass
class _Record:
    """Failures of one address and name: their times, the lock's end, and how often it locked."""

    failures: list[float] = field(default_factory=list)
    locked_until: float = 0.0
    locks: int = 0
    seen: float = 0.0


class Throttle:
    """Five failures within five minutes lock an (address, name) pair; each lock doubles the next.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[tuple[str, str], _Record] = {}
        self._lock = Lock()

    def attempt(self, address: str, name: str) -> None:
        """Count an attempt as failed before it is judged, so that parallel guesses count too.

        Raises:
            NotAllowed: The pair is locked; the message says for how long.
        """
        now = self._clock()
        with self._lock:
            record = self._record((address, name), now)
            if now < record.locked_until:
                raise NotAllowed(_sentence(record.locked_until - now))
            record.failures = [at for at in record.failures if now - at < WINDOW_SECONDS]
            record.failures.append(now)
            if len(record.failures) >= FAILURES:
                pause = min(FIRST_PAUSE_SECONDS * 2.0**record.locks, LONGEST_PAUSE_SECONDS)
                record.locked_until = now + pause
                record.locks = min(record.locks + 1, 16)
                record.failures = []

    def succeeded(self, address: str, name: str) -> None:
        """Forget the failures of a pair that signed in."""
        with self._lock:
            self._records.pop((address, name), None)

    def _record(self, key: tuple[str, str], now: float) -> _Record:
        if key not in self._records and len(self._records) >= MOST_KEYS:
            self._forget(now)
        record = self._records.setdefault(key, _Record())
        if now - record.seen > LONGEST_PAUSE_SECONDS + WINDOW_SECONDS:
            record.locks = 0
        record.seen = now
        return record

    def _forget(self, now: float) -> None:
        """Drop the oldest half of the pairs, those still locked last."""
        order = sorted(
            self._records,
            key=lambda key: (self._records[key].locked_until > now, self._records[key].seen),
        )
        for key in order[: MOST_KEYS // 2]:
            del self._records[key]


def _sentence(seconds: float) -> str:
    minutes = max(1, math.ceil(seconds / 60))
    unit = "minute" if minutes == 1 else "minutes"
    return f"Too many failed attempts to sign in; please try again in {minutes} {unit}."
