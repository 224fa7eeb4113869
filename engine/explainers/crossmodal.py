"""Cross-modal relevance: which mammogram regions and pathology patches speak to each other."""

from __future__ import annotations

from torch import Tensor

from engine.errors import IncompatibleExplainer, UnknownName
from engine.explainers.base import Maps, explainer
from engine.explainers.reading import weighted
from engine.trace import Trace

DIRECTIONS = ("forth", "back", "both")


@explainer(
    "cross_modal",
    title="Cross-modal relevance",
    summary="Regions of one image that raise the class by what they read in the other image.",
    limits="Shows only what passes between the two images; what either says alone is left out.",
    family="cross-modal",
    needs={"cross"},
    streams=2,
    settings={"direction": "forth"},
    facts={"importance": "sum of (gradient x attention)+ over the other image's patches"},
)
def run(trace: Trace, *, direction: str) -> Maps:
    """Importance of queries and of keys in the attention between two images.

    The mean of a softmax row is the same for every query, so plain attention says nothing about
    queries; weighted by the gradient it does.

    Args:
        trace: With cross-attention and gradients.
        direction: "forth", what the first image reads in the second; "back", what the second reads
            in the first; "both", their sum.

    Raises:
        IncompatibleExplainer: No attention between the images was used.
        UnknownName: No such direction.
    """
    if direction not in DIRECTIONS:
        raise UnknownName(f"The direction is one of {', '.join(DIRECTIONS)}.")
    readings = [
        reading
        for reading in trace.readings
        if reading.kind == "cross" and {reading.stream, reading.source} <= set(trace.images)
    ]
    if not readings:
        raise IncompatibleExplainer("There is no second image for the model to relate this one to.")
    first = readings[0].stream
    wanted = {"forth": (True,), "back": (False,), "both": (True, False)}[direction]
    sums: dict[str, Tensor] = {}
    for reading in readings:
        if (reading.stream == first) not in wanted:
            continue
        layer = weighted(reading)
        for stream, importance in ((reading.stream, layer.sum(2)), (reading.source, layer.sum(1))):
            sums[stream] = sums[stream] + importance if stream in sums else importance
    if not sums:
        raise IncompatibleExplainer("The model reads between the images in one direction only.")
    return {stream: trace.grid(values, stream) for stream, values in sums.items()}
