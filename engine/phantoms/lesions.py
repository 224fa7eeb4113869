"""Lesions of the mammogram: a circumscribed mass, a calcification cluster, a spiculated mass.

Each changes a copy of the tissue and returns it with the exact mask of what was drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from engine.phantoms.breast import Breast
from engine.phantoms.shapes import (
    Canvas,
    Points,
    blank,
    covered,
    distance_inside,
    ellipse,
    fill,
    outline,
    softened,
)
from engine.records import BoolArray, FloatArray

Place = tuple[float, float]


def add_lesion(
    rng: np.random.Generator, label: str, tissue: FloatArray, breast: Breast
) -> tuple[FloatArray, BoolArray]:
    """Tissue with the lesion of a class, and the lesion's mask.

    Args:
        rng: Source of place, size and form.
        label: A name of `LABELS`.
        tissue: (H, W) density, 0 to 1; left unchanged.
        breast: Where the breast and the muscle lie.

    Returns:
        Density (H, W) float32; mask (H, W) bool, wholly inside the breast, empty for "Normal".
    """
    draw = _DRAW.get(label)
    if draw is None:
        return tissue, np.zeros(breast.shape, np.bool_)
    return draw(rng, tissue.copy(), breast)


def _benign(
    rng: np.random.Generator, tissue: FloatArray, breast: Breast
) -> tuple[FloatArray, BoolArray]:
    place, radius = _place(rng, breast, rng.uniform(14.0, 38.0), reach=1.35)
    lobes = rng.random() < 0.4
    waves = (0.05, 0.07, 0.05) if lobes else (0.02, 0.02)
    edge = outline(rng, place, radius, aspect=rng.uniform(0.68, 1.0), waves=waves)
    canvas = blank(breast.shape)
    fill(canvas, edge)
    mask = canvas > 127
    profile = _dome(mask, radius, 0.6)
    if rng.random() < 0.6:
        ring = softened(covered(canvas), 2.4 * breast.scale) * (1.0 - covered(canvas))
        tissue = tissue - 0.14 * softened(ring, 0.8 * breast.scale)
    rise = rng.uniform(0.11, 0.20)
    tissue = _blend(tissue, mask, softened(profile, 0.9 * breast.scale), rise, cover=0.45)
    if rng.random() < 0.3:
        tissue = tissue + _coarse_chalk(rng, breast, place, radius)
    return tissue, mask


def _in_situ(
    rng: np.random.Generator, tissue: FloatArray, breast: Breast
) -> tuple[FloatArray, BoolArray]:
    place, radius = _place(rng, breast, rng.uniform(13.0, 25.0), reach=1.3)
    spots = _cluster(rng, place, radius)
    canvas = blank(breast.shape)
    for spot in spots:
        _speck(rng, canvas, spot, breast.scale, least=0.85, most=1.75)
    around = blank(breast.shape)
    fill(around, cv2.convexHull(spots.astype(np.float32))[:, 0].astype(np.float64))
    grown = cv2.dilate(around, _disc(4.0 * breast.scale))
    mask = (grown > 127) & breast.inside
    return tissue + 0.46 * softened(covered(canvas), 0.5 * breast.scale), mask


def _invasive(
    rng: np.random.Generator, tissue: FloatArray, breast: Breast
) -> tuple[FloatArray, BoolArray]:
    place, radius = _place(rng, breast, rng.uniform(13.0, 27.0), reach=1.8)
    scale = breast.scale
    tissue = _distorted(tissue, place, radius, pull=rng.uniform(0.25, 0.45))
    waves = tuple(rng.uniform(0.4, 1.0) * 0.2 / order**0.75 for order in range(1, 9))
    edge = outline(rng, place, radius, aspect=rng.uniform(0.7, 1.0), waves=waves)
    body, rays, core = blank(breast.shape), blank(breast.shape), blank(breast.shape)
    fill(body, edge)
    _spicules(rng, rays, core, place, radius, scale)
    joined = cv2.morphologyEx(np.maximum(body, core), cv2.MORPH_CLOSE, _disc(4.0 * scale))
    mask = (joined > 127) & breast.inside
    profile = softened(_dome(body > 127, radius, 0.8), 0.09 * radius)
    rise = rng.uniform(0.16, 0.26)
    tissue = _blend(tissue, body > 127, profile, rise, cover=0.4)
    strength = rng.uniform(0.09, 0.15) * _fading(breast.shape, place, 1.7 * radius)
    tissue = tissue + strength * softened(covered(rays), 0.7 * scale) * (1.0 - 0.8 * profile)
    if rng.random() < 0.35:
        canvas = blank(breast.shape)
        for spot in _cluster(rng, place, 0.7 * radius)[: int(rng.integers(5, 14))]:
            _speck(rng, canvas, spot, scale, least=0.9, most=1.5)
        tissue = tissue + 0.30 * softened(covered(canvas), 0.5 * scale)
    return tissue, mask


_DRAW: dict[
    str,
    Callable[[np.random.Generator, FloatArray, Breast], tuple[FloatArray, BoolArray]],
] = {"Benign": _benign, "In situ": _in_situ, "Invasive": _invasive}


def _place(
    rng: np.random.Generator, breast: Breast, radius: float, *, reach: float
) -> tuple[Place, float]:
    """A centre whose surroundings, `reach` radii wide, hold breast only; and a radius that fits.

    The radius comes in pixels of a picture of 512 by 384 and goes out in pixels.
    """
    radius *= breast.scale
    margin = 8.0 * breast.scale
    room = distance_inside(breast.inside & ~breast.muscle, edges=True)
    radius = min(radius, max((float(room.max()) - margin - 1.0) / reach, 4.0 * breast.scale))
    rows, columns = np.nonzero(room >= min(radius * reach + margin, float(room.max())))
    pick = int(rng.integers(rows.size))
    return (float(columns[pick]), float(rows[pick])), radius


def _dome(mask: BoolArray, radius: float, rim: float) -> FloatArray:
    """Projected thickness of a rounded body, 0 to 1, rising over the share `rim` of the radius."""
    inward = np.clip(distance_inside(mask, edges=True) / (rim * radius), 0.0, 1.0)
    return np.asarray(np.sqrt(1.0 - (1.0 - inward) ** 2), np.float32)


def _blend(
    tissue: FloatArray, mask: BoolArray, profile: FloatArray, rise: float, *, cover: float
) -> FloatArray:
    """Put a body into the tissue: its own density `rise` above its surroundings."""
    level = float(tissue[mask].mean())
    kept = tissue * (1.0 - cover * profile) + level * cover * profile
    return np.asarray(kept + rise * profile, np.float32)


def _coarse_chalk(
    rng: np.random.Generator, breast: Breast, place: Place, radius: float
) -> FloatArray:
    canvas = blank(breast.shape)
    for _ in range(int(rng.integers(1, 5))):
        spot = np.asarray(place) + rng.uniform(-0.45, 0.45, 2) * radius
        size = rng.uniform(2.0, 3.8) * breast.scale
        ellipse(canvas, spot, (size, size * rng.uniform(0.75, 1.0)), rng.uniform(0, 180), 255)
    return 0.32 * softened(covered(canvas), 0.6 * breast.scale)


def _cluster(rng: np.random.Generator, place: Place, radius: float) -> Points:
    """Places of 15 to 45 micro-calcifications: along branching ducts, or scattered in a segment."""
    wanted = int(rng.integers(15, 46))
    count = 4 * wanted  # candidates, of which those too near an earlier one fall away
    tilt = rng.uniform(0.0, np.pi)
    if rng.random() < 0.5:
        arms = tilt + np.array([0.0, np.pi, rng.uniform(0.5, 1.0), np.pi - rng.uniform(0.5, 1.0)])
        course = arms[rng.integers(0, len(arms), count)]
        away = radius * np.sqrt(rng.uniform(0.01, 1.0, count))
        spread = rng.normal(0.0, 0.09 * radius, (count, 2))
        spots = away[:, None] * np.stack([np.cos(course), np.sin(course)], 1) + spread
    else:
        angle, away = rng.uniform(0, 2 * np.pi, count), radius * np.sqrt(rng.uniform(0, 1, count))
        x, y = away * np.cos(angle), 0.75 * away * np.sin(angle)
        spots = np.stack(
            [x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)], 1
        )
    return np.asarray(
        _apart(spots, rng.uniform(0.07, 0.16) * radius, wanted) + np.asarray(place), np.float64
    )


def _apart(spots: Points, least: float, wanted: int) -> Points:
    """The first `wanted` points at least `least` pixels from one another; at least 15 points."""
    gaps = np.hypot(*(spots[:, None] - spots[None]).transpose(2, 0, 1))
    chosen: list[int] = []
    for index in range(len(spots)):
        if len(chosen) < wanted and (gaps[index, chosen] > least).all():
            chosen.append(index)
    spare = [index for index in range(len(spots)) if index not in chosen]
    return np.asarray(spots[chosen + spare[: max(0, 15 - len(chosen))]], np.float64)


def _speck(
    rng: np.random.Generator,
    canvas: Canvas,
    spot: Points,
    scale: float,
    *,
    least: float,
    most: float,
) -> None:
    """One micro-calcification: a dot, a comma or a short rod."""
    size = rng.uniform(least, most) * scale
    longer = rng.choice([1.0, 1.3, 2.2]) * rng.uniform(0.9, 1.2)
    value = int(rng.integers(120, 256))
    ellipse(canvas, spot, (size * longer, size), rng.uniform(0, 180), value)


def _spicules(
    rng: np.random.Generator,
    rays: Canvas,
    core: Canvas,
    place: Place,
    radius: float,
    scale: float,
) -> None:
    """Tapering, slightly bent rays from the body outward; `core` takes their inner part."""
    count = int(rng.integers(18, 36))
    headings = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.normal(0, 0.16, count)
    for heading in headings:
        length = radius * rng.uniform(0.5, 1.5)
        wide = rng.uniform(0.7, 2.3) * scale
        bend = rng.normal(0.0, 0.22)
        for canvas, share in ((rays, 1.0), (core, 0.45)):
            fill(canvas, _ray(place, heading, radius, length, wide, bend, share))


def _ray(
    place: Place,
    heading: float,
    radius: float,
    length: float,
    wide: float,
    bend: float,
    share: float,
) -> Points:
    along = np.linspace(0.0, share, 7)
    away = 0.55 * radius + along * (0.45 * radius + length)
    course = heading + bend * along**2
    half = wide * (1.0 - along) + 0.25
    x, y = away * np.cos(course), away * np.sin(course)
    left = np.stack([x - half * np.sin(course), y + half * np.cos(course)], 1)
    right = np.stack([x + half * np.sin(course), y - half * np.cos(course)], 1)
    return np.concatenate([left, right[::-1]]) + np.asarray(place)


def _fading(shape: tuple[int, int], place: Place, reach: float) -> FloatArray:
    """A weight that falls from 1 at a point, to about a third at `reach` pixels."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    square = (columns - place[0]) ** 2 + (rows - place[1]) ** 2
    return np.asarray(np.exp(-square / reach**2), np.float32)


def _distorted(tissue: FloatArray, place: Place, radius: float, *, pull: float) -> FloatArray:
    """The tissue drawn toward a point: architectural distortion."""
    height, width = tissue.shape
    x = np.arange(width, dtype=np.float32)[None, :] - np.float32(place[0])
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(place[1])
    weight = pull * np.exp(-(x**2 + y**2) / np.float32(2 * (1.6 * radius) ** 2))
    map_x = np.asarray(x * (1 + weight) + place[0], np.float32)
    map_y = np.asarray(y * (1 + weight) + place[1], np.float32)
    moved = cv2.remap(tissue, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.float32)


def _disc(radius: float) -> np.ndarray:
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
