"""Localisation as plain loops over pixels, in float64."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
Pixel = tuple[int, int]


def pixels(shape: tuple[int, int], seen: Array | None) -> list[Pixel]:
    """Seen pixels in row order."""
    every = [(r, c) for r in range(shape[0]) for c in range(shape[1])]
    return [p for p in every if seen is None or seen[p]]


def hottest(heat: Array, seen: Array | None, count: int) -> set[Pixel]:
    """The hottest seen pixels; ties in row order."""
    return set(sorted(pixels(heat.shape, seen), key=lambda p: -float(heat[p]))[:count])


def lesion(mask: Array, seen: Array | None) -> set[Pixel]:
    """Seen pixels of the lesion."""
    return {p for p in pixels(mask.shape, seen) if mask[p]}


def distance(point: Pixel, inside: set[Pixel], pitch: tuple[float, float]) -> float:
    """Distance to the nearest lesion pixel."""
    return min(
        (((point[0] - r) * pitch[0]) ** 2 + ((point[1] - c) * pitch[1]) ** 2) ** 0.5
        for r, c in inside
    )


def pointing_game(
    heat: Array,
    mask: Array,
    tolerance: float,
    pitch: tuple[float, float] | None = None,
    seen: Array | None = None,
) -> tuple[float, float]:
    """Hit and chance; strict in pixels, inclusive in millimetres."""
    inside = lesion(mask, seen)

    def hit(point: Pixel) -> bool:
        far = distance(point, inside, pitch or (1.0, 1.0))
        return far < tolerance if pitch is None else far <= tolerance

    visible = pixels(heat.shape, seen)
    point = max(visible, key=lambda p: float(heat[p]))
    return float(hit(point)), sum(hit(p) for p in visible) / len(visible)


def energy(heat: Array, mask: Array, seen: Array | None = None) -> tuple[float, float]:
    """Share of the heat and chance."""
    visible, inside = pixels(heat.shape, seen), lesion(mask, seen)
    total = sum(max(0.0, float(heat[p])) for p in visible)
    return sum(max(0.0, float(heat[p])) for p in inside) / total, len(inside) / len(visible)


def overlap(heat: Array, mask: Array, seen: Array | None = None) -> tuple[float, float]:
    """Mean of the scaled map in the lesion, and everywhere."""
    visible, inside = pixels(heat.shape, seen), lesion(mask, seen)
    values = [float(heat[p]) for p in visible]
    low, high = min(values), max(values)
    scaled = {p: (float(heat[p]) - low) / (high - low) for p in visible}
    return sum(scaled[p] for p in inside) / len(inside), sum(scaled.values()) / len(visible)


def equal_area(heat: Array, mask: Array, seen: Array | None = None) -> tuple[float, float]:
    """IoU and rank accuracy of the hottest area of the lesion's size."""
    inside = lesion(mask, seen)
    top = hottest(heat, seen, len(inside))
    return len(top & inside) / len(top | inside), len(top & inside) / len(inside)


def roc_auc(heat: Array, mask: Array, seen: Array | None = None) -> float:
    """Share of the pairs in which the lesion pixel is hotter."""
    inside = lesion(mask, seen)
    outside = [p for p in pixels(heat.shape, seen) if p not in inside]
    wins = 0.0
    for a in inside:
        for b in outside:
            wins += 1.0 if heat[a] > heat[b] else 0.5 if heat[a] == heat[b] else 0.0
    return wins / (len(inside) * len(outside))
