"""Trainings: recipes, their fields, and how one is started."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.auth import Role, User, requires
from app.auth.roles import check
from app.errors import AppError, InvalidInput, NotFound
from app.services.context import Context
from app.services.datasets import require_ready
from app.services.run_views import RunView
from app.services.runs import queue_run, view_of
from app.store import DatasetInfo
from engine.errors import EngineError, InvalidRecipe

if TYPE_CHECKING:
    from engine.training.recipe_files import RecipeField
    from engine.training.recipes import Recipe

Complaints = list[tuple[str, str]]
"""Path of a field of the recipe (empty for the whole), and what is wrong with it."""

DECIDED = ("name", "data.source", "data.manifest", "data.split")
"""Fields that the name and the data set decide; they name files, so that nobody types them."""

NOT_TYPED = "{} cannot be typed; it follows from the name and the data set that are chosen."
NEEDS_DATA = "This recipe learns from a data set; please choose one."

OPEN = ("queued", "running", "pausing", "paused", "cancelling")
SUFFIX = ".toml"


class Training:
    """Starts trainings; how they go on is told by `Runs`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @requires(Role.ADMINISTRATOR)
    def recipes(self, user: User | None) -> list[str]:
        """Names of the recipes that ship with Lightbox and of those in the workspace."""
        return sorted(self._recipes())

    @requires(Role.ADMINISTRATOR)
    def fields(self, user: User | None, recipe: str) -> list[RecipeField]:
        """Fields of a recipe with their values.

        Raises:
            NotFound: There is no such recipe. InvalidRecipe: It is malformed.
        """
        from engine.training.recipe_files import recipe_fields, recipe_of

        return recipe_fields(recipe_of(self._table(recipe)))

    @requires(Role.ADMINISTRATOR)
    def validate(
        self,
        user: User | None,
        recipe: str,
        changes: Mapping[str, str],
        dataset_id: int | None = None,
    ) -> Complaints:
        """What is wrong with changed fields; empty when the training could start.

        Raises:
            NotFound: There is no such recipe. InvalidRecipe: It is malformed as it stands.
        """
        return self._made(recipe, changes, dataset_id)[1]

    @requires(Role.ADMINISTRATOR)
    def start(
        self,
        user: User | None,
        recipe: str,
        name: str,
        changes: Mapping[str, str],
        dataset_id: int | None = None,
    ) -> RunView:
        """Queue a training.

        Args:
            recipe: Its name. name: Of the model card that shall result.
            changes: Text by path of a field, as typed. dataset_id: Data set; the recipe's phantoms
                when None.

        Raises:
            NotFound: There is no such recipe or data set.
            InvalidInput: The name is taken, or a field is wrong.
        """
        from engine.training.recipe_files import recipe_toml

        who, context = check(user, Role.ADMINISTRATOR), self._context
        context.shelf.require_free(name)
        if any(run.model == name for run in context.store.runs(OPEN)):
            raise InvalidInput("A run that is not over will make a model of this name.")
        made, wrong = self._made(recipe, changes, dataset_id, name)
        if made is None or wrong:
            raise InvalidInput(wrong[0][1])
        settings: dict[str, Any] = {"recipe": recipe_toml(made), "from": recipe}
        settings["dataset"] = dataset_id
        if dataset_id is not None:
            settings["manifest"] = context.store.dataset(dataset_id).digest
        return view_of(
            context, queue_run(context, who, "training", f"Training of {name}", settings, name)
        )

    def _made(
        self, recipe: str, changes: Mapping[str, str], dataset_id: int | None, name: str = ""
    ) -> tuple[Recipe | None, Complaints]:
        """The recipe with its changes and a name, or what is wrong with them."""
        from engine.training.recipe_files import parse_overrides, recipe_of

        table = self._table(recipe)
        base = recipe_of(table)
        values: dict[str, Any] = {"name": name or base.name}
        wrong: Complaints = []
        for path, text in changes.items():
            if path in DECIDED:
                wrong.append((path, NOT_TYPED.format(path)))
                continue
            try:
                values |= parse_overrides(base, {path: text})
            except InvalidRecipe as error:
                wrong.append((path, str(error)))
        try:
            values |= self._data(base, dataset_id)
        except (AppError, EngineError) as error:
            wrong.append(("", str(error)))
        if wrong:
            return None, wrong
        try:
            made = recipe_of(table, values)
        except InvalidRecipe as error:
            return None, _placed(table, values, str(error))
        made = _sized(made)
        problem = _network_problem(made)
        return (None, [("network", problem)]) if problem else (made, [])

    def _data(self, base: Recipe, dataset_id: int | None) -> dict[str, Any]:
        """Fields that a data set decides.

        Raises:
            NotFound, InvalidInput: The data set cannot be used, or one is needed.
        """
        if dataset_id is None:
            if base.data.source == "manifest":
                raise InvalidInput(NEEDS_DATA)
            return {}
        info: DatasetInfo = require_ready(self._context, dataset_id)
        return {
            "data.source": "manifest",
            "data.manifest": info.path,
            "data.split": "",  # kept in the folder of the run, so that nothing else is written to
            "classes": info.classes,
            "grades": info.grades,
        }

    def _recipes(self) -> dict[str, Path]:
        """Recipes by name; one that ships with Lightbox hides one of the workspace."""
        folders = (self._context.settings.workspace / "recipes", shipped_folder())
        return {path.stem: path for folder in folders for path in sorted(folder.glob(f"*{SUFFIX}"))}

    def _table(self, name: str) -> dict[str, Any]:
        path = self._recipes().get(name)
        if path is None:
            raise NotFound("There is no such recipe.")
        try:
            return tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError):
            raise InvalidRecipe("The recipe is not valid TOML.") from None


def shipped_folder() -> Path:
    """Where the recipes that ship with Lightbox lie."""
    return Path(__file__).resolve().parents[2] / "assets" / "recipes"


def _placed(table: Mapping[str, Any], values: Mapping[str, Any], whole: str) -> Complaints:
    """What is wrong, beside the fields whose values are wrong by themselves."""
    from engine.training.recipe_files import recipe_of

    found: Complaints = []
    for path, value in values.items():
        try:
            recipe_of(table, {path: value})
        except InvalidRecipe as error:
            if str(error) == whole or str(error).startswith(f"{path} "):
                found.append((path, str(error)))
    return found or [("", whole)]


def _sized(recipe: Recipe) -> Recipe:
    """The recipe with the sizes of its network's answers stated, so that the card states them."""
    sizes = {"num_classes": len(recipe.classes), "num_grades": max(2, len(recipe.grades))}
    return replace(recipe, network={**recipe.network, **sizes})


def _network_problem(recipe: Recipe) -> str:
    """Why no network can be built of a recipe, in one sentence; empty when one can.

    It is built without memory of its own, so that this takes a moment only.
    """
    import torch

    from engine.models import MODELS

    try:
        with torch.device("meta"):
            MODELS[recipe.system].build(recipe.network)
    except EngineError as error:
        return str(error)
    except (TypeError, ValueError, RuntimeError, ArithmeticError):
        return "No network can be built of these arguments; please check the network's fields."
    return ""
