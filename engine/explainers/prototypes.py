"""Prototypes: which learnt part a region resembles, and how much that raises the class."""

from __future__ import annotations

import torch

from engine.errors import UnknownName
from engine.explainers.base import Maps, explainer
from engine.explainers.reading import slopes
from engine.trace import Trace


@explainer(
    "prototypes",
    title="Prototypes",
    summary="Regions that resemble parts learnt from training cases, as far as that raises the "
    "class.",
    limits="Resemblance in the model's own terms, which may differ from what a reader sees as "
    "alike.",
    family="parts",
    needs={"prototypes"},
    settings={"prototype": None},
)
def run(trace: Trace, *, prototype: int | None) -> Maps:
    """Similarity maps of the prototypes, weighted by how much each raises the class.

    Args:
        trace: With "prototypes" readings (B, P, h, w) and gradients.
        prototype: One prototype's similarity, unweighted; all of them when None.

    Raises:
        UnknownName: There is no such prototype.

    Source:
        Similarity maps after Chen et al., "This Looks Like That", NeurIPS 2019; the weight is the
        gradient of the class summed over the map, which for a linear head on pooled similarities is
        the head's own weight.
    """
    maps: Maps = {}
    for stream in trace.images:
        reading = trace.read("prototypes", stream)[-1]
        count = reading.values.shape[1]
        if prototype is None:
            weights = slopes(reading).sum((2, 3)).clamp_min(0)
            maps[stream] = torch.einsum("bp,bphw->bhw", weights, reading.values)
        elif 0 <= prototype < count:
            maps[stream] = reading.values[:, prototype]
        else:
            raise UnknownName(f"The model has {count} prototypes, counted from 0.")
    return maps
