"""Attention rollout: how much of each patch reaches the prediction, blind to the class."""

from __future__ import annotations

from engine.explainers import rules, windows
from engine.explainers.base import Maps, explainer
from engine.explainers.reading import attention, reader
from engine.trace import Trace


@explainer(
    "rollout",
    title="Attention rollout",
    summary="How much of each region flows into the model's summary of the image, "
    "whatever the class.",
    limits="Does not know the class: the same map would be drawn for any finding. It follows "
    "attention only, not what is done with it.",
    family="attention",
    needs={"attention"},
    gradients=False,
    class_blind=True,
    settings={"head_fusion": "mean", "discard_ratio": 0.0, "start_layer": 0},
)
def run(trace: Trace, *, head_fusion: str, discard_ratio: float, start_layer: int) -> Maps:
    """Rollout of each stream, read by its readout, or by the tokens that the class is read from.

    Source: Abnar and Zuidema, ACL 2020. Reading the flow with a learned readout is ours: there
    the readout, not the class token, feeds the prediction.
    """
    maps: Maps = {}
    for stream in trace.images:
        cut = windows.layers(trace, stream)
        if cut:
            cut = windows.usable(cut, start_layer, discard_ratio)
            fused = [rules.fuse_heads(layer.values, head_fusion) for layer in cut]
            maps[stream] = windows.flow(cut, fused, len(trace.image(stream)), normalised=True)
            continue
        layers = [layer.values for layer in attention(trace, stream)]
        found = trace.read("readout", stream)
        rows = rules.fuse_heads(found[-1].values, head_fusion) if found else reader(trace, stream)
        flow = rules.rollout(layers, rows, head_fusion, discard_ratio, start_layer)
        maps[stream] = trace.grid(flow[:, 0], stream)
    return maps
