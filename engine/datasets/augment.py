"""Augmentation on tensors: geometry of the mammogram with its labels, stain of the histology.

Every random number of a sample comes from a generator of its own, so that what happens to a
sample depends on its seed only, and not on the batch it is in.

Source: stain variation after Tellez et al., "Quantifying the effects of data augmentation and
stain color normalization in convolutional neural networks for computational pathology", Medical
Image Analysis 2019 (scale and shift of each stain); stain vectors of Ruifrok and Johnston,
"Quantification of histochemical staining by color deconvolution", 2001.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.datasets.batch import Batch

STAINS = ((0.650, 0.704, 0.286), (0.072, 0.990, 0.105), (0.268, 0.570, 0.776))
"""Optical density in R, G, B of haematoxylin, eosin and the residual (rows, unit length)."""

STAIN_SHIFT = 0.25
"""Range of a stain's shift (optical density, natural logarithm) over the range of its scale."""

SMALLEST_BOX = 0.01
DRAWS = 12


@dataclass(frozen=True)
class Augmentation:
    """How far a sample may be changed; zero or False leaves a property alone.

    Args:
        mirror: Mirror half of the mammograms; laterality carries no class, so this is safe.
        scale: Range of the size of the breast, share.
        shift: Range of its place, share of half the canvas, in each direction.
        gamma: Range of the natural logarithm of the exponent of the grey levels.
        noise: Standard deviation of noise on the mammogram in [-1, 1].
        stain: Range of the amount of each stain, share.
        turn: Turn the histology by quarters and mirror half of it.
    """

    mirror: bool = True
    scale: float = 0.1
    shift: float = 0.1
    gamma: float = 0.18
    noise: float = 0.02
    stain: float = 0.2
    turn: bool = True


@dataclass(frozen=True, eq=False)
class Examples:
    """Network-ready tensors.

    Args:
        mammo: (B, 1, H, W) float32 in [-1, 1]. patho: (B, 3, h, w) float32 in [0, 1].
        mask: (B, m, m) float32 in [0, 1], share of the cell. has_box: (B,) bool.
        The rest as in `Batch`.
    """

    mammo: Tensor
    patho: Tensor
    has_patho: Tensor
    label: Tensor
    grade: Tensor
    box: Tensor
    has_box: Tensor
    mask: Tensor
    has_mask: Tensor
    site: Tensor
    patient: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.label)


def plain(batch: Batch) -> Examples:
    """Without augmentation."""
    return _examples(
        batch,
        batch.mammo.float() / 127.5 - 1,
        batch.patho.float() / 255,
        batch.mask.float() / 255,
        batch.box,
    )


def augmented(
    batch: Batch,
    seeds: Sequence[int],
    settings: Augmentation = Augmentation(),
) -> Examples:
    """Mirror, scale, shift and brighten the mammogram; turn and stain the histology.

    Box and mask follow the mammogram.

    Args:
        batch: Cases. seeds: One for each, 0 to 2^63 - 1. settings: How far to go.
    """
    draws = torch.stack([torch.rand(DRAWS, generator=_generator(seed)) for seed in seeds])
    mammo, mask, box = _moved(batch, draws[:, :4], settings)
    noise = _noise(batch.mammo, seeds, settings.noise)
    patho = _turned(batch.patho, draws[:, 4], settings).float() / 255
    return _examples(
        batch,
        _grey(mammo, draws[:, 5], noise, settings),
        _stained(patho, draws[:, 6:12], settings),
        mask,
        box,
    )


def _examples(batch: Batch, mammo: Tensor, patho: Tensor, mask: Tensor, box: Tensor) -> Examples:
    lasts = (box[:, 2] > SMALLEST_BOX) & (box[:, 3] > SMALLEST_BOX)
    return Examples(
        mammo,
        patho,
        batch.has_patho,
        batch.label,
        batch.grade,
        box,
        batch.has_box & lasts,
        mask,
        batch.has_mask,
        batch.site,
        batch.patient,
        batch.index,
    )


def _generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def _ranged(draws: Tensor, reach: float) -> Tensor:
    """Uniform numbers of [0, 1) as numbers of [-reach, reach)."""
    return (draws * 2 - 1) * reach


