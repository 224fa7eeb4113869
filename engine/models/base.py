"""What every system offers: a card, a network, a way in and a way out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import IncompatibleExplainer
from engine.geometry import Placement
from engine.models.weights import load_weights
from engine.records import Case, ModelCard, Prediction
from engine.registry import Registry
from engine.trace import Inputs, Span, Subject


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

    offers: frozenset[str] = frozenset({"class", "input"})
    """Kinds of readings that the network offers."""

    lacks: Mapping[str, str] = MappingProxyType({})
    """Kind of reading to the reason why the network does not offer it."""

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

    @staticmethod
    def segmentation(output: Any) -> Tensor:
        """Lesion logits (B, h, w) over the first view, in the network's output.

        Raises:
            IncompatibleExplainer: The system segments nothing.
        """
        raise IncompatibleExplainer("This model does not segment, so that no region is explained.")

    def subject(self, prepared: Prepared, layers: Sequence[str] = ()) -> Subject:
        """The network as explanation methods meet it, with a case's tokens and options.

        Args:
            prepared: The case. layers: Further modules whose feature maps are read.

        Raises:
            IncompatibleExplainer: The network is not read at layers of one's choice.
        """
        if layers:
            raise IncompatibleExplainer("This model's feature map is read at one layer only.")
        return Subject(
            self.network,
            lambda inputs, **more: self.network(**{**inputs, **more}),
            prepared.spans,
            hold=self.hold,
            options=prepared.options,
        )

    @property
    def cascade(self) -> tuple[str, ...]:
        """Parts of the network from the answer back to the input; found by itself when empty."""
        return ()

    def hold(self, inputs: Inputs, stream: str) -> Mapping[str, Any]:
        """Arguments that spare the network what does not depend on a stream, one row per image."""
        return {}


MODELS: Registry[type[System]] = Registry("system")
