"""The parts put in line: from a case to a prediction and its explanations."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from engine.cards import DEFAULT_MODEL, cards_folder, known_cards, read_card
from engine.errors import Cancelled, EngineError, IncompatibleExplainer, UnknownName
from engine.explainers import EXPLAINERS, Explainer, windows
from engine.models import MODELS, Prepared, System
from engine.progress import Progress
from engine.records import BoolArray, Case, Explanation, FloatArray, HeatMap, ModelCard, Prediction
from engine.trace import ClassTarget, RegionTarget, Target, Trace, at_rest, autocast, capture

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

    Args:
        name: Name of a card in the folder; or the path of a card anywhere, ending in ".toml", whose
            weights lie beside it.
        device: "auto", "cpu" or "cuda".
        folder: Where cards lie; those that ship with Lightbox when None.

    Raises:
        UnknownName: No such card. ModelUnavailable: The card or the weights cannot be used.
    """
    if name.endswith(".toml"):
        folder, name = Path(name).parent, Path(name).stem
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
    with at_rest(system.network), torch.no_grad(), autocast(system.device):
        output = system.subject(prepared).run(prepared.inputs, **prepared.options)
    return system.read(output, prepared, case, time.perf_counter() - started)


PREDICTED = "predicted"
"""Instead of a region: what the model itself segmented."""

LESION = "segmented lesion"
"""Name of the target where a region is explained, not a class."""


def explain(
    system: System,
    case: Case,
    methods: Sequence[str] = DEFAULT_METHODS,
    target: str | None = None,
    frames: Mapping[int, int] | None = None,
    *,
    region: BoolArray | str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Progress | None = None,
    raw: bool = False,
) -> Analysis:
    """Prediction and all explanations from one shared pass.

    Args:
        system: The system. case: The case. methods: Registry names.
        target: Class to explain, by name or number; the leading class when None.
        frames: Frame to read by image position.
        region: Explains the segmentation instead of the class: the summed lesion score over a
            region of the first image the model reads, (H, W) bool in source pixels, or over what
            the model segmented (`PREDICTED`).
        settings: By method, settings that differ from its defaults.
        progress: Told of every evaluation of the model; its watcher may cancel.
        raw: Whether maps stay on the method's own grid over the model's input.

    Returns:
        Maps lie in source pixels. A method that the case cannot serve for want of a second image
        gives zero maps flagged as not localised; one that the model cannot serve is in `refused`.

    Raises:
        UnknownName: No such method, class or setting.
        UnsupportedImage: The case has no image that this system reads.
        EmptyMask: The region to be explained holds nothing.
        Cancelled: The watcher asked to stop.
    """
    wanted = [EXPLAINERS[name] for name in dict.fromkeys(methods)]
    chosen = {e.name: e.chosen((settings or {}).get(e.name, {})) for e in wanted}
    started = time.perf_counter()
    prepared = system.prepare(case, frames)
    goal = _goal(system, prepared, target, region)
    able = [
        e
        for e in wanted
        if e.wants <= system.offers | _given(prepared) and e.streams <= len(prepared.views)
    ]
    trace, output = capture(
        system.subject(prepared, _layers(chosen)),
        prepared.inputs,
        goal,
        kinds=frozenset().union(*(e.needs for e in able), {"readout"} if able else set()),
        gradients=any(e.gradients for e in able),
        progress=progress,
    )
    prediction = system.read(output, prepared, case, time.perf_counter() - started)
    name = LESION
    if region is None:
        name = system.card.classes[class_index(system.card, target, prediction)]
    explanations, refused = [], {}
    for method in wanted:
        try:
            method.check(system.offers | _given(prepared), system.lacks)
            explanations.append(
                _explanation(method, chosen[method.name], trace, prepared, system.card, name, raw)
            )
        except Cancelled:
            raise
        except EngineError as error:
            refused[method.name] = str(error)
    logger.info("explained %s with %s: %d maps", case.id, system.card.name, len(explanations))
    return Analysis(prediction, tuple(explanations), refused)


