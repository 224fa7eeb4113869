"""Augmentation on tensors: geometry of the mammogram with its labels, stain of the histology."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.training.data import Batch


@dataclass(frozen=True)
class Examples:
    """Network-ready tensors: images in [-1, 1] and [0, 1], labels as in `Batch`."""

    mammo: Tensor
    patho: Tensor
    label: Tensor
    grade: Tensor
    box: Tensor
    has_box: Tensor
    mask: Tensor


def plain(batch: Batch) -> Examples:
    """Without augmentation."""
    return Examples(
        batch.mammo.float() / 127.5 - 1,
        batch.patho.float() / 255,
        batch.label,
        batch.grade,
        batch.box,
        batch.box[:, 2] > 0,
        batch.mask.float() / 255,
    )


def augmented(batch: Batch, generator: torch.Generator) -> Examples:
    """Mirror, scale and shift the mammogram; turn and stain the histology; vary grey levels.

    Laterality carries no class, so mirroring is safe. Box and mask follow the mammogram.
    """
    examples = plain(batch)
    mammo, mask, box = _move(examples, generator)
    return Examples(
        _grey(mammo, generator),
        _stain(_turn(examples.patho, generator), generator),
        examples.label,
        examples.grade,
        box,
        examples.has_box & (box[:, 2] > 0.01) & (box[:, 3] > 0.01),
        mask,
    )


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def _move(examples: Examples, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    count = len(examples.label)
    scale = _uniform(count, 0.9, 1.1, generator)
    shift = torch.stack([_uniform(count, -0.1, 0.1, generator) for _ in range(2)], 1)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    # An output point u reads the input point a * u + t, both in [-1, 1].
    across = scale * mirror
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = across, scale, shift
    device = examples.mammo.device
    theta = theta.to(device)
    moved = [
        F.grid_sample(
            pixels,
            F.affine_grid(theta, list(pixels.shape), align_corners=False),
            padding_mode=padding,
            align_corners=False,
        )
        for pixels, padding in ((examples.mammo + 1, "zeros"), (examples.mask[:, None], "zeros"))
    ]
    box = _move_boxes(examples.box, across.to(device), scale.to(device), shift.to(device))
    return moved[0] - 1, moved[1][:, 0], box


def _move_boxes(box: Tensor, across: Tensor, down: Tensor, shift: Tensor) -> Tensor:
    low, high = box[:, :2] * 2 - 1, (box[:, :2] + box[:, 2:]) * 2 - 1
    rate = torch.stack((across, down), 1)
    ends = torch.stack(((low - shift) / rate, (high - shift) / rate))
    ends = ((ends + 1) / 2).clamp(0, 1)
    corner, far = ends.amin(0), ends.amax(0)
    return torch.cat((corner, far - corner), 1)


def _grey(mammo: Tensor, generator: torch.Generator) -> Tensor:
    count = len(mammo)
    power = _uniform(count, 0.85, 1.2, generator).to(mammo.device).view(-1, 1, 1, 1)
    noise = torch.randn(mammo.shape, generator=generator).to(mammo.device) * 0.02
    return ((((mammo + 1) / 2).clamp(0, 1) ** power) * 2 - 1 + noise).clamp(-1, 1)


def _turn(patho: Tensor, generator: torch.Generator) -> Tensor:
    turns = int(torch.randint(0, 4, (1,), generator=generator))
    patho = torch.rot90(patho, turns, (2, 3))
    flips = torch.rand(len(patho), generator=generator) < 0.5
    return torch.where(flips.to(patho.device)[:, None, None, None], patho.flip(3), patho)


def _stain(patho: Tensor, generator: torch.Generator) -> Tensor:
    """Scale the optical density of each channel, as other stains and scanners do."""
    count = len(patho)
    rates = (torch.rand(count, 3, 1, 1, generator=generator) * 0.3 + 0.85).to(patho.device)
    return patho.clamp_min(1 / 255) ** rates
