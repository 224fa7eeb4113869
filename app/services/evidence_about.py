"""What the evidence is about: a case, a model and a target, and the key of each finding."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.errors import InvalidInput
from app.services.context import Context
from app.services.jobs import cache_key
from app.store import ExplanationRow
from engine.errors import UnknownName
from engine.records import Case, ModelCard, Prediction

if TYPE_CHECKING:
    from engine.explainers import Explainer

LESION = "segmented lesion"
"""As in `engine.workflow.LESION`: the model's own segmentation is explained, not a class."""

LARGEST_SETTING = 100_000


@dataclass(frozen=True)
class About:
    """A case, the active model, and what is explained.

    Args:
        case: With pixels. card: Card of the model.
        number: Number of the stored prediction, and the prediction; None where the model has not
            read the case yet.
        target: Class, or `LESION`; empty where it is the leading one and not known yet.
    """

    case: Case
    card: ModelCard
    number: int | None
    prediction: Prediction | None
    target: str

    @property
    def region(self) -> str | None:
        """Region that the engine explains; None for a class."""
        return "predicted" if self.target == LESION else None

    @property
    def asked(self) -> str | None:
        """Class that the engine is asked about; None for the leading one, or for a region."""
        return None if self.target in ("", LESION) else self.target

    def key(self, kind: str, method: str, settings: Mapping[str, Any]) -> str:
        """Digest of all that a finding about one method depends on."""
        from engine.explainers import EXPLAINERS

        return cache_key(
            kind,
            self.case.id,
            [image.digest for image in self.case.images],
            self.case.note,
            self.card.weights_digest,
            self.target,
            method,
            EXPLAINERS[method].version,
            plain(settings),
        )


def about(context: Context, case: Case, card: ModelCard, target: str | None) -> About:
    """What is stored of a case so far; the leading class is the target when none is named.

    Raises:
        UnknownName: The model has no such class, or segments nothing.
    """
    stored = context.store.latest_prediction(case.id, card.weights_digest)
    number, prediction = (None, None) if stored is None else stored
    named = canonical(card, target) if target else ""
    if not named and prediction is not None:
        named = prediction.leading
    return About(case, card, number, prediction, named)


def canonical(card: ModelCard, target: str) -> str:
    """A target as it is stored, whatever the letter case; a class also by its number.

    Raises:
        UnknownName: The model has no such class, or segments nothing.
    """
    names = {str(number): name for number, name in enumerate(card.classes)}
    names |= {name.casefold(): name for name in card.classes}
    if target.casefold() == LESION and segments(card):
        return LESION
    found = names.get(target.casefold())
    if found is None:
        raise UnknownName(f"The model knows no such class; it knows {', '.join(card.classes)}.")
    return found


def segments(card: ModelCard) -> bool:
    """Whether the model of a card segments, so that its segmentation can be explained."""
    from engine.models import MODELS
    from engine.models.base import System

    return card.system in MODELS and MODELS[card.system].segmentation is not System.segmentation


def plain(value: Any) -> Any:
    """A setting as it comes back from the store."""
    return json.loads(json.dumps(value))


def settings_of(row: ExplanationRow, method: Explainer) -> dict[str, Any]:
    """The settings that an explanation was computed with."""
    return {name: row.settings.get(name, plain(v)) for name, v in method.settings.items()}


def fits(row: ExplanationRow, method: Explainer, chosen: Mapping[str, Any]) -> bool:
    """Whether an explanation was computed with these settings."""
    same_version = row.settings.get("version", 1) == method.version
    return same_version and settings_of(row, method) == plain(chosen)


def is_usual(row: ExplanationRow) -> bool:
    """Whether an explanation was computed with the settings that its method has by default."""
    from engine.explainers import EXPLAINERS

    method = EXPLAINERS[row.method]
    return fits(row, method, method.settings)


def latest(
    rows: Sequence[ExplanationRow], method: Explainer, chosen: Mapping[str, Any]
) -> ExplanationRow | None:
    """The newest explanation by a method with these settings; rows come newest first."""
    return next((r for r in rows if r.method == method.name and fits(r, method, chosen)), None)


def checked(method: Explainer, given: Any) -> dict[str, Any]:
    """All settings of a method, those that a page gave in place of the defaults.

    Raises:
        InvalidInput: A value is of another kind than the default, or too large.
        UnknownName: A setting that the method has not.
    """
    if not isinstance(given, Mapping):
        raise InvalidInput("The settings of a method must be given by name.")
    chosen: dict[str, Any] = method.chosen({str(name): value for name, value in given.items()})
    return {name: _value(name, value, method.settings[name]) for name, value in chosen.items()}


def _value(name: str, value: Any, default: Any) -> Any:
    if value == default or (value is None and default is None):
        return default
    if isinstance(default, bool):
        return _kept(name, value, isinstance(value, bool))
    if isinstance(default, str):
        return _kept(name, value, isinstance(value, str) and len(value) <= 64)
    if isinstance(default, int | float):
        return _number(name, value, whole=isinstance(default, int))
    if name != "layers":  # a head, a window, a word: a whole number
        return _number(name, value, whole=True)
    named = [value] if isinstance(value, str) else value
    is_names = isinstance(named, list | tuple) and all(isinstance(n, str) for n in named)
    return _kept(name, value, is_names and len(named) <= 64)


def _number(name: str, value: Any, *, whole: bool) -> int | float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    _kept(name, value, is_number and math.isfinite(value) and abs(value) <= LARGEST_SETTING)
    if whole:
        return int(_kept(name, value, float(value).is_integer()))
    return float(value)


def _kept(name: str, value: Any, is_right: bool) -> Any:
    if not is_right:
        raise InvalidInput(f"The setting {name!r} cannot have this value.")
    return value
