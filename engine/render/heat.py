"""Heat over anatomy: transparency follows the value, so that cold areas stay as they were."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError, ShapeMismatch, UnknownName
from engine.records import FloatArray

Bytes = NDArray[np.uint8]

_MAPS = {
    "inferno": cv2.COLORMAP_INFERNO,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "magma": cv2.COLORMAP_MAGMA,
    "cividis": cv2.COLORMAP_CIVIDIS,
    "jet": cv2.COLORMAP_JET,
}
COLOURS = tuple(_MAPS)
LEGACY_COLOURS = ("jet",)
"""Not ordered in lightness; kept for comparison with papers, and labelled so."""

COLD = 0.05
"""Share of the scale that stays clear."""
FULL = 0.5
"""Share of the scale from which the opacity is complete. Both as in assets/web/viewer_tables.js."""

FLAT = 1e-6
"""A map whose range is below this share of its largest magnitude holds no localised evidence."""


def colour_map(name: str) -> Bytes:
    """(256, 3) uint8 RGB, cold to hot.

    Raises:
        UnknownName: There is no such colour map.
    """
    if name not in _MAPS:
        raise UnknownName(f"There is no colour map named {name!r}. Known: {', '.join(COLOURS)}.")
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, _MAPS[name])[:, 0, ::-1])


def relative(heat: FloatArray) -> FloatArray:
    """Heat from 0 (its minimum) to 1 (its maximum), (H, W) float32; all zero for a flat map.

    Raises:
        EngineError: The map holds a value that is not a number.
    """
    values = np.asarray(heat, dtype=np.float32)
    if not np.isfinite(values).all():
        raise EngineError("The heat map holds values that are not numbers, and cannot be shown.")
    if not values.size:
        return values
    low, high = float(values.min()), float(values.max())
    if high - low <= FLAT * max(abs(low), abs(high)):
        return np.zeros_like(values)
    scaled = (values.astype(np.float64) - low) / (high - low)
    return scaled.astype(np.float32)


def overlay(
    base: Bytes,
    heat: FloatArray,
    *,
    opacity: float = 0.4,
    colour: str = "inferno",
    threshold: float = 0.0,
) -> Bytes:
    """Heat blended over a picture: alpha = opacity x weight of the relative heat.

    The blend is never rescaled: where alpha is 0 the picture is returned byte for byte.

    Args:
        base: (H, W, 3) uint8.
        heat: (H, W), any real scale; larger is more relevant.
        opacity: Alpha of the hottest pixel, 0 to 1.
        colour: Name of a colour map.
        threshold: Relative heat, 0 to 1, below which nothing is drawn.

    Raises:
        ShapeMismatch: Picture and heat differ in rows or columns.
    """
    return blend(base, relative(heat), opacity=opacity, colour=colour, threshold=threshold)


def blend(
    base: Bytes,
    values: FloatArray,
    *,
    opacity: float = 0.4,
    colour: str = "inferno",
    threshold: float = 0.0,
) -> Bytes:
    """As `overlay`, for heat that is already relative: (H, W), 0 to 1, not scaled again.

    Raises:
        ShapeMismatch: Picture and heat differ in rows or columns.
    """
    if base.shape[:2] != values.shape:
        raise ShapeMismatch("The heat map and the picture differ in size.")
    tints = colour_map(colour)[np.floor(values * 255 + 0.5).astype(np.uint8)]
    alpha = (weight(values, threshold) * np.float32(np.clip(opacity, 0, 1)))[..., None]
    mixed = base * (1 - alpha) + tints * alpha
    return np.where(alpha > 0, np.floor(mixed + 0.5), base).astype(np.uint8)


def weight(values: FloatArray, threshold: float = 0.0) -> FloatArray:
    """Share of the opacity, 0 to 1, of relative heat: a ramp from `COLD` to `FULL`.

    Below the threshold it is 0.
    """
    ramp = np.clip((np.asarray(values, np.float32) - COLD) / (FULL - COLD), 0, 1)
    return np.where(values >= threshold, ramp, 0).astype(np.float32)
