"""A workspace with small cases, an organiser, readers and studies, for the tests of studies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from app.auth import Account, Role, User
from app.services import Services
from app.store import Store
from engine.metrics.protocol import QUESTIONS
from engine.phantoms import LABELS, phantom_case
from engine.study.records import (
    Arm,
    ArmKind,
    Decoy,
    Design,
    Protocol,
    StudyQuestion,
    TrainingCase,
)
from tests.app import small_model as kit

ORGANISER = User("olga", "Olga", Role.ORGANISER)
OTHER = User("otto", "Otto", Role.ORGANISER)
CHIEF = User("chief", "Chief", Role.ADMINISTRATOR)
OBSERVER = User("oona", "Oona", Role.OBSERVER)
READERS = tuple(User(name, name.capitalize(), Role.READER) for name in ("ann", "bob", "cleo"))
PEOPLE = (ORGANISER, OTHER, CHIEF, OBSERVER, *READERS)

IMAGE = Arm("image", "Image only", ArmKind.IMAGE)
PREDICTION = Arm("prediction", "Image and prediction", ArmKind.PREDICTION)
GRADCAM = Arm("map_gradcam", "Grad-CAM", ArmKind.EXPLANATION, "gradcam")
ROLLOUT = Arm("map_rollout", "Attention rollout", ArmKind.EXPLANATION, "rollout")
RANDOM = Arm("decoy_random", "Decoy: random", ArmKind.DECOY, decoy=Decoy.RANDOM)
CENTRE = Arm("decoy_centre", "Decoy: centre", ArmKind.DECOY, decoy=Decoy.CENTRE)
OTHER_CLASS = Arm("decoy_other", "Decoy: other class", ArmKind.DECOY, decoy=Decoy.OTHER_CLASS)

SCALES = tuple(
    StudyQuestion(q.id, q.text, anchors=tuple(q.anchors), group="protocol") for q in QUESTIONS
)
ANSWERED = {"status": "answered", "text": "", "marks": None, "reason": ""}


def small(seed: int) -> Any:
    """A phantom that is drawn and explained within a moment."""
    label = LABELS[seed % len(LABELS)]
    return phantom_case(seed, label, height=160, width=128, tile=128)


def add_people(store: Store) -> None:
    """Accounts of everybody; none can sign in with a password."""
    from datetime import UTC, datetime

    for who in PEOPLE:
        made = Account(who.name, who.display, who.role, "!", True, datetime.now(UTC), False)
        store.add_account(made)


def protocol(
    cases: Sequence[str],
    *,
    arms: Sequence[Arm] = (PREDICTION, GRADCAM, RANDOM),
    readers: Sequence[User] = READERS,
    questions: Sequence[StudyQuestion] = SCALES,
    training: Sequence[TrainingCase] = (),
    **design: Any,
) -> Protocol:
    """A design with everything given that the tests do not ask about."""
    return Protocol(
        title="Maps of small phantoms",
        text="Rate each map.",
        cases=tuple(cases),
        readers=tuple(reader.name for reader in readers),
        arms=tuple(arms),
        questions=tuple(questions),
        design=Design(**{"session_readings": 1000, "session_minutes": 600, **design}),
        training=tuple(training),
        seed=7,
    )


def scores(value: float, questions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The same score for each of some questions."""
    return {question: {**ANSWERED, "value": value} for question in questions}


@dataclass
class StudyWorld:
    """Services over a workspace, with people and cases.

    Args:
        services: Of the workspace. cases: Pseudonyms, in the order of their making.
    """

    services: Services
    cases: list[str] = field(default_factory=list)

    def add_cases(self, count: int) -> list[str]:
        """More cases that everybody sees."""
        first = len(self.cases)
        made = [
            self.services.store.keep_case(small(first + n), owner="chief", source="upload")
            for n in range(count)
        ]
        self.cases += made
        return made

    def prepared(self, study: int, seconds: float = 120.0) -> None:
        """Prepare a study, and wait for it."""
        self.services.studies.prepare(ORGANISER, study)
        self.await_prepared(study, seconds)

    def await_prepared(self, study: int, seconds: float = 120.0) -> None:
        """Wait until nothing is being prepared."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            state = self.services.studies.preparation(ORGANISER, study)
            if not state["running"]:
                assert state["done"] == state["total"], state
                return
            time.sleep(0.02)
        raise AssertionError("the preparation did not end")

    def opened(self, design: Protocol, *, confirm_lonely: bool = False) -> tuple[int, str]:
        """An open study; its number and code."""
        number = self.services.studies.create(ORGANISER, design)
        self.prepared(number)
        self.services.studies.open(ORGANISER, number, confirm_lonely=confirm_lonely)
        return number, self.services.store.study(number).code

    def next(self, reader: User, code: str) -> str | None:
        """Token of a reader's next reading."""
        token: str | None = self.services.reading.room(reader, code)["next"]
        return token

    def submit(self, reader: User, token: str, value: float = 3, **changes: Any) -> dict[str, Any]:
        """Hand in the same score for each question of a reading."""
        asked = self.services.reading.item(reader, token)["questions"]
        given = changes.pop("answers", None)
        sent = {
            "key": str(uuid4()),
            "answers": scores(value, asked) if given is None else given,
            "timing": {"active_ms": 10, "first_ms": 5},
            **changes,
        }
        made: dict[str, Any] = self.services.reading.submit(reader, token, **sent)
        return made

    def read_all(self, reader: User, code: str, values: Mapping[str, float] | float = 3) -> int:
        """Read everything that a reader may read now; the number of readings."""
        count, store = 0, self.services.store
        token = self.next(reader, code)
        while token is not None:
            case = store.reading(reader.name, token)[1].case
            value = values if isinstance(values, int | float) else values.get(case, 3)
            self.services.reading.event(reader, token, "shown")
            token = self.submit(reader, token, value)["next"]
            count += 1
        return count


@contextmanager
def study_world(folder: Path, cases: int = 3, **settings: Any) -> Iterator[StudyWorld]:
    """A workspace with people and cases, closed at the end."""
    services = kit.open_services(folder, **settings)
    try:
        add_people(services.store)
        world = StudyWorld(services)
        world.add_cases(cases)
        yield world
    finally:
        services.close()


def training(case: str, arm: str, right: float, feedback: str = "Look closer.") -> TrainingCase:
    """A training case whose first question has one right answer."""
    return TrainingCase(case, arm, {SCALES[0].id: (right,)}, feedback)


def with_design(design: Protocol, **changes: Any) -> Protocol:
    """A protocol with another design."""
    return replace(design, design=replace(design.design, **changes))
