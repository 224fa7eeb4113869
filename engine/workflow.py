"""The parts put in line: from a case to a prediction and its explanations."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.cards import DEFAULT_MODEL, cards_folder, known_cards, read_card
from engine.errors import EngineError, UnknownName
from engine.explainers import EXPLAINERS, Explainer
from engine.models import MODELS, Prepared, System
from engine.records import Case, Explanation, FloatArray, HeatMap, ModelCard, Prediction
from engine.trace import ClassTarget, Trace, capture

logger = logging.getLogger(__name__)

DEFAULT_METHODS = ("rollout", "gradcam", "relevance", "cross_modal")
FLATNESS = 1e-3
"""A map that varies by less than this share of its largest value is flat."""

NEGLIGIBLE = 0.01
"""Share of the largest relevance in all images below which an image's own map is not drawn: what
is left there is rounding and side effects, which colours would blow up into evidence."""


@dataclass(frozen=True)
class Analysis:
    """One pass over a case.

    Args:
        prediction: What the system said.
        explanations: One per method that could be served, in the order asked.
        refused: Method name to the reason why it could not be served.
    """

    prediction: Prediction
    explanations: tuple[Explanation, ...]
    refused: Mapping[str, str]


def choose_device(wish: str = "auto") -> torch.device:
    """ "auto" takes CUDA when it is present; otherwise a device name.

    Raises:
        UnknownName: The device is not present.
    """
    if wish == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wish == "cuda" and not torch.cuda.is_available():
        raise UnknownName("There is no CUDA device on this machine; use --device cpu.")
    if wish not in ("cpu", "cuda"):
        raise UnknownName(f"The device must be auto, cpu or cuda, not {wish!r}.")
    return torch.device(wish)


def load_system(
    name: str = DEFAULT_MODEL, *, device: str = "auto", folder: Path | None = None
) -> System:
    """A system with verified weights, by the name of its model card.

    Raises:
        UnknownName: No such card. ModelUnavailable: The card or the weights cannot be used.
    """
    folder = folder or cards_folder()
    if name not in known_cards(folder):
        known = ", ".join(known_cards(folder)) or "none"
        raise UnknownName(f"There is no model named {name!r}. Known: {known}.")
    card = read_card(folder / f"{name}.toml")
    return MODELS[card.system].load(card, folder, choose_device(device))


def class_index(card: ModelCard, target: str | None, prediction: Prediction | None = None) -> int:
    """Position of a class given by name (any case) or number; the leading one when None.

    Raises:
        UnknownName: The card has no such class.
    """
    if target is None:
        return 0 if prediction is None else card.classes.index(prediction.leading)
    names = [name.casefold() for name in card.classes]
    if target.casefold() in names:
        return names.index(target.casefold())
    if target.isdigit() and int(target) < len(names):
        return int(target)
    raise UnknownName(f"There is no class {target!r}. Known: {', '.join(card.classes)}.")


def predict(system: System, case: Case, frames: Mapping[int, int] | None = None) -> Prediction:
    """What the system says about a case, without explanations.

    Raises:
        UnsupportedImage: The case has no image that this system reads.
    """
    started = time.perf_counter()
    prepared = system.prepare(case, frames)
    with torch.no_grad(), autocast(system.device):
        output = system.network(**prepared.inputs, **prepared.options)
    return system.read(output, prepared, case, time.perf_counter() - started)


def explain(
    system: System,
    case: Case,
    methods: Sequence[str] = DEFAULT_METHODS,
    target: str | None = None,
    frames: Mapping[int, int] | None = None,
) -> Analysis:
    """Prediction and all explanations from one shared pass.

    Args:
        system: The system. case: The case. methods: Registry names.
        target: Class to explain, by name or number; the leading class when None.
        frames: Frame to read by image position.

    Returns:
        Maps lie in source pixels. A method that the case cannot serve for want of a second image
        gives zero maps flagged as not localised; one that the model cannot serve is in `refused`.

    Raises:
        UnknownName: No such method or class.
        UnsupportedImage: The case has no image that this system reads.
    """
    chosen = [EXPLAINERS[name] for name in dict.fromkeys(methods)]
    started = time.perf_counter()
    prepared = system.prepare(case, frames)
    goal = _Goal(None if target is None else class_index(system.card, target))
    able = [e for e in chosen if e.needs <= system.offers and e.streams <= len(prepared.views)]
    with autocast(system.device):
        trace, output = capture(
            system.network,
            prepared.inputs,
            goal,
            spans=prepared.spans,
            kinds=frozenset().union(*(e.needs for e in able), {"readout"} if able else set()),
            gradients=any(e.gradients for e in able),
            logits_of=system.logits,
            options=prepared.options,
        )
    prediction = system.read(output, prepared, case, time.perf_counter() - started)
    name = system.card.classes[class_index(system.card, target, prediction)]
    explanations, refused = [], {}
    for method in chosen:
        try:
            method.check(system.offers)
            explanations.append(_explanation(method, trace, prepared, system.card, name))
        except EngineError as error:
            refused[method.name] = str(error)
    logger.info("explained %s with %s: %d maps", case.id, system.card.name, len(explanations))
    return Analysis(prediction, tuple(explanations), refused)


class _Goal:
    """The class asked for, or the leading class of each image, found in the same pass."""

    def __init__(self, index: int | None) -> None:
        self._index = index

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        classes = (
            logits.argmax(1)
            if self._index is None
            else torch.full((len(logits),), self._index, device=logits.device)
        )
        return ClassTarget(classes)(logits)


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 autocast on CUDA; full precision on CPU."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


def _explanation(
    method: Explainer, trace: Trace, prepared: Prepared, card: ModelCard, target: str
) -> Explanation:
    started = time.perf_counter()
    settings = {**method.settings, "class_blind": method.class_blind}
    if method.streams > len(prepared.views):
        reason = "The case has no second image for the model to relate this one to."
        maps = tuple(_nothing(prepared, stream, reason) for stream in prepared.views)
    else:
        grids = {stream: grid[0].cpu().numpy() for stream, grid in method.run(trace).items()}
        scale = max(float(np.abs(grid).max()) for grid in grids.values())
        floor = NEGLIGIBLE * scale if method.common_scale else 0.0
        maps = tuple(
            _placed(grids[stream], prepared, stream, floor)
            for stream in prepared.views
            if stream in grids
        )
    seconds = time.perf_counter() - started
    return Explanation(method.name, target, maps, settings, card.name, card.weights_digest, seconds)


def _placed(grid: FloatArray, prepared: Prepared, stream: str, floor: float) -> HeatMap:
    """A grid on its image; flat maps, and those that stay below `floor`, are flagged."""
    view = prepared.views[stream]
    shape = (int(grid.shape[0]), int(grid.shape[1]))
    if not np.isfinite(grid).all():
        return _nothing(prepared, stream, "The method gave values that are not numbers.")
    inside = grid[view.placement.inside(shape)]
    spread, largest = float(np.ptp(inside)), float(np.abs(inside).max())
    if largest < 1e-12 or spread < FLATNESS * largest:
        return _nothing(prepared, stream, "The map is flat: no region stands out.")
    if largest < floor:
        return _nothing(prepared, stream, "Next to the other image this one hardly matters here.")
    return HeatMap(view.image, view.frame, view.placement.to_source(grid, None), shape)


def _nothing(prepared: Prepared, stream: str, reason: str) -> HeatMap:
    view = prepared.views[stream]
    empty = np.zeros(view.placement.source, dtype=np.float32)
    return HeatMap(view.image, view.frame, empty, view.span.grid, False, reason)
