"""The formulas of attention-based explanation on plain tensors; no model, no trace.

A_l is the post-softmax attention of layer l, (B, H, N, N), row = query; D_l its gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

FUSIONS = ("mean", "max", "min")


def fuse_heads(attention: Tensor, fusion: str = "mean") -> Tensor:
    """(B, H, N, M) to (B, N, M).

    Raises:
        ValueError: `fusion` is not "mean", "max" or "min".
    """
    if fusion == "mean":
        return attention.mean(1)
    if fusion == "max":
        return attention.amax(1)
    if fusion == "min":
        return attention.amin(1)
    raise ValueError(f"head fusion {fusion!r} is not one of {FUSIONS}")


def discard_lowest(attention: Tensor, ratio: float) -> Tensor:
    """Zero the lowest `ratio` of the entries of each fused matrix (B, N, N), image by image.

    As in vit-explain the first entry (class token to itself) always stays.
    """
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
    fusion: str = "mean",
    discard_ratio: float = 0.0,
    start_layer: int = 0,
) -> Tensor:
    """Attention rollout: B_L ... B_1 with B_l = rownorm(fuse(A_l) + I); (B, N, N).

    Source:
        Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020. Head fusion and
        discarding follow vit-explain, with the row sums kept as rows, which it does not.
    """
    return chain(
        discard_lowest(fuse_heads(attention, fusion), discard_ratio)
        for attention in attentions[start_layer:]
    )


def chain(matrices: Iterable[Tensor]) -> Tensor:
    """Product of rownorm(M_l + I), later layers from the left; (B, N, N)."""
    flow: Tensor | None = None
    for matrix in matrices:
        step = matrix + torch.eye(matrix.shape[-1], device=matrix.device, dtype=matrix.dtype)
        step = step / step.sum(-1, keepdim=True)
        flow = step if flow is None else step @ flow
    if flow is None:
        raise ValueError("rollout needs at least one layer")
    return flow


def weighted(attention: Tensor, gradient: Tensor) -> Tensor:
    """Mean over heads of (D * A)+, the relevance of one layer; (B, H, N, M) to (B, N, M)."""
    return (gradient * attention).clamp_min(0).mean(1)


def relevance(layers: Sequence[Tensor]) -> Tensor:
    """Self-attention rule R <- R + Abar_l R from R = I, over Abar_l (B, N, N).

    Source:
        Chefer, Gur and Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and
        Encoder-Decoder Transformers", ICCV 2021, eq. 6.
    """
    first = layers[0]
    total = torch.eye(first.shape[-1], device=first.device, dtype=first.dtype).expand_as(first)
    for layer in layers:
        total = total + layer @ total
    return total


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


def gradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """(sum_k w_k a_k)+ with w_k the spatial mean of the gradient.

    Args:
        activation, gradient: (B, N, K), N positions in any order.

    Returns:
        (B, N). Source: Selvaraju et al., "Grad-CAM", ICCV 2017.
    """
    weights = gradient.mean(1, keepdim=True)
    return (weights * activation).sum(-1).clamp_min(0)
