"""A small study with planted ratings, for tests of its report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np

from engine.study.analysis import Analysis, analyse
from engine.study.records import (
    Arm,
    ArmKind,
    Decoy,
    Design,
    Protocol,
    QuestionKind,
    ReaderFacts,
    ReadStatus,
    StudyAnswer,
    StudyFacts,
    StudyQuestion,
    StudyState,
    Timing,
)

OPENED = datetime(2026, 10, 1, 8, 0, tzinfo=UTC)
ANCHORS = ("outside", "mostly outside", "partly", "mostly inside", "only inside")
ARMS = (
    Arm("image", "Image alone", ArmKind.IMAGE),
    Arm("gradcam", "Grad-CAM", ArmKind.EXPLANATION, "gradcam"),
    Arm("decoy", "Decoy: centre", ArmKind.DECOY, decoy=Decoy.CENTRE),
)
QUESTIONS = (
    StudyQuestion("match", "Does the attention match the lesion?", anchors=ANCHORS),
    StudyQuestion("trust", "How far do you trust this result? 您在多大程度上信任该结果?"),
    StudyQuestion(
        "diagnosis", "What is your diagnosis?", QuestionKind.CHOICE, choices=("benign", "malignant")
    ),
    StudyQuestion("remark", "Anything to say?", QuestionKind.TEXT, required=False),
)


def protocol(**changes: Any) -> Protocol:
    known: dict[str, Any] = {
        "title": "Do heat maps of mammograms match lesions? 乳腺热图",
        "text": "Read each case as in the clinic, then answer all questions.",
        "cases": tuple(f"C{n:03d}" for n in range(1, 13)),
        "readers": ("R01", "R02", "R03"),
        "arms": ARMS,
        "questions": QUESTIONS,
        "design": Design(repeats=2, repeat_gap=8),
        "seed": 7,
        "groups": {f"C{n:03d}": "dense" if n % 2 else "fatty" for n in range(1, 13)},
        "grras": {"5": "Earlier studies had one reader only."},
    }
    return Protocol(**{**known, **changes})


def answers(plan: Protocol, readers: tuple[str, ...] = ("R01", "R02", "R03")) -> list[StudyAnswer]:
    """Ratings that agree well but for one reader, by a fixed generator."""
    random = np.random.default_rng(3)
    made: list[StudyAnswer] = []
    for c, case in enumerate(plan.cases):
        sick, right = c % 3 != 0, c % 4 != 0
        for a, arm in enumerate(plan.arms):
            base = 1 + (c + 2 * a) % 5 if arm.id != "decoy" else 1 + c % 2
            for r, reader in enumerate(readers):
                twice = c < 2 and arm.id == "gradcam"
                for replicate in (1, 2)[: 1 + twice]:
                    slip = int(random.integers(-1, 2)) if r == 2 or replicate == 2 else 0
                    score = float(min(5, max(1, base + slip)))
                    seen = arm.kind is not ArmKind.IMAGE
                    shared: dict[str, Any] = {
                        "position": 1 + c * 3 + a,
                        "replicate": replicate,
                        "label": "ABC"[(a + r) % 3],
                        "group": plan.groups.get(case, ""),
                        "modality": "mammography",
                        "truth": "malignant" if sick else "benign",
                        "ai_prediction": ("malignant" if sick == right else "benign")
                        if seen
                        else None,
                        "ai_correct": right if seen else None,
                        "timing": Timing(
                            OPENED,
                            OPENED + timedelta(seconds=60),
                            active_ms=20_000 + 500 * c + 4_000 * a,
                        ),
                    }
                    lost = c == 4 and r == 1 and a == 1
                    status = ReadStatus.CANNOT_JUDGE if lost else ReadStatus.ANSWERED
                    said = (("match", None if lost else score, status),
                            ("trust", float(min(5, max(1, score + (0 if right else -1)))),
                             ReadStatus.ANSWERED),
                            ("diagnosis", float(sick if (c + r + a) % 5 else not sick),
                             ReadStatus.ANSWERED))  # fmt: skip
                    made += [
                        StudyAnswer(reader, case, arm.id, question, how, value, **shared)
                        for question, value, how in said
                    ]
    return made


def facts(**changes: Any) -> StudyFacts:
    """A locked, unblinded study of three readers, twelve cases and three arms."""
    plan = changes.pop("protocol", None) or protocol()
    known: dict[str, Any] = {
        "code": "ST-7F3A",
        "version": 3,
        "state": StudyState.LOCKED,
        "protocol": plan,
        "readers": (
            ReaderFacts("R01", "radiology", "5-10 years"),
            ReaderFacts("R02", "radiology", "over 10 years"),
            ReaderFacts("R03", "", "", withdrawn=True),
        ),
        "answers": tuple(answers(plan)),
        "readings_planned": {"R01": 38, "R02": 38, "R03": 40},
        "readings_done": {"R01": 38, "R02": 38, "R03": 38},
        "deviations": ("The washout of R02 was overridden: illness.",),
        "digests": {"answers": "a1" * 32, "protocol": "b2" * 32, "model": "c3" * 32},
        "unblinded": True,
        "created": OPENED,
        "opened": OPENED + timedelta(days=1),
        "locked": OPENED + timedelta(days=40),
    }
    return StudyFacts(**{**known, **changes})


@lru_cache(maxsize=1)
def studied() -> tuple[StudyFacts, Analysis]:
    """The study with its analysis, made once."""
    study = facts()
    return study, analyse(study, seed=1, draws=100)
