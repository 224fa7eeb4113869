"""Glands and tumour cells: the four architectures of the histology phantom."""

from __future__ import annotations

import numpy as np

from engine.phantoms.cells import along, outside, packed
from engine.phantoms.shapes import (
    Points,
    blank,
    covered,
    distance_inside,
    fill,
    outline,
    softened,
    strand,
    trace_line,
)
from engine.phantoms.slide import Slide, add_fat
from engine.records import BoolArray

Place = tuple[float, float]


def places(
    slide: Slide, count: int, radius: float, *, overlap: float = 0.0, inset: float = 0.0
) -> list[Place]:
    """Up to `count` centres at least two radii apart (less the overlap), on free ground."""
    rng = slide.rng
    chosen: list[Place] = []
    for x, y in rng.uniform(inset, slide.size - inset, (count * 14, 2)):
        apart = all(np.hypot(x - a, y - b) > 2.0 * radius * (1.0 - overlap) for a, b in chosen)
        if len(chosen) < count and apart and not slide.taken[int(y), int(x)]:
            chosen.append((float(x), float(y)))
    return chosen


def add_acinus(
    slide: Slide,
    place: Place,
    radius: float,
    *,
    layers: int,
    aspect: float,
    lumen: float,
    nucleus: float,
    waves: tuple[float, ...] = (0.04, 0.03),
) -> None:
    """A gland: a ring of epithelium round a lumen, with `layers` rows of nuclei.

    Args:
        slide: Field drawn on.
        place: Centre, pixels.
        radius: Outer radius, pixels.
        layers: 1, or 2 for an outer row of flat cells as well.
        aspect: Short over long axis.
        lumen: Radius of the lumen relative to the outer radius.
        nucleus: Radius of a nucleus, pixels.
        waves: Irregularity of the outline.
    """
    rng, scale = slide.rng, slide.scale
    edge = outline(rng, place, radius, aspect=aspect, waves=waves)
    middle = np.asarray(place)
    body, hole = blank(slide.shape), blank(slide.shape)
    fill(body, edge)
    hollow = middle + lumen * (edge - middle)
    fill(hole, hollow)
    _membrane(slide, edge)
    slide.lay(softened(covered(body), 0.5), eosin=0.34, blue=0.14)
    slide.lay(softened(covered(hole), 0.7 * scale), eosin=0.05, blue=0.01)
    if rng.random() < 0.3:
        secretion = blank(slide.shape)
        fill(secretion, middle + 0.7 * (hollow - middle))
        slide.lay(0.6 * softened(covered(secretion), 1.5 * scale), eosin=0.35, blue=0.02)
    slide.taken |= body > 127
    ring = middle + (0.5 + 0.5 * lumen) * (edge - middle)
    slide.regular.append(along(rng, _looped(ring), nucleus, gap=2.35 * nucleus, loose=0.07))
    if layers > 1:
        rim = middle + (1.0 - 0.9 * scale / max(radius, 1.0)) * (edge - middle)
        slide.regular.append(
            along(rng, _looped(rim), 0.72 * nucleus, gap=3.2 * nucleus, aspect=0.4, across=False)
        )


def normal(slide: Slide) -> None:
    """A few round acini, collagen, some fat."""
    rng, scale = slide.rng, slide.scale
    if rng.random() < 0.55:
        corner = rng.choice([0.0, 1.0], 2) * slide.size
        add_fat(slide, (float(corner[0]), float(corner[1])), int(rng.integers(6, 24)))
    for place in places(slide, int(rng.integers(2, 7)), 32 * scale, inset=14 * scale):
        add_acinus(
            slide,
            place,
            rng.uniform(19, 30) * scale,
            layers=1,
            aspect=rng.uniform(0.82, 1.0),
            lumen=rng.uniform(0.34, 0.52),
            nucleus=rng.uniform(3.8, 4.5) * scale,
        )


def benign(slide: Slide) -> None:
    """Many crowded two-layered glands (adenosis), or long bent ones (fibroadenoma)."""
    rng, scale = slide.rng, slide.scale
    is_slit = rng.random() < 0.4
    wide = rng.uniform(22, 29)
    nucleus = rng.uniform(3.7, 4.6) * scale
    for place in places(slide, int(rng.integers(8, 17)), wide * scale, overlap=0.12):
        radius = wide * rng.uniform(0.72, 1.02) * scale
        add_acinus(
            slide,
            place,
            radius,
            layers=2,
            aspect=rng.uniform(0.35, 0.55) if is_slit else rng.uniform(0.62, 0.95),
            lumen=rng.uniform(0.15, 0.34) if is_slit else rng.uniform(0.22, 0.45),
            nucleus=nucleus,
            waves=(0.08, 0.10, 0.05) if is_slit else (0.06, 0.05),
        )


def in_situ(slide: Slide) -> None:
    """One or two large ducts filled with crowded cells behind a sharp membrane."""
    rng, scale = slide.rng, slide.scale
    count = int(rng.integers(1, 3))
    radius = rng.uniform(68, 96) if count == 1 else rng.uniform(46, 62)
    nucleus = rng.uniform(4.8, 6.4) * scale
    for place in places(slide, count, radius * scale, inset=0.3 * slide.size):
        _filled_duct(slide, place, radius * rng.uniform(0.9, 1.05) * scale, nucleus)
    if rng.random() < 0.5:
        for place in places(slide, 1, 24 * scale, inset=24 * scale):
            _small_acinus(slide, place)


