"""Gradient rollout: attention rollout with each layer weighted by the class's gradient."""

from __future__ import annotations

from torch import Tensor

from engine.explainers import rules, windows
from engine.explainers.base import Maps, explainer
from engine.explainers.reading import attention, slopes, weighted_reader
from engine.trace import Reading, Trace


@explainer(
    "gradient_rollout",
    title="Gradient rollout",
    summary="How much of each region flows into the prediction through attention that raises "
    "the class.",
    limits="Each layer is scaled to sum to one, so that layers without influence count as much as "
    "those with.",
    family="relevance",
    needs={"attention"},
    settings={"discard_ratio": 0.0, "start_layer": 0},
)
def run(trace: Trace, *, discard_ratio: float, start_layer: int) -> Maps:
    """Rollout over M_l = (mean over heads of D_l * A_l)+.

    Source: vit-explain (J. Gildenblat) as documented. Its code pairs the gradients with the wrong
    layers and takes those before the softmax; this does neither.
    """
    maps: Maps = {}
    for stream in trace.images:
        cut = windows.layers(trace, stream)
        if cut:
            cut = windows.usable(cut, start_layer, discard_ratio)
            fused = [_layer(reading) for reading in cut]
            maps[stream] = windows.flow(cut, fused, len(trace.image(stream)), normalised=True)
            continue
        layers = [_layer(r) for r in rules.later(attention(trace, stream), start_layer)]
        kept = (rules.discard_lowest(layer, discard_ratio) for layer in reversed(layers))
        flow = rules.descend(weighted_reader(trace, stream), kept)
        maps[stream] = trace.grid(flow[:, 0], stream)
    return maps


def _layer(reading: Reading) -> Tensor:
    return (slopes(reading) * reading.values).mean(1).clamp_(min=0)
