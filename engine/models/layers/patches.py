"""From pixels to tokens: patch embeddings and the shared positional grid."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

STEMS = ("patch", "convolutional")


class PatchEmbedding(nn.Module):
    """Non-overlapping patches, (B, C, H, W) to (B, D, H / P, W / P).

    Args:
        in_channels: Channels C. embed_dim: Width D. patch_size: Side P, pixels.
        stem: "patch" is one convolution of kernel and stride P (ViT). "convolutional" reaches the
            same grid by strided 3 x 3 convolutions, which small data sets train far sooner
            (Xiao et al., "Early Convolutions Help Transformers See Better", NeurIPS 2021); P must
            be a power of two.
    """

    def __init__(
        self, in_channels: int, embed_dim: int, patch_size: int, stem: str = "patch"
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        if stem not in STEMS:
            raise ValueError(f"stem {stem!r} is not one of {STEMS}")
        if stem == "patch":
            self.proj: nn.Module = nn.Conv2d(in_channels, embed_dim, patch_size, patch_size)
        else:
            self.proj = _stages(in_channels, embed_dim, patch_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) to (B, D, h, w)."""
        return self.proj(pixels)


def _stages(in_channels: int, embed_dim: int, patch_size: int) -> nn.Sequential:
    halvings = patch_size.bit_length() - 1
    if patch_size != 2**halvings or halvings < 1:
        raise ValueError(f"a convolutional stem needs a power of two, not patch size {patch_size}")
    layers: list[nn.Module] = []
    width = in_channels
    for stage in range(halvings):
        out = max(16, embed_dim >> (halvings - 1 - stage))
        layers += [nn.Conv2d(width, out, 3, 2, 1, bias=False), nn.GroupNorm(_groups(out), out)]
        layers.append(nn.GELU())
        if 0 < stage < halvings - 1:
            layers.append(ResidualConvolution(out))
        width = out
    layers.append(nn.Conv2d(width, embed_dim, 1))
    return nn.Sequential(*layers)


class ResidualConvolution(nn.Module):
    """x + GELU(norm(conv(x))), (B, C, H, W) to the same; costs little at a middle resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm = nn.GroupNorm(_groups(channels), channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        return pixels + F.gelu(self.norm(self.conv(pixels)))


def _groups(channels: int) -> int:
    return next(groups for groups in (8, 6, 5, 4, 3, 2, 1) if channels % groups == 0)


def fit_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize positional embeddings (1, h, w, D) to another grid by bicubic interpolation."""
    if positions.shape[1:3] == grid:
        return positions
    resized = F.interpolate(
        positions.permute(0, 3, 1, 2), size=grid, mode="bicubic", align_corners=False
    )
    return resized.permute(0, 2, 3, 1)
