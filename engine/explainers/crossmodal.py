"""Cross-modal relevance: which mammogram regions and pathology patches speak to each other."""

from __future__ import annotations

from engine.errors import IncompatibleExplainer
from engine.explainers.base import Maps, explainer
from engine.explainers.chefer import weighted
from engine.trace import Trace


@explainer(
    "cross_modal",
    title="Cross-modal relevance",
    summary="Regions of one image that raise the class by what they read in the other image.",
    needs={"cross"},
    streams=2,
    settings={"importance": "sum of (gradient x attention)+ over the other image's patches"},
)
def run(trace: Trace) -> Maps:
    """Query importance on the first stream, key importance of the same attention on the second.

    The mean of a softmax row is the same for every query, so plain attention says nothing about
    queries; weighted by the gradient it does.

    Raises:
        IncompatibleExplainer: No attention between the images was used.
    """
    readings = [reading for reading in trace.readings if reading.kind == "cross"]
    if not readings:
        raise IncompatibleExplainer("There is no second image for the model to relate this one to.")
    first = readings[0]
    layer = weighted(first)
    return {
        first.stream: trace.grid(layer.sum(2), first.stream),
        first.source: trace.grid(layer.sum(1), first.source),
    }
