"""From image features and a box to a mask: the prompt encoder and mask decoder of SAM, for a box.

Source: Kirillov et al., "Segment Anything", ICCV 2023. Of its outputs only the first mask is made,
the one meant for a prompt that leaves no doubt; points, mask prompts and the estimate of the
overlap are left out.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.layers.tinyvit import ChannelNorm

MASKS = 4
"""Mask tokens of the decoder; the first is used."""
CORNERS = (2, 3)
"""Learned points that mark the upper left and the lower right corner."""


class _Positions(nn.Module):
    """Sines and cosines of random projections of a place."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, width // 2))

    def forward(self, places: Tensor) -> Tensor:
        """Places (..., 2) as x, y from 0 to 1; (..., C)."""
        angles = 2 * math.pi * (2 * places - 1) @ self.positional_encoding_gaussian_matrix
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class PromptEncoder(nn.Module):
    """Boxes as tokens.

    Args:
        width: Channels C.
    """

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.pe_layer = _Positions(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.no_mask_embed = nn.Embedding(1, width)

    def forward(self, boxes: Tensor, side: int) -> Tensor:
        """Boxes (B, 4) as left, top, right, bottom in pixels of a square of `side`; (B, 2, C)."""
        places = (boxes.view(-1, 2, 2) + 0.5) / side
        marks = torch.stack([self._mark(n) for n in CORNERS])
        tokens: Tensor = self.pe_layer(places) + marks
        return tokens

    def _mark(self, kind: int) -> Tensor:
        """What is added to a point of one kind, (C,)."""
        embedding = self.point_embeddings[kind]
        assert isinstance(embedding, nn.Embedding)
        return embedding.weight[0]

    def grid(self, rows: int, columns: int) -> Tensor:
        """Places of the cells of a grid, (1, C, rows, columns)."""
        weight = self.no_mask_embed.weight
        y = (torch.arange(rows).to(weight) + 0.5) / rows
        x = (torch.arange(columns).to(weight) + 0.5) / columns
        places = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        encoded: Tensor = self.pe_layer(places)
        return encoded.movedim(-1, 0)[None]


class _Attention(nn.Module):
    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        parts = (self.q_proj(query), self.k_proj(key), self.v_proj(value))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        projected: Tensor = self.out_proj(mixed)
        return projected


class _FeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.lin2(F.relu(self.lin1(tokens)))
        return mixed


class _TwoWayBlock(nn.Module):
    """Tokens among themselves, tokens from image, and image from tokens."""

    def __init__(self, width: int, heads: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = _Attention(width, width, heads)
        self.cross_attn_token_to_image = _Attention(width, width // 2, heads)
        self.cross_attn_image_to_token = _Attention(width, width // 2, heads)
        self.mlp = _FeedForward(width, 8 * width)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(width) for _ in range(4))

    def forward(
        self, tokens: Tensor, image: Tensor, prompt: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:  # the tokens are the prompt itself as yet
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + prompt
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        seen = self.cross_attn_token_to_image(tokens + prompt, image + places, image)
        tokens = self.norm2(tokens + seen)
        tokens = self.norm3(tokens + self.mlp(tokens))
        told = self.cross_attn_image_to_token(image + places, tokens + prompt, tokens)
        return tokens, self.norm4(image + told)


class _TwoWay(nn.Module):
    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_TwoWayBlock(width, heads, first=n == 0) for n in range(depth))
        self.final_attn_token_to_image = _Attention(width, width // 2, heads)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, image: Tensor, places: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        tokens = prompt
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompt, places)
        seen = self.final_attn_token_to_image(tokens + prompt, image + places, image)
        return self.norm_final_attn(tokens + seen), image


class _Perceptron(nn.Module):
    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        sizes = ((width, width), (width, width), (width, outputs))
        self.layers = nn.ModuleList(nn.Linear(*size) for size in sizes)

    def forward(self, values: Tensor) -> Tensor:
        for layer in list(self.layers)[:-1]:
            values = F.relu(layer(values))
        made: Tensor = self.layers[-1](values)
        return made


class MaskDecoder(nn.Module):
    """One mask for a box.

    Args:
        width: Channels C. heads: Heads of the attention. depth: Blocks.
    """

    def __init__(self, width: int = 256, heads: int = 8, depth: int = 2) -> None:
        super().__init__()
        self.transformer = _TwoWay(width, heads, depth)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASKS, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, 2),
            ChannelNorm(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList([_Perceptron(width, width // 8)])

    def forward(self, features: Tensor, places: Tensor, prompt: Tensor) -> Tensor:
        """Logits of the mask.

        Args:
            features: (B, C, H, W). places: (1, C, H, W). prompt: (B, P, C).

        Returns:
            (B, 4 H, 4 W).
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(len(prompt), -1, -1), prompt], dim=1)
        flat = features.flatten(2).transpose(1, 2)
        told, image = self.transformer(flat, places.flatten(2).transpose(1, 2), tokens)
        fine = self.output_upscaling(image.transpose(1, 2).reshape(features.shape))
        weights = self.output_hypernetworks_mlps[0](told[:, 1])
        return torch.einsum("bc,bchw->bhw", weights, fine)
