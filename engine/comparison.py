"""Maps of one image beside each other: how alike they are, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from engine.metrics import similarity
from engine.records import Explanation, FloatArray, HeatMap

COMPARED_SIDE = 128
"""Longer side of maps when they are compared with each other, pixels."""


def agreement(explanations: Sequence[Explanation], image: int) -> similarity.Agreement | None:
    """How alike the methods' maps of one image are; None where fewer than two have one.

    Args:
        explanations: Of one case and target. image: Position of the image.
    """
    maps = _comparable(explanations, image)
    return similarity.agreement_matrix(maps) if len(maps) > 1 else None


def consensus(explanations: Sequence[Explanation], image: int) -> HeatMap | None:
    """Mean of the maps of one image, each replaced by its ranks; None without maps."""
    maps = _comparable(explanations, image)
    if not maps:
        return None
    first = next(h for e in explanations for h in e.maps if h.image == image and h.localised)
    small = similarity.consensus(maps)
    height, width = first.values.shape
    values = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return HeatMap(image, first.frame, values, (int(small.shape[0]), int(small.shape[1])))


def _comparable(explanations: Sequence[Explanation], image: int) -> dict[str, FloatArray]:
    """Localised maps of an image by method, at one moderate resolution."""
    found = {}
    for explanation in explanations:
        for heat in explanation.maps:
            if heat.image != image or not heat.localised:
                continue
            height, width = heat.values.shape
            scale = min(1.0, COMPARED_SIDE / max(height, width))
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = cv2.resize(heat.values, size, interpolation=cv2.INTER_AREA)
            found[explanation.method] = np.asarray(small, dtype=np.float32)
    return found
