"""Decoys: maps that look like explanations and explain nothing.

Source of the idea: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeMismatch
from engine.study.records import Decoy, InvalidProtocol

Plane = NDArray[np.float32]

LARGEST_SIDE = 256
SMOOTH_SHARE = 1 / 14
EDGE_SHARE = 1 / 128
CENTRE_SHARE = 0.2
BRIGHTEST = 99.0


def decoy_map(kind: Decoy, image: NDArray[np.floating], seed: int) -> Plane:
    """A decoy for an image.

    Args:
        kind: A smooth random field, the edges of the image, or a blob in its centre.
        image: Pixels, (H, W) or (H, W, C), any real scale; only edges read their values.
        seed: Of the random field.

    Returns:
        Relevance, (H, W), 0 to 1; the edges of an even image are 0 everywhere.

    Raises:
        InvalidProtocol: A map of another class, which an explanation method makes.
        ShapeMismatch: Not one image.
    """
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ShapeMismatch("A decoy needs one image of rows and columns.")
    if kind not in _DRAWN:
        raise InvalidProtocol("A map of another class is made by an explanation method.")
    height, width = image.shape[:2]
    shrink = min(1.0, LARGEST_SIDE / max(height, width))
    small = (max(round(width * shrink), 1), max(round(height * shrink), 1))
    drawn = _DRAWN[kind](_grey(image, small), seed)
    full = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(full, 0, 1).astype(np.float32)


def _grey(image: NDArray[np.floating], size: tuple[int, int]) -> Plane:
    """Mean over channels, made smaller; what is not a number counts as 0."""
    plane = image.mean(axis=-1) if image.ndim == 3 else image
    finite = np.nan_to_num(plane, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
    return np.asarray(cv2.resize(finite, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _random(grey: Plane, seed: int) -> Plane:
    """Noise, smoothed to the grain of a 14 x 14 grid, from its least to its largest value."""
    noise = np.random.default_rng(seed).random(grey.shape, dtype=np.float32)
    smooth = _blurred(noise, max(grey.shape) * SMOOTH_SHARE)
    low, high = float(smooth.min()), float(smooth.max())
    return (smooth - low) / (high - low) if high > low else np.ones_like(smooth)


def _edges(grey: Plane, seed: int) -> Plane:
    """Length of the smoothed gradient, against its 99th percentile."""
    smooth = _blurred(grey, max(max(grey.shape) * EDGE_SHARE, 0.5))
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    length = np.hypot(across, down)
    top = float(np.percentile(length, BRIGHTEST)) or float(length.max())
    even = float(np.ptp(grey)) <= np.finfo(np.float32).eps * max(float(np.abs(grey).max()), 1.0)
    return np.zeros_like(grey) if even or top <= 0 else length / top


def _centre(grey: Plane, seed: int) -> Plane:
    """A Gaussian blob; its standard deviation is a fifth of the height and of the width."""
    rows, columns = (np.arange(size) - (size - 1) / 2 for size in grey.shape)
    down = np.exp(-0.5 * (rows / max(CENTRE_SHARE * grey.shape[0], 0.5)) ** 2)
    across = np.exp(-0.5 * (columns / max(CENTRE_SHARE * grey.shape[1], 0.5)) ** 2)
    return np.outer(down, across).astype(np.float32)


def _blurred(plane: Plane, sigma: float) -> Plane:
    return np.asarray(
        cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), dtype=np.float32
    )


_DRAWN: dict[Decoy, Callable[[Plane, int], Plane]] = {
    Decoy.RANDOM: _random,
    Decoy.EDGES: _edges,
    Decoy.CENTRE: _centre,
}
