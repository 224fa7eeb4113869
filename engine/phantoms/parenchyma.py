"""Healthy breast tissue: fat, power-law glandular tissue, ducts, ligaments, vessels, muscle.

Densities are relative to the full scale of the detector, 0 to 1.

Source: the power law of exponent near 3 follows Burgess, Jacobson and Judy, "Human observer
    detection experiments with mammograms and power-law noise", Medical Physics 2001.
"""

from __future__ import annotations

import numpy as np

from engine.phantoms.breast import Breast
from engine.phantoms.shapes import (
    Canvas,
    blank,
    covered,
    ellipse,
    fill,
    outline,
    power_law,
    softened,
    strand,
    trace_line,
)
from engine.records import FloatArray

OFFSETS = (-1.5, -0.75, 0.0, 0.75)  # of the four density classes, fatty to extremely dense


def parenchyma(rng: np.random.Generator, breast: Breast) -> FloatArray:
    """Density of healthy tissue, (H, W); without the fall-off toward the skin."""
    share = _gland_share(rng, breast)
    grain = power_law(rng, breast.shape, 2.7)
    tissue = 0.25 + 0.27 * share + grain * (0.018 + 0.035 * share)
    tissue += _lines(rng, breast)
    tissue += _confounders(rng, breast)
    if breast.muscle.any():
        tissue = _with_muscle(rng, breast, tissue, grain)
    return np.asarray(tissue, np.float32)


def thickness(rng: np.random.Generator, breast: Breast) -> FloatArray:
    """Factor of the compressed thickness, (H, W), 0 in air, 1 where the breast is flat."""
    reach = breast.scale * rng.uniform(38.0, 62.0)
    inward = np.clip(breast.depth / reach, 0.0, 1.0)
    rounded = np.sqrt(1.0 - (1.0 - inward) ** 2)
    factor = (0.42 + 0.58 * rounded) * np.clip(breast.depth / (1.5 * breast.scale), 0.0, 1.0)
    return np.asarray(factor, np.float32)


def skin(rng: np.random.Generator, breast: Breast) -> FloatArray:
    """Added density of the skin line and of the nipple, (H, W)."""
    wide = breast.scale * rng.uniform(2.0, 3.2)
    line = np.exp(-(((breast.depth - wide) / wide) ** 2)) * breast.inside
    rows, columns = np.ogrid[: breast.shape[0], : breast.shape[1]]
    x, y = breast.nipple
    near = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (8.0 * breast.scale) ** 2))
    return np.asarray(0.08 * line + 0.16 * near * breast.inside, np.float32)


def _gland_share(rng: np.random.Generator, breast: Breast) -> FloatArray:
    height, width = breast.shape
    rows, columns = np.ogrid[:height, :width]
    x, y = breast.nipple
    half = 0.5 * float(np.count_nonzero(breast.inside[:, int(0.3 * x)]))
    lift = 0.12 * height if breast.view == "MLO" else 0.0
    across = (columns - x * rng.uniform(0.48, 0.6)) / (x * rng.uniform(0.44, 0.56))
    down = (rows - (y - lift * (1.2 - columns / x))) / (half * rng.uniform(0.5, 0.68))
    prior = np.clip(1.0 - across**2 - down**2, -2.5, 1.0)
    offset = OFFSETS[int(rng.integers(len(OFFSETS)))] + rng.uniform(-0.35, 0.35)
    level = 1.15 * prior + 0.95 * power_law(rng, breast.shape, 3.0) + offset
    share = 1.0 / (1.0 + np.exp(-2.2 * level))
    under_skin = np.clip((breast.depth - 7 * breast.scale) / (22 * breast.scale), 0.0, 1.0)
    return np.asarray(share * under_skin, np.float32)


def _lines(rng: np.random.Generator, breast: Breast) -> FloatArray:
    """Ducts from the nipple, ligaments toward the skin, vessels, now and then calcified."""
    scale, step = breast.scale, 6.0 * breast.scale
    height, width = breast.shape
    fine, broad, chalk = blank(breast.shape), blank(breast.shape), blank(breast.shape)
    for course in np.pi + np.linspace(-0.8, 0.8, int(rng.integers(7, 12))):
        start = (breast.nipple[0] - 4 * scale, breast.nipple[1])
        _branch(rng, fine, start, float(course + rng.normal(0, 0.1)), 170 * scale, step)
    for _ in range(int(rng.integers(25, 45))):
        start = (rng.uniform(0, breast.nipple[0]), rng.uniform(0.08, 0.92) * height)
        heading, length = rng.uniform(0, 2 * np.pi), rng.uniform(35, 110) * scale
        path = strand(rng, start, heading, length, wander=0.16, step=step)
        trace_line(fine, path, int(rng.integers(60, 190)), max(1, round(scale)))
    for _ in range(int(rng.integers(1, 5))):
        start = (rng.uniform(0, 0.3) * width, rng.uniform(0.15, 0.85) * height)
        heading, length = rng.normal(0, 0.5), rng.uniform(110, 240) * scale
        path = strand(rng, start, heading, length, wander=0.10, step=step)
        wide = max(1, round(rng.uniform(2, 3.6) * scale))
        trace_line(broad, path, int(rng.integers(120, 255)), wide)
        if rng.random() < 0.12:
            _tram_tracks(rng, chalk, path, scale)
    lines = 0.065 * softened(covered(fine), 0.9 * scale) + 0.085 * softened(covered(broad), scale)
    return lines + 0.30 * softened(covered(chalk), 0.5 * scale)


