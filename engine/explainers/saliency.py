"""Saliency: how strongly the class reacts to each pixel."""

from __future__ import annotations

from engine.errors import IncompatibleExplainer
from engine.explainers.base import Maps, explainer
from engine.trace import Trace


@explainer(
    "saliency",
    title="Gradient",
    summary="Pixels where a small change would change the class's score most, up or down.",
    limits="Says where the model is sensitive, not what it saw: a lesion that settles the matter "
    "can have a flat slope. Noisy.",
    family="gradient",
    needs={"input"},
)
def run(trace: Trace) -> Maps:
    """Largest |dy/dx| over channels, per pixel; (B, H, W).

    Source: Simonyan et al., "Deep Inside Convolutional Networks", 2013.
    """
    maps: Maps = {}
    for stream in trace.images:
        reading = trace.read("input", stream)[0]
        if reading.gradients is None:
            raise IncompatibleExplainer("This method needs gradients.")
        maps[stream] = reading.gradients.abs().amax(1)
    return maps
