"""LRP attribution: attention weighted by layer-wise relevance and the class's gradient."""

from __future__ import annotations

from torch import Tensor

from engine.errors import IncompatibleExplainer
from engine.explainers import rules
from engine.explainers.base import Maps, explainer
from engine.explainers.reading import attention, reader
from engine.trace import Reading, Trace


@explainer(
    "lrp",
    title="LRP attribution",
    summary="Regions through which the score itself can be traced back to the image, layer by "
    "layer, through attention that raises the class.",
    limits="The least stable of the methods in number: it divides by small values, so that weak "
    "heat far from the hottest place means little.",
    family="relevance",
    needs={"attention", "lrp"},
    settings={"start_layer": 0},
    facts={"rule": "alpha 1, beta 0; biases take no relevance"},
)
def run(trace: Trace, *, start_layer: int) -> Maps:
    """Rows of (I + C_L) ... (I + C_s), with C_l = mean over heads of (D_l * Rel_l)+.

    A learned readout is weighted in the same way and read first. What passes between two images is
    left out: the rule has none for it.

    Args:
        trace: With attention, gradients and relevance. start_layer: First layer that takes part.

    Raises:
        IncompatibleExplainer: The model holds a step that the rules do not cover.

    Source:
        Chefer, Gur and Wolf, "Transformer Interpretability Beyond Attention Visualization", CVPR
        2021; residual sums are rescaled image by image, so that a batch gives what single images
        give.
    """
    maps: Maps = {}
    for stream in trace.images:
        layers = [_weighted(trace, layer) for layer in attention(trace, stream)]
        found = trace.read("readout", stream)
        rows = _weighted(trace, found[-1]) if found else reader(trace, stream)
        flow = rules.relevance(layers, rows, start_layer)
        maps[stream] = trace.grid((flow + rows if found else flow)[:, 0], stream)
    return maps


def _weighted(trace: Trace, reading: Reading) -> Tensor:
    if reading.relevance is None or reading.gradients is None:
        raise IncompatibleExplainer(
            trace.refusals.get("lrp", "The relevance of this model's attention could not be read.")
        )
    return rules.weighted(reading.relevance, reading.gradients)
