"""How long readings took, by arm and by position in a session."""

from __future__ import annotations

import numpy as np

from engine.study.records import StudyAnswer, StudyFacts
from engine.study.results import ArmTiming, LearningPoint, TimingResult

BLOCK = 5
NONE = "No reading has a measured time."


def timing(facts: StudyFacts) -> TimingResult:
    """Median active time of the readings, hidden repeats included; one value per reading."""
    readings: dict[tuple[str, str, str, int], StudyAnswer] = {}
    for answer in facts.answers:
        if answer.case and answer.timing.active_ms > 0:
            key = (answer.reader, answer.case, answer.arm, answer.replicate)
            readings.setdefault(key, answer)
    if not readings:
        return TimingResult(reason=NONE)
    return TimingResult(_arms(facts, list(readings.values())), _learning(list(readings.values())))


def _arms(facts: StudyFacts, readings: list[StudyAnswer]) -> tuple[ArmTiming, ...]:
    results = []
    for arm in facts.protocol.arms:
        seconds = [a.timing.active_ms / 1000 for a in readings if a.arm == arm.id]
        if seconds:
            q1, median, q3 = np.quantile(seconds, [0.25, 0.5, 0.75])
            results.append(ArmTiming(arm.id, len(seconds), float(median), float(q1), float(q3)))
    return tuple(results)


def _learning(readings: list[StudyAnswer]) -> tuple[LearningPoint, ...]:
    blocks: dict[int, list[float]] = {}
    for answer in readings:
        if answer.position > 0:
            block = (answer.position - 1) // BLOCK
            blocks.setdefault(block, []).append(answer.timing.active_ms / 1000)
    return tuple(
        LearningPoint(block * BLOCK + 1, (block + 1) * BLOCK, len(s), float(np.median(s)))
        for block, s in sorted(blocks.items())
    )
