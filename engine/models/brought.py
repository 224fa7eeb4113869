"""System `timm`: any classifier of one image that a user brings, read as it is.

A card names the architecture, and the weights lie beside it; or a network is given ready-made. The
network is not edited: where it is read is found by `engine.anatomy`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from engine.anatomy import IMAGE, Anatomy, last_map, study
from engine.errors import ModelUnavailable, UnsupportedImage
from engine.geometry import place
from engine.models.base import MODELS, Prepared, System, View
from engine.records import Case, FloatArray, Image, Modality, ModelCard, Prediction
from engine.trace import Subject

DEFAULT_SIDE = 224
NOTICE = "A model that a user brought: Lightbox knows nothing of its training or its limits."


@MODELS.register("timm")
class Brought(System):
    """One image, one set of classes.

    A card's `config` holds `architecture` (a name in timm) and further arguments of
    `timm.create_model`; `mean` and `std` where the weights were trained with other statistics than
    the architecture states.
    """

    def __init__(
        self,
        card: ModelCard,
        network: nn.Module,
        device: torch.device,
        *,
        layer: str | None = None,
    ) -> None:
        self.card, self.device = card, device
        self.network = network.to(device)
        self._anatomy = study(network, layer=layer)
        self._anatomy = replace(
            self._anatomy,
            mean=tuple(card.config.get("mean", self._anatomy.mean)),
            std=tuple(card.config.get("std", self._anatomy.std)),
        )
        self.offers = self._anatomy.offers
        self.lacks = self._anatomy.lacks

    @classmethod
    def build(cls, config: Mapping[str, Any]) -> nn.Module:
        """See `System.build`.

        Raises:
            ModelUnavailable: timm knows no such architecture, or not with these arguments.
        """
        arguments = {k: v for k, v in config.items() if k not in ("architecture", "mean", "std")}
        try:
            network: nn.Module = timm.create_model(
                str(config.get("architecture")), pretrained=False, **arguments
            )
        except (RuntimeError, TypeError, ValueError, KeyError):
            raise ModelUnavailable(
                "The card names an architecture that timm does not know, or arguments that it "
                "does not take."
            ) from None
        return network

    @classmethod
    def of(
        cls, network: nn.Module, classes: Sequence[str] = (), *, layer: str | None = None
    ) -> Brought:
        """A system around a ready-made network, with a card that says how little is known.

        Args:
            network: Takes (B, C, H, W), returns logits (B, K).
            classes: Names of the classes; numbers when empty.
            layer: See `engine.anatomy.study`.
        """
        first = next(network.parameters(), None)
        device = torch.device("cpu") if first is None else first.device
        names = tuple(classes) or _numbered(network)
        card = ModelCard(
            name=type(network).__name__, system="timm", version="unknown",
            title=type(network).__name__, intended_use=NOTICE, training_data="unknown",
            limits=(), classes=names, grades=(), config={}, metrics={}, facts={}, weights="",
            weights_digest=digest(network),
        )  # fmt: skip
        return cls(card, network, device, layer=layer)

    @property
    def anatomy(self) -> Anatomy:
        """How the network is read."""
        return self._anatomy

    def read_at(self, image: Tensor, layers: Sequence[str] = ()) -> Subject:
        """The network for images of this size (B, C, H, W), read at these layers."""
        if not self._anatomy.features:
            found = last_map(self._anatomy, image)
            self._anatomy = replace(self._anatomy, features=found)
        return self._anatomy.subject(image, layers)

    def subject(self, prepared: Prepared) -> Subject:
        """See `System.subject`."""
        image = prepared.inputs[IMAGE]
        assert image is not None
        return self.read_at(image)

    def prepare(self, case: Case, frames: Mapping[int, int] | None = None) -> Prepared:
        """The case's first picture, fitted on black and normalised as the model expects."""
        position = next(
            (n for n, image in enumerate(case.images) if image.modality is not Modality.MASK), None
        )
        if position is None:
            raise UnsupportedImage("The case holds segmentation masks only.")
        image = case.images[position]
        frame = (frames or {}).get(position, image.frames // 2)
        height, width = self._anatomy.size or (DEFAULT_SIDE, DEFAULT_SIDE)
        if height != width:
            raise UnsupportedImage("The model takes images that are not square; give a tensor.")
        placement = place((image.height, image.width), height)
        canvas = placement.to_canvas(shares(image, frame), 0.0)
        tensor = torch.from_numpy(np.ascontiguousarray(canvas.transpose(2, 0, 1)))[None]
        inputs = self.normalised(tensor.to(self.device))
        span = self.read_at(inputs).spans[IMAGE]
        warnings = ("One of several images was read.",) if len(case.images) > 1 else ()
        views = {IMAGE: View(position, frame, placement, span)}
        return Prepared({IMAGE: inputs}, views, warnings)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Grey or RGB in [0, 1], (B, 1 or 3, H, W), in the units that the network expects."""
        count = self._anatomy.channels
        if pixels.shape[1] != count:
            pixels = pixels.mean(1, keepdim=True).expand(-1, count, -1, -1)
        mean, std = (
            torch.tensor(v, device=pixels.device).view(1, -1, 1, 1)
            for v in (self._anatomy.mean, self._anatomy.std)
        )
        return (pixels - mean) / std

    def read(self, output: Any, prepared: Prepared, case: Case, seconds: float = 0.0) -> Prediction:
        """See `System.read`."""
        shares = self.logits(output)[0].float().softmax(0).tolist()
        probabilities = dict(zip(self.card.classes, shares, strict=True))
        read = {view.image: view.frame for view in prepared.views.values()}
        return Prediction(
            probabilities, self.card.name, self.card.version, self.card.weights_digest,
            frames=read, warnings=prepared.warnings, seconds=seconds,
        )  # fmt: skip

    @staticmethod
    def logits(output: Any) -> Tensor:
        """See `System.logits`."""
        found: Tensor = output
        return found


def shares(image: Image, frame: int) -> FloatArray:
    """A frame in [0, 1], (H, W, C): colours over 255, grey levels by percentiles of the frame."""
    pixels = image.pixels[frame]
    if image.is_colour:
        scaled: FloatArray = pixels / 255
        return scaled
    low, high = (float(v) for v in np.percentile(pixels, (0.5, 99.5)))
    scaled = np.clip((pixels - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    return 1 - scaled if image.inverted else scaled


def digest(network: nn.Module) -> str:
    """SHA-256 over a network's tensors by name, hexadecimal."""
    found = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def _numbered(network: nn.Module) -> tuple[str, ...]:
    count = getattr(network, "num_classes", None)
    if not count:
        linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
        count = linear[-1].out_features if linear else 0
    return tuple(f"class {number}" for number in range(int(count)))