def _moved(batch: Batch, draws: Tensor, settings: Augmentation) -> tuple[Tensor, Tensor, Tensor]:
    """Mammogram (B, 1, H, W) in [-1, 1], mask (B, m, m) in [0, 1] and box after one motion."""
    draws = draws.to(batch.mammo.device)
    scale = 1 + _ranged(draws[:, 0], settings.scale)
    shift = _ranged(draws[:, 1:3], settings.shift)
    mirrors = (draws[:, 3] < 0.5) & settings.mirror
    across = torch.where(mirrors, -scale, scale)
    mammo = _resampled(batch.mammo.float() / 127.5, across, scale, shift) - 1
    mask = _resampled(batch.mask[:, None].float() / 255, across, scale, shift)
    return mammo, mask[:, 0], _moved_boxes(batch.box, across, scale, shift)


def _resampled(pixels: Tensor, across: Tensor, down: Tensor, shift: Tensor) -> Tensor:
    """The output at u in [-1, 1] reads the input at rate * u + shift; zero outside."""
    height, width = pixels.shape[2:]
    device = pixels.device
    y = (torch.arange(height, device=device) * 2 + 1) / height - 1
    x = (torch.arange(width, device=device) * 2 + 1) / width - 1
    columns = across[:, None] * x + shift[:, :1]
    rows = down[:, None] * y + shift[:, 1:]
    grid = torch.stack(
        (
            columns[:, None, :].expand(-1, height, width),
            rows[:, :, None].expand(-1, height, width),
        ),
        dim=3,
    )
    return F.grid_sample(pixels, grid, padding_mode="zeros", align_corners=False)


def _moved_boxes(box: Tensor, across: Tensor, down: Tensor, shift: Tensor) -> Tensor:
    low, high = box[:, :2] * 2 - 1, (box[:, :2] + box[:, 2:]) * 2 - 1
    rate = torch.stack((across, down), 1)
    ends = torch.stack(((low - shift) / rate, (high - shift) / rate))
    ends = ((ends + 1) / 2).clamp(0, 1)
    corner, far = ends.amin(0), ends.amax(0)
    moved = torch.cat((corner, far - corner), 1)
    return torch.where(box[:, 2:3] > 0, moved, box)


def _noise(mammo: Tensor, seeds: Sequence[int], spread: float) -> Tensor | None:
    """Normal noise like `mammo`, each sample's drawn on the device by its own generator."""
    if not spread:
        return None
    shape = mammo.shape[1:]
    device = mammo.device
    parts = [
        torch.randn(shape, generator=_generator(_other(seed), device), device=device)
        for seed in seeds
    ]
    return torch.stack(parts) * spread


def _other(seed: int) -> int:
    """A second stream of the same sample (one step of Knuth's MMIX generator)."""
    return (seed * 6364136223846793005 + 1442695040888963407) % 2**63


def _grey(mammo: Tensor, draws: Tensor, noise: Tensor | None, settings: Augmentation) -> Tensor:
    if settings.gamma:
        power = torch.exp(_ranged(draws, settings.gamma)).to(mammo.device)[:, None, None, None]
        mammo = mammo.add(1).div_(2).clamp_(0, 1).pow_(power).mul_(2).sub_(1)
    return mammo if noise is None else (mammo + noise).clamp_(-1, 1)


def _turned(patho: Tensor, draws: Tensor, settings: Augmentation) -> Tensor:
    """One of the eight ways to lay a square field, (B, 3, h, h) of any type."""
    if not settings.turn:
        return patho
    ways = (draws * 8).long().tolist()
    turned = [torch.rot90(field, way % 4, (1, 2)) for field, way in zip(patho, ways, strict=True)]
    return torch.stack(
        [field.flip(2) if way >= 4 else field for field, way in zip(turned, ways, strict=True)]
    )


def _stained(patho: Tensor, draws: Tensor, settings: Augmentation) -> Tensor:
    """Scale and shift haematoxylin, eosin and the residual, as other laboratories do."""
    if not settings.stain:
        return patho
    stains = torch.tensor(STAINS, dtype=torch.float64)
    rates = 1 + _ranged(draws[:, :3].double(), settings.stain)
    shifts = _ranged(draws[:, 3:].double(), settings.stain * STAIN_SHIFT)
    # Density d becomes stains (d S^-1), is changed there, and comes back: one matrix a sample.
    there = torch.linalg.inv(stains)
    change = ((there[None] * rates[:, None]) @ stains).float().to(patho.device)
    offset = (shifts @ stains).float().to(patho.device)[..., None, None]
    light = patho.clamp_min(1 / 255).log_()  # the density with its sign turned
    weights = change[..., None, None]
    changed = weights[:, 0] * light[:, :1]
    for channel in (1, 2):
        changed.addcmul_(weights[:, channel], light[:, channel : channel + 1])
    return changed.sub_(offset).exp_().clamp_(0, 1)
