"""Attention rollout: how much of each patch reaches the prediction, blind to the class."""

from __future__ import annotations

from engine.explainers import rules
from engine.explainers.base import Maps, explainer
from engine.trace import Trace


@explainer(
    "rollout",
    title="Attention rollout",
    summary="How much of each region flows into the model's summary of the image, "
    "whatever the class.",
    needs={"attention"},
    gradients=False,
    class_blind=True,
    settings={"head_fusion": "mean", "discard_ratio": 0.0, "start_layer": 0},
)
def run(trace: Trace) -> Maps:
    """Rollout of each stream, read by its readout, or by the class token where there is none.

    Source: Abnar and Zuidema, ACL 2020. Reading the flow with the learned readout is ours: here
    the readout, not the class token, feeds the prediction.
    """
    maps: Maps = {}
    for stream in trace.spans:
        flow = rules.rollout([layer.values for layer in trace.read("attention", stream)])
        reader = trace.read("readout", stream)
        rows = rules.fuse_heads(reader[0].values) @ flow if reader else flow[:, :1]
        maps[stream] = trace.grid(rows[:, 0], stream)
    return maps
