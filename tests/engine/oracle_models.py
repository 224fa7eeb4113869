"""The networks whose answers the oracle files hold."""

from __future__ import annotations

import json
from collections import OrderedDict

import numpy as np
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

Arrays = dict[str, np.ndarray]


def weights(arrays: Arrays) -> dict[str, torch.Tensor]:
    """The state dict of an oracle file."""
    return {k[2:]: torch.from_numpy(v) for k, v in arrays.items() if k.startswith("w/")}


def vit(arrays: Arrays) -> VisionTransformer:
    """The network of `vit_model`."""
    network = VisionTransformer(**json.loads(str(arrays["config"])))
    network.load_state_dict(weights(arrays))
    return network.eval()


def swin(arrays: Arrays) -> SwinTransformer:
    """The network of `swin`."""
    network = SwinTransformer(**json.loads(str(arrays["config"])))
    network.load_state_dict(weights(arrays))
    return network.eval()


def cnn(arrays: Arrays) -> nn.Sequential:
    """The network of `cnn`."""
    layers = {
        "conv1": nn.Conv2d(3, 8, 3, padding=1),
        "bn1": nn.BatchNorm2d(8),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(8, 16, 3, padding=1),
        "bn2": nn.BatchNorm2d(16),
        "relu2": nn.ReLU(),
        "conv3": nn.Conv2d(16, 16, 3, stride=2, padding=1),
        "bn3": nn.BatchNorm2d(16),
        "relu3": nn.ReLU(),
        "gap": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
        "fc": nn.Linear(16, 5),
    }
    network = nn.Sequential(OrderedDict(layers))
    network.load_state_dict(weights(arrays))
    return network.eval()


def relative(got: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference over the largest wanted value."""
    assert got.shape == wanted.shape
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def as_peer(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Coarse maps scaled as pytorch-grad-cam scales them: min-max, enlarged, min-max again."""
    grids = torch.from_numpy(maps)
    low = grids.amin((1, 2), keepdim=True)
    scaled = (grids - low) / (1e-7 + (grids - low).amax((1, 2), keepdim=True))
    large = torch.nn.functional.interpolate(scaled[:, None], size=size, mode="bilinear")[:, 0]
    large = large - large.amin((1, 2), keepdim=True)
    return (large / (1e-7 + large.amax((1, 2), keepdim=True))).numpy()
