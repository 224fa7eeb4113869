"""Raw attention: what one layer attends to, blind to the class."""

from __future__ import annotations

from torch import Tensor

from engine.errors import UnknownName
from engine.explainers import rules
from engine.explainers.base import Maps, explainer
from engine.explainers.reading import attention, reader
from engine.trace import Trace


@explainer(
    "raw_attention",
    title="Raw attention",
    summary="Which regions one layer of the model attends to when it sums up the image.",
    limits="One layer of many, and blind to the class; strong attention does not mean that the "
    "region counted.",
    family="attention",
    needs={"attention"},
    gradients=False,
    class_blind=True,
    settings={"layer": -1, "head": None, "aggregation": "mean"},
)
def run(trace: Trace, *, layer: int, head: int | None, aggregation: str) -> Maps:
    """The row from which the class is read, at one layer.

    Args:
        trace: With attention. layer: Counted from 0, or from the end when negative.
        head: One head, counted from 0; all, put together by `aggregation`, when None.
        aggregation: "mean", "max" or "min" over heads.

    Raises:
        UnknownName: There is no such layer, head or aggregation.
    """
    maps: Maps = {}
    for stream in trace.images:
        layers = attention(trace, stream)
        if not -len(layers) <= layer < len(layers):
            raise UnknownName(f"The model has {len(layers)} layers of attention, from 0.")
        fused = _over_heads(layers[layer].values, head, aggregation)
        maps[stream] = trace.grid((reader(trace, stream) @ fused)[:, 0], stream)
    return maps


def _over_heads(values: Tensor, head: int | None, aggregation: str) -> Tensor:
    if head is None:
        return rules.fuse_heads(values, aggregation)
    if not -values.shape[1] <= head < values.shape[1]:
        raise UnknownName(f"The layer has {values.shape[1]} heads, counted from 0.")
    return values[:, head]
