"""Which methods the probe offers for a case, and why others cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.services.context import Context
from engine.errors import EngineError
from engine.records import Case, ModelCard, Prediction

CHOSEN = ("relevance", "gradcam")
"""Methods that are marked when the probe is opened."""


def method_facts(
    context: Context, case: Case, card: ModelCard, prediction: Prediction
) -> list[dict[str, Any]]:
    """All methods, with the reason why one cannot be used here."""
    reasons = _reasons(context, card, bool(case.note))
    from engine.explainers import EXPLAINERS

    entries = []
    for name, method in EXPLAINERS.items():
        reason = reasons[name]
        if not reason and method.streams > len(prediction.frames):
            reason = "It relates two images, and the model reads only one here."
        entries.append(
            {
                "id": name,
                "title": method.title,
                "summary": method.summary,
                "slow": method.slow,
                "chosen": name in CHOSEN and not reason,
                "reason": reason,
            }
        )
    return entries


def is_slow(methods: Sequence[str]) -> bool:
    """Whether one of the methods runs the model many times."""
    from engine.explainers import EXPLAINERS

    return any(EXPLAINERS[name].slow for name in methods)


def _reasons(context: Context, card: ModelCard, with_text: bool) -> dict[str, str]:
    """Method to the reason why the model cannot serve it; empty where it can."""
    from engine.explainers import EXPLAINERS

    def ask(system: Any) -> dict[str, str]:
        offers = system.offers | (frozenset({"text"}) if with_text else frozenset())
        return {name: _refusal(method, offers, system) for name, method in EXPLAINERS.items()}

    found: dict[str, str] = context.memory.get(
        ("probe methods", card.weights_digest, with_text),
        lambda: context.models.run(ask, card.name),
        lambda made: 100 * len(made),
    )
    return found


def _refusal(method: Any, offers: frozenset[str], system: Any) -> str:
    try:
        method.check(offers, system.lacks)
    except EngineError as error:
        return str(error)
    return ""
