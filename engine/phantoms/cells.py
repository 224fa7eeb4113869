"""Nuclei: where they stand, and how they are drawn.

A field of nuclei is an (N, 5) float64 array: column, row, half length, half width (pixels) and
orientation (degrees).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.phantoms.shapes import Canvas, Points, ellipse, fill, outline
from engine.records import BoolArray

Nuclei = NDArray[np.float64]


def no_nuclei() -> Nuclei:
    """An empty field."""
    return np.zeros((0, 5))


def along(
    rng: np.random.Generator,
    path: Points,
    size: float,
    *,
    gap: float,
    aspect: float = 0.8,
    across: bool = True,
    loose: float = 0.1,
) -> Nuclei:
    """Nuclei spaced evenly on a path.

    Args:
        rng: Source of the irregularity.
        path: Points of an open path; repeat the first point to close it.
        size: Mean radius, pixels.
        gap: Distance between neighbours, pixels.
        aspect: Short over long axis.
        across: True stands the long axis across the path, False lays it along.
        loose: Irregularity of place and size, relative.
    """
    legs = np.hypot(*np.diff(path, axis=0).T)
    reach = np.concatenate([[0.0], np.cumsum(legs)])
    count = int(reach[-1] / gap)
    if count < 1:
        return no_nuclei()
    stops = (np.arange(count) + rng.uniform(0, 1)) * reach[-1] / count
    x, y = (np.interp(stops, reach, path[:, i]) for i in (0, 1))
    ahead = np.stack([np.interp(stops + 2.0, reach, path[:, i]) for i in (0, 1)], 1)
    behind = np.stack([np.interp(stops - 2.0, reach, path[:, i]) for i in (0, 1)], 1)
    heading = np.degrees(np.arctan2(*(ahead - behind).T[::-1])) + (90.0 if across else 0.0)
    places = np.stack([x, y], 1) + rng.normal(0, loose * size, (count, 2))
    return _sized(rng, places, size, aspect, heading + rng.normal(0, 60 * loose, count), loose)


def packed(
    rng: np.random.Generator,
    region: BoolArray,
    size: float,
    *,
    gap: float,
    aspect: float = 0.8,
    loose: float = 0.2,
    keep: float = 1.0,
) -> Nuclei:
    """Nuclei that fill a region on a shaken hexagonal lattice.

    Args:
        rng: Source of the irregularity.
        region: (H, W) bool, where centres may lie.
        size: Mean radius, pixels.
        gap: Distance between neighbours, pixels.
        aspect: Short over long axis.
        loose: Irregularity of size, relative; places shake by the same share of the gap.
        keep: Share of the lattice that is occupied.
    """
    height, width = region.shape
    rows = np.arange(-gap, height + gap, gap * 0.87)
    columns = np.arange(-gap, width + gap, gap)
    x, y = np.meshgrid(columns, rows)
    x[1::2] += gap / 2
    places = np.stack([x.ravel(), y.ravel()], 1) + rng.uniform(0, gap, 2)
    places += rng.normal(0, loose * gap, places.shape)
    column, row = np.round(places).astype(int).T
    held = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    held[held] &= region[row[held], column[held]]
    held &= rng.random(len(places)) < keep
    places = places[held]
    return _sized(rng, places, size, aspect, rng.uniform(0, 180, len(places)), loose)


def scattered(
    rng: np.random.Generator,
    region: BoolArray,
    count: int,
    size: float,
    *,
    aspect: float,
    heading: float,
    loose: float = 0.25,
) -> Nuclei:
    """`count` nuclei anywhere in a region, lying along `heading` (degrees)."""
    rows, columns = np.nonzero(region)
    if rows.size == 0 or count == 0:
        return no_nuclei()
    picks = rng.integers(0, rows.size, count)
    places = np.stack([columns[picks], rows[picks]], 1).astype(np.float64)
    return _sized(rng, places, size, aspect, heading + rng.normal(0, 14, count), loose)


def outside(nuclei: Nuclei, region: BoolArray) -> Nuclei:
    """Those whose centre is not in a region."""
    height, width = region.shape
    column = np.clip(np.round(nuclei[:, 0]).astype(int), 0, width - 1)
    row = np.clip(np.round(nuclei[:, 1]).astype(int), 0, height - 1)
    return np.asarray(nuclei[~region[row, column]], np.float64)


def paint_regular(rng: np.random.Generator, canvas: Canvas, nuclei: Nuclei) -> None:
    """Draw smooth oval nuclei with a darker rim, in place."""
    darkness = rng.integers(150, 235, len(nuclei))
    for (x, y, long, short, turn), value in zip(nuclei, darkness, strict=True):
        centre = np.array([x, y])
        ellipse(canvas, centre, (long, short), turn, int(value))
        if short > 3.0:
            ellipse(canvas, centre, (long - 1.2, short - 1.2), turn, int(0.82 * value))


def paint_pleomorphic(rng: np.random.Generator, canvas: Canvas, nuclei: Nuclei) -> None:
    """Draw nuclei of uneven outline and stain, some open with a nucleolus, in place."""
    darkness = rng.integers(130, 250, len(nuclei))
    is_open = rng.random(len(nuclei)) < 0.5
    for (x, y, long, short, _), value, vesicular in zip(nuclei, darkness, is_open, strict=True):
        size, centre = float(np.sqrt(long * short)), (x, y)
        waves = (0.10, 0.09, 0.06)
        edge = outline(rng, centre, size, aspect=short / long, waves=waves, count=20)
        fill(canvas, edge, int(value))
        if size > 3.5:
            middle = np.asarray(centre)
            paler = 0.62 if vesicular else 0.84
            fill(canvas, middle + 0.74 * (edge - middle), int(paler * value))
        if vesicular and size > 3.5:
            spot = middle + rng.normal(0, 0.15 * size, 2)
            ellipse(canvas, spot, (0.2 * size, 0.2 * size), 0.0, 245)


def _sized(
    rng: np.random.Generator,
    places: Points,
    size: float,
    aspect: float,
    heading: NDArray[np.float64],
    loose: float,
) -> Nuclei:
    radius = size * np.exp(rng.normal(0, loose, len(places)))
    slim = np.clip(aspect * np.exp(rng.normal(0, 0.08 + 0.3 * loose, len(places))), 0.15, 1.0)
    columns = [places[:, 0], places[:, 1], radius / np.sqrt(slim), radius * np.sqrt(slim), heading]
    return np.stack(columns, 1)
