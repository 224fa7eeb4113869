"""The registry of models: compared, activated, rolled back, exported, imported, deleted."""

from __future__ import annotations

import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import InvalidInput, NotFound, StaleRecord, StorageFailed
from app.services.context import Context
from app.services.datasets import require_ready
from app.services.model_files import (
    LARGEST,
    WEIGHTS,
    read_model_file,
    require_fit,
    write_model_file,
)
from app.services.run_cases import ONE_KIND, PHANTOMS, require_phantoms
from app.services.run_views import ComparisonView, ModelView, RunView
from app.services.runs import queue_run, view_of
from app.services.shelf_views import Shown, model_view, model_views, shown
from app.store.arrays import draft_folder
from app.store.failures import translated
from app.store.models import CHANGED

ModelViews = list[ModelView]

LARGEST_FILE = LARGEST[WEIGHTS]
"""Bytes that a model file may have."""

EXPORT_SECONDS = 3600
SUFFIX = ".lightbox.zip"
OTHER = "There is another model of this name already; nothing was installed."


class Registry:
    """Which models there are, and which one serves."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._exports = context.settings.workspace / "gradio" / "exports"
        with suppress(StorageFailed):  # tidying up never keeps a server from starting
            context.shelf.sweep()
            _sweep(self._exports)

    @requires(Role.ADMINISTRATOR)
    def list(self, user: User | None) -> ModelViews:
        """All models, the active one first."""
        return model_views(self._context)

    @requires(Role.ADMINISTRATOR)
    def compare(self, user: User | None, a: str, b: str, source: str | int = PHANTOMS) -> RunView:
        """Queue a comparison of two models on the same labelled cases.

        Raises:
            InvalidInput: The two cannot be compared, or not on these cases.
            NotFound: There is no such data set. ModelUnavailable: There is no such model.
        """
        who, context = check(user, Role.ADMINISTRATOR), self._context
        if a == b:
            raise InvalidInput("Please choose two different models.")
        cards = [context.models.card(name) for name in (a, b)]
        if any(card.system != "crossmodal" for card in cards):
            raise InvalidInput(ONE_KIND)
        if cards[0].classes != cards[1].classes:
            raise InvalidInput("The two models know different classes, so they cannot be compared.")
        words = "phantoms that neither has seen"
        if source == PHANTOMS:
            require_phantoms(cards[0])
        else:
            text = str(source)
            if not (text.isascii() and text.isdigit() and len(text) < 10):
                raise InvalidInput("Please choose the phantoms or a data set.")
            info = require_ready(context, int(text))
            source, words = info.id, f"the test cases of “{info.name}”"
        settings = {"a": a, "b": b, "source": source, "words": words}
        title = f"Comparison of {a} with {b}"
        return view_of(context, queue_run(context, who, "comparison", title, settings))

    @requires(Role.ADMINISTRATOR)
    def comparison(self, user: User | None, run_id: int) -> ComparisonView:
        """What a comparison has found.

        Raises:
            NotFound: There is no such comparison, or it is not done.
        """
        store = self._context.store
        run = store.run(run_id)
        if run.kind != "comparison" or run.state != "done":
            raise NotFound("There is no such comparison, or it is not done yet.")
        found = store.run_result(run_id)
        return ComparisonView(
            run_id=run.id,
            a=str(run.settings["a"]),
            b=str(run.settings["b"]),
            source=str(run.settings["words"]),
            rows=[(row[0], row[1], row[2], row[3], row[4], row[5]) for row in found["rows"]],
            cases=int(found["cases"]),
            disagreements=int(found["disagreements"]),
        )

    @requires(Role.ADMINISTRATOR)
    def activate(self, user: User | None, name: str) -> ModelView:
        """Let a model serve from now on; it is loaded and verified first.

        Raises:
            NotFound: There is no such model. ModelUnavailable: It cannot be used; the model in use
                stays. StaleRecord: The model in use, or this model, was changed meanwhile.
        """
        who = check(user, Role.ADMINISTRATOR)
        return self._serve(who, name, "activate", shown(self._context))

    @requires(Role.ADMINISTRATOR)
    def can_roll_back(self, user: User | None) -> str:
        """Name of the model before the active one; empty when there is none."""
        return shown(self._context).before

    @requires(Role.ADMINISTRATOR)
    def roll_back(self, user: User | None) -> ModelView:
        """Let the model before serve again.

        Raises:
            InvalidInput: There is none. ModelUnavailable: It cannot be used any more.
            StaleRecord: The model in use was changed meanwhile.
        """
        who = check(user, Role.ADMINISTRATOR)
        now = shown(self._context)
        if not now.before:
            raise InvalidInput("There is no model before the one in use.")
        return self._serve(who, now.before, "roll_back", now)

    @requires(Role.ADMINISTRATOR)
    def export(self, user: User | None, name: str) -> Path:
        """One file of a model, for another installation; in a temporary folder.

        Raises:
            NotFound: There is no such model. ModelUnavailable: Its weights are not those of its
                card. StorageFailed: The disk is full.
        """
        who, context = check(user, Role.ADMINISTRATOR), self._context
        view = model_view(context, name)
        card = context.models.folder(name) / f"{name}.toml"
        with translated():
            _sweep(self._exports)
            folder = self._exports / secrets.token_hex(8)
            folder.mkdir(mode=0o700, parents=True)
            target = folder / f"{name}{SUFFIX}"
            try:
                write_model_file(card, context.models.card(name), target)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        context.record(who, "model_export", name, digest=view.digest)
        return target

    @requires(Role.ADMINISTRATOR)
    def import_file(self, user: User | None, path: Path) -> ModelView:
        """Install a model from a file that `export` made.

        The same model again changes nothing.

        Raises:
            InvalidInput: Not such a file, altered, too large, or another model has its name.
            ModelUnavailable: Digest or architecture do not match; nothing was installed.
            StorageFailed: The disk is full.
        """
        who, context = check(user, Role.ADMINISTRATOR), self._context
        with draft_folder(context.shelf.folder) as draft:
            card = read_model_file(Path(path), draft)
            name = card.stem
            if context.shelf.is_taken(name):
                self._require_same(card)
                return model_view(context, name)
            require_fit(card)
            context.shelf.install(card, name, origin="imported", who=who.name)
        return model_view(context, name)

    @requires(Role.ADMINISTRATOR)
    def delete(self, user: User | None, name: str) -> None:
        """Delete a model that is neither shipped, in use, needed for a roll-back, nor rated.

        Raises:
            NotFound: There is no such model. InvalidInput: It must be kept; the sentence says why.
            StaleRecord: The model in use was changed meanwhile.
        """
        who, context = check(user, Role.ADMINISTRATOR), self._context
        last = shown(context).last
        view = model_view(context, name)
        if not view.deletable:
            raise InvalidInput(f"The model {name} cannot be deleted. {view.why_not}")
        context.shelf.remove(name, after=last)
        context.models.forget(name)
        context.record(who, "model_delete", name, digest=view.digest)

    def _serve(self, who: User, name: str, kind: str, now: Shown) -> ModelView:
        """Load a model, then note that it serves; the one before serves until then.

        Args:
            now: What was known when it was chosen; a change since then is an error.
        """
        context = self._context
        if name not in now.shipped and name not in now.models:
            raise NotFound("There is no such model.")
        if name == now.active:
            return model_view(context, name)
        card = context.models.card(name)
        context.models.run(lambda system: None, name)
        made = context.store.add_activation(
            name, card.weights_digest, who.name, kind, after=now.last, shipped=name in now.shipped
        )
        if made is None:
            raise StaleRecord(CHANGED)
        context.models.renew()
        context.record(who, f"model_{kind}", name, before=now.active, digest=card.weights_digest)
        return model_view(context, name)

    def _require_same(self, card: Path) -> None:
        """Refuse a model that is not the one installed under its name."""
        context, name = self._context, card.stem
        installed = context.models.folder(name) / f"{name}.toml"
        with translated():
            if installed.read_bytes() != card.read_bytes():
                raise InvalidInput(OTHER)


def _sweep(exports: Path) -> None:
    """Remove files that were written for a download long ago."""
    with translated():
        for folder in exports.glob("*"):
            with suppress(FileNotFoundError):
                if time.time() - folder.stat().st_mtime > EXPORT_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
