"""A study whose arms have numbers in place of names, until it is unblinded."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from engine.study.records import Arm, ArmKind, StudyFacts

NUMBERED = re.compile(r"arm[ _-]?\d+", re.IGNORECASE)


def is_blind(facts: StudyFacts) -> bool:
    """Whether no arm tells its method."""
    return all(
        NUMBERED.fullmatch(arm.id) and not arm.method and arm.decoy is None
        for arm in facts.protocol.arms
    )


def blinded(facts: StudyFacts) -> StudyFacts:
    """The facts with arms named "arm_1", "arm_2", ... in an order that says nothing.

    A study that is unblinded, or whose arms are numbered already, stays as it is.
    """
    if facts.unblinded or is_blind(facts):
        return facts
    shuffled = sorted(facts.protocol.arms, key=lambda arm: _key(facts.code, arm.id))
    names = {arm.id: f"arm_{number}" for number, arm in enumerate(shuffled, start=1)}
    arms = tuple(_numbered(arm, names[arm.id]) for arm in shuffled)
    training = tuple(replace(case, arm=names.get(case.arm, "")) for case in facts.protocol.training)
    return replace(
        facts,
        protocol=replace(facts.protocol, arms=arms, training=training),
        answers=tuple(replace(a, arm=names.get(a.arm, "")) for a in facts.answers),
        map_scores={(c, names.get(arm, "")): s for (c, arm), s in facts.map_scores.items()},
    )


def _key(code: str, arm: str) -> str:
    return hashlib.sha256(f"{code}|{arm}".encode()).hexdigest()


def _numbered(arm: Arm, name: str) -> Arm:
    kind = ArmKind.EXPLANATION if arm.kind is ArmKind.DECOY else arm.kind
    return Arm(name, name.replace("arm_", "Condition "), kind)
