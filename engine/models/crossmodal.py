"""System `crossmodal`: breast diagnosis from a mammogram, with or without histopathology."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from engine.errors import UnsupportedImage
from engine.geometry import Placement, foreground_box, place
from engine.models.base import MODELS, Prepared, System, View
from engine.models.breast import MAMMOGRAPHY, PATHOLOGY, BreastCancerDiagnosisModel
from engine.models.layers.interpretability import concentration
from engine.records import (
    BoolArray,
    Box,
    Case,
    FloatArray,
    Grade,
    Image,
    Modality,
    Patch,
    Prediction,
    Region,
)
from engine.trace import Inputs, Span

LESION_LEVEL = 0.5
MIN_SIDE = 16
TOP_PATCHES = 5
ANSWER = (
    "classification", "fusion_norm", "fusion_gate", "absent", "mammo_readout", "patho_readout",
    "lesion_pull", "lesion_map", "mammo_gate", "patho_gate", "interpretability", "patho_cross",
    "encoder.norm",
)  # fmt: skip
STEM = (
    "encoder.modality_token", "encoder.embed", "encoder.positions", "encoder.cls_position",
    "encoder.cls_token",
)  # fmt: skip


@MODELS.register("crossmodal")
class CrossModal(System):
    """A mammogram is needed; pathology is read when the case has it."""

    offers = frozenset({"attention", "class", "cross", "features", "input", "lrp", "readout"})
    network: BreastCancerDiagnosisModel

    @classmethod
    def build(cls, config: Mapping[str, Any]) -> nn.Module:
        """See `System.build`; `config` may also hold `pathology_size`, the side of that input."""
        return BreastCancerDiagnosisModel(
            **{k: v for k, v in config.items() if k != "pathology_size"}
        )

    @property
    def sizes(self) -> tuple[int, int]:
        """Sides of the mammogram and of the pathology input, pixels."""
        size = int(self.card.config.get("img_size", 224))
        return size, int(self.card.config.get("pathology_size", size))

    def prepare(self, case: Case, frames: Mapping[int, int] | None = None) -> Prepared:
        """See `System.prepare`."""
        frames = frames or {}
        mammo_size, patho_size = self.sizes
        position = case.index(Modality.MAMMOGRAPHY)
        if position is None:
            raise UnsupportedImage(_refusal(case))
        image = case.images[position]
        frame = frames.get(position, image.frames // 2)
        pixels, placement = mammogram_input(image, frame, mammo_size)
        inputs: dict[str, Tensor | None] = {"mammo_img": self._tensor(pixels), "patho_img": None}
        dark = torch.tensor([-1.0])
        views = {MAMMOGRAPHY: self._view(position, frame, placement, "mammo_img", dark)}
        warnings = list(_cautions(image))
        other = case.index(Modality.PATHOLOGY)
        if other is None:
            warnings.append("Read without pathology: the case has none.")
        else:
            image = case.images[other]
            frame = frames.get(other, image.frames // 2)
            pixels, placement = pathology_input(image, frame, patho_size)
            inputs["patho_img"] = self.network.normalise_pathology(self._tensor(pixels))
            black = self.network.normalise_pathology(torch.zeros(1, 3, 1, 1, device=self.device))
            views[PATHOLOGY] = self._view(other, frame, placement, "patho_img", black.flatten())
        options = {"return_interpretability": True} if PATHOLOGY in views else {}
        return Prepared(inputs, views, tuple(warnings), options)

    def _tensor(self, pixels: FloatArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].to(
            self.device
        )

    def _view(self, image: int, frame: int, placement: Placement, name: str, black: Tensor) -> View:
        side = placement.size // self.network.patch_size
        span = Span(1, (side, side), name, black=tuple(black.tolist()))
        return View(image, frame, placement, span)

    @property
    def cascade(self) -> tuple[str, ...]:
        """Parts that lie on the way from the images to the class, the class first."""
        blocks = range(len(self.network.encoder.blocks) - 1, -1, -1)
        return (*ANSWER, *(f"encoder.blocks.{n}" for n in blocks), *STEM)

    def hold(self, inputs: Inputs, stream: str) -> Mapping[str, Any]:
        """The encoding of the other image, which changes of this one cannot alter."""
        other, name = {
            MAMMOGRAPHY: (PATHOLOGY, "patho_img"),
            PATHOLOGY: (MAMMOGRAPHY, "mammo_img"),
        }[stream]
        image = inputs[name]
        if image is None:
            return {}
        encoded = self.network.encoder(image, True, modality=other)
        return {"encoded": {other: encoded}}

    def read(self, output: Any, prepared: Prepared, case: Case, seconds: float = 0.0) -> Prediction:
        """See `System.read`."""
        card = self.card
        shares = output["classification"][0].float().softmax(0).tolist()
        probabilities = dict(zip(card.classes, shares, strict=True))
        levels = output["grading"][0].float().exp().tolist()
        leading = max(probabilities, key=lambda name: probabilities[name])
        grade = None
        if leading in card.grades:
            grade = Grade(card.grades, tuple(levels), int(np.argmax(levels)))
        regions = () if leading not in card.grades else self._regions(output, prepared)
        return Prediction(
            probabilities,
            card.name,
            card.version,
            card.weights_digest,
            grade,
            regions,
            _patches(output, prepared),
            {view.image: view.frame for view in prepared.views.values()},
            prepared.warnings,
            seconds,
        )

    def _regions(self, output: Any, prepared: Prepared) -> tuple[Region, ...]:
        """The most believed lesion, and further ones that are more likely than not."""
        first = self._region(output, prepared)
        if "boxes" not in output:
            return (first,)
        view, scores = prepared.views[MAMMOGRAPHY], output["box_scores"][0].float().tolist()
        order = sorted(range(len(scores)), key=lambda index: -scores[index])[1:]
        others = [
            Region(view.image, view.frame, _placed(output["boxes"][0, n], view), None, scores[n])
            for n in order
            if scores[n] >= LESION_LEVEL
        ]
        return (first, *others)

    def _region(self, output: Any, prepared: Prepared) -> Region:
        view = prepared.views[MAMMOGRAPHY]
        box = _placed(output["localization"][0], view)
        shares = output["lesion_map"][0].float().sigmoid().cpu().numpy()
        mask = _outlined(view.placement.to_source(shares))
        score = float(shares[view.placement.inside(shares.shape)].max())
        return Region(view.image, view.frame, box, mask if mask.any() else None, score)

    @staticmethod
    def logits(output: Any) -> Tensor:
        """See `System.logits`."""
        logits: Tensor = output["classification"]
        return logits

    @staticmethod
    def segmentation(output: Any) -> Tensor:
        """See `System.segmentation`."""
        logits: Tensor = output["lesion_map"]
        return logits


def _placed(numbers: Tensor, view: View) -> Box:
    """A box in shares of the canvas, (4,), in pixels of the source."""
    x, y, width, height = (float(v) * view.placement.size for v in numbers)
    return view.placement.box_to_source(Box(x, y, width, height))


def _outlined(shares: FloatArray) -> BoolArray:
    """The connected region above the level that holds the highest lesion probability; (H, W)."""
    _, labels = cv2.connectedComponents((shares >= LESION_LEVEL).astype(np.uint8))
    best = labels.flat[int(shares.argmax())]
    mask: BoolArray = (labels == best) & (shares >= LESION_LEVEL)
    return mask


def _patches(output: Any, prepared: Prepared) -> tuple[Patch, ...]:
    """Pathology patches by attention weighted with query importance; none without pathology."""
    view = prepared.views.get(PATHOLOGY)
    if view is None or "attention_weights" not in output:
        return ()
    attention = output["attention_weights"][0].float()
    shares = (concentration(attention)[:, None] * attention).sum(0).cpu().numpy()
    shares = np.where(view.placement.inside(view.span.grid).ravel(), shares, 0.0)
    shares = shares / max(float(shares.sum()), 1e-12)
    side = view.placement.size / view.span.grid[1]
    found = []
    for index in np.argsort(-shares, kind="stable")[:TOP_PATCHES]:
        row, column = divmod(int(index), view.span.grid[1])
        box = view.placement.box_to_source(Box(column * side, row * side, side, side))
        found.append(Patch(view.image, box, float(shares[index])))
    return tuple(found)


def mammogram_input(image: Image, frame: int, size: int) -> tuple[FloatArray, Placement]:
    """Crop the breast, window by percentiles, scale to [-1, 1] on a canvas of -1.

    Returns:
        (size, size, 1), and its placement.

    Raises:
        UnsupportedImage: Smaller than 16 pixels on a side.
    """
    _check_side(image, "mammogram")
    grey = image.pixels[frame].mean(axis=2) if image.is_colour else image.pixels[frame, :, :, 0]
    if image.inverted:
        grey = -grey
    crop = foreground_box(grey)
    placement = place((image.height, image.width), size, crop)
    inside = grey[crop[0] : crop[0] + crop[2], crop[1] : crop[1] + crop[3]]
    low, high = (
        float(v) for v in np.percentile(inside[:: _step(inside), :: _step(inside)], (1, 99.7))
    )
    span = high - low if high > low else 1.0
    scaled = np.clip((placement.to_canvas(grey, low) - low) / span, 0, 1) * 2 - 1
    return scaled[..., None].astype(np.float32), placement


def pathology_input(image: Image, frame: int, size: int) -> tuple[FloatArray, Placement]:
    """Fit the field into the canvas on white; (size, size, 3) in [0, 1], and its placement."""
    _check_side(image, "pathology image")
    pixels = image.pixels[frame]
    if not image.is_colour:
        low, high = float(pixels.min()), float(pixels.max())
        pixels = np.repeat((pixels - low) / max(high - low, 1e-6) * 255, 3, axis=2)
    placement = place((image.height, image.width), size)
    return placement.to_canvas(pixels / 255, 1.0), placement


def _step(pixels: FloatArray) -> int:
    return max(1, max(pixels.shape) // 1024)


def _check_side(image: Image, what: str) -> None:
    if min(image.height, image.width) < MIN_SIDE:
        raise UnsupportedImage(
            f"The {what} is only {image.width} x {image.height} pixels; "
            f"at least {MIN_SIDE} on each side are needed."
        )


def _cautions(image: Image) -> tuple[str, ...]:
    if image.frames > 1:
        return (f"One of {image.frames} frames was read.",)
    return ()


def _refusal(case: Case) -> str:
    found = ", ".join(sorted({_NAMES.get(image.modality, "an image") for image in case.images}))
    return f"This system needs a mammogram; the case holds {found} only."


_NAMES = {
    Modality.PATHOLOGY: "a pathology image",
    Modality.MRI: "an MRI",
    Modality.CT: "a CT",
    Modality.ULTRASOUND: "an ultrasound image",
    Modality.RADIOGRAPH: "a radiograph other than a mammogram",
    Modality.MASK: "a segmentation mask",
    Modality.UNKNOWN: "an image of unstated kind",
}