def _layers(chosen: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Layers that any method asks for by name."""
    named = (layer for settings in chosen.values() for layer in settings.get("layers") or ())
    return tuple(dict.fromkeys(named))


def _given(prepared: Prepared) -> frozenset[str]:
    """Kinds of readings that depend on the case: a text, where there is one."""
    return frozenset({"text"} if any(span.words for span in prepared.spans.values()) else ())


def _goal(
    system: System, prepared: Prepared, target: str | None, region: BoolArray | str | None
) -> Target:
    """A class, or a region of the segmentation."""
    if region is None:
        index = None if target is None else class_index(system.card, target)
        classes = None if index is None else torch.tensor([index], device=system.device)
        return ClassTarget(classes, system.logits)
    if isinstance(region, str):
        return RegionTarget(None, system.segmentation)
    view = next(iter(prepared.views.values()))
    if region.shape != view.placement.source:
        raise IncompatibleExplainer("The region has not the size of the image that it lies on.")
    canvas = view.placement.to_canvas(region.astype(np.float32))

    def fitted(output: Any) -> torch.Tensor:
        return system.segmentation(output)

    with at_rest(system.network), torch.no_grad():
        found = system.subject(prepared).run(prepared.inputs, **prepared.options)
        shape = fitted(found).shape[-2:]
    small = cv2.resize(canvas, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return RegionTarget(torch.from_numpy(small >= 0.5)[None].to(system.device), fitted)


def _explanation(
    method: Explainer,
    settings: Mapping[str, Any],
    trace: Trace,
    prepared: Prepared,
    card: ModelCard,
    target: str,
    raw: bool = False,
) -> Explanation:
    started = time.perf_counter()
    facts = {
        **method.facts,
        **settings,
        "class_blind": method.class_blind,
        "version": method.version,
        "signed": method.signed,
        **windows.facts(trace, method.needs),
    }
    if method.streams > len(prepared.views):
        reason = "The case has no second image for the model to relate this one to."
        maps = tuple(_nothing(prepared, stream, reason) for stream in prepared.views)
    else:
        with torch.inference_mode(False):
            found = method.run(trace, **settings)
        grids = {stream: grid[0].float().cpu().numpy() for stream, grid in found.items()}
        scale = max(float(np.abs(grid).max()) for grid in grids.values())
        floor = NEGLIGIBLE * scale if method.common_scale else 0.0
        place = _unplaced if raw else placed
        maps = tuple(
            place(grids[stream], prepared, stream, floor)
            for stream in prepared.views
            if stream in grids
        )
    views = {view.image: view.placement for view in prepared.views.values()}
    facts["areas"] = [list(views[heat.image].covered) for heat in maps]
    seconds = time.perf_counter() - started
    return Explanation(method.name, target, maps, facts, card.name, card.weights_digest, seconds)


def flatness(values: FloatArray) -> str:
    """Why a map shows no region, in one sentence; empty where one stands out."""
    if not np.isfinite(values).all():
        return "The method gave values that are not numbers."
    spread, largest = float(np.ptp(values)), float(np.abs(values).max())
    if largest < 1e-12 or spread < FLATNESS * largest:
        return "The map is flat: no region stands out."
    return ""


def placed(grid: FloatArray, prepared: Prepared, stream: str, floor: float) -> HeatMap:
    """A grid on its image; flat maps, and those that stay below `floor`, are flagged."""
    view = prepared.views[stream]
    shape = (int(grid.shape[0]), int(grid.shape[1]))
    inside = grid[view.placement.inside(shape)]
    reason = flatness(inside)
    if not reason and float(np.abs(inside).max()) < floor:
        reason = "Next to the other image this one hardly matters here."
    if reason:
        return _nothing(prepared, stream, reason)
    return HeatMap(view.image, view.frame, view.placement.to_source(grid, None), shape)


def _unplaced(grid: FloatArray, prepared: Prepared, stream: str, floor: float) -> HeatMap:
    """A grid as the method gave it."""
    view, reason = prepared.views[stream], flatness(grid)
    shape = (int(grid.shape[0]), int(grid.shape[1]))
    return HeatMap(view.image, view.frame, grid, shape, not reason, reason)


def _nothing(prepared: Prepared, stream: str, reason: str) -> HeatMap:
    view = prepared.views[stream]
    empty = np.zeros(view.placement.source, dtype=np.float32)
    return HeatMap(view.image, view.frame, empty, view.span.grid, False, reason)
