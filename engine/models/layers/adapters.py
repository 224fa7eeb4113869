"""Bottleneck adapters: what a shared trunk may learn for one modality alone."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class AdapterLayer(nn.Module):
    """h + W_up GELU(W_down h), zero at the start: an untrained adapter changes nothing.

    Args:
        dim: Width D. adapter_dim: Bottleneck r; D // 4 when None. dropout: On the bottleneck.

    Source:
        Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019. There both maps
        start near zero; here W_down ~ N(0, 0.02) and W_up = 0, so that the first step already
        trains W_up.
    """

    def __init__(self, dim: int, adapter_dim: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        width = adapter_dim or dim // 4
        self.down = nn.Linear(dim, width)
        self.up = nn.Linear(width, dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.down.weight, std=0.02)
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return tokens + self.up(self.dropout(F.gelu(self.down(tokens))))
