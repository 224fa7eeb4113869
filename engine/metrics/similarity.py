"""How alike two maps are, how far a set of methods agrees, and the map they agree on.

Maps are (H, W) of one size. Numbers that a flat map leaves undefined are NaN in arrays, None
in scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from engine.errors import ShapeMismatch
from engine.metrics.base import checked_map, scored
from engine.metrics.edges import edge_histogram
from engine.records import FloatArray, Score

Heat = NDArray[np.floating]
Values = NDArray[np.float64]
TOP_SHARE = 0.1
SIGMA = 1.5
TRUNCATE = 3.5
SSIM_SIDE, HOG_SIDE = 11, 16
FLAT = "One of the maps is flat."
SMALL = "The maps are too small for this to be compared."


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far methods agree, pair by pair.

    Args:
        names: The k methods.
        correlation: (k, k) float64, Spearman correlation; NaN where a map is flat.
        overlap: (k, k) float64, IoU of the hottest share; NaN where a map is flat.
        share: That share.
        n: Pixels of a map.
    """

    names: tuple[str, ...]
    correlation: Values
    overlap: Values
    share: float
    n: int


def spearman(a: Heat, b: Heat, *, magnitude: bool = False) -> float:
    """Rank correlation, -1 to 1; NaN where a map is flat.

    Args:
        a, b: (H, W).
        magnitude: Ignore the signs.

    Raises:
        ShapeMismatch: The maps differ in size.
    """
    first, second = _pair(a, b)
    if magnitude:
        first, second = np.abs(first), np.abs(second)
    return _correlation(_centred_ranks(first), _centred_ranks(second))


def iou_of_top(a: Heat, b: Heat, share: float = TOP_SHARE) -> float:
    """Intersection over union of the hottest pixels, ties in row order; NaN where a map is flat.

    Args:
        a, b: (H, W).
        share: Share of the pixels, 0 to 1.

    Raises:
        ShapeMismatch: The maps differ in size.
    """
    first, second = _pair(a, b)
    if _flat(first) or _flat(second):
        return float("nan")
    return _iou(_top(first, share), _top(second, share))


def ssim(a: Heat, b: Heat, data_range: float = 1.0) -> float:
    """Structural similarity of the maps, each scaled from 0 to 1.

    Gaussian weights of width 1.5 pixels cut at 3.5 widths, variances of the sample, mean over
    the pixels whose whole window lies in the map.

    Args:
        a, b: (H, W), each side at least 11 pixels.
        data_range: 1 is right for maps from 0 to 1; 2 is what the sanity-check paper used.

    Raises:
        ShapeMismatch: The maps differ in size, or are smaller than the window.

    Source:
        Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity",
        2004.
    """
    first, second = (scaled(values) for values in _pair(a, b))
    radius = int(TRUNCATE * SIGMA + 0.5)
    if min(first.shape) < 2 * radius + 1:
        raise ShapeMismatch("The maps are too small for their structure to be compared.")
    count = (2 * radius + 1) ** 2
    sample = count / (count - 1)
    mean_a, mean_b = _smooth(first), _smooth(second)
    var_a = sample * (_smooth(first * first) - mean_a * mean_a)
    var_b = sample * (_smooth(second * second) - mean_b * mean_b)
    covariance = sample * (_smooth(first * second) - mean_a * mean_b)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    below = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float((above / below)[radius:-radius, radius:-radius].mean())


def hog_spearman(a: Heat, b: Heat, cell: int = 16) -> float:
    """Rank correlation of the edge histograms of the maps, each scaled from 0 to 1.

    Args:
        a, b: (H, W).
        cell: Side of a cell, pixels.

    Raises:
        ShapeMismatch: The maps differ in size, or are smaller than a cell.

    Source:
        Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018.
    """
    first, second = _pair(a, b)
    ranks = (_centred_ranks(edge_histogram(scaled(values), cell)) for values in (first, second))
    return _correlation(*ranks)


