"""Heat maps as pictures: over the image, and alone as sixteen grey bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import UnsupportedImage
from engine.explainers import EXPLAINERS
from engine.records import Case, Explanation, FloatArray, HeatMap, Prediction
from engine.render import display, draw_box, gallery, legible, overlay

LEVELS = 65535
TILE = 280


def overlaid(
    case: Case, prediction: Prediction, heat: HeatMap, *, signed: bool = False
) -> NDArray[Any]:
    """The heat over its frame, with the boxes of the lesions found there: (H, W, 3) uint8 RGB.

    Where values below zero speak against the class (`signed`), only those above zero are drawn.
    Maps of single pixels are smoothed to be seen; the numbers in the other files are not.
    """
    values = heat.values.clip(min=0) if signed else heat.values
    shown = legible(values, heat.grid)
    picture = overlay(display(case.images[heat.image], heat.frame), shown)
    for region in prediction.regions:
        here = region.image == heat.image and region.frame == heat.frame
        if here and region.box is not None:
            picture = draw_box(picture, region.box)
    return picture


def sheet(
    case: Case, prediction: Prediction, explanations: Sequence[Explanation]
) -> NDArray[np.uint8]:
    """Small multiples of the first image that the model read: as it is, then one map a method."""
    first = explanations[0].maps[0]
    panels = [("Image", display(case.images[first.image], first.frame))]
    for explanation in explanations:
        known = EXPLAINERS.get(explanation.method)
        title = explanation.method if known is None else known.title
        heat = next((h for h in explanation.maps if h.image == first.image), None)
        if heat is None or not heat.localised:
            panels.append((f"{title}: no map here", panels[0][1] // 3))
            continue
        signed = bool(explanation.settings.get("signed"))
        panels.append((title, overlaid(case, prediction, heat, signed=signed)))
    return gallery(panels, TILE)


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
