"""How far the readers of a study are, for its organiser."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from app.services.context import Context
from app.store import Standing, StudyInfo, Submission
from app.store.study_standing import situation


def progress(
    context: Context, study: StudyInfo, display: Callable[[str], str], now: datetime
) -> dict[str, Any]:
    """Readers by code, answers per day (UTC), and what departed from the protocol."""
    store = context.store
    submissions = store.submissions(study.id)
    minutes = _minutes(submissions)
    standings = [store.standing(info.reader, study.code) for info in store.study_readers(study.id)]
    per_day = Counter(each.created.date().isoformat() for each in submissions)
    return {
        "readers": [_reader(each, display, minutes, now) for each in standings],
        "answers": sum(len(each.answers) for each in submissions),
        "per_day": [{"day": day, "answers": count} for day, count in sorted(per_day.items())],
        "deviations": [
            {
                "at": each.created.isoformat(timespec="seconds"),
                "kind": each.kind,
                "reader": each.reader,
                "text": each.text,
            }
            for each in store.study_deviations(study.id)
        ],
    }


def _minutes(submissions: list[Submission]) -> Mapping[int, float]:
    """Active minutes by reading, first versions only."""
    made: dict[int, float] = defaultdict(float)
    for each in submissions:
        if each.revision == 1:
            made[each.reading] += each.timing.get("active_ms", 0) / 60_000
    return made


def _reader(
    standing: Standing,
    display: Callable[[str], str],
    minutes: Mapping[int, float],
    now: datetime,
) -> dict[str, Any]:
    reader, following = standing.reader, standing.following
    stands = situation(standing, now)
    sessions = [reading.session for reading in standing.readings]
    return {
        "code": reader.code,
        "name": reader.reader,
        "display": display(reader.reader),
        "specialty": reader.specialty,
        "experience": reader.experience,
        "done": standing.done,
        "planned": len(standing.readings),
        "session": following.session if following is not None else max(sessions, default=1),
        "sessions": max(sessions, default=1),
        "last_at": None if reader.last is None else reader.last.isoformat(timespec="seconds"),
        "minutes": round(sum(minutes.get(reading.id, 0.0) for reading in standing.readings), 1),
        "state": stands.state,
        "from": None if stands.since is None else stands.since.isoformat(timespec="seconds"),
        "breaks": reader.breaks,
        "withdrawn": reader.withdrawn is not None,
    }
