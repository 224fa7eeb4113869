"""The formulas of attention-based explanation on plain tensors; no model, no trace.

A_l is the post-softmax attention of layer l, (B, H, N, N), row = query; D_l its gradient. Only the
row from which the class is read is ever needed, so products run from the last layer down, as a row
times a matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from engine.errors import UnknownName

FUSIONS = ("mean", "max", "min")
Layer = TypeVar("Layer")


def fuse_heads(attention: Tensor, fusion: str = "mean") -> Tensor:
    """(B, H, N, M) to (B, N, M).

    Raises:
        UnknownName: `fusion` is not "mean", "max" or "min".
    """
    if fusion == "mean":
        return attention.mean(1)
    if fusion == "max":
        return attention.amax(1)
    if fusion == "min":
        return attention.amin(1)
    raise UnknownName(f"Heads are fused by {', '.join(FUSIONS)}, not by {fusion!r}.")


def discard_lowest(attention: Tensor, ratio: float) -> Tensor:
    """Zero the lowest `ratio` of the entries of each fused matrix (B, N, N), image by image.

    As in vit-explain the first entry (class token to itself) always stays.

    Raises:
        UnknownName: `ratio` is not in [0, 1).
    """
    if not 0 <= ratio < 1:
        raise UnknownName(f"The discard ratio must be at least 0 and below 1; it is {ratio}.")
    count = int(attention[0].numel() * ratio)
    if count == 0:
        return attention
    flat = attention.flatten(1)
    lowest = flat.topk(count, dim=1, largest=False).indices
    kept = flat.scatter(1, lowest, 0.0)
    kept[:, 0] = flat[:, 0]
    return kept.reshape(attention.shape)


def rollout(
    attentions: Sequence[Tensor],
    rows: Tensor,
    fusion: str = "mean",
    discard_ratio: float = 0.0,
    start_layer: int = 0,
) -> Tensor:
    """Attention rollout: rows of B_L ... B_1 with B_l = rownorm(fuse(A_l) + I).

    Args:
        attentions: A_l, first layer first.
        rows: (B or 1, R, N), combinations of tokens from which the flow is read.
        fusion, discard_ratio: See `fuse_heads` and `discard_lowest`.
        start_layer: First layer that takes part.

    Returns:
        (B, R, N).

    Source:
        Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020. Head fusion and
        discarding follow vit-explain, with the row sums kept as rows, which it does not.
    """
    fused = (
        discard_lowest(fuse_heads(attention, fusion), discard_ratio)
        for attention in reversed(later(attentions, start_layer))
    )
    return descend(rows, fused)


def descend(rows: Tensor, matrices: Iterable[Tensor]) -> Tensor:
    """rows @ rownorm(M_L + I) @ ... @ rownorm(M_1 + I), matrices given from the last layer down.

    The division is moved from the matrix to the row, which is the same product.
    """
    for matrix in matrices:
        scaled = rows / (matrix.sum(-1) + 1)[:, None, :]
        rows = scaled @ matrix + scaled
    return rows


def weighted(attention: Tensor, gradient: Tensor) -> Tensor:
    """Mean over heads of (D * A)+, the relevance of one layer; (B, H, N, M) to (B, N, M)."""
    return (gradient * attention).clamp_(min=0).mean(1)


def relevance(layers: Sequence[Tensor], rows: Tensor, start_layer: int = 0) -> Tensor:
    """Rows of R - I, where R <- R + Abar_l R from R = I, over Abar_l (B, N, N).

    Args:
        layers: Abar_l, first layer first. rows: (B or 1, R, N). start_layer: First layer.

    Returns:
        (B, R, N); what the token keeps of itself without any attention is left out.

    Source:
        Chefer, Gur and Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and
        Encoder-Decoder Transformers", ICCV 2021, eq. 6.
    """
    flow = rows
    for layer in reversed(later(layers, start_layer)):
        flow = flow + flow @ layer
    return flow - rows


def later(layers: Sequence[Layer], start: int) -> Sequence[Layer]:
    """Layers from the first that takes part.

    Raises:
        UnknownName: There is no such layer.
    """
    count = len(layers)
    if not -count <= start < count:
        raise UnknownName(f"The first layer must lie in 0 to {count - 1}; it is {start}.")
    return layers[start:]


def row_normalised(total: Tensor) -> Tensor:
    """N(R) = rownorm(R - I) + I, with N(I) = I; (B, N, N). Source: ICCV 2021, eq. 8 and 9."""
    eye = torch.eye(total.shape[-1], device=total.device, dtype=total.dtype)
    rest = total - eye
    sums = rest.sum(-1, keepdim=True)
    return rest / torch.where(sums > 0, sums, 1.0) + eye


def cross_update(cross: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """What attention from stream s to stream q adds to R_sq, from the values before any update.

    Args:
        cross: Abar of the cross-attention, (B, s, q).
        own: R_ss. other: R_qq.

    Returns:
        N(R_ss)^T Abar N(R_qq), (B, s, q); to R_ss the same attention adds Abar R_qs.
        Source: ICCV 2021, eq. 10 and 11.
    """
    return row_normalised(own).transpose(-2, -1) @ cross @ row_normalised(other)


def encoder_decoder(
    encoder: Sequence[Tensor], decoder: Sequence[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Relevance of an encoder-decoder transformer such as DETR.

    Args:
        encoder: Abar of the encoder's self-attention, (B, i, i), first layer first.
        decoder: Per layer, Abar of its self-attention (B, q, q) and cross-attention (B, q, i).

    Returns:
        R_qq (B, q, q), and R_qi (B, q, i); read the row of the query that is explained.

    Source:
        ICCV 2021, section 3.3: in the decoder R_qi += N(R_qq)^T Abar N(R_ii), without an update of
        R_qq from the cross-attention.
    """
    image = total(encoder)
    queries: Tensor | None = None
    across: Tensor | None = None
    for own, cross in decoder:
        before = _identity(own) if queries is None else queries
        if across is not None:
            across = across + own @ across
        queries = before + own @ before
        more = cross_update(cross, queries, image)
        across = more if across is None else across + more
    if queries is None or across is None:
        raise ValueError("a decoder has at least one layer")
    return queries, across


def total(layers: Sequence[Tensor]) -> Tensor:
    """The whole matrix R of `relevance`, (B, N, N)."""
    found = _identity(layers[0])
    for layer in layers:
        found = found + layer @ found
    return found


def _identity(like: Tensor) -> Tensor:
    size = like.shape[-1]
    return torch.eye(size, device=like.device, dtype=like.dtype).expand_as(like)
