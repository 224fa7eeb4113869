"""The models of this installation: loaded once, when first needed, and run one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from app.services.turnstile import Turnstile
from engine.cards import DEFAULT_MODEL, cards_folder, known_cards, read_card
from engine.records import ModelCard

if TYPE_CHECKING:
    from engine.models import System

T = TypeVar("T")


class Models:
    """Loads systems by the names of their cards.

    Args:
        device: "auto", "cpu" or "cuda".
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._systems: dict[str, System] = {}
        self.turnstile = Turnstile()

    @property
    def active(self) -> str:
        """Name of the card in use."""
        return DEFAULT_MODEL

    def card(self, name: str | None = None) -> ModelCard:
        """A model card, without loading weights.

        Raises:
            ModelUnavailable: It is absent or malformed.
        """
        return read_card(cards_folder() / f"{name or self.active}.toml")

    def cards(self) -> list[ModelCard]:
        """All cards installed."""
        return [read_card(path) for path in known_cards().values()]

    def run(
        self, work: Callable[[System], T], name: str | None = None, *, background: bool = False
    ) -> T:
        """Do something with a loaded system; one at a time, so that memory stays bounded.

        Args:
            work: What to do. name: Card; the active one when None.
            background: True for long work, which lets others go first between its portions.
        """
        turnstile = self.turnstile
        with turnstile.background() if background else turnstile.interactive():
            wanted = name or self.active
            if wanted not in self._systems:
                from engine.workflow import load_system

                self._systems[wanted] = load_system(wanted, device=self._device)
            return work(self._systems[wanted])
