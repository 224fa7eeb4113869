"""The demonstration workspace: phantoms of known truth, made on the spot."""

from __future__ import annotations

import logging

from app.errors import AppError
from app.services.context import GUEST, Context
from app.services.intake import Intake
from app.services.review import Reviews

logger = logging.getLogger(__name__)

SEEDS = range(9_000_001, 9_000_013)
"""Far from the seeds of any training split."""


def fill(context: Context, intake: Intake) -> None:
    """Put the demonstration cases into a workspace that holds nothing else."""
    rows = context.store.case_summaries()
    if len(rows) >= len(SEEDS) or any(row.source != "demonstration" for row in rows):
        return
    from engine.phantoms import LABELS, phantom_case

    for place, seed in enumerate(SEEDS):
        label = LABELS[(place * 3 + place // 4) % len(LABELS)]
        intake.keep(GUEST, phantom_case(seed, label), source="demonstration")


def warm_up(context: Context, reviews: Reviews) -> None:
    """Load the model and explain cases that nobody has opened yet, for a quick first look."""
    from engine.errors import EngineError

    try:
        card = context.models.card()
        for row in reversed(context.store.case_summaries()):
            if row.source == "demonstration":
                reviews.result(context.store.case(row.id), card)
    except (AppError, EngineError) as error:
        logger.warning("the demonstration cases were not explained: %s", error)