def pair_scores(a: Heat, b: Heat, share: float = TOP_SHARE) -> tuple[Score, ...]:
    """Rank correlation, overlap of the hottest share, structure and edges of two maps, as scores.

    A likeness that flat or small maps leave undefined is None.

    Raises:
        ShapeMismatch: The maps differ in size.
    """
    first, second = _pair(a, b)
    n, side = first.size, min(first.shape)
    flat = _flat(first) or _flat(second)
    structure = ssim(a, b) if side >= SSIM_SIDE and not flat else None
    edges = hog_spearman(a, b) if side >= HOG_SIDE and not flat else None
    correlation = None if flat else spearman(a, b)
    overlap = None if flat else iou_of_top(a, b, share)
    absent = FLAT if flat else SMALL
    hottest = FLAT if flat else f"Hottest {share:.0%}; chance is that of maps in random order."
    return (
        scored("rank_correlation", correlation, n, chance=0.0, note=FLAT if flat else ""),
        scored("top_overlap", overlap, n, chance=share / (2 - share), note=hottest),
        scored("structural_similarity", structure, n, note=absent if structure is None else ""),
        scored("edge_correlation", edges, n, note=absent if edges is None else ""),
    )


def agreement_matrix(maps: Mapping[str, Heat], share: float = TOP_SHARE) -> Agreement:
    """Agreement of each pair of methods; each map is ranked once.

    Args:
        maps: Method to (H, W); at least one.
        share: Share of the pixels whose overlap is taken.

    Raises:
        ShapeMismatch: The maps differ in size, or there is none.
    """
    values = _same_size(maps)
    ranks = [_centred_ranks(value) for value in values]
    tops = [_top(value, share) for value in values]
    flat = [_flat(value) for value in values]
    k = len(values)
    correlation, overlap = np.full((k, k), np.nan), np.full((k, k), np.nan)
    for i in range(k):
        for j in range(i, k):
            if not (flat[i] or flat[j]):
                correlation[i, j] = correlation[j, i] = _correlation(ranks[i], ranks[j])
                overlap[i, j] = overlap[j, i] = _iou(tops[i], tops[j])
    return Agreement(tuple(maps), correlation, overlap, share, values[0].size)


def consensus(maps: Mapping[str, Heat]) -> FloatArray:
    """Mean of the maps, each replaced by its ranks from 0 to 1, (H, W) float32.

    A rank is the share of pixels that are colder, so that ground which is cold alike stays at 0.
    Flat maps have no say; zero everywhere when all are flat.

    Raises:
        ShapeMismatch: The maps differ in size, or there is none.
    """
    values = _same_size(maps)
    voices = [value for value in values if not _flat(value)]
    total = np.zeros(values[0].shape)
    for value in voices:
        ranks = rankdata(value, method="min").reshape(value.shape)
        total += (ranks - 1) / (value.size - 1)
    return (total / max(1, len(voices))).astype(np.float32)


def scaled(heat: Values) -> Values:
    """A map from 0 to 1; zero everywhere when it is flat."""
    low, high = heat.min(), heat.max()
    return (heat - low) / (high - low) if high > low else np.zeros_like(heat)


def _same_size(maps: Mapping[str, Heat]) -> list[Values]:
    values = [checked_map(heat) for heat in maps.values()]
    if len({value.shape for value in values}) != 1:
        raise ShapeMismatch("The maps to compare differ in size, or there is none.")
    return values


def _pair(a: Heat, b: Heat) -> tuple[Values, Values]:
    first, second = _same_size({"a": a, "b": b})
    return first, second


def _flat(values: Values) -> bool:
    return bool(values.min() == values.max())


def _centred_ranks(values: Values) -> Values:
    ranks = rankdata(values)
    return ranks - ranks.mean()


def _correlation(a: Values, b: Values) -> float:
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else float("nan")


def _top(values: Values, share: float) -> NDArray[np.bool_]:
    chosen = np.zeros(values.size, dtype=bool)
    count = max(1, round(share * values.size))
    chosen[np.argsort(-values.ravel(), kind="stable")[:count]] = True
    return chosen


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


def _smooth(values: Values) -> Values:
    return gaussian_filter(values, SIGMA, truncate=TRUNCATE)
