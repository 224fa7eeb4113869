"""Multi-head attention that can be read: fused by default, explicit while a tap listens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.trace import Tap


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tap: Tap,
    *,
    stream: str = "",
    source: str = "",
    bias: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Scaled dot-product attention.

    Args:
        query: (B, H, Nq, d). key, value: (B, H, Nk, d).
        tap: Sees the attention (B, H, Nq, Nk) when it is read; only then is it materialised.
        bias: Added to the scores, broadcastable to (B, H, Nq, Nk).
        dropout: Probability; pass 0 in evaluation mode.

    Returns:
        (B, H, Nq, d).
    """
    if not tap.is_read:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    attention = tap(scores.softmax(-1), stream, source)
    return F.dropout(attention, dropout) @ value


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, N, D) to (B, H, N, D / H)."""
    batch, length, width = tokens.shape
    return tokens.reshape(batch, length, heads, width // heads).transpose(1, 2)


def join_heads(tokens: Tensor) -> Tensor:
    """(B, H, N, d) to (B, N, H d)."""
    return tokens.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Self-attention with timm's parameter names (`qkv`, `proj`), so that ViT weights fit.

    Args:
        dim: Width D. num_heads: Heads H, a divisor of D. dropout: On attention and output.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"width {dim} is not a multiple of {num_heads} heads")
        self.num_heads = num_heads
        self.dropout = dropout
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)
        self.tap = Tap("attention")

    def forward(self, tokens: Tensor, stream: str = "") -> Tensor:
        """(B, N, D) to (B, N, D)."""
        query, key, value = (
            split_heads(part, self.num_heads) for part in self.qkv(tokens).chunk(3, dim=-1)
        )
        dropout = self.dropout if self.training else 0.0
        mixed = attend(query, key, value, self.tap, stream=stream, source=stream, dropout=dropout)
        return F.dropout(self.proj(join_heads(mixed)), dropout)


class CrossModalAttention(nn.Module):
    """Attention of one modality's tokens over another's: queries, keys, values, projection.

    Args:
        embed_dim: Width D. num_heads: Heads. dropout: On the attention, in training.
    """

    def __init__(self, embed_dim: int = 768, num_heads: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"width {embed_dim} is not a multiple of {num_heads} heads")
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(embed_dim, embed_dim)
        self.value = nn.Linear(embed_dim, embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.tap = Tap("cross")

    def _heads(self, queries: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        layers = ((self.query, queries), (self.key, context), (self.value, context))
        query, key, value = (split_heads(layer(x), self.num_heads) for layer, x in layers)
        return query, key, value

    def mix(self, queries: Tensor, context: Tensor, stream: str = "", source: str = "") -> Tensor:
        """Attended context for each query, (B, Nq, D), without materialised weights."""
        query, key, value = self._heads(queries, context)
        dropout = self.dropout if self.training else 0.0
        mixed = attend(query, key, value, self.tap, stream=stream, source=source, dropout=dropout)
        return self.proj(join_heads(mixed))

    def weights(self, queries: Tensor, context: Tensor) -> Tensor:
        """Attention averaged over heads, (B, Nq, Nk); rows sum to 1."""
        query, key, _ = self._heads(queries, context)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        return scores.float().softmax(-1).mean(1)

    def forward(self, mammo_tokens: Tensor, patho_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Attend from mammogram tokens to pathology tokens.

        Args:
            mammo_tokens: Queries, (B, Nm, D). patho_tokens: Keys and values, (B, Np, D).

        Returns:
            Attended tokens (B, Nm, D), and the weights averaged over heads (B, Nm, Np).
        """
        weights = self.weights(mammo_tokens, patho_tokens)
        return self.mix(mammo_tokens, patho_tokens), weights


class Readout(nn.Module):
    """One learned query reads a stream: attention pooling on the prediction path.

    Args:
        dim: Width D. num_heads: Heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.query = nn.Parameter(torch.zeros(1, 1, dim))
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.tap = Tap("readout")
        nn.init.trunc_normal_(self.query, std=0.02)

    def forward(self, tokens: Tensor, stream: str = "", bias: Tensor | None = None) -> Tensor:
        """Tokens (B, N, D) to one vector (B, D); `bias` (B, N) is added to the scores."""
        tokens = self.norm(tokens)
        query = split_heads(self.query.expand(len(tokens), -1, -1), self.num_heads)
        key, value = (split_heads(f(tokens), self.num_heads) for f in (self.key, self.value))
        extra = None if bias is None else bias[:, None, None, :].to(query.dtype)
        mixed = attend(query, key, value, self.tap, stream=stream, source=stream, bias=extra)
        return self.proj(join_heads(mixed))[:, 0]
