"""The outline of a compressed breast: skin, nipple and pectoral muscle, chest wall at column 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.phantoms.shapes import (
    Points,
    blank,
    distance_inside,
    ellipse,
    fill,
)
from engine.records import BoolArray, FloatArray

CHEST = -40.0  # column outside the picture on which an outline is closed


@dataclass(frozen=True, eq=False)
class Breast:
    """Where the parts of a breast lie.

    Args:
        view: "CC" or "MLO".
        inside: (H, W) bool, breast with its nipple and muscle.
        muscle: (H, W) bool, pectoral muscle; empty in CC.
        depth: (H, W) float32, distance to the skin, pixels; 0 in air.
        nipple: Column and row, pixels.
        scale: Pixels per pixel of a picture of 512 by 384 pixels.
    """

    view: str
    inside: BoolArray
    muscle: BoolArray
    depth: FloatArray
    nipple: tuple[float, float]
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.inside.shape[0]), int(self.inside.shape[1])


def breast(rng: np.random.Generator, view: str, height: int, width: int) -> Breast:
    """Draw the parts of a breast for a view, in a picture of `height` by `width` pixels."""
    scale = min(height / 512.0, width / 384.0)
    edge = _skin_cc(rng, height, width) if view == "CC" else _skin_mlo(rng, height, width)
    tip = edge[int(np.argmax(edge[:, 0]))]
    canvas = blank((height, width))
    fill(canvas, edge, smooth=False)
    nipple = np.array([tip[0] - 1.0 * scale, tip[1]])
    ellipse(canvas, nipple, (rng.uniform(5, 9) * scale, rng.uniform(7, 10) * scale), 0.0, 255)
    inside = canvas > 127
    muscle = np.zeros_like(inside)
    if view == "MLO":
        muscle = _muscle(rng, height, width, top=float(edge[0, 0])) & inside
    depth = distance_inside(inside, edges=False)
    return Breast(view, inside, muscle, depth, (float(nipple[0]), float(nipple[1])), scale)


def _skin_cc(rng: np.random.Generator, height: int, width: int) -> Points:
    turn = np.linspace(-np.pi / 2, np.pi / 2, 120)
    reach = width * rng.uniform(0.56, 0.86)
    upper, lower = height * rng.uniform(0.34, 0.45, 2)
    middle = height * rng.uniform(0.47, 0.53)
    x = reach * np.cos(turn) ** rng.uniform(0.72, 1.0)
    x *= 1.0 + 0.015 * np.sin(3.0 * turn + rng.uniform(0, 2 * np.pi))
    y = middle + np.where(turn < 0, upper, lower) * np.sin(turn)
    return _closed(x, y)


def _skin_mlo(rng: np.random.Generator, height: int, width: int) -> Points:
    tip, foot = height * rng.uniform(0.54, 0.66), height * rng.uniform(0.88, 0.97)
    reach, top = width * rng.uniform(0.62, 0.88), width * rng.uniform(0.32, 0.5)
    above = np.linspace(1.0, 0.0, 90)
    below = np.linspace(0.0, 1.0, 90)[1:] ** 0.7
    below[-1] = 1.0
    x_above = top + (reach - top) * (1.0 - above**2) ** rng.uniform(1.0, 1.35)
    x_below = reach * (1.0 - below**2.2) ** rng.uniform(0.55, 0.7)
    y = np.concatenate([tip * (1.0 - above), tip + (foot - tip) * below])
    return _closed(np.concatenate([x_above, x_below]), y)


def _closed(x: Points, y: Points) -> Points:
    curve = np.stack([x, y], 1)
    ends = np.array([[CHEST, y[-1]], [CHEST, y[0]]])
    return np.concatenate([curve, ends])


def _muscle(rng: np.random.Generator, height: int, width: int, *, top: float) -> BoolArray:
    across = min(width * rng.uniform(0.24, 0.42), 0.85 * top)
    down = height * rng.uniform(0.42, 0.66)
    along = np.linspace(0.0, 1.0, 40)
    bow = rng.uniform(-0.01, 0.06) * np.sin(np.pi * along)
    x = across * (1.0 - along) + bow * width
    y = down * along + bow * height * 0.3
    canvas = blank((height, width))
    corner = np.array([[CHEST, down], [CHEST, CHEST], [across, CHEST]])
    fill(canvas, np.concatenate([np.stack([x, y], 1), corner]), smooth=False)
    return canvas > 127
