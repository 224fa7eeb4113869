"""What may still be changed in a study, and the rows of the plan that follow from a change."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import InvalidInput
from app.store import ReadingInfo, StudyInfo
from engine.study.plan import extended
from engine.study.records import Protocol, Reading, StudyState

LOCKED = "The study is locked, so its design stays as it is."
FROZEN = "The questions stay as they are, since the first answers were given."
APPENDED = "{} of an open study can be added; none can be taken away or moved."
FIXED = "The conditions, the design and the seed of an open study stay as they are."
MOST_CASES = 2000
MOST_READERS = 200
MOST_ARMS = 40
MOST_QUESTIONS = 200
MOST_TITLE = 200
MOST_TEXT = 100_000


def allowed(
    before: StudyInfo,
    after: Protocol,
    plan: Sequence[ReadingInfo],
    answered: bool,
    withdrawn: Sequence[str] = (),
) -> tuple[Reading, ...]:
    """The readings that a change adds.

    Args:
        before: The study as it is stored. after: The protocol as it is to be.
        plan: All readings so far. answered: Whether anything was handed in.
        withdrawn: Readers who left, and get no more readings.

    Raises:
        InvalidInput: The change is not allowed in this state.
    """
    bounded(after)
    if before.state is StudyState.DRAFT:
        return ()
    if before.state is not StudyState.OPEN:
        raise InvalidInput(LOCKED)
    old = before.protocol
    for name in ("cases", "readers", "training"):
        mine = getattr(old, name)
        if getattr(after, name)[: len(mine)] != mine:
            raise InvalidInput(APPENDED.format(name.capitalize()))
    if answered and after.questions != old.questions:
        raise InvalidInput(FROZEN)
    if (after.arms, after.design, after.seed) != (old.arms, old.design, old.seed):
        raise InvalidInput(FIXED)
    return extended(after, before.code, [row.planned for row in plan], withdrawn)


def bounded(protocol: Protocol) -> None:
    """Refuse a protocol beyond all measure.

    Raises:
        InvalidInput: It holds too much.
    """
    counts = (
        ("cases", len(protocol.cases), MOST_CASES),
        ("readers", len(protocol.readers), MOST_READERS),
        ("arms", len(protocol.arms), MOST_ARMS),
        ("questions", len(protocol.questions), MOST_QUESTIONS),
        ("training cases", len(protocol.training), MOST_CASES),
        ("characters in its title", len(protocol.title), MOST_TITLE),
        ("characters in its text", len(protocol.text), MOST_TEXT),
    )
    for what, count, most in counts:
        if count > most:
            raise InvalidInput(f"A study has at most {most} {what}.")
