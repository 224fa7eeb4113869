"""Whether the agreement hangs on one reader, on decoys, or on cases the model got right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.study.agree import kappa
from engine.study.records import ArmKind, Protocol, StudyAnswer, StudyQuestion
from engine.study.results import Sensitivity
from engine.study.table import Table


def sensitivity(
    rows: Table,
    answers: Sequence[StudyAnswer],
    protocol: Protocol,
    question: StudyQuestion,
    seed: int,
    draws: int,
) -> tuple[Sensitivity, ...]:
    """The headline kappa on all, without each reader, without decoys, and where the model errs.

    Args:
        rows: First readings of the question. answers: The same, with what the model said.
    """
    results = [_of(rows, question, "all", "", seed, draws)]
    if len(rows.readers) > 2:
        results += [
            _of(rows.without(reader), question, "without_reader", reader, seed, draws)
            for reader in rows.readers
        ]
    decoys = {arm.id for arm in protocol.arms if arm.kind is ArmKind.DECOY}
    is_decoy = np.array([arm in decoys for _, arm in rows.items], dtype=bool)
    if is_decoy.any():
        results.append(_of(rows.rows(~is_decoy), question, "without_decoys", "", seed, draws))
    wrong = {(a.case, a.arm) for a in answers if a.ai_correct is False}
    if wrong:
        errs = np.array([item in wrong for item in rows.items], dtype=bool)
        results.append(_of(rows.rows(errs), question, "ai_wrong", "", seed, draws))
    return tuple(results)


def _of(
    rows: Table, question: StudyQuestion, kind: str, left_out: str, seed: int, draws: int
) -> Sensitivity:
    statistic = kappa(rows.values, question, seed, draws)
    return Sensitivity(
        question.id,
        kind,
        left_out,
        statistic.value,
        statistic.low,
        statistic.high,
        statistic.cases,
        statistic.reason,
    )
