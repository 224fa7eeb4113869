"""What attention methods read of a trace: layers of a stream, and where the class is read."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from engine.errors import IncompatibleExplainer
from engine.explainers import rules
from engine.trace import Reading, Trace


def attention(trace: Trace, stream: str) -> tuple[Reading, ...]:
    """Self-attention of a stream, first layer first.

    Raises:
        IncompatibleExplainer: None was heard.
    """
    layers = trace.read("attention", stream)
    if not layers and trace.read("windowed", stream):
        raise IncompatibleExplainer(
            "The model attends within windows, which this method cannot join into one map."
        )
    if not layers:
        raise IncompatibleExplainer("The model's attention could not be read.")
    return layers


def slopes(reading: Reading) -> Tensor:
    """The gradient of a reading.

    Raises:
        IncompatibleExplainer: It has none.
    """
    if reading.gradients is None:
        raise IncompatibleExplainer("This method needs gradients.")
    return reading.gradients


def reader(trace: Trace, stream: str) -> Tensor:
    """The row (1, 1, N) over tokens from which the class is read where there is no readout."""
    values = attention(trace, stream)[-1].values
    return trace.rows(stream, values.shape[-1]).to(values.device)


def weighted_reader(trace: Trace, stream: str) -> Tensor:
    """The row (B or 1, 1, N) with which the class reads a stream, weighted by its gradient."""
    found = trace.read("readout", stream)
    return weighted(found[-1]) if found else reader(trace, stream)


def weighted(reading: Reading) -> Tensor:
    """Mean over heads of (D * A)+ of a reading, (B, Nq, Nk)."""
    return rules.weighted(reading.values, slopes(reading))


def weighted_layers(trace: Trace, stream: str) -> Sequence[Tensor]:
    """Abar of each layer of a stream."""
    return [weighted(layer) for layer in attention(trace, stream)]
