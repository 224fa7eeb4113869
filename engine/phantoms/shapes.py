"""Random fields, smooth outlines and strands from which the phantoms are drawn.

Points are (N, 2) float64, column x then row y, in pixels. A canvas is (H, W) uint8.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from engine.records import BoolArray, Box, FloatArray

Points = NDArray[np.float64]
Canvas = NDArray[np.uint8]

_SHIFT = 4  # fractional bits of the coordinates handed to OpenCV


def power_law(rng: np.random.Generator, shape: tuple[int, int], beta: float) -> FloatArray:
    """Noise whose power falls as 1 / frequency ** beta; (H, W), mean 0, standard deviation 1."""
    return _coloured(rng, shape, _power_gain(shape, beta))


def fibres(
    rng: np.random.Generator, shape: tuple[int, int], angle: float, stretch: float
) -> FloatArray:
    """Noise drawn out along `angle` (radians) by `stretch`; (H, W), mean 0, deviation 1."""
    rows = np.fft.fftfreq(shape[0])[:, None]
    columns = np.fft.rfftfreq(shape[1])[None, :]
    along = (columns * np.cos(angle) + rows * np.sin(angle)) * stretch
    across = rows * np.cos(angle) - columns * np.sin(angle)
    gain = (along**2 + across**2 + 0.02**2) ** -0.8
    return _coloured(rng, shape, gain.astype(np.float32))


def outline(
    rng: np.random.Generator,
    centre: tuple[float, float],
    radius: float,
    *,
    aspect: float = 1.0,
    waves: Sequence[float] = (),
    count: int = 96,
) -> Points:
    """A closed outline about a centre: an ellipse whose radius is modulated.

    Args:
        rng: Source of the orientation and the phases.
        centre: Column and row, pixels.
        radius: Mean radius, pixels.
        aspect: Short over long axis, 0 to 1.
        waves: Amplitude, relative to the radius, of 2, 3, 4, ... waves around the outline.
        count: Number of points.
    """
    turn = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    profile = np.ones(count)
    for order, amplitude in enumerate(waves, start=2):
        profile += amplitude * np.sin(order * turn + rng.uniform(0.0, 2.0 * np.pi))
    x = profile * radius * np.cos(turn) / np.sqrt(aspect)
    y = profile * radius * np.sin(turn) * np.sqrt(aspect)
    tilt = rng.uniform(0.0, np.pi)
    turned = np.stack([x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)], 1)
    return np.asarray(turned + np.asarray(centre), np.float64)


def strand(
    rng: np.random.Generator,
    start: tuple[float, float],
    heading: float,
    length: float,
    *,
    wander: float,
    step: float = 6.0,
) -> Points:
    """A smooth wandering path; `heading` in radians, `wander` its change per step."""
    count = max(3, int(length / step))
    drift = np.convolve(rng.normal(0.0, wander, count + 2), np.ones(3) / 3.0, mode="valid")
    course = heading + np.cumsum(drift)
    moves = step * np.stack([np.cos(course), np.sin(course)], 1)
    return np.asarray(np.asarray(start) + np.cumsum(moves, 0), np.float64)


def fill(canvas: Canvas, points: Points, value: int = 255, *, smooth: bool = True) -> None:
    """Paint the inside of an outline, in place; `smooth` for soft edges."""
    style = cv2.LINE_AA if smooth else cv2.LINE_8
    cv2.fillPoly(canvas, [_fixed(points)], value, style, _SHIFT)


def trace_line(
    canvas: Canvas, points: Points, value: int, thickness: int, *, closed: bool = False
) -> None:
    """Paint a path, in place; `thickness` in whole pixels."""
    cv2.polylines(canvas, [_fixed(points)], closed, value, thickness, cv2.LINE_AA, _SHIFT)


def ellipse(
    canvas: Canvas, centre: Points, axes: tuple[float, float], angle: float, value: int
) -> None:
    """Paint a filled ellipse, in place; half axes in pixels, `angle` in degrees."""
    unit = 1 << _SHIFT
    x, y = (round(float(c) * unit) for c in centre)
    half = (max(1, round(float(axes[0]) * unit)), max(1, round(float(axes[1]) * unit)))
    cv2.ellipse(canvas, (x, y), half, angle, 0, 360, value, -1, cv2.LINE_AA, _SHIFT)


def softened(field: NDArray[np.uint8] | FloatArray, sigma: float) -> FloatArray:
    """A Gaussian blur as float32; the field itself when `sigma` (pixels) is too small to matter."""
    values = field.astype(np.float32)
    if sigma < 0.2:
        return values
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)


def covered(canvas: Canvas) -> FloatArray:
    """A canvas as coverage, 0 to 1."""
    return np.asarray(canvas, np.float32) / np.float32(255.0)


def blank(shape: tuple[int, int]) -> Canvas:
    """An empty canvas."""
    return np.zeros(shape, np.uint8)


def distance_inside(mask: BoolArray, *, edges: bool) -> FloatArray:
    """Distance to the nearest pixel outside, pixels; with `edges`, the frame counts as outside."""
    pad = 1 if edges else 0
    padded = np.pad(mask.astype(np.uint8), pad)
    if padded.all():
        return np.full(mask.shape, float(max(mask.shape)), np.float32)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)
    return np.asarray(distance[pad : pad + mask.shape[0], pad : pad + mask.shape[1]], np.float32)


def tight_box(mask: BoolArray) -> Box | None:
    """The smallest box that holds every pixel of a mask, or None when it has none."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if rows.size == 0:
        return None
    return Box(
        x=float(columns[0]),
        y=float(rows[0]),
        width=float(columns[-1] - columns[0] + 1),
        height=float(rows[-1] - rows[0] + 1),
    )


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.round(points * (1 << _SHIFT)).astype(np.int32)


def _coloured(rng: np.random.Generator, shape: tuple[int, int], gain: FloatArray) -> FloatArray:
    white = rng.standard_normal(shape, dtype=np.float32)
    field = scipy.fft.irfft2(scipy.fft.rfft2(white) * gain, s=shape)
    field -= field.mean()
    return np.asarray(field / field.std(), np.float32)


@lru_cache(maxsize=16)
def _power_gain(shape: tuple[int, int], beta: float) -> FloatArray:
    rows = np.fft.fftfreq(shape[0])[:, None]
    columns = np.fft.rfftfreq(shape[1])[None, :]
    lowest = 1.0 / max(shape)
    gain = (rows**2 + columns**2 + lowest**2) ** (-beta / 4.0)
    gain[0, 0] = 0.0
    return np.asarray(gain, np.float32)
