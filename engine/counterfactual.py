"""What a model says without a region, and how much heat lies in one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from engine.errors import UnknownName
from engine.metrics.base import scored
from engine.metrics.baselines import named_fill, without_region
from engine.metrics.localisation import box_mask
from engine.models import System
from engine.progress import Progress
from engine.records import BoolArray, Case, Explanation, HeatMap, Image, Prediction, Region, Score
from engine.workflow import DEFAULT_METHODS, Analysis, explain

HOT = 0.5
"""Share of a map's largest value from which a pixel counts as hot."""


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """A case with and without a region.

    Args:
        before: Prediction and maps as it is. after: The same without the region.
        case: The case without the region. effect: Change of the class's probability.
    """

    before: Analysis
    after: Analysis
    case: Case
    effect: Score


def without(
    system: System,
    case: Case,
    image: int,
    mask: BoolArray,
    *,
    frame: int | None = None,
    fill: str = "inpainting",
    methods: Sequence[str] = DEFAULT_METHODS,
    target: str | None = None,
    frames: Mapping[int, int] | None = None,
    progress: Progress | None = None,
) -> Counterfactual:
    """Remove a region of one image and ask again.

    Args:
        system: The model. case: The case. image: Position of the image in the case.
        mask: The region, (H, W) bool in its pixels.
        frame: The frame that is changed; the one that the model reads when None.
        fill: What takes its place: "inpainting", "blur", "mean" or "black".
        methods: Maps to compute on both. target: Class; the leading one of the case when None.
        frames: Frame read by image position. progress: Told of every evaluation.

    Raises:
        EmptyMask: The region has no pixel. ShapeMismatch: It has not the size of the image.
        UnknownName: No such fill, class, method or image.
    """
    if not 0 <= image < len(case.images):
        raise UnknownName("The case has no such image.")
    before = explain(system, case, methods, target, frames, progress=progress)
    wanted = target or before.prediction.leading
    read = before.prediction.frames.get(image, case.images[image].frames // 2)
    changed = _changed(case.images[image], read if frame is None else frame, mask, fill)
    images = tuple(changed if n == image else other for n, other in enumerate(case.images))
    after_case = replace(case, images=images, truth=None)
    after = explain(system, after_case, methods, wanted, frames, progress=progress)
    name = before.explanations[0].target if before.explanations else wanted
    first, second = (a.prediction.probabilities.get(name) for a in (before, after))
    difference = None if first is None or second is None else second - first
    share = f"{mask.mean():.1%} of the image, filled by {fill}."
    return Counterfactual(
        before, after, after_case, scored("region_effect", difference, 1, note=share)
    )


def _changed(image: Image, frame: int, mask: BoolArray, fill: str) -> Image:
    """The image with a region of one frame filled; black is the darkest value of the frame."""
    plane = torch.from_numpy(np.ascontiguousarray(image.pixels[frame].transpose(2, 0, 1)))
    dark = plane.amax((1, 2)) if image.inverted else plane.amin((1, 2))
    region = torch.from_numpy(np.ascontiguousarray(mask, dtype=bool))
    filled = without_region(plane, region, named_fill(fill, plane, dark))
    pixels = image.pixels.copy()
    pixels[frame] = filled.numpy().transpose(1, 2, 0)
    told = hashlib.sha256(f"{image.digest}{frame}{fill}".encode())
    told.update(np.packbits(mask).tobytes())
    return replace(image, pixels=pixels, digest=told.hexdigest())


@dataclass(frozen=True)
class RegionHeat:
    """How one method's heat lies in one region.

    Args:
        method: Registry name. image: Position of the image. label, kind: The region, in words.
        mean, max: Of the heat in the region, the map scaled from 0 to 1.
        coverage: Share of the region that is hot (at least half the map's largest value).
        share: Share of all heat that lies in the region.
        area: Share of the image that the region covers; an even map would put so much heat there.
        text: The same as a sentence.
    """

    method: str
    image: int
    label: str
    kind: str
    mean: float
    max: float
    coverage: float
    share: float
    area: float
    text: str


def region_table(
    case: Case,
    prediction: Prediction | None,
    explanations: Sequence[Explanation],
    extra: Sequence[tuple[str, Region]] = (),
) -> tuple[RegionHeat, ...]:
    """Heat inside each segment, by method.

    Args:
        case: With or without truth, which is a region of its own. prediction: The model's regions.
        explanations: The maps. extra: Further regions with their labels, such as a reader's.
    """
    regions = [(f"Model: lesion {n}", "model", r) for n, r in enumerate(_regions(prediction), 1)]
    regions += [(label, "reader", region) for label, region in extra]
    truth = case.truth
    if truth is not None and truth.mask is not None:
        at = next((n for n, i in enumerate(case.images) if _fits(i, truth.mask)), None)
        if at is not None:
            regions.append(("Reference", "reference", Region(at, mask=truth.mask)))
    rows = []
    for label, kind, region in regions:
        for explanation in explanations:
            for heat in explanation.maps:
                if heat.image == region.image and heat.localised:
                    rows.append(_row(explanation, label, kind, region, heat))
    return tuple(rows)


def _regions(prediction: Prediction | None) -> tuple[Region, ...]:
    return () if prediction is None else prediction.regions


def _fits(image: Image, mask: BoolArray) -> bool:
    return (image.height, image.width) == mask.shape


def _row(
    explanation: Explanation, label: str, kind: str, region: Region, heat: HeatMap
) -> RegionHeat:
    values = heat.values
    if region.mask is not None:
        mask = region.mask
    else:
        assert region.box is not None
        mask = box_mask(region.box, (int(values.shape[0]), int(values.shape[1])))
    signed = bool(explanation.settings.get("signed"))
    warm = np.maximum(values if signed else values - values.min(), 0.0)
    largest = float(warm.max()) or 1.0
    inside = warm[mask] / largest if mask.any() else np.zeros(1, np.float32)
    total = float(warm.sum()) or 1.0
    share, area = float(warm[mask].sum()) / total, float(mask.mean())
    times = f" ({share / area:.1f} times an even map)" if area > 0 else ""
    coverage = float((inside >= HOT).mean())
    text = (
        f"{share:.0%} of the heat lies in {label}, which is {area:.1%} of the image{times}; "
        f"{coverage:.0%} of the region is hot."
    )
    return RegionHeat(
        explanation.method, heat.image, label, kind, float(inside.mean()), float(inside.max()),
        coverage, share, area, text,
    )  # fmt: skip
