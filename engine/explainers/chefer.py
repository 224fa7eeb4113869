"""Gradient-weighted relevance: attention that matters to the class, accumulated over layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.explainers import rules, windows
from engine.explainers.base import Maps, explainer
from engine.explainers.reading import attention, weighted, weighted_layers, weighted_reader
from engine.trace import Reading, Trace

Relevance = dict[tuple[str, str], Tensor]
"""R by (queries' stream, keys' stream); a pair that is absent is zero."""


@explainer(
    "relevance",
    title="Gradient-weighted relevance",
    summary="Regions that the class depends on through attention, through all layers and both "
    "modalities.",
    limits="Keeps positive evidence only: regions that speak against the class are not shown. "
    "Magnitudes cannot be compared between cases.",
    family="relevance",
    needs={"attention"},
    common_scale=True,
    settings={"start_layer": 0},
    facts={"head_fusion": "mean of positive parts"},
)
def run(trace: Trace, *, start_layer: int) -> Maps:
    """Self-attention and bi-modal rules, read by the readouts (or by the class's tokens).

    Where patches are averaged for the class, so are the rows; what each patch keeps of itself
    without attention is left out, being the same everywhere.

    Args:
        trace: With attention and gradients.
        start_layer: First layer of each stream that takes part; bi-modal models start at 0.

    Source: Chefer, Gur and Wolf, ICCV 2021.
    """
    if not any(reading.kind == "cross" for reading in trace.readings):
        return {stream: _alone(trace, stream, start_layer) for stream in trace.images}
    total = propagate(trace)
    maps: Maps = {}
    for stream in trace.images:
        rows = sum(
            weighted_reader(trace, reading_stream) @ total[reading_stream, stream]
            for reading_stream in trace.spans
            if (reading_stream, stream) in total
        )
        assert isinstance(rows, Tensor)
        maps[stream] = trace.grid(rows[:, 0], stream)
    return maps


def _alone(trace: Trace, stream: str, start_layer: int) -> Tensor:
    """One stream without cross-attention, row by row."""
    cut = windows.layers(trace, stream)
    if cut:
        cut = windows.usable(cut, start_layer)
        fused = [weighted(reading) for reading in cut]
        return windows.flow(cut, fused, len(trace.image(stream)), normalised=False)
    rows = weighted_reader(trace, stream)
    found = rules.relevance(weighted_layers(trace, stream), rows, start_layer)
    if trace.read("readout", stream):
        found = found + rows
    return trace.grid(found[:, 0], stream)


def propagate(trace: Trace) -> Relevance:
    """Accumulate relevance over all layers, in the order of the forward pass."""
    total = _identities(trace)
    before: Relevance | None = None
    for reading in trace.readings:
        if reading.kind == "attention":
            before = None
            _self_rule(total, reading)
        elif reading.kind == "cross":
            before = before or dict(total)
            _cross_rule(total, before, reading)
    return total


def _identities(trace: Trace) -> Relevance:
    total: Relevance = {}
    for stream in trace.spans:
        values = attention(trace, stream)[0].values
        eye = torch.eye(values.shape[-1], device=values.device)
        total[stream, stream] = eye.expand(len(values), -1, -1)
    return total


def _self_rule(total: Relevance, reading: Reading) -> None:
    layer = weighted(reading)
    for key in [key for key in total if key[0] == reading.stream]:
        total[key] = total[key] + layer @ total[key]


def _cross_rule(total: Relevance, before: Relevance, reading: Reading) -> None:
    own, other = (reading.stream, reading.stream), (reading.source, reading.source)
    across, back = (reading.stream, reading.source), (reading.source, reading.stream)
    layer = _with_prefix(weighted(reading), before[own], before[other])
    _add(total, across, rules.cross_update(layer, before[own], before[other]))
    if back in before:
        _add(total, own, layer @ before[back])


def _add(total: Relevance, pair: tuple[str, str], more: Tensor) -> None:
    total[pair] = total[pair] + more if pair in total else more


def _with_prefix(layer: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """Prefix tokens that take no part in the cross-attention get empty rows and columns."""
    rows, columns = own.shape[-1] - layer.shape[-2], other.shape[-1] - layer.shape[-1]
    return F.pad(layer, (columns, 0, rows, 0))
