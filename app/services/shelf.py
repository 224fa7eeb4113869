"""The shelf: models of the workspace, each in its own folder, put there whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path, PurePosixPath, PureWindowsPath

from app.errors import InvalidInput
from app.store import ModelInfo, Store
from app.store.arrays import draft_folder, sweep_drafts, sync_folder
from app.store.failures import translated
from engine.cards import cards_folder, known_cards, read_card
from engine.errors import ModelUnavailable
from engine.records import ModelCard

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
NAME_RULE = (
    "The name of a model has 1 to 60 small letters, digits, hyphens and underscores, and begins "
    "with a letter or a digit."
)
TAKEN = "There is a model of this name already; please choose another name."
NO_WEIGHTS = "The weights of this model are not beside its card."
OTHER_WEIGHTS = "The weights are not the ones that the card describes, so they were not taken over."


class Shelf:
    """Puts models into the workspace and takes them out; never touches those that are there.

    Args:
        store: Notes what is installed. folder: Of the models' folders.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self.folder = store, folder

    def sweep(self) -> None:
        """Remove what an installation that was killed left behind more than a day ago."""
        if self.folder.is_dir():
            sweep_drafts(self.folder)

    def is_taken(self, name: str) -> bool:
        """Whether a model that ships with Lightbox, or one of the workspace, has this name."""
        return name in known_cards(cards_folder()) or self._store.model(name) is not None

    def require_free(self, name: str) -> str:
        """The name, when a new model may have it.

        Raises:
            InvalidInput: It is taken, or no name.
        """
        if not NAME.fullmatch(name):
            raise InvalidInput(NAME_RULE)
        if self.is_taken(name):
            raise InvalidInput(TAKEN)
        return name

    def free_name(self, wanted: str) -> str:
        """The name, or the first one with a number that is free."""
        names = (wanted if n == 1 else f"{wanted[:54]}-{n}" for n in range(1, 1000))
        found = next((name for name in names if not self.is_taken(name)), None)
        if found is None:
            raise InvalidInput(TAKEN)
        return found

    def install(
        self,
        card: Path,
        name: str,
        *,
        origin: str,
        who: str,
        parent: str = "",
        run_id: int | None = None,
    ) -> ModelInfo:
        """Copy a card and its weights to the shelf, verify the copy, and note it.

        Args:
            card: Path of the card, its weights beside it. name: Under which it is installed.
            origin: "trained", "adapted" or "imported". who: Login name.
            parent: Model that it was adapted from. run_id: Run that made it.

        Raises:
            InvalidInput: The name is taken. StorageFailed: The disk is full.
            ModelUnavailable: Card and weights do not belong together.
        """
        from engine.models.weights import sha256_of

        self.require_free(name)
        with draft_folder(self.folder) as draft:
            copy = draft / f"{name}.toml"
            shutil.copyfile(card, copy)
            known = read_card(copy)
            weights = card.parent / plain_name(known)
            if not weights.is_file():
                raise ModelUnavailable(NO_WEIGHTS)
            shutil.copyfile(weights, draft / known.weights)
            if sha256_of(draft / known.weights) != known.weights_digest:
                raise ModelUnavailable(OTHER_WEIGHTS)
            for part in (copy, draft / known.weights):
                _sync(part)
            sync_folder(draft)
            return self._place(
                draft, name, known, sha256_of(copy), origin=origin, who=who, parent=parent,
                run_id=run_id,
            )  # fmt: skip

    def remove(self, name: str, *, after: int | None = None) -> None:
        """Take a model off the shelf.

        Args:
            after: See `Store.remove_model`.

        Raises:
            NotFound: There is no such model. InvalidInput: Readers have rated its maps.
            StaleRecord: The model in use was changed since the caller looked.
        """
        self._store.remove_model(name, after=after)
        with translated(), draft_folder(self.folder) as draft:
            self._store.while_free(name, lambda: _move_aside(self.folder / name, draft))

    def _place(
        self,
        draft: Path,
        name: str,
        card: ModelCard,
        card_digest: str,
        *,
        origin: str,
        who: str,
        parent: str,
        run_id: int | None,
    ) -> ModelInfo:
        """Give a filled draft its name, and note it, while nobody else can take the name."""
        with draft_folder(self.folder) as aside:

            def claim() -> None:
                # What lies there was left by a deletion that broke off, since no row names it.
                _move_aside(self.folder / name, aside)
                draft.rename(self.folder / name)
                sync_folder(self.folder)

            made = self._store.add_model(
                name,
                who,
                digest=card.weights_digest,
                card_digest=card_digest,
                origin=origin,
                parent=parent,
                run_id=run_id,
                place=claim,
            )
        self._store.record(who, "model_install", name, {"origin": origin, "digest": made.digest})
        return made


def _move_aside(place: Path, aside: Path) -> None:
    """Move a model's folder into another one, if it is there."""
    if place.exists():
        place.rename(aside / place.name)


def _sync(path: Path) -> None:
    """Make the contents of a file last through loss of power."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def plain_name(card: ModelCard) -> str:
    """The name of a card's weights, when it is a plain one.

    Raises:
        ModelUnavailable: It names another folder, or another kind of file.
    """
    name = card.weights
    is_plain = name and PurePosixPath(name).name == name and PureWindowsPath(name).name == name
    if not is_plain or name.startswith(".") or not name.endswith(".safetensors"):
        raise ModelUnavailable("The card names its weights in a way that cannot be used.")
    return name