def invasive(slide: Slide) -> None:
    """No ducts: cords, nests and single large uneven cells anywhere in the stroma."""
    rng, scale = slide.rng, slide.scale
    if rng.random() < 0.3:
        for place in places(slide, 1, 28 * scale, inset=30 * scale):
            _small_acinus(slide, place)
    size = rng.uniform(5.0, 6.8) * scale
    for _ in range(int(rng.integers(3, 9))):
        start = rng.uniform(0, slide.size, 2)
        heading = slide.heading + rng.choice([0.0, np.pi]) + rng.normal(0, 0.5)
        length, step = rng.uniform(60, 190) * scale, 6 * scale
        path = strand(rng, (start[0], start[1]), heading, length, wander=0.14, step=step)
        _cord(slide, path, size)
    for place in places(slide, int(rng.integers(2, 7)), 26 * scale):
        _nest(slide, place, rng.uniform(11, 26) * scale, size)
    singles = packed(rng, ~slide.taken, size, gap=30 * scale, loose=0.3, keep=rng.uniform(0.2, 0.6))
    slide.wild.append(singles)


def _small_acinus(slide: Slide, place: Place) -> None:
    rng, scale = slide.rng, slide.scale
    radius, nucleus = rng.uniform(18, 25) * scale, 4.0 * scale
    add_acinus(slide, place, radius, layers=1, aspect=0.9, lumen=0.42, nucleus=nucleus)


def _filled_duct(slide: Slide, place: Place, radius: float, nucleus: float) -> None:
    rng, scale = slide.rng, slide.scale
    edge = outline(rng, place, radius, aspect=rng.uniform(0.75, 1.0), waves=(0.03, 0.04, 0.02))
    body = blank(slide.shape)
    fill(body, edge)
    inside = body > 127
    _membrane(slide, edge)
    slide.lay(softened(covered(body), 0.5), eosin=0.36, blue=0.17)
    holes = np.zeros(slide.shape, np.bool_)
    pattern = rng.random()
    if pattern < 0.45:
        holes = _sieve(slide, inside, radius, nucleus)
    elif pattern < 0.75:
        holes = _necrosis(slide, place, radius * rng.uniform(0.3, 0.48))
    slide.taken |= inside
    room = distance_inside(inside & ~holes, edges=False) > 0.75 * nucleus
    gap = nucleus * rng.uniform(2.1, 2.45)
    slide.wild.append(packed(rng, room, nucleus, gap=gap, loose=0.11))
    rim = _looped(np.asarray(place) + (1.0 + 1.5 * scale / radius) * (edge - np.asarray(place)))
    slide.regular.append(along(rng, rim, 2.9 * scale, gap=20 * scale, aspect=0.35, across=False))


def _sieve(slide: Slide, inside: BoolArray, radius: float, nucleus: float) -> BoolArray:
    """Round holes punched out of the cells: the cribriform pattern."""
    rng = slide.rng
    canvas = blank(slide.shape)
    room = distance_inside(inside, edges=False) > 3.6 * nucleus
    rows, columns = np.nonzero(room)
    chosen: list[Place] = []
    wanted = int(rng.integers(3, 9))
    for pick in rng.integers(0, max(rows.size, 1), 80 if rows.size else 0):
        x, y = float(columns[pick]), float(rows[pick])
        if len(chosen) < wanted and all(np.hypot(x - a, y - b) > 0.46 * radius for a, b in chosen):
            chosen.append((x, y))
            fill(canvas, outline(rng, (x, y), radius * rng.uniform(0.09, 0.16), waves=(0.05,)))
    slide.lay(softened(covered(canvas), 0.7), eosin=0.05, blue=0.01)
    return canvas > 127


def _necrosis(slide: Slide, place: Place, radius: float) -> BoolArray:
    """A pink granular centre with dark dust: comedo necrosis."""
    rng, scale = slide.rng, slide.scale
    canvas = blank(slide.shape)
    fill(canvas, outline(rng, place, radius, aspect=0.85, waves=(0.06, 0.06, 0.04)))
    slide.lay(softened(covered(canvas), 2.0 * scale), eosin=0.62, blue=0.06)
    dust = packed(rng, canvas > 127, 1.3 * scale, gap=8 * scale, loose=0.4, keep=0.6)
    slide.regular.append(dust)
    return canvas > 127


def _cord(slide: Slide, path: Points, size: float) -> None:
    canvas = blank(slide.shape)
    trace_line(canvas, path, 255, max(2, round(2.3 * size)))
    slide.lay(0.7 * softened(covered(canvas), 0.25 * size), eosin=0.36, blue=0.13)
    cells = along(slide.rng, path, size, gap=2.3 * size, aspect=0.72, across=False, loose=0.24)
    slide.wild.append(outside(cells, slide.taken))
    slide.taken |= canvas > 127


def _nest(slide: Slide, place: Place, radius: float, size: float) -> None:
    rng, canvas = slide.rng, blank(slide.shape)
    edge = outline(rng, place, radius, aspect=rng.uniform(0.4, 0.9), waves=(0.25, 0.18, 0.12))
    fill(canvas, edge)
    slide.lay(0.8 * softened(covered(canvas), 0.25 * size), eosin=0.36, blue=0.15)
    cells = packed(rng, canvas > 127, size, gap=2.2 * size, aspect=0.75, loose=0.22)
    slide.wild.append(outside(cells, slide.taken))
    slide.taken |= canvas > 127


def _membrane(slide: Slide, edge: Points) -> None:
    canvas = blank(slide.shape)
    trace_line(canvas, edge, 255, max(1, round(3.0 * slide.scale)), closed=True)
    slide.lay(0.8 * softened(covered(canvas), 0.4), eosin=0.6, blue=0.06)


def _looped(path: Points) -> Points:
    return np.concatenate([path, path[:1]])
