"""How a model is read, and about what: taps, one captured pass, and targets.

A model places `Tap` modules where it may be read. `capture` hooks them, runs one forward and at
most one backward pass, and leaves the model as it was. Explainers see the `Trace` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import IncompatibleExplainer

Inputs = Mapping[str, Tensor | None]


class Tap(nn.Module):
    """An identity that marks a tensor that may be read.

    Args:
        kind: What passes through: "attention" (B, H, Nq, Nk) post-softmax within a stream, "cross"
            the same between two streams, "readout" the same from one learned query, or "features"
            (B, N, D).
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    @property
    def is_read(self) -> bool:
        """True while a trace listens, so that the model computes attention explicitly."""
        return bool(self._forward_hooks)

    def forward(self, values: Tensor, stream: str = "", source: str = "") -> Tensor:
        """Return `values`; `stream` names the queries' input and `source` the keys' input."""
        return values


@dataclass(frozen=True)
class Span:
    """The tokens of one input: `prefix` tokens first, then a grid of patches, row by row."""

    prefix: int
    grid: tuple[int, int]


@dataclass(frozen=True)
class Reading:
    """What one tap saw.

    Args:
        kind: Kind of the tap.
        stream: Input that the queries (or features) belong to.
        source: Input that the keys belong to.
        values: The tensor, detached.
        gradients: Derivative of the target's score with respect to it, or None.
    """

    kind: str
    stream: str
    source: str
    values: Tensor
    gradients: Tensor | None


@dataclass(frozen=True)
class ClassTarget:
    """Explain the logit of one class per image."""

    classes: Tensor

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits (B, K) to scores (B,)."""
        return logits.gather(1, self.classes.to(logits.device)[:, None])[:, 0]


@dataclass(frozen=True)
class Trace:
    """One captured pass; all that an explainer may know.

    Args:
        logits: (B, K), detached.
        spans: Tokens of each input.
        readings: In the order of the forward pass.
        score: The model as a function from inputs to the target's probability (B,), without
            gradients, for methods that perturb.
        inputs: The tensors that were given.
    """

    logits: Tensor
    spans: Mapping[str, Span]
    readings: tuple[Reading, ...]
    score: Callable[[Inputs], Tensor]
    inputs: Inputs

    def read(self, kind: str, stream: str, source: str | None = None) -> tuple[Reading, ...]:
        """Readings of a kind whose queries belong to `stream` (and keys to `source`), in order."""
        return tuple(
            reading
            for reading in self.readings
            if reading.kind == kind
            and reading.stream == stream
            and (source is None or reading.source == source)
        )

    def grid(self, tokens: Tensor, stream: str) -> Tensor:
        """Drop the prefix tokens and lay the rest out: (B, N) to (B, h, w)."""
        span = self.spans[stream]
        patches = tokens[:, tokens.shape[1] - span.grid[0] * span.grid[1] :]
        return patches.reshape(len(tokens), *span.grid)


@contextmanager
def at_rest(network: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode with frozen parameters; both are restored afterwards."""
    training = [module for module in network.modules() if module.training]
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for module in training:
        module.training = False
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield network
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True


@contextmanager
def _listening(
    network: nn.Module, kinds: frozenset[str], gradients: bool
) -> Iterator[list[tuple[Any, ...]]]:
    """Collect what passes the taps; with gradients, the graph begins at the first of them."""
    heard: list[tuple[Any, ...]] = []

    def hook(tap: Tap, arguments: tuple[Any, ...], values: Tensor) -> Tensor:
        stream, source = (*arguments[1:], "", "")[:2]
        if gradients and not values.requires_grad:
            values = values.detach().requires_grad_()
        heard.append((tap.kind, stream, source or stream, values))
        return values

    taps = [m for m in network.modules() if isinstance(m, Tap) and m.kind in kinds]
    handles = [tap.register_forward_hook(hook) for tap in taps]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def capture(
    network: nn.Module,
    inputs: Inputs,
    target: Callable[[Tensor], Tensor],
    *,
    spans: Mapping[str, Span],
    kinds: frozenset[str],
    gradients: bool = True,
    logits_of: Callable[[Any], Tensor] = lambda output: output,
    options: Mapping[str, Any] | None = None,
) -> tuple[Trace, Any]:
    """Run the network once, forward and (if asked) backward, and read its taps.

    Parameters are frozen during the pass, the graph begins where the first tap is read, and no
    `.grad` is written; hooks are removed whatever happens.

    Args:
        network: Called as `network(**inputs)`.
        inputs: Tensors by name; None where an input is absent.
        target: Logits (B, K) to scores (B,). Samples do not interact in evaluation mode, so one
            backward pass of the sum serves the whole batch.
        spans: Tokens of each input.
        kinds: Kinds of taps to read.
        gradients: Whether readings carry gradients.
        logits_of: Finds the logits in the network's output.
        options: Further keyword arguments of the network.

    Returns:
        The trace, and the network's output, detached where it is a mapping of tensors.

    Raises:
        IncompatibleExplainer: A tensor read has no gradient path to the target.
    """
    with (
        at_rest(network),
        _listening(network, kinds, gradients) as heard,
        torch.set_grad_enabled(gradients),
    ):
        output = network(**inputs, **(options or {}))
        logits = logits_of(output)
        tensors = [values for *_, values in heard]
        slopes: tuple[Tensor | None, ...] = (None,) * len(tensors)
        if gradients and tensors:
            if not logits.requires_grad:
                raise IncompatibleExplainer(
                    "Nothing that the model lets be read leads from this image to the class."
                )
            score = target(logits.float()).sum()
            slopes = torch.autograd.grad(score, tensors, allow_unused=True)
    readings = tuple(
        Reading(
            kind,
            stream,
            source,
            values.detach().float(),
            None if not gradients else _or_zeros(slope, values),
        )
        for (kind, stream, source, values), slope in zip(heard, slopes, strict=True)
    )
    trace = Trace(logits.detach(), spans, readings, _scorer(network, target, logits_of), inputs)
    return trace, _detached(output)


def _or_zeros(slope: Tensor | None, values: Tensor) -> Tensor:
    return torch.zeros_like(values, dtype=torch.float32) if slope is None else slope.float()


def _detached(output: Any) -> Any:
    if isinstance(output, Mapping):
        return {k: v.detach() if isinstance(v, Tensor) else v for k, v in output.items()}
    return output.detach() if isinstance(output, Tensor) else output


def _scorer(
    network: nn.Module,
    target: Callable[[Tensor], Tensor],
    logits_of: Callable[[Any], Tensor],
) -> Callable[[Inputs], Tensor]:
    def score(inputs: Inputs) -> Tensor:
        with at_rest(network), torch.no_grad():
            logits = logits_of(network(**inputs)).float()
        return target(logits.log_softmax(1)).exp()

    return score
