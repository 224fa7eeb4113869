"""The models of this installation: loaded once, when first needed, and run one at a time."""

from __future__ import annotations

import gc
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from app.errors import AppError
from app.services.shelf import NAME
from app.services.turnstile import Turnstile
from engine.cards import DEFAULT_MODEL, cards_folder, known_cards, read_card
from engine.errors import ModelUnavailable
from engine.records import ModelCard

if TYPE_CHECKING:
    from app.store import Store
    from engine.models import System

T = TypeVar("T")

MOST_SYSTEMS = 2
"""Systems in memory: the one in use, and the one it is compared with or changed to."""

ACTIVE_SECONDS = 1.0
"""Time for which the name of the active model is not asked for again."""

MOST_CARDS = 256


class Models:
    """Loads systems by the names of their cards; the weights themselves are never written.

    Args:
        device: "auto", "cpu" or "cuda".
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._systems: OrderedDict[tuple[str, str], System] = OrderedDict()
        self._cards: dict[tuple[str, int, int], ModelCard] = {}
        self._store: Store | None = None
        self._shelf: Path | None = None
        self._active, self._asked = "", float("-inf")
        self._lock = Lock()
        self.turnstile = Turnstile()

    def connect(self, store: Store, shelf: Path) -> None:
        """Know the models of a workspace as well.

        Args:
            store: Tells which are installed and which one serves. shelf: Folder of their folders.
        """
        self._store, self._shelf = store, shelf

    @property
    def active(self) -> str:
        """Name of the card in use; a change shows within a second, here at once."""
        with self._lock:
            if time.monotonic() - self._asked < ACTIVE_SECONDS or self._store is None:
                return self._active or DEFAULT_MODEL
        try:
            name = self._store.active_model()
        except AppError:  # the database is busy: what served goes on serving
            return self._active or DEFAULT_MODEL
        with self._lock:
            self._active, self._asked = name, time.monotonic()
        return name or DEFAULT_MODEL

    def renew(self) -> None:
        """Ask anew which model is active, since that was changed."""
        with self._lock:
            self._asked = float("-inf")

    def folder(self, name: str) -> Path:
        """Folder of a model's card and weights.

        Raises:
            ModelUnavailable: There is no such model.
        """
        shipped = cards_folder()
        if not NAME.fullmatch(name) and name not in known_cards(shipped):  # it may be a path
            raise ModelUnavailable("There is no such model.")
        if (shipped / f"{name}.toml").is_file():
            return shipped
        if self._shelf is not None and self._store is not None and self._store.model(name):
            return self._shelf / name
        raise ModelUnavailable(f"There is no model card named {name!r}.")

    def card(self, name: str | None = None) -> ModelCard:
        """A model card, without loading weights.

        Raises:
            ModelUnavailable: It is absent or malformed.
        """
        wanted = name or self.active
        path = self.folder(wanted) / f"{wanted}.toml"
        try:
            facts = path.stat()
        except OSError:
            return read_card(path)
        key = (str(path), facts.st_mtime_ns, facts.st_size)
        card = self._cards.get(key)
        if card is None:
            card = read_card(path)
            if len(self._cards) >= MOST_CARDS:
                self._cards.clear()
            self._cards[key] = card
        return card

    def cards(self) -> list[ModelCard]:
        """All cards installed: those that ship with Lightbox, then those of the workspace.

        A card of the workspace that cannot be read is left out.
        """
        made = [read_card(path) for path in known_cards(cards_folder()).values()]
        known = {card.name for card in made}
        for info in self._store.models() if self._store is not None else ():
            if info.name not in known:
                try:
                    made.append(self.card(info.name))
                except ModelUnavailable:
                    continue
        return made

    def run(
        self, work: Callable[[System], T], name: str | None = None, *, background: bool = False
    ) -> T:
        """Do something with a loaded system; one at a time, so that memory stays bounded.

        Args:
            work: What to do. name: Card; the active one when None.
            background: True for long work, which lets others go first between its portions.

        Raises:
            ModelUnavailable: There is no such model, or its weights cannot be used.
        """
        turnstile = self.turnstile
        with turnstile.background() if background else turnstile.interactive():
            return work(self._system(name or self.active))

    def forget(self, name: str) -> None:
        """Let go of the memory of a model."""
        with self.turnstile.interactive():
            for key in [key for key in self._systems if key[0] == name]:
                del self._systems[key]
            gc.collect()

    def _system(self, name: str) -> System:
        """A loaded system, the one that was used longest ago making room; within a turn only."""
        key = (name, self.card(name).weights_digest)
        if key not in self._systems:
            from engine.workflow import load_system

            while len(self._systems) >= MOST_SYSTEMS:
                self._systems.popitem(last=False)
                gc.collect()
            self._systems[key] = load_system(name, device=self._device, folder=self.folder(name))
        self._systems.move_to_end(key)
        return self._systems[key]
