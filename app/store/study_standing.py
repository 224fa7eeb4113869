"""How the reading of one reader in one study stands, and what may come next; no database here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from engine.study.plan import order_key
from engine.study.records import Design, Order, Protocol, Reading, StudyState

RESTED = timedelta(minutes=30)
"""After so long without an answer a new sitting begins by itself."""

CLOSED = "This study is closed; thank you for reading in it."
WITHDRAWN = "You no longer read in this study; the answers you gave so far are kept."
FAILED = (
    "The training cases were not answered as expected often enough, so the reading does not go on; "
    "please ask the organiser of the study."
)
PREPARING = "The next images are still being prepared; please come back in a few minutes."
DONE = "You have read everything in this study; thank you."
PAUSED = "You are taking a break; go on whenever you like."
TIRED = "You have read for long enough now; please take a break before you go on."


@dataclass(frozen=True)
class StudyInfo:
    """A study without its readings.

    Args:
        id: Row number. code: Such as "ST-7F3A". title: Of the protocol. owner: Login name.
        state: How far it is. version: Raised with each change of the protocol.
        protocol: As it was designed. model: "name", "version", "weights_digest" of the model whose
            output is shown; empty before the preparation.
        observers: Login names of those who may look at the analysis.
        unblinded: Whether arms may be named. digests: Of what was frozen at the lock.
        created, opened, locked: Times, UTC.
    """

    id: int
    code: str
    title: str
    owner: str
    state: StudyState
    version: int
    protocol: Protocol
    model: Mapping[str, Any]
    observers: tuple[str, ...]
    unblinded: bool
    digests: Mapping[str, str]
    created: datetime
    opened: datetime | None
    locked: datetime | None

    @property
    def design(self) -> Design:
        """How readings are laid out."""
        return self.protocol.design


@dataclass(frozen=True)
class StudyReaderInfo:
    """A reader of a study that was opened.

    Args:
        reader: Login name. code: Such as "R01". specialty, experience: As the organiser entered.
        withdrawn: Since when the reader is out. overridden: Session that may begin in spite of
            the washout; 0 for none. excused: Whether the training criterion is waived.
        breaks: Breaks taken. paused: Since when there is one.
        sitting: When the present sitting began. sitting_done: Readings handed in during it.
        last: When the reader last handed something in.
    """

    reader: str
    code: str
    specialty: str = ""
    experience: str = ""
    withdrawn: datetime | None = None
    overridden: int = 0
    excused: bool = False
    breaks: int = 0
    paused: datetime | None = None
    sitting: datetime | None = None
    sitting_done: int = 0
    last: datetime | None = None


@dataclass(frozen=True)
class ReadingInfo:
    """One row of the plan as it stands; the fields of the plan as in `engine.study.Reading`.

    Args:
        id: Row number. token: What the browser calls it. study: Row number of the study.
        served: When its contents were first asked for. shown: When it was first on the screen.
        submitted: When it was first handed in. revision: Of what was handed in; 0 for nothing.
    """

    id: int
    token: str
    study: int
    reader: str
    session: int
    position: int
    case: str
    arm: str
    label: str
    replicate: int
    stage: int
    training: bool
    served: datetime | None = None
    shown: datetime | None = None
    submitted: datetime | None = None
    revision: int = 0

    @property
    def planned(self) -> Reading:
        """The row of the plan."""
        return Reading(
            self.reader,
            self.session,
            self.position,
            self.case,
            self.arm,
            self.label,
            self.replicate,
            self.stage,
            self.training,
        )

    @property
    def is_closing(self) -> bool:
        """Whether it is the questionnaire at the end."""
        return not self.case


@dataclass(frozen=True)
class Standing:
    """One reader in one study.

    Args:
        study: The study. reader: The reader.
        readings: All of the reader's, in their order.
        failed: Whether the training criterion was missed.
        ready: (case, arm) pairs that can be shown.
    """

    study: StudyInfo
    reader: StudyReaderInfo
    readings: tuple[ReadingInfo, ...]
    failed: bool = False
    ready: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    @property
    def following(self) -> ReadingInfo | None:
        """The first reading that was not handed in, whether or not it may be shown now."""
        return next((reading for reading in self.readings if not reading.revision), None)

    @property
    def done(self) -> int:
        """Readings handed in."""
        return sum(1 for reading in self.readings if reading.revision)

    def before(self, reading: ReadingInfo) -> ReadingInfo | None:
        """The reading before one."""
        place = self.readings.index(reading)
        return self.readings[place - 1] if place else None

    def after(self, reading: ReadingInfo) -> ReadingInfo | None:
        """The reading after one."""
        place = self.readings.index(reading) + 1
        return self.readings[place] if place < len(self.readings) else None


@dataclass(frozen=True)
class Situation:
    """What a reader may do now.

    Args:
        state: "ready", "washout", "break", "preparing", "done", "withdrawn", "closed" or
            "failed_training".
        message: For the reader, one sentence; empty where it is ready.
        since: Earliest time to go on, in a washout. next: Reading to go on with, where ready.
    """

    state: str
    message: str = ""
    since: datetime | None = None
    next: ReadingInfo | None = None


def in_order(readings: Iterable[ReadingInfo]) -> tuple[ReadingInfo, ...]:
    """Readings of one reader in the order in which they are read."""
    return tuple(sorted(readings, key=lambda reading: order_key(reading.planned)))


def situation(standing: Standing, now: datetime) -> Situation:
    """What a reader may do at a time."""
    if standing.study.state is not StudyState.OPEN:
        return Situation("closed", CLOSED)
    if standing.reader.withdrawn is not None:
        return Situation("withdrawn", WITHDRAWN)
    following = standing.following
    if following is None:
        return Situation("done", DONE)
    if standing.failed and not following.training:
        return Situation("failed_training", FAILED)
    begins = washed_out(standing, following)
    if begins is not None and now < begins:
        day = begins.date().isoformat()
        words = f"Session {following.session} may begin on {day} at {begins:%H:%M} UTC; this pause"
        return Situation("washout", f"{words} is part of the study.", begins)
    if standing.reader.paused is not None:
        return Situation("break", PAUSED)
    if is_tired(standing, following, now):
        return Situation("break", TIRED)
    if not is_ready(standing, following):
        return Situation("preparing", PREPARING)
    return Situation("ready", next=following)


def washed_out(standing: Standing, following: ReadingInfo) -> datetime | None:
    """Earliest time at which a session may begin; None where nothing stands against it."""
    session = following.session
    earlier = [r.submitted for r in standing.readings if r.session < session and r.submitted]
    has_begun = any(r.revision for r in standing.readings if r.session == session)
    waived = standing.reader.overridden >= session
    if not earlier or has_begun or waived or following.is_closing:
        return None
    return max(earlier) + timedelta(days=max(0.0, standing.study.design.washout_days))


def is_tired(standing: Standing, following: ReadingInfo, now: datetime) -> bool:
    """Whether the present sitting has reached its limit."""
    design, reader = standing.study.design, standing.reader
    if following.is_closing or not in_sitting(standing, following, now) or reader.sitting is None:
        return False
    too_many = 0 < design.session_readings <= reader.sitting_done
    return too_many or 0 < design.session_minutes * 60 <= (now - reader.sitting).total_seconds()


def in_sitting(standing: Standing, following: ReadingInfo, now: datetime) -> bool:
    """Whether a sitting goes on: not after a rest, and not into another session."""
    reader, before = standing.reader, standing.before(following)
    if reader.sitting is None or reader.last is None or not reader.sitting_done:
        return False
    return now - reader.last < RESTED and before is not None and before.session == following.session


def left_in_sitting(standing: Standing, now: datetime) -> int:
    """Readings until the next break or the end of the session."""
    following = standing.following
    if following is None:
        return 0
    left = sum(1 for r in standing.readings if r.session == following.session and not r.revision)
    most = standing.study.design.session_readings
    if most <= 0:
        return left
    done = standing.reader.sitting_done if in_sitting(standing, following, now) else 0
    return min(left, max(0, most - done))


def is_ready(standing: Standing, reading: ReadingInfo) -> bool:
    """Whether what a reading shows was prepared."""
    return reading.is_closing or (reading.case, reading.arm) in standing.ready


def may_look(standing: Standing, reading: ReadingInfo, now: datetime) -> bool:
    """Whether a reader may ask for the contents of a reading.

    What was handed in may be looked at again; the next one may be read; and the one after that
    may be fetched ahead where it gives nothing away of the next one: another case, same session.
    """
    if standing.study.state is not StudyState.OPEN or standing.reader.withdrawn is not None:
        return False
    if reading.revision:
        return True
    stands = situation(standing, now)
    if stands.state == "break" and reading == standing.following and reading.shown is not None:
        return True  # it was on the screen when the break was due
    now_next = stands.next
    if now_next is None:
        return False
    return reading == now_next or reading == ahead(standing, now_next)


def ahead(standing: Standing, reading: ReadingInfo) -> ReadingInfo | None:
    """The reading that may be fetched before one is handed in; None where that told too much."""
    after = standing.after(reading)
    if after is None or after.revision or after.is_closing or not is_ready(standing, after):
        return None
    same_kind = after.session == reading.session and after.training == reading.training
    return after if same_kind and after.case != reading.case and after.stage == 1 else None


def may_change(standing: Standing, reading: ReadingInfo) -> bool:
    """Whether a reading that was handed in may be changed; never in training or in stages."""
    design = standing.study.design
    is_open = standing.study.state is StudyState.OPEN and standing.reader.withdrawn is None
    in_stages = design.order is Order.SEQUENTIAL and not reading.is_closing
    return design.allow_changes and is_open and not reading.training and not in_stages
