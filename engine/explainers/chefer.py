"""Gradient-weighted relevance: attention that matters to the class, accumulated over layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import IncompatibleExplainer
from engine.explainers import rules
from engine.explainers.base import Maps, explainer
from engine.trace import Reading, Trace

Relevance = dict[tuple[str, str], Tensor]
"""R by (queries' stream, keys' stream); a pair that is absent is zero."""


@explainer(
    "relevance",
    title="Gradient-weighted relevance",
    summary="Regions that the class depends on through attention, through all layers and both "
    "modalities.",
    needs={"attention"},
    common_scale=True,
    settings={"head_fusion": "mean of positive parts", "start_layer": 0},
)
def run(trace: Trace) -> Maps:
    """Self-attention and bi-modal rules, read by the readouts (or the class token).

    Source: Chefer, Gur and Wolf, ICCV 2021.
    """
    total = propagate(trace)
    maps: Maps = {}
    for stream in trace.spans:
        rows = sum(
            _reader(trace, reading_stream) @ total[reading_stream, stream]
            for reading_stream in trace.spans
            if (reading_stream, stream) in total
        )
        assert isinstance(rows, Tensor)
        maps[stream] = trace.grid(rows[:, 0], stream)
    return maps


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
        layers = trace.read("attention", stream)
        if not layers:
            raise IncompatibleExplainer("The model's attention could not be read.")
        values = layers[0].values
        eye = torch.eye(values.shape[-1], device=values.device)
        total[stream, stream] = eye.expand(len(values), -1, -1)
    return total


def weighted(reading: Reading) -> Tensor:
    """Mean over heads of (D * A)+ of a reading.

    Raises:
        IncompatibleExplainer: The reading has no gradient.
    """
    if reading.gradients is None:
        raise IncompatibleExplainer("This method needs gradients.")
    return rules.weighted(reading.values, reading.gradients)


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


def _reader(trace: Trace, stream: str) -> Tensor:
    """The row (B, 1, N) with which the prediction reads a stream."""
    readings = trace.read("readout", stream)
    if readings:
        return weighted(readings[-1])
    layers = trace.read("attention", stream)
    size = layers[-1].values.shape[-1]
    row = torch.zeros(len(layers[-1].values), 1, size, device=layers[-1].values.device)
    row[:, 0, 0] = 1.0
    return row
