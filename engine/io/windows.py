"""Grey-level windows computed from the pixels, for files that state none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.records import FloatArray, Modality, Window

SAMPLES = 1_000_000
BREAST_CLIP = 0.5  # percent at either end, of the breast without the air around it
CLIP = 0.1  # percent at either end, of other pictures


def computed_window(
    pixels: FloatArray,
    modality: Modality,
    *,
    inverted: bool = False,
    background: float | None = None,
) -> Window:
    """A window that shows nearly all values of a grey image.

    Args:
        pixels: (F, H, W, 1), finite.
        modality: On a mammogram, the air around the breast is left out of the percentiles.
        inverted: True where low values are drawn white, so that air holds the highest values.
        background: Padding value, left out; or None.

    Returns:
        A LINEAR_EXACT window in the unit of the pixels, of width > 0.
    """
    values = _sample(pixels)
    low, high = float(pixels.min()), float(pixels.max())
    if modality is Modality.MASK:
        return between(low, high, "Whole range")
    if background is not None and (values != background).any():
        values = values[values != background]
    clip = CLIP
    if modality is Modality.MAMMOGRAPHY:
        clip = BREAST_CLIP
        values = -_above_air(-values) if inverted else _above_air(values)
    inner = np.percentile(values, (clip, 100 - clip))
    if inner[1] > inner[0]:
        low, high = float(inner[0]), float(inner[1])
    return between(low, high, "Computed from the pixels")


def between(low: float, high: float, explanation: str) -> Window:
    """The window that runs from `low` to `high`; of width 1 where the two are equal."""
    width = high - low if high > low else 1.0
    return Window((low + high) / 2, width, "LINEAR_EXACT", explanation)


def _sample(pixels: FloatArray) -> NDArray[np.float32]:
    flat = pixels.reshape(-1)
    return flat[:: max(1, flat.size // SAMPLES)]


def _above_air(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values above the dark peak of the histogram, where that peak is the air around a breast."""
    counts, edges = np.histogram(values, bins=256)
    peak = int(counts[:64].argmax())
    if counts[peak] < 0.05 * values.size:
        return values
    thin = np.flatnonzero(counts[peak:] < 0.1 * counts[peak])
    if not thin.size:
        return values
    kept = values[values > edges[peak + int(thin[0])]]
    return kept if kept.size >= 0.01 * values.size else values
