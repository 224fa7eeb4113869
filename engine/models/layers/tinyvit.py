"""TinyViT as the image encoder of LiteMedSAM: every pixel is a token at first.

Source: Wu et al., "TinyViT", ECCV 2022, as changed in the light version of MedSAM, whose patch
embedding does not shrink the image and whose last merging keeps the grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
STRIDES = (2, 2, 1)
"""How much each merging shrinks the grid."""


class ConvNorm(nn.Sequential):
    """A convolution without bias, and batch normalisation."""

    def __init__(self, inputs: int, outputs: int, side: int = 1, stride: int = 1, groups: int = 1):
        super().__init__()
        conv = nn.Conv2d(inputs, outputs, side, stride, side // 2, groups=groups, bias=False)
        self.add_module("c", conv)
        self.add_module("bn", nn.BatchNorm2d(outputs))


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, values: Tensor) -> Tensor:
        """Same shape."""
        return super().forward(values.movedim(1, -1)).movedim(-1, 1)


class _Embedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, width // 2), nn.GELU(), ConvNorm(width // 2, width))

    def forward(self, image: Tensor) -> Tensor:
        embedded: Tensor = self.seq(image)
        return embedded


class _Bottleneck(nn.Module):
    """Widen fourfold, convolve each channel, narrow, and add."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, 4 * width)
        self.conv2 = ConvNorm(4 * width, 4 * width, 3, groups=4 * width)
        self.conv3 = ConvNorm(4 * width, width)

    def forward(self, values: Tensor) -> Tensor:
        return F.gelu(values + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(values))))))


class _Merging(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = ConvNorm(outputs, outputs)

    def forward(self, values: Tensor) -> Tensor:
        merged: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(values)))))
        return merged


class _WindowAttention(nn.Module):
    """Attention within a window, with a learned bias for each absolute offset."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        place = torch.arange(window * window)
        row, column = place // window, place % window
        offset = (row[:, None] - row).abs() * window + (column[:, None] - column).abs()
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) to the same."""
        batch, count, width = tokens.shape
        parts = self.qkv(self.norm(tokens)).view(batch, count, self.heads, -1).transpose(1, 2)
        query, key, value = parts.chunk(3, dim=-1)
        bias = self.attention_biases[:, self.get_buffer("offset")]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return projected


class _FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.fc2(F.gelu(self.fc1(self.norm(tokens))))
        return mixed


class _Block(nn.Module):
    """Window attention, a convolution of each channel, and a feed-forward part."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = _WindowAttention(width, heads, window)
        self.local_conv = ConvNorm(width, width, 3, groups=width)
        self.mlp = _FeedForward(width)

    def forward(self, values: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        grid = values.movedim(1, -1)
        grid = grid + self._attended(grid)
        grid = self.local_conv(grid.movedim(-1, 1)).movedim(1, -1)
        return (grid + self.mlp(grid)).movedim(-1, 1)

    def _attended(self, grid: Tensor) -> Tensor:
        """Attention within windows of (B, H, W, C); the last ones are filled up with zeros."""
        batch, height, width, channels = grid.shape
        side = self.window
        padded = F.pad(grid, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = padded.shape[1] // side, padded.shape[2] // side
        windows = padded.view(batch, rows, side, columns, side, channels).transpose(2, 3)
        mixed = self.attn(windows.reshape(-1, side * side, channels))
        mixed = mixed.view(batch, rows, columns, side, side, channels).transpose(2, 3)
        return mixed.reshape(padded.shape)[:, :height, :width]


class _Stage(nn.Module):
    def __init__(self, stage: int) -> None:
        super().__init__()
        width = WIDTHS[stage]
        self.blocks = nn.ModuleList(
            _Bottleneck(width) if stage == 0 else _Block(width, HEADS[stage], WINDOWS[stage])
            for _ in range(DEPTHS[stage])
        )
        self.downsample = (
            _Merging(width, WIDTHS[stage + 1], STRIDES[stage]) if stage < len(STRIDES) else None
        )

    def forward(self, values: Tensor) -> Tensor:
        for block in self.blocks:
            values = block(values)
        return values if self.downsample is None else self.downsample(values)


class TinyViT(nn.Module):
    """Features of an image.

    Args:
        width: Channels of the features.
    """

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.patch_embed = _Embedding(WIDTHS[0])
        self.layers = nn.ModuleList(_Stage(stage) for stage in range(len(WIDTHS)))
        self.neck = nn.Sequential(
            nn.Conv2d(WIDTHS[-1], width, 1, bias=False),
            ChannelNorm(width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            ChannelNorm(width),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W), 0 to 1, sides divisible by 4; features (B, C, H / 4, W / 4)."""
        values = self.patch_embed(image)
        for layer in self.layers:
            values = layer(values)
        features: Tensor = self.neck(values)
        return features
