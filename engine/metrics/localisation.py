"""Whether the heat lies where the lesion is known to be.

Maps and masks are (H, W) in the same pixels. Where the model saw only a part of the image,
`seen` (H, W) bool says which: pixels outside it count nowhere, nor in any chance level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.stats import rankdata

from engine.errors import EmptyMask, MissingMetadata, ShapeMismatch
from engine.metrics.base import checked_map, scored
from engine.records import BoolArray, Box, Score, Spacing

Heat = NDArray[np.floating]
TOLERANCE_PIXELS = 15.0
FULL = "The annotation covers all that the model saw, so no map could miss it."
FLAT = "The map is flat: no pixel is hotter than another."
NO_HEAT = "The map holds no heat above zero."
RANDOM_ORDER = "Chance is that of a map in random order."


@dataclass(frozen=True, eq=False)
class _Sample:
    """Pixels that the model saw, in row order: heat (n,) float64 and lesion (n,) bool."""

    heat: NDArray[np.float64]
    lesion: BoolArray

    @property
    def size(self) -> int:
        return len(self.heat)

    @property
    def share(self) -> float:
        """Area fraction of the lesion."""
        return float(self.lesion.mean())

    @property
    def undefined(self) -> str:
        """Why a rank-based number has no meaning here; empty when it has."""
        if self.lesion.all():
            return FULL
        return FLAT if self.heat.min() == self.heat.max() else ""

    def hottest(self, count: int) -> BoolArray:
        """The hottest pixels, ties in row order, (n,) bool."""
        chosen = np.zeros(self.size, dtype=bool)
        chosen[np.argsort(-self.heat, kind="stable")[:count]] = True
        return chosen


def box_mask(box: Box, shape: tuple[int, int]) -> BoolArray:
    """Pixels whose centre lies in a box, (H, W) bool."""
    rows, columns = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5
    inside_rows = (rows >= box.y) & (rows < box.y + box.height)
    inside_columns = (columns >= box.x) & (columns < box.x + box.width)
    return inside_rows[:, None] & inside_columns[None, :]


def _sample(heat: Heat, truth: BoolArray | Box, seen: BoolArray | None) -> _Sample:
    values = checked_map(heat)
    mask, visible = _masks(values.shape, truth, seen)
    return _Sample(values[visible], mask[visible])


def _masks(
    shape: tuple[int, ...], truth: BoolArray | Box, seen: BoolArray | None
) -> tuple[BoolArray, BoolArray]:
    """The lesion where it was seen, and what was seen, (H, W) bool each."""
    rows, columns = shape
    mask = box_mask(truth, (rows, columns)) if isinstance(truth, Box) else np.asarray(truth, bool)
    visible = np.ones(shape, dtype=bool) if seen is None else np.asarray(seen, dtype=bool)
    if mask.shape != shape or visible.shape != shape:
        raise ShapeMismatch("The heat map and the annotation differ in size.")
    if not mask.any():
        raise EmptyMask("The annotation has no pixel, so a miss would be a false statement.")
    if not (mask & visible).any():
        raise EmptyMask("The model saw no part of the annotated lesion.")
    return mask & visible, visible


def pointing_game(
    heat: Heat,
    truth: BoolArray,
    *,
    tolerance_pixels: float = TOLERANCE_PIXELS,
    tolerance_mm: float | None = None,
    spacing: Spacing | None = None,
    seen: BoolArray | None = None,
) -> Score:
    """Whether the hottest pixel falls on, or near, the annotated lesion.

    Args:
        heat: (H, W); among equally hot pixels the first in row order counts.
        truth: Lesion, (H, W) bool.
        tolerance_pixels: A hit is a point at a distance strictly smaller than this from the
            nearest lesion pixel, as in the literature; scale it with the resolution.
        tolerance_mm: Used instead where given; a hit is a point no farther than this, mm.
        spacing: Pixel pitch; needed with `tolerance_mm`.
        seen: What the model saw.

    Returns:
        1 for a hit, 0 for a miss; chance is the share of the area that would be a hit.

    Raises:
        EmptyMask, ShapeMismatch: See the annotation.
        MissingMetadata: Millimetres are asked for, and the pixel pitch is unknown.

    Source:
        Zhang et al., "Top-Down Neural Attention by Excitation Backprop", IJCV 2018.
    """
    values = checked_map(heat)
    mask, visible = _masks(values.shape, truth, seen)
    near, words = _near(mask, tolerance_pixels, tolerance_mm, spacing)
    hits = near[visible]
    chance = float(hits.mean())
    inside = values[visible]
    if inside.min() == inside.max():
        return scored("pointing_game", None, 1, chance=chance, note=FLAT)
    if hits.all():
        note = f"All that the model saw lies within {words} of the lesion; no point could miss."
        return scored("pointing_game", None, 1, chance=chance, note=note)
    hit = float(hits[np.argmax(inside)])
    return scored("pointing_game", hit, 1, chance=chance, note=f"Tolerance {words}.")


def _near(
    mask: BoolArray, pixels: float, millimetres: float | None, spacing: Spacing | None
) -> tuple[BoolArray, str]:
    """Pixels that count as a hit, (H, W) bool, and the tolerance in words."""
    if millimetres is None:
        return distance_transform_edt(~mask) < pixels, f"{pixels:g} pixels"
    if spacing is None:
        raise MissingMetadata("The pixel size is unknown, so no distance in mm can be measured.")
    pitch = (spacing.row_mm, spacing.column_mm)
    return distance_transform_edt(~mask, sampling=pitch) <= millimetres, f"{millimetres:g} mm"


def energy_pointing_game(
    heat: Heat, truth: BoolArray | Box, *, seen: BoolArray | None = None
) -> Score:
    """Share of the heat that lies on the lesion; heat below zero counts as none.

    Args:
        heat: (H, W).
        truth: Lesion, (H, W) bool, or its box in the pixels of the map.
        seen: What the model saw.

    Returns:
        0 to 1; chance is the share of the area, which an even map gets.

    Raises:
        EmptyMask, ShapeMismatch: See the annotation.

    Source:
        Wang et al., "Score-CAM", CVPR workshops 2020; rows and columns are not swapped here.
    """
    sample = _sample(heat, truth, seen)
    positive = np.maximum(sample.heat, 0.0)
    total = positive.sum()
    reason = FULL if sample.lesion.all() else "" if total > 0 else NO_HEAT
    value = None if reason else float(positive[sample.lesion].sum() / total)
    if not reason and (sample.heat < 0).any():
        reason = "Heat below zero is counted as none."
    return scored("energy_pointing_game", value, sample.size, chance=sample.share, note=reason)


def energy_ratio(heat: Heat, truth: BoolArray | Box, *, seen: BoolArray | None = None) -> Score:
    """Share of the heat on the lesion, divided by its share of the area; an even map gets 1.

    Arguments and errors as in `energy_pointing_game`.
    """
    share = energy_pointing_game(heat, truth, seen=seen)
    if share.value is None or share.chance is None:
        return scored("energy_ratio", None, share.n, chance=1.0, note=share.note)
    note = f"At most {1 / share.chance:.3g} for a lesion of this size. {share.note}".strip()
    return scored("energy_ratio", share.value / share.chance, share.n, chance=1.0, note=note)


def attention_lesion_overlap(
    heat: Heat, truth: BoolArray, *, seen: BoolArray | None = None
) -> Score:
    """Mean heat on the lesion, the map scaled from 0 to 1: the formula of the client's design.

    sum(A M) / sum(M). It is no overlap, and a map that is hot everywhere scores high; the
    chance level, the mean of the scaled map, shows that. Arguments and errors as in
    `energy_pointing_game`.
    """
    sample = _sample(heat, truth, seen)
    low, high = sample.heat.min(), sample.heat.max()
    if sample.undefined:
        return scored("attention_lesion_overlap", None, sample.size, note=sample.undefined)
    scaled = (sample.heat - low) / (high - low)
    return scored(
        "attention_lesion_overlap",
        float(scaled[sample.lesion].mean()),
        sample.size,
        chance=float(scaled.mean()),
        note="As the design defines it: mean heat in the lesion, the map scaled from 0 to 1.",
    )


def equal_area_iou(heat: Heat, truth: BoolArray, *, seen: BoolArray | None = None) -> Score:
    """Intersection over union of the lesion and the hottest area of its size.

    Ties in row order. Chance is that of the expected intersection of a map in random order.
    Arguments and errors as in `energy_pointing_game`.
    """
    sample = _sample(heat, truth, seen)
    if sample.undefined:
        return scored("equal_area_iou", None, sample.size, note=sample.undefined)
    area = int(sample.lesion.sum())
    shared = int((sample.hottest(area) & sample.lesion).sum())
    chance = sample.share / (2 - sample.share)
    value = shared / (2 * area - shared)
    return scored("equal_area_iou", value, sample.size, chance=chance, note=RANDOM_ORDER)


def relevance_rank_accuracy(
    heat: Heat, truth: BoolArray, *, seen: BoolArray | None = None
) -> Score:
    """Share of the hottest pixels, as many as the lesion has, that lie on it; ties in row order.

    Arguments and errors as in `energy_pointing_game`.

    Source:
        Arras et al., "Ground Truth Evaluation of Neural Network Explanations", 2022.
    """
    sample = _sample(heat, truth, seen)
    if sample.undefined:
        return scored("relevance_rank_accuracy", None, sample.size, note=sample.undefined)
    area = int(sample.lesion.sum())
    value = (sample.hottest(area) & sample.lesion).sum() / area
    return scored(
        "relevance_rank_accuracy", value, sample.size, chance=sample.share, note=RANDOM_ORDER
    )


def topk_intersection(
    heat: Heat, truth: BoolArray, count: int = 1000, *, seen: BoolArray | None = None
) -> Score:
    """Share of the `count` hottest pixels that lie on the lesion; ties in row order.

    Other arguments and errors as in `energy_pointing_game`.

    Source:
        Theiner et al., "Interpretable Semantic Photo Geolocation", WACV 2022.
    """
    sample = _sample(heat, truth, seen)
    used = max(1, min(count, sample.size))
    if sample.undefined:
        return scored("topk_intersection", None, used, note=sample.undefined)
    value = (sample.hottest(used) & sample.lesion).sum() / used
    note = f"The {used} hottest pixels. {RANDOM_ORDER}"
    return scored("topk_intersection", value, used, chance=sample.share, note=note)


def roc_auc(heat: Heat, truth: BoolArray, *, seen: BoolArray | None = None) -> Score:
    """Probability that a lesion pixel is hotter than another pixel, ties counting one half.

    Arguments and errors as in `energy_pointing_game`.
    """
    sample = _sample(heat, truth, seen)
    if sample.undefined:
        return scored("roc_auc", None, sample.size, chance=0.5, note=sample.undefined)
    ranks = rankdata(sample.heat)
    inside = int(sample.lesion.sum())
    above = ranks[sample.lesion].sum() - inside * (inside + 1) / 2
    value = above / (inside * (sample.size - inside))
    return scored("roc_auc", value, sample.size, chance=0.5)
