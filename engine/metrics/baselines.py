"""What stands in the place of removed pixels: blur, mean, a constant, or inpainting.

No fill is neutral. Each number that depends on one names it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from engine.errors import EmptyMask, ShapeMismatch, UnknownName

Fill = Callable[[Tensor, Tensor], Tensor]
"""From an image (C, H, W) and removed pixels (N, 1, H, W) bool to images (N, C, H, W)."""

FILLS = {
    "blur": "the blurred image",
    "mean": "the mean of the image",
    "black": "black",
    "inpainting": "inpainting from the surroundings",
}
"""Fills by name, with the words for `fill_name` of the scores."""

SWEEPS = 12
REFERENCE_SIDE = 224
REFERENCE_SIGMA = 5.0


def blur_kernel(size: int, sigma: float) -> Tensor:
    """Kernel of the reference of insertion, (size, size) float64, sum 1.

    A Gaussian whose tails are folded back at the border, as in RISE, not cut.
    """
    impulse = np.zeros((size, size))
    impulse[size // 2, size // 2] = 1.0
    return torch.from_numpy(gaussian_filter(impulse, sigma))


def blurred(
    image: Tensor, size: int = 11, sigma: float = REFERENCE_SIGMA, *, mirror: bool = True
) -> Tensor:
    """The image without its detail.

    Args:
        image: (C, H, W).
        size: Side of the kernel, odd, pixels; 11 is the reference's choice for 224 pixels.
        sigma: Width of the kernel, pixels.
        mirror: Continue the image by reflection; False for zeros, which darken the border as in
            the reference.

    Returns:
        (C, H, W).

    Source:
        Petsiuk et al., "RISE", BMVC 2018.
    """
    half = size // 2
    kernel = blur_kernel(size, sigma).to(image).expand(len(image), 1, size, size)
    mirror = mirror and min(image.shape[-2:]) > half
    padded = F.pad(image[None], (half,) * 4, mode="reflect" if mirror else "constant")
    return F.conv2d(padded, kernel, groups=len(image))[0]


def scaled_blur(image: Tensor) -> Tensor:
    """Blur as strong for this image as the reference's is for 224 pixels."""
    sigma = REFERENCE_SIGMA * max(1.0, min(image.shape[-2:]) / REFERENCE_SIDE)
    return blurred(image, 2 * int(1.1 * sigma) + 1, sigma)


def mean_filled(image: Tensor) -> Tensor:
    """The mean of each channel everywhere, (C, H, W)."""
    return image.mean((-2, -1), keepdim=True).expand_as(image).clone()


def constant(image: Tensor, value: float | Tensor = 0.0) -> Tensor:
    """One value everywhere, (C, H, W).

    Args:
        image: (C, H, W), normalised.
        value: Number, or (C,) per channel. Zero in normalised space is the mean of the training
            data, not black.
    """
    filled = torch.as_tensor(value, dtype=image.dtype, device=image.device).reshape(-1, 1, 1)
    return filled.expand_as(image).clone()


def black(image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """A black picture in normalised space, (C, H, W); `mean` and `std` (C,) of the input scale."""
    return constant(image, -mean / std)


def baseline_fill(baseline: Tensor) -> Fill:
    """Removed pixels take the values of one image (C, H, W)."""

    def fill(image: Tensor, removed: Tensor) -> Tensor:
        return torch.where(removed, baseline.to(image), image)

    return fill


def named_fill(name: str, image: Tensor, black_value: float | Tensor = 0.0) -> Fill:
    """A fill by its name in `FILLS`.

    Args:
        name: Key of `FILLS`.
        image: (C, H, W), from which blur and mean are made.
        black_value: Black in normalised space, number or (C,).

    Raises:
        UnknownName: There is no such fill.
    """
    if name not in FILLS:
        raise UnknownName(f"There is no fill named {name!r}. Known: {', '.join(FILLS)}.")
    if name == "inpainting":
        return inpainted
    if name == "black":
        return baseline_fill(constant(image, black_value))
    return baseline_fill(scaled_blur(image) if name == "blur" else mean_filled(image))


def without_region(image: Tensor, region: Tensor, fill: Fill) -> Tensor:
    """The image (C, H, W) as it might look without a region (H, W) bool: the counterfactual.

    Raises:
        EmptyMask: The region has no pixel.
        ShapeMismatch: Region and image differ in size.
    """
    if region.shape != image.shape[-2:]:
        raise ShapeMismatch("The region to remove and the image differ in size.")
    if not bool(region.any()):
        raise EmptyMask("The region has no pixel, so nothing can be removed.")
    return fill(image, region.to(image.device)[None, None])[0]


def inpainted(image: Tensor, removed: Tensor) -> Tensor:
    """Continue the surroundings smoothly into the removed pixels.

    The membrane that the known pixels hold: each removed pixel tends to the mean of its four
    neighbours, found from coarse to fine. It has no texture, which a model may notice.

    Args:
        image: (C, H, W).
        removed: (N, 1, H, W) bool. Where nothing is left, the mean of the image is used.

    Returns:
        (N, C, H, W).

    Raises:
        ShapeMismatch: The two differ in height or width.
    """
    if removed.shape[-2:] != image.shape[-2:]:
        raise ShapeMismatch("The region to remove and the image differ in size.")
    known = (~removed).to(image.dtype)
    batch = image.expand(len(removed), *image.shape)
    filled = _membrane(batch * known, known, image.mean((-2, -1))[None, :, None, None])
    return torch.where(removed, filled, batch)


def _membrane(values: Tensor, known: Tensor, fallback: Tensor) -> Tensor:
    """Fill where `known` (N, 1, H, W) is zero; `values` are zero there."""
    height, width = values.shape[-2:]
    if height * width == 1:
        return torch.where(known > 0, values, fallback)
    share = _halved(known)
    weight = share.clamp_min(torch.finfo(values.dtype).tiny)
    coarse_known = (share > 0).to(values.dtype)
    coarse = _membrane(_halved(values) / weight * coarse_known, coarse_known, fallback)
    wide = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    filled = torch.where(known > 0, values, wide)
    for _ in range(SWEEPS):
        filled = torch.where(known > 0, values, _neighbours(filled))
    return filled


def _halved(values: Tensor) -> Tensor:
    """Mean of each 2 x 2 cell, (N, C, H, W) to (N, C, ceil(H/2), ceil(W/2))."""
    return F.avg_pool2d(values, 2, ceil_mode=True)


def _neighbours(values: Tensor) -> Tensor:
    """Mean of the four neighbours, the border repeated."""
    padded = F.pad(values, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
    return (across + padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]) / 4
