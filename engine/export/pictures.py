"""Heat maps as pictures: over the image, and alone as sixteen grey bits."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import UnsupportedImage
from engine.records import Case, FloatArray, HeatMap, Prediction
from engine.render import display, draw_box, overlay

LEVELS = 65535


def overlaid(case: Case, prediction: Prediction, heat: HeatMap) -> NDArray[Any]:
    """The heat over its frame, with the boxes of the lesions found there: (H, W, 3) uint8 RGB."""
    picture = overlay(display(case.images[heat.image], heat.frame), heat.values)
    for region in prediction.regions:
        here = region.image == heat.image and region.frame == heat.frame
        if here and region.box is not None:
            picture = draw_box(picture, region.box)
    return picture


def scale(values: FloatArray) -> tuple[float, float]:
    """Zero and step of the sixteen-bit picture: value = zero + step x level; step 0 when flat."""
    low, high = float(values.min()), float(values.max())
    return low, (high - low) / LEVELS


def map_png(values: FloatArray) -> bytes:
    """The map alone as a grey PNG of sixteen bits, (H, W); 0 is the smallest value, 65535 the
    largest.

    Raises:
        UnsupportedImage: The picture could not be encoded.
    """
    zero, step = scale(values)
    levels = np.zeros(values.shape, np.uint16)
    if step > 0:
        levels[:] = np.clip(np.rint((values.astype(np.float64) - zero) / step), 0, LEVELS)
    done, data = cv2.imencode(".png", levels)
    if not done:
        raise UnsupportedImage("The picture could not be encoded.")
    return bytes(data)
