"""What a load came to: numbers for a table, and what the database holds against what was said."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import create_engine, select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from app.store import Store
from app.store.study_tables import StudyAnswerRow, StudyReadingRow, StudySubmissionRow
from tests.load.readers import Notes
from tests.load.world import World

SUBMITTED = "study_answer"


@dataclass(frozen=True)
class Outcome:
    """Numbers of one load.

    Args:
        title: What was done. readers: At work. seconds: It took. answers: Readings acknowledged.
        errors: What went wrong, each once with its number. lost: Requests that met no server.
        p50_ms, p95_ms, worst_ms: Duration of submissions. others_p95_ms: Of other requests.
        finished: Readers who had nothing left to read.
        later: Readings acknowledged in the second half, after a server was killed and restarted.
    """

    title: str
    readers: int
    seconds: float
    answers: int
    errors: dict[str, int]
    lost: int
    p50_ms: float
    p95_ms: float
    worst_ms: float
    others_p95_ms: float
    finished: int
    later: int

    HEAD = (
        "| load | readers | seconds | answers | per second | errors | p50 ms | p95 ms | worst ms | "
        "others p95 ms |\n|---|---|---|---|---|---|---|---|---|---|"
    )

    def markdown(self) -> str:
        """One row of a table."""
        cells = (
            self.title, self.readers, f"{self.seconds:.0f}", self.answers,
            f"{self.answers / self.seconds:.1f}", sum(self.errors.values()), f"{self.p50_ms:.0f}",
            f"{self.p95_ms:.0f}", f"{self.worst_ms:.0f}", f"{self.others_p95_ms:.0f}",
        )  # fmt: skip
        return f"| {' | '.join(str(cell) for cell in cells)} |"


def outcome(title: str, notes: Sequence[Notes], seconds: float, before: int) -> Outcome:
    """Numbers of the notes of all readers; `before` were acknowledged in the first half."""
    submits = [ms for one in notes for ms in one.submit_ms] or [0.0]
    others = [ms for one in notes for ms in one.other_ms] or [0.0]
    answers = sum(len(one.acknowledged) for one in notes)
    return Outcome(
        title,
        len(notes),
        seconds,
        answers,
        dict(Counter(error for one in notes for error in one.errors)),
        sum(one.lost for one in notes),
        float(np.percentile(submits, 50)),
        float(np.percentile(submits, 95)),
        max(submits),
        float(np.percentile(others, 95)),
        sum(one.finished for one in notes),
        answers - before,
    )


def faults(world: World, notes: Sequence[Notes]) -> list[str]:
    """What is lost, doubled, or not as it was sent; nothing where all is well."""
    held = _held(world)
    found = []
    said = [token for one in notes for token in one.acknowledged]
    sent = {token: given for one in notes for token, given in one.sent.items()}
    doubled = [token for token, times in Counter(said).items() if times > 1]
    found += [f"{len(doubled)} readings were acknowledged as new twice"] if doubled else []
    lost = [token for token in said if token not in held]
    found += [f"{len(lost)} acknowledged answers are lost"] if lost else []
    twice = [token for token, versions in held.items() if len(versions) != 1]
    found += [f"{len(twice)} answers are held more than once"] if twice else []
    strange = [token for token, versions in held.items() if sent.get(token) != versions[0]]
    found += [f"{len(strange)} answers are not as they were sent"] if strange else []
    return found + _whole(world, len(held))


def _held(world: World) -> dict[str, list[dict[str, float]]]:
    """Token of a reading to the scores of each submission of it."""
    database = create_engine(world.database)
    held: dict[str, dict[int, dict[str, float]]] = {}
    with Session(database) as session:
        rows = session.execute(
            select(
                StudyReadingRow.token,
                StudySubmissionRow.id,
                StudyAnswerRow.question,
                StudyAnswerRow.value,
            )
            .join(StudySubmissionRow, StudySubmissionRow.reading_id == StudyReadingRow.id)
            .join(
                StudyAnswerRow, StudyAnswerRow.submission_id == StudySubmissionRow.id, isouter=True
            )
        )
        for token, submission, question, value in rows:
            held.setdefault(token, {}).setdefault(submission, {})[question] = value
    database.dispose()
    return {token: list(versions.values()) for token, versions in held.items()}


def _whole(world: World, submissions: int) -> list[str]:
    """Faults of the file and of the audit chain."""
    found = []
    url = make_url(world.database)
    if url.get_backend_name() == "sqlite":
        with sqlite3.connect(url.database or "") as connection:
            (said,) = connection.execute("PRAGMA integrity_check").fetchone()
        connection.close()
        found += [] if said == "ok" else ["the file of the database is damaged"]
    with Store(world.folder, world.database) as store:
        broken = store.verify_audit()
        found += [] if broken is None else [f"the audit chain breaks at {broken}"]
        told = sum(1 for _ in store.audit_rows(action=SUBMITTED))
        if told != submissions:
            found.append(f"{submissions} answers, but {told} entries of the audit")
    return found