def _branch(
    rng: np.random.Generator,
    canvas: Canvas,
    start: tuple[float, float],
    heading: float,
    length: float,
    step: float,
) -> None:
    path = strand(rng, start, heading, length * rng.uniform(0.5, 1.1), wander=0.15, step=step)
    trace_line(canvas, path, int(rng.integers(120, 255)), max(1, round(step / 4)))
    for _ in range(int(rng.integers(1, 4))):
        fork = path[int(rng.integers(len(path) // 3, len(path)))]
        turn = heading + rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 0.8)
        twig = strand(
            rng, (fork[0], fork[1]), turn, length * rng.uniform(0.2, 0.5), wander=0.14, step=step
        )
        trace_line(canvas, twig, int(rng.integers(80, 200)), max(1, round(step / 6)))


def _tram_tracks(rng: np.random.Generator, canvas: Canvas, path: np.ndarray, scale: float) -> None:
    """Calcified walls of a vessel: two broken lines side by side."""
    first = int(rng.integers(0, max(1, len(path) // 2)))
    along = np.gradient(path, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    for side in (-1.7, 1.7):
        wall = path + side * scale * normal
        for begin in range(first, min(first + 14, len(path) - 2), 3):
            value = int(rng.integers(140, 255))
            trace_line(canvas, wall[begin : begin + 2], value, max(1, round(scale)))


def _confounders(rng: np.random.Generator, breast: Breast) -> FloatArray:
    """Harmless findings of any class: overlap shadows and single round calcifications."""
    scale = breast.scale
    rows, columns = np.nonzero(breast.depth > 24 * scale)
    shadows, chalk = blank(breast.shape), blank(breast.shape)
    for _ in range(int(rng.integers(0, 4))):
        pick = int(rng.integers(rows.size))
        place = (float(columns[pick]), float(rows[pick]))
        blob = outline(
            rng, place, rng.uniform(12, 34) * scale, aspect=rng.uniform(0.4, 0.9), waves=(0.2, 0.15)
        )
        fill(shadows, blob, int(rng.integers(110, 255)))
    for _ in range(int(rng.integers(0, 4))):
        pick = int(rng.integers(rows.size))
        place_at = np.array([columns[pick], rows[pick]], np.float64)
        radius = rng.uniform(1.4, 3.4) * scale
        ellipse(chalk, place_at, (radius, radius * rng.uniform(0.8, 1.0)), rng.uniform(0, 180), 255)
        if rng.random() < 0.35:
            ellipse(chalk, place_at, (0.5 * radius, 0.5 * radius), 0.0, 90)
    shadow = softened(covered(shadows), rng.uniform(7, 11) * scale)
    return 0.12 * shadow + 0.36 * softened(covered(chalk), 0.5 * scale)


def _with_muscle(
    rng: np.random.Generator, breast: Breast, tissue: FloatArray, grain: FloatArray
) -> FloatArray:
    scale = breast.scale
    edge = softened(breast.muscle.astype(np.float32), 2.2 * scale)
    level = rng.uniform(0.46, 0.60)
    body = level + 0.018 * grain + 0.12 * (tissue - 0.25)
    if rng.random() < 0.5:
        body = body + _node(rng, breast)
    return np.asarray(tissue * (1.0 - edge) + body * edge, np.float32)


def _node(rng: np.random.Generator, breast: Breast) -> FloatArray:
    """A lymph node over the muscle: a dense bean with a fatty hilum."""
    canvas, scale = blank(breast.shape), breast.scale
    x = rng.uniform(0.04, 0.14) * breast.shape[1]
    y = rng.uniform(0.06, 0.22) * breast.shape[0]
    size, tilt = rng.uniform(8, 14) * scale, rng.uniform(0, 180)
    ellipse(canvas, np.array([x, y]), (size, 0.62 * size), tilt, 255)
    ellipse(canvas, np.array([x + 0.25 * size, y]), (0.45 * size, 0.25 * size), tilt, 110)
    return 0.13 * softened(covered(canvas), 1.4 * scale)
