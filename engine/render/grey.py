"""The grey pipeline: rescaled values, window, photometric sense, eight bits.

Source: DICOM PS3.3 C.11.2.1.2 (window functions), C.7.6.3.1.2 (MONOCHROME1, inverted last).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.errors import UnsupportedImage
from engine.records import FloatArray, Image, Window

Bytes = NDArray[np.uint8]

WHITE = 255.0


def window_levels(image: Image, frame: int = 0, window: Window | None = None) -> Bytes:
    """Grey levels of one frame as they are shown.

    Args:
        image: A grey image.
        frame: 0-based.
        window: Window in rescaled units; the first one of the image when absent.

    Returns:
        (H, W) uint8; 0 is black. MONOCHROME1 is inverted after the window.

    Raises:
        UnsupportedImage: The image is in colour, has no such frame, or the window has no width.
    """
    if image.is_colour:
        raise UnsupportedImage("A colour image has no grey-level window.")
    values = _frame(image, frame)[:, :, 0]
    chosen = window or default_window(image, frame)
    levels = _FUNCTIONS[chosen.function](values, chosen)
    np.clip(levels, 0.0, WHITE, out=levels)
    grey = np.floor(levels + 0.5).astype(np.uint8)
    return 255 - grey if image.inverted else grey


def display(image: Image, frame: int = 0, window: Window | None = None) -> Bytes:
    """One frame as RGB, (H, W, 3) uint8; colour images pass as they are, without a window."""
    if image.is_colour:
        levels = np.clip(_frame(image, frame), 0.0, WHITE)
        return np.asarray(np.floor(levels + 0.5), dtype=np.uint8)
    grey = window_levels(image, frame, window)
    return np.repeat(grey[:, :, None], 3, axis=2)


def default_window(image: Image, frame: int = 0) -> Window:
    """The first window of the image, or the full range of the frame without its padding value."""
    if image.windows:
        return image.windows[0]
    values = _frame(image, frame)
    if image.background is not None:
        inside = values[values != np.float32(image.background)]
        values = inside if inside.size else values
    low, high = float(values.min()), float(values.max())
    width = high - low if high > low else 1.0
    return Window((low + high) / 2, width, "LINEAR_EXACT", "full range")


def _frame(image: Image, frame: int) -> FloatArray:
    if not 0 <= frame < image.frames:
        raise UnsupportedImage(f"The image has no frame {frame + 1}; it has {image.frames}.")
    return image.pixels[frame]


def _linear(values: FloatArray, window: Window) -> FloatArray:
    """C.11.2.1.2.1: a width of 1 is a threshold."""
    if window.width < 1:
        raise UnsupportedImage("A LINEAR grey-level window needs a width of at least 1.")
    centre = np.float32(window.centre - 0.5)
    if window.width == 1:
        return np.where(values > centre, np.float32(WHITE), np.float32(0.0))
    return (values - centre) * np.float32(WHITE / (window.width - 1)) + np.float32(WHITE / 2)


def _linear_exact(values: FloatArray, window: Window) -> FloatArray:
    """C.11.2.1.3.2: no half-pixel terms."""
    slope = np.float32(WHITE / _positive(window.width))
    return (values - np.float32(window.centre)) * slope + np.float32(WHITE / 2)


def _sigmoid(values: FloatArray, window: Window) -> FloatArray:
    """C.11.2.1.3.1; the exponent is clipped where the result no longer changes."""
    exponent = (values - np.float32(window.centre)) * np.float32(-4.0 / _positive(window.width))
    return np.float32(WHITE) / (1 + np.exp(np.clip(exponent, -60.0, 60.0)))


def _positive(width: float) -> float:
    if not width > 0:
        raise UnsupportedImage("A grey-level window needs a width above 0.")
    return width


_FUNCTIONS: dict[str, Callable[[FloatArray, Window], FloatArray]] = {
    "LINEAR": _linear,
    "LINEAR_EXACT": _linear_exact,
    "SIGMOID": _sigmoid,
}
