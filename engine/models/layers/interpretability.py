"""What cross-modal attention alone can show: a heat map and the pathology patches behind it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.layers.attention import CrossModalAttention

FLAT = 1e-6


def concentration(attention: Tensor) -> Tensor:
    """How focused each row of attention is: 1 - H / ln Nk; (B, Nq, Nk) to (B, Nq) in [0, 1].

    The mean of a softmax row is the same for every query; its entropy is not.
    """
    keys = attention.shape[-1]
    if keys < 2:
        return attention.new_zeros(attention.shape[:-1])
    entropy = torch.special.entr(attention).sum(-1)
    return (1 - entropy / math.log(keys)).clamp(0, 1)


def relative(values: Tensor) -> tuple[Tensor, Tensor]:
    """Scale each map (B, h, w) to [0, 1]; a flat one becomes zeros and is flagged False."""
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    varies = (high - low) >= FLAT
    scaled = torch.where(varies, (values - low) / (high - low).clamp_min(FLAT), 0.0)
    return scaled, varies[:, 0, 0]


class InterpretabilityModule(nn.Module):
    """Cross-attention from mammogram to pathology, with its heat map and best patches.

    Args:
        embed_dim: Width D. num_heads: Heads. top_k: Pathology patches to return.
    """

    def __init__(self, embed_dim: int = 768, num_heads: int = 8, top_k: int = 5) -> None:
        super().__init__()
        self.cross = CrossModalAttention(embed_dim, num_heads)
        self.top_k = top_k

    def forward(
        self,
        mammo_tokens: Tensor,
        patho_tokens: Tensor,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
    ) -> dict[str, Tensor]:
        """Read the attention.

        Args:
            mammo_tokens: (B, Nm, D). patho_tokens: (B, Np, D).
            img_size: Side, or height and width, of the mammogram input, pixels.
            patch_size: Side of a patch, pixels.

        Returns:
            `heatmap` (B, H, W) in [0, 1], concentration of each query's attention, zeros where
            flat; `heatmap_localised` (B,) bool; `top_patho_patches` (B, k, D) and `top_indices`
            (B, k), pathology patches by attention weighted with query importance;
            `attention_weights` (B, Nm, Np).
        """
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        attention = self.cross.weights(mammo_tokens, patho_tokens)
        importance = concentration(attention)
        grid = importance.reshape(-1, height // patch_size, width // patch_size)
        scaled, localised = relative(grid)
        heat = F.interpolate(
            scaled[:, None], size=(height, width), mode="bilinear", align_corners=False
        )[:, 0]
        shares = (importance[:, :, None] + FLAT) * attention
        indices = shares.sum(1).topk(min(self.top_k, attention.shape[-1])).indices
        chosen = patho_tokens.gather(1, indices[..., None].expand(-1, -1, patho_tokens.shape[-1]))
        return {
            "heatmap": heat,
            "heatmap_localised": localised,
            "top_patho_patches": chosen,
            "top_indices": indices,
            "attention_weights": attention,
        }
