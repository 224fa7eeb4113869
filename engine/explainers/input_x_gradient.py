"""Input x gradient: each pixel's value times its slope."""

from __future__ import annotations

from engine.errors import IncompatibleExplainer
from engine.explainers.base import Maps, explainer
from engine.trace import Trace


@explainer(
    "input_x_gradient",
    title="Input x gradient",
    summary="Pixels that raise (or lower) the class, to first order, counted from the mean image.",
    limits="Noisy, and near-linear models aside it is no share of the score; a pixel at the mean "
    "value gets nothing whatever it means.",
    family="gradient",
    needs={"input"},
    signed=True,
    facts={"baseline": "0 in normalised units, the mean of the training images"},
)
def run(trace: Trace) -> Maps:
    """Sum over channels of x * dy/dx, signed, per pixel; (B, H, W).

    Source: Shrikumar et al., "Not Just a Black Box", 2016.
    """
    maps: Maps = {}
    for stream in trace.images:
        reading = trace.read("input", stream)[0]
        if reading.gradients is None:
            raise IncompatibleExplainer("This method needs gradients.")
        maps[stream] = (reading.values * reading.gradients).sum(1)
    return maps
