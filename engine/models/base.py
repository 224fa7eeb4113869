"""What every system offers: a card, a network, a way in and a way out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from engine.geometry import Placement
from engine.models.weights import load_weights
from engine.records import Case, ModelCard, Prediction
from engine.registry import Registry
from engine.trace import Span


@dataclass(frozen=True)
class View:
    """How one image of a case became one input of a network.

    Args:
        image: Position in the case. frame: Frame that was read. placement: Crop and resize.
        span: Tokens of this input.
    """

    image: int
    frame: int
    placement: Placement
    span: Span


@dataclass(frozen=True)
class Prepared:
    """A case as tensors.

    Args:
        inputs: Keyword arguments of the network, on its device.
        views: By stream name, in the order of the inputs.
        options: Further keyword arguments of the network.
        warnings: Sentences for the reader of the prediction.
    """

    inputs: Mapping[str, Tensor | None]
    views: Mapping[str, View]
    warnings: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spans(self) -> Mapping[str, Span]:
        """Tokens of each stream."""
        return {name: view.span for name, view in self.views.items()}


class System(ABC):
    """One diagnostic system: network and card, from cases to predictions.

    Args:
        card: Its model card. network: Its network. device: Where it runs.
    """

    offers: ClassVar[frozenset[str]] = frozenset()
    """Kinds of taps that the network places."""

    def __init__(self, card: ModelCard, network: nn.Module, device: torch.device) -> None:
        self.card = card
        self.network = network.to(device).eval()
        self.device = device

    @classmethod
    @abstractmethod
    def build(cls, config: Mapping[str, Any]) -> nn.Module:
        """The network of a card's configuration, with random weights."""

    @classmethod
    def load(cls, card: ModelCard, folder: Path, device: torch.device) -> System:
        """Build the network and load verified weights.

        Raises:
            ModelUnavailable: Weights are absent, or differ from the card.
        """
        network = cls.build(card.config)
        load_weights(network, folder / card.weights, card.weights_digest)
        return cls(card, network, device)

    @abstractmethod
    def prepare(self, case: Case, frames: Mapping[int, int] | None = None) -> Prepared:
        """Choose the images, crop, window, resize and normalise.

        Args:
            case: The case. frames: Frame to read by image position; the middle one otherwise.

        Raises:
            UnsupportedImage: The case has no image that this system reads.
        """

    @abstractmethod
    def read(self, output: Any, prepared: Prepared, case: Case, seconds: float) -> Prediction:
        """The network's output in the words of the case, in source pixels."""

    @staticmethod
    @abstractmethod
    def logits(output: Any) -> Tensor:
        """Class logits (B, K) in the network's output."""


MODELS: Registry[type[System]] = Registry("system")
