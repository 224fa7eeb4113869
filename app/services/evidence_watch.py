"""What each reader asked for last: settings of methods, and the jobs that a page follows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any

from app.errors import NotFound
from app.services.jobs import Job, Jobs

REMEMBERED = 4096

Spot = tuple[str, str, str, str]
"""Reader, case, target, and a method or a kind of evidence."""


class Watch:
    """Remembers, by reader, what was asked for; it is lost when the program ends.

    Args:
        jobs: Where long work runs.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._lock = Lock()
        self._followed: OrderedDict[Spot, str] = OrderedDict()
        self._wishes: OrderedDict[Spot, dict[str, Any]] = OrderedDict()

    def follow(self, spot: Spot, job: Job) -> None:
        """Show this job at its spot from now on."""
        with self._lock:
            _put(self._followed, spot, job.id)

    def job(self, spot: Spot) -> Job | None:
        """The job last followed at a spot; None when there is none, or it is forgotten."""
        with self._lock:
            number = self._followed.get(spot)
        if number is None:
            return None
        try:
            return self._jobs.status(number, owner=spot[0])
        except NotFound:
            with self._lock:
                if self._followed.get(spot) == number:
                    del self._followed[spot]
            return None

    def wish(self, spot: Spot, settings: Mapping[str, Any]) -> None:
        """Show a method with these settings from now on."""
        with self._lock:
            _put(self._wishes, spot, dict(settings))

    def wished(self, spot: Spot) -> dict[str, Any] | None:
        """The settings last asked for; None for none."""
        with self._lock:
            return self._wishes.get(spot)


def _put(kept: OrderedDict[Spot, Any], spot: Spot, value: Any) -> None:
    kept[spot] = value
    kept.move_to_end(spot)
    while len(kept) > REMEMBERED:
        kept.popitem(last=False)
