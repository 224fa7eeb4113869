"""What perturbation methods hide, and what they put in its place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from engine.errors import UnknownName
from engine.probe import Probe

FILLS = ("mean", "black", "blur")
ROUNDING = 1e-6
"""Mask values below this are zero but for rounding."""


def filled(probe: Probe, fill: str, blur: float = 0.0) -> Tensor:
    """The image without content, (B, C, H, W) or (1, C, H, W), normalised.

    Args:
        probe: Its image gives the shape.
        fill: "mean" is 0 in normalised units, the mean of the training images and not black;
            "black"; or "blur", the image itself without detail.
        blur: Standard deviation of the blur, pixels, > 0.

    Raises:
        UnknownName: `fill` is not one of these.
    """
    image = probe.image
    if fill == "mean":
        return torch.zeros_like(image[:1])
    if fill == "black":
        return probe.black.to(image)[None, :, None, None].expand_as(image[:1]).contiguous()
    if fill == "blur":
        reach = [min(2 * round(2 * blur) + 1, 2 * side - 1) for side in image.shape[:1:-1]]
        return gaussian_blur(image, reach, [blur, blur])
    raise UnknownName(f"The baseline is one of {', '.join(FILLS)}, not {fill!r}.")


def require(holds: bool, sentence: str) -> None:
    """Refuse a setting that is out of range.

    Raises:
        UnknownName: With the sentence, unless `holds`.
    """
    if not holds:
        raise UnknownName(sentence)


def evaluated(
    evaluate: Callable[[Tensor, Tensor], Tensor], images: Tensor, owners: Tensor, portion: int
) -> Tensor:
    """Answers of `evaluate` to images (N, C, H, W) of owners (N,), at most `portion` at once."""
    pieces = zip(images.split(portion), owners.split(portion), strict=True)
    return torch.cat([evaluate(*piece) for piece in pieces])


def enlarging(cells: int, size: int) -> Tensor:
    """Bilinear, half-pixel centres, ends repeated; a matrix (size, cells) float64."""
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) * cells / size - 0.5
    places = centres.clamp(0, cells - 1)
    return (1 - (places[:, None] - torch.arange(cells)).abs()).clamp_min(0)


def enlarged(grids: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, h, w) to (n, H, W), bilinear, computed in the precision of `grids`."""
    rows, columns = (
        enlarging(cells, side).to(grids) for cells, side in zip(grids.shape[1:], size, strict=True)
    )
    return rows @ grids @ columns.T


def stretched(masks: Tensor) -> Tensor:
    """Each of (n, H, W) from 0 to 1; constant ones become 0."""
    low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
    scaled = (masks - low) / torch.where(high > low, high - low, 1)
    return torch.where(scaled < ROUNDING, 0, scaled)


def random_cells(count: int, cells: int, keep: float, seed: int) -> tuple[Tensor, Tensor]:
    """Grids of kept cells, (count, cells, cells) of 0 and 1, and their shifts (count, 2) in [0, 1).

    Only these few numbers are drawn, so that the masks do not depend on how they are portioned.
    """
    generator = torch.Generator().manual_seed(seed)
    grids = (torch.rand(count, cells, cells, generator=generator) < keep).float()
    return grids, torch.rand(count, 2, generator=generator)


def random_masks(grids: Tensor, shifts: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks of RISE, (n, H, W) in [0, 1].

    A grid is enlarged to one cell more than the image, and cut out at a shift of up to one cell.
    At the rim the outermost cell is repeated, where the reference reflects it.

    Args:
        grids: (n, s, s). shifts: (n, 2), share of a cell, [0, 1). size: H and W.
    """
    factors = []
    for axis, side in enumerate(size):
        cells = grids.shape[1]
        cell = -(-side // cells)
        whole = enlarging(cells, (cells + 1) * cell).to(grids)
        first = (shifts[:, axis] * cell).long()
        factors.append(whole[first[:, None] + torch.arange(side, device=grids.device)])
    return factors[0] @ grids @ factors[1].mT
