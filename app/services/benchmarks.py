"""Which method to trust: the benchmarks that are kept beside the program and in the workspace."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.auth import Role, User, requires
from app.services.context import Context
from engine.benchmark import Benchmark, from_json
from engine.errors import EngineError
from engine.records import ModelCard

logger = logging.getLogger(__name__)

FOLDER = "benchmarks"
LARGEST = 32 * 1024 * 1024
"""Bytes above which a file is no benchmark."""


@dataclass(frozen=True)
class Trust:
    """What is known of the methods on a model.

    Args:
        card: The model. benchmark: The newest one of its weights, or None.
        others: Benchmarks of the same model with other weights, which say nothing of these.
        command: What to type to make one.
    """

    card: ModelCard
    benchmark: Benchmark | None
    others: int
    command: str


class Benchmarks:
    """Reads the benchmarks of `lightbox benchmark-explainers`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @requires(Role.OBSERVER)
    def models(self, user: User | None) -> tuple[tuple[str, str], ...]:
        """Title and name of every model card, the active one first.

        Raises:
            ModelUnavailable: A card is malformed.
        """
        models = self._context.models
        cards = sorted(models.cards(), key=lambda card: (card.name != models.active, card.title))
        return tuple((f"{card.title}, version {card.version}", card.name) for card in cards)

    @requires(Role.OBSERVER)
    def trust(self, user: User | None, model: str | None = None) -> Trust:
        """What is known of the methods on a model; the active one when None.

        Raises:
            ModelUnavailable: There is no such card, or it is malformed.
        """
        known = {card.name: card for card in self._context.models.cards()}
        card = known.get(model or "") or self._context.models.card()
        found = [each for each in self._all() if each.model == card.name]
        own = [each for each in found if each.weights_digest == card.weights_digest]
        newest = max(own, key=lambda each: each.made, default=None)
        command = f"lightbox benchmark-explainers --model {card.name} --out {card.name}.json"
        return Trust(card, newest, len(found) - len(own), command)

    def _all(self) -> Iterator[Benchmark]:
        """Every readable benchmark; what is none is skipped, with a word in the log."""
        folders = (shipped_folder(), self._context.settings.workspace / FOLDER)
        for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
            try:
                if path.stat().st_size <= LARGEST:
                    yield from_json(path.read_text("utf-8"))
            except (EngineError, OSError, UnicodeDecodeError) as error:
                logger.warning("a benchmark was skipped: %s", type(error).__name__)


def shipped_folder() -> Path:
    """Where the benchmarks that ship with Lightbox lie."""
    return Path(__file__).resolve().parents[2] / "assets" / FOLDER
