"""Grad-CAM: feature channels weighted by how much they raise the class."""

from __future__ import annotations

import torch

from engine.errors import IncompatibleExplainer
from engine.explainers import rules
from engine.explainers.base import Maps, explainer
from engine.trace import Trace


@explainer(
    "gradcam",
    title="Grad-CAM",
    summary="Regions whose features raise the score of the class.",
    needs={"features"},
    settings={"layer": "input of the last attention block (norm1)"},
)
def run(trace: Trace) -> Maps:
    """Grad-CAM on patch tokens at the last block's first norm; prefix tokens are dropped.

    Raises:
        IncompatibleExplainer: No gradient reaches the features of any patch.
    """
    maps: Maps = {}
    for stream, span in trace.spans.items():
        reading = trace.read("features", stream)[-1]
        patches = slice(reading.values.shape[1] - span.grid[0] * span.grid[1], None)
        gradients = reading.gradients
        if gradients is None:
            raise IncompatibleExplainer("Grad-CAM needs gradients.")
        values = rules.gradcam(reading.values[:, patches], gradients[:, patches])
        maps[stream] = values.reshape(len(values), *span.grid)
    if not any(bool(torch.isfinite(grid).all()) for grid in maps.values()):
        raise IncompatibleExplainer("The model's features hold values that are not numbers.")
    return maps
