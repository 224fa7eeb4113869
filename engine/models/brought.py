"""System `timm`: any classifier of one image that a user brings, read as it is.

A card names the architecture, and the weights lie beside it; or a network is given ready-made. The
network is not edited: where it is read is found by `engine.anatomy`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from engine.anatomy import IMAGE, Anatomy, last_map, study
from engine.errors import IncompatibleExplainer, ModelUnavailable, UnsupportedImage
from engine.geometry import place
from engine.listening import Heard
from engine.models.base import MODELS, Prepared, System, View
from engine.records import Case, FloatArray, Image, Modality, ModelCard, Prediction
from engine.targets import two_sided
from engine.trace import Inputs, Subject

DEFAULT_SIDE = 224
NOTICE = "A model that a user brought: Lightbox knows nothing of its training or its limits."
OURS = ("architecture", "mean", "std", "size")
"""What a card's `config` holds beside the arguments of `timm.create_model`."""

FEATURES_ONLY = "features only"
"""Stands in the place of a class where a network has no classifier."""

NO_CLASSES = (
    "This model gives features and no classes, so that no class can be explained; attention "
    "rollout, raw attention and Eigen-CAM show where it looks."
)


@MODELS.register("timm")
class Brought(System):
    """One image, one set of classes.

    A card's `config` holds `architecture` (a name in timm) and further arguments of
    `timm.create_model`; `mean` and `std` where the weights were trained with other statistics than
    the architecture states; `size` (side, pixels) where it reads images at another size. A network
    without a classifier is served by the methods that ask for no class.
    """

    def __init__(
        self,
        card: ModelCard,
        network: nn.Module,
        device: torch.device,
        *,
        layer: str | None = None,
    ) -> None:
        if len(card.classes) == 1 and card.classes != (FEATURES_ONLY,):  # one logit: yes or no
            card = replace(card, classes=(f"not {card.classes[0]}", card.classes[0]))
        self.card, self.device = card, device
        self.network = network.to(device)
        self._anatomy = study(network, layer=layer)
        count = self._anatomy.channels
        self._anatomy = replace(
            self._anatomy,
            mean=_per_channel(card.config.get("mean", self._anatomy.mean), count),
            std=_per_channel(card.config.get("std", self._anatomy.std), count),
        )
        if not all(value > 0 for value in self._anatomy.std):
            raise ModelUnavailable("The standard deviation of a model's input is greater than 0.")
        self.offers = self._anatomy.offers
        self.lacks = self._anatomy.lacks
        self._without_classes = getattr(self._anatomy.network, "num_classes", None) == 0
        if self._without_classes:
            self.offers = self.offers - {"class"}
            self.lacks = {**self.lacks, "class": NO_CLASSES}

    @classmethod
    def build(cls, config: Mapping[str, Any]) -> nn.Module:
        """See `System.build`.

        Raises:
            ModelUnavailable: timm knows no such architecture, or not with these arguments.
        """
        name, size = str(config.get("architecture")), config.get("size")
        arguments = {k: v for k, v in config.items() if k not in OURS}
        tries = [{"img_size": size}, {}] if size else [{}]
        for sized in tries:  # networks of any size take no such argument
            with suppress(RuntimeError, TypeError, ValueError, KeyError, AssertionError):
                network: nn.Module = timm.create_model(name, pretrained=False, **arguments, **sized)
                return network.eval()
        raise ModelUnavailable(
            "The card names an architecture that timm does not know, or arguments that it does not "
            "take."
        )

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

    @property
    def side(self) -> int:
        """Side of the square images that the network reads, pixels.

        Raises:
            UnsupportedImage: It reads images that are not square.
        """
        facts = getattr(self._anatomy.network, "pretrained_cfg", None) or {}
        usual = tuple(facts.get("input_size") or ())[-2:] or (DEFAULT_SIDE, DEFAULT_SIDE)
        asked = self.card.config.get("size")
        height, width = self._anatomy.size or ((asked, asked) if asked else usual)
        if height != width:
            raise UnsupportedImage("The model takes images that are not square; give a tensor.")
        return int(height)

    def read_at(self, image: Tensor, layers: Sequence[str] = ()) -> Subject:
        """The network for images of this size (B, C, H, W), read at these layers."""
        if not self._anatomy.features and "features" in self.offers:
            try:
                found = last_map(self._anatomy, image)
                self._anatomy = replace(self._anatomy, features=found)
            except IncompatibleExplainer as reason:  # methods that read no features still serve
                self.offers = self.offers - {"features"}
                self.lacks = {**self.lacks, "features": str(reason)}
        subject = self._anatomy.subject(image, layers)
        return _without_a_class(subject) if self._without_classes else subject

    def subject(self, prepared: Prepared, layers: Sequence[str] = ()) -> Subject:
        """See `System.subject`."""
        image = prepared.inputs[IMAGE]
        assert image is not None
        return self.read_at(image, layers)

    def prepare(self, case: Case, frames: Mapping[int, int] | None = None) -> Prepared:
        """The case's first picture, fitted on black and normalised as the model expects."""
        position = next(
            (n for n, image in enumerate(case.images) if image.modality is not Modality.MASK), None
        )
        if position is None:
            raise UnsupportedImage("The case holds segmentation masks only.")
        image = case.images[position]
        frame = (frames or {}).get(position, image.frames // 2)
        placement = place((image.height, image.width), self.side)
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
        shares = [1.0]
        if not self._without_classes:
            logits = two_sided(self.logits(output)[:1].float())
            shares = logits.softmax(1)[0].tolist()
        if len(shares) != len(self.card.classes):
            raise ModelUnavailable(
                f"The model gives {len(shares)} classes, and its card names "
                f"{len(self.card.classes)}."
            )
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


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """One number for each channel; one for all stands for each.

    Raises:
        ModelUnavailable: There is another number of them.
    """
    found = tuple(float(value) for value in values)
    if len(found) not in (1, channels):
        raise ModelUnavailable(
            f"The model takes {channels} channel(s), but mean or standard deviation are stated for "
            f"{len(found)}."
        )
    return found if len(found) == channels else found * channels


def _without_a_class(subject: Subject) -> Subject:
    """A subject that is read but never asked: every question about a class is refused in words."""
    listening: list[bool] = []
    inner = subject.listen
    assert inner is not None

    @contextmanager
    def listen(kinds: frozenset[str], gradients: bool) -> Iterator[list[Heard]]:
        if gradients:
            raise IncompatibleExplainer(NO_CLASSES)
        with inner(kinds, gradients) as heard:
            listening.append(True)
            try:
                yield heard
            finally:
                listening.clear()

    def run(inputs: Inputs, **options: Any) -> Any:
        if not listening:
            raise IncompatibleExplainer(NO_CLASSES)
        return subject.run(inputs, **options)

    return replace(subject, run=run, listen=listen)


def _numbered(network: nn.Module) -> tuple[str, ...]:
    count = getattr(network, "num_classes", None)
    if count == 0:
        return (FEATURES_ONLY,)
    if not count:
        linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
        count = linear[-1].out_features if linear else 0
    return tuple(f"class {number}" for number in range(max(2, int(count))))
