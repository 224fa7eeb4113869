"""Faithfulness and stability as plain loops in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

Array = np.ndarray
Probability = Callable[[Array], float]


def hottest_first(heat: Array) -> list[tuple[int, int]]:
    """Pixels in decreasing heat, ties in row order."""
    height, width = heat.shape
    pixels = [(row, column) for row in range(height) for column in range(width)]
    return sorted(pixels, key=lambda pixel: -float(heat[pixel]))


def perturbation_curve(
    probability: Probability, start: Array, end: Array, heat: Array, step: int
) -> tuple[list[float], float]:
    """Scores and area, one image at a time."""
    image = start.astype(np.float64).copy()
    order = hottest_first(heat)
    scores = [probability(image)]
    for first in range(0, len(order), step):
        for row, column in order[first : first + step]:
            image[:, row, column] = end[:, row, column]
        scores.append(probability(image))
    area = sum((a + b) / 2 for a, b in pairwise(scores))
    return scores, area / (len(scores) - 1)


def erasure(
    probability: Probability, image: Array, baseline: Array, heat: Array, shares: Sequence[float]
) -> tuple[float, float]:
    """Sufficiency and comprehensiveness."""
    order = hottest_first(heat)
    clean = probability(image)
    kept_falls, erased_falls = [], []
    for share in shares:
        top = order[: max(1, round(share * len(order)))]
        kept, erased = baseline.copy(), image.copy()
        for row, column in top:
            kept[:, row, column] = image[:, row, column]
            erased[:, row, column] = baseline[:, row, column]
        kept_falls.append(clean - probability(kept))
        erased_falls.append(clean - probability(erased))
    return sum(kept_falls) / len(shares), sum(erased_falls) / len(shares)


def membrane(image: Array, removed: Array) -> Array:
    """Each removed pixel the mean of its neighbours (the border repeated), solved exactly."""
    height, width = removed.shape
    unknown = [(r, c) for r in range(height) for c in range(width) if removed[r, c]]
    index = {pixel: i for i, pixel in enumerate(unknown)}
    matrix, right = np.zeros((len(unknown), len(unknown))), np.zeros(len(unknown))
    for (row, column), i in index.items():
        matrix[i, i] += 4
        for down, across in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            near = (min(max(row + down, 0), height - 1), min(max(column + across, 0), width - 1))
            if near in index:
                matrix[i, index[near]] -= 1
            else:
                right[i] += image[near]
    filled = image.astype(np.float64).copy()
    for pixel, value in zip(unknown, np.linalg.solve(matrix, right), strict=True):
        filled[pixel] = value
    return filled


def max_sensitivity(explain: Callable[[Array], Array], image: Array, others: list[Array]) -> float:
    """Largest relative change of one image's map."""
    own = explain(image).ravel()
    size = sum(float(v) ** 2 for v in own) ** 0.5
    changes = []
    for other in others:
        new = explain(other).ravel()
        changes.append(sum(float(a - b) ** 2 for a, b in zip(new, own, strict=True)) ** 0.5)
    return max(changes) / size


def infidelity(
    score: Probability, attribution: Array, image: Array, noise: list[Array], optimal_scale: bool
) -> float:
    """Mean squared difference between predicted and observed change of one image's score."""
    told, seen = [], []
    for change in noise:
        pairs = zip(change.ravel(), attribution.ravel(), strict=True)
        told.append(sum(float(d) * float(a) for d, a in pairs))
        seen.append(score(image) - score(image - change))
    scale = 1.0
    if optimal_scale:
        scale = sum(t * s for t, s in zip(told, seen, strict=True)) / sum(t * t for t in told)
    return sum((scale * t - s) ** 2 for t, s in zip(told, seen, strict=True)) / len(told)
