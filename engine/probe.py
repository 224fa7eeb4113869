"""The network as a function of one of its images, for methods that change the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from engine.listening import at_rest
from engine.progress import Progress

PIXELS_AT_ONCE = {"cpu": 8 * 224 * 224, "cuda": 64 * 224 * 224}
"""Pixels of all images of one evaluation, where throughput no longer grows (tests/bench)."""


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 autocast on CUDA; full precision on CPU."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


@dataclass(frozen=True)
class Probe:
    """One image of the input may change; everything else is held.

    Args:
        image: The input as given, normalised, (B, C, H, W).
        black: Black in normalised units, (C,).
        network: Called by `call`. call: (images, owners) to the network's output.
        target: Output and owners to scores (N,). share: The same to probabilities (N,).
        progress: Told of every evaluation.
    """

    image: Tensor
    black: Tensor
    network: nn.Module
    call: Callable[[Tensor, Tensor], Any]
    target: Callable[[Any, Tensor], Tensor]
    share: Callable[[Any, Tensor], Tensor]
    progress: Progress = field(default_factory=Progress)

    @property
    def portion(self) -> int:
        """How many images to evaluate at once."""
        pixels = self.image.shape[-1] * self.image.shape[-2]
        return max(1, PIXELS_AT_ONCE[_kind(self.image.device)] // pixels)

    def logit(self, images: Tensor, owners: Tensor | None = None) -> Tensor:
        """Scores of changed images; differentiable while gradients are enabled.

        Args:
            images: (N, C, H, W), normalised.
            owners: (N,), which of the B images each was made from; in order when None and N = B.

        Returns:
            (N,) float32, the logit of the owner's target.
        """
        return self._evaluate(self.target, images, owners)

    @torch.no_grad()
    def probability(self, images: Tensor, owners: Tensor | None = None) -> Tensor:
        """As `logit`, but the softmax probability of the target, and never with gradients."""
        return self._evaluate(self.share, images, owners)

    def _evaluate(
        self, answer: Callable[[Any, Tensor], Tensor], images: Tensor, owners: Tensor | None
    ) -> Tensor:
        owners = torch.arange(len(images), device=images.device) if owners is None else owners
        with at_rest(self.network), autocast(images.device):
            output = self.call(images, owners)
        found = answer(output, owners).float()
        self.progress.advance(len(images))
        return found


def _kind(device: torch.device) -> str:
    return "cuda" if device.type == "cuda" else "cpu"


def chosen(value: Any, owners: Tensor) -> Any:
    """Rows of `owners` of every tensor in a nested value; None and plain values pass."""
    if isinstance(value, Tensor):
        return value[owners.to(value.device)]
    if isinstance(value, Mapping):
        return {name: chosen(part, owners) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(chosen(part, owners) for part in value)
    return value
