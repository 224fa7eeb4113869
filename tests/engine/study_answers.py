"""A small reader study with planted answers, shared by the tests of its analysis and export."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from engine.study.forms import FORMS
from engine.study.records import (
    Arm,
    ArmKind,
    Decoy,
    Design,
    Protocol,
    ReaderFacts,
    ReadStatus,
    StudyAnswer,
    StudyFacts,
    StudyQuestion,
    StudyState,
    Timing,
)

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
ARMS = (
    Arm("image", "Image alone", ArmKind.IMAGE),
    Arm("gradcam", "Grad-CAM", ArmKind.EXPLANATION, "gradcam"),
    Arm("noise", "Random map", ArmKind.DECOY, decoy=Decoy.RANDOM),
)
READERS = ("R01", "R02", "R03")
TRUST = StudyQuestion("trust", "How far do you trust it?", anchors=("a", "b", "c", "d", "e"))
DIAGNOSIS, CONFIDENCE = FORMS["assessment"].questions
SUS = FORMS["sus"].questions
# Points that each arm adds to the trust of a case.
EFFECT = {"image": 0, "gradcam": 1, "noise": -1}


def protocol(cases: int = 12) -> Protocol:
    """Trust, diagnosis and confidence for each reading; SUS at the end."""
    names = tuple(f"C{i + 1:03d}" for i in range(cases))
    return Protocol(
        "Trust in maps",
        cases=names,
        readers=READERS,
        arms=ARMS,
        questions=(TRUST, DIAGNOSIS, CONFIDENCE, *SUS),
        design=Design(repeats=2),
        groups={case: "large" if i < cases // 2 else "small" for i, case in enumerate(names)},
        seed=7,
    )


def trust_of(case: int, reader: int, arm: str) -> float:
    """The planted trust, 1 to 5."""
    level = 2 + case % 3 + EFFECT[arm] + (1 if (case + reader) % 5 == 0 else 0)
    return float(min(5, max(1, level)))


def facts(cases: int = 12, *, unblinded: bool = True) -> StudyFacts:
    """A finished study: every reader read every case in every arm, and two cases again."""
    design = protocol(cases)
    answers: list[StudyAnswer] = []
    for j, reader in enumerate(READERS):
        position = 0
        for i, case in enumerate(design.cases):
            for arm in design.arms:
                position += 1
                answers += _reading(design, i, j, case, arm, position, 1)
        for i in (0, 1):
            position += 1
            answers += _reading(design, i, j, design.cases[i], design.arms[1], position, 2)
        answers += [
            StudyAnswer(reader, "", "", q.id, ReadStatus.ANSWERED, float(3 + (j + k) % 2))
            for k, q in enumerate(SUS)
        ]
    done = len(design.cases) * len(design.arms) + 3
    return StudyFacts(
        "ST-0001",
        3,
        StudyState.LOCKED,
        design,
        tuple(ReaderFacts(reader, "Radiology", "5-10 years") for reader in READERS),
        tuple(answers),
        readings_planned=dict.fromkeys(READERS, done),
        readings_done=dict.fromkeys(READERS, done),
        digests={"model": "ab" * 32},
        map_scores={
            (case, "gradcam"): {"pointing_game": float(i % 3 == 2), "mass": (i % 3) / 2 + i / 100}
            for i, case in enumerate(design.cases)
        },
        unblinded=unblinded,
        created=START,
        opened=START,
        locked=START + timedelta(days=3),
    )


def _reading(
    design: Protocol, i: int, j: int, case: str, arm: Arm, position: int, replicate: int
) -> list[StudyAnswer]:
    """The three answers of one reading; every fourth prediction is wrong."""
    is_shown = arm.kind is not ArmKind.IMAGE
    truth = ("Benign", "Malignant")[i % 2]
    is_right = i % 4 != 3
    said = truth if is_right else ("Benign", "Malignant")[(i + 1) % 2]
    rng = np.random.default_rng([i, j, ord(arm.id[0])])
    call = float(i % 2 if rng.random() < (0.9 if is_shown else 0.7) else 1 - i % 2)
    shown = START + timedelta(hours=j, minutes=position)
    common = {
        "position": position,
        "replicate": replicate,
        "label": "ABC"[(design.arms.index(arm) + j) % 3],
        "timing": Timing(
            shown, shown + timedelta(seconds=50), 900, 20_000 + 1000 * position, 2, 1, 0, is_shown
        ),
        "group": design.groups[case],
        "modality": "MG",
        "view": "MLO",
        "laterality": "L",
        "ai_prediction": said if is_shown else None,
        "ai_confidence": 0.8 if is_shown else None,
        "ai_correct": is_right if is_shown else None,
        "truth": truth,
        "weights_digest": "ab" * 32,
    }
    rating = trust_of(i, j, arm.id)
    if replicate == 2 and i == 1:
        rating = max(1.0, rating - 1)
    values = ((TRUST, rating), (DIAGNOSIS, call), (CONFIDENCE, float(rng.integers(50, 100))))
    return [
        StudyAnswer(
            READERS[j], case, arm.id, question.id, ReadStatus.ANSWERED, value,
            comment="=1+1" if question is TRUST and i == 0 else "", **common,
        )  # type: ignore[arg-type]
        for question, value in values
    ]  # fmt: skip
