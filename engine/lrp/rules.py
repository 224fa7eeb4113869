"""The relevance rules on plain tensors; no graph, no model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import IncompatibleExplainer

TINY = 1e-9
ROUNDING = 32  # units of machine precision
ROWS = 256  # at a time, so that intermediate results stay small


def wide(tensor: Tensor) -> Tensor:
    """Detached, and at least float32: relevance divides by small numbers."""
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))


def safe_divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """a / (b + 1e-9), and 0 where b = 0; same shapes or broadcastable."""
    shifted = denominator + TINY
    shifted.masked_fill_(shifted == 0, TINY)
    return (numerator / shifted).masked_fill_(denominator == 0, 0)


def through_linear(relevance: Tensor, x: Tensor, weight: Tensor, product: Tensor) -> Tensor:
    """Relevance of the inputs of a linear layer, by their positive contributions.

    With z = W+ x+ + W- x- = (W x + |W| |x|) / 2 three matrix products suffice. Where z is rounding
    of |W| |x|, no contribution was positive and nothing passes.

    Args:
        relevance: Of the outputs, (M, O). x: (M, I). weight: (O, I). product: W x, (M, O).

    Returns:
        x+ * (W+^T S) + x- * (W-^T S) with S = relevance / z, (M, I).
    """
    live = relevance.any(1)
    if not bool(live.all()):  # behind a class-token readout all rows but one are zero
        found = torch.zeros_like(x)
        if bool(live.any()):
            found[live] = through_linear(relevance[live], x[live], weight, product[live])
        return found
    steepness, found = weight.abs(), torch.empty_like(x)
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        found[rows] = _rows_through(relevance[rows], x[rows], weight, steepness, product[rows])
    return found


def _rows_through(
    relevance: Tensor, x: Tensor, weight: Tensor, steepness: Tensor, product: Tensor
) -> Tensor:
    size = x.abs()
    total = F.linear(size, steepness)
    positive = (product + total).mul_(0.5)
    void = positive <= total.mul_(ROUNDING * torch.finfo(x.dtype).eps)
    half = (relevance / positive.add_(TINY)).mul_(0.5).masked_fill_(void, 0)
    return (x * (half @ weight)).addcmul_(size, half @ steepness)


def through_product(
    relevance: Tensor, one: Tensor, other: Tensor, value: Tensor
) -> tuple[Tensor, Tensor]:
    """Relevance of two factors of a matrix product, gradient times input, half to each.

    Args:
        relevance, value: (..., N, M), value = one @ other. one: (..., N, d). other: (..., d, M).
    """
    share = safe_divide(relevance, value).mul_(0.5)
    first, second = one * (share @ other.mT), other * (one.mT @ share)
    return first.sum_to_size(one.shape), second.sum_to_size(other.shape)


def through_sum(
    relevance: Tensor, one: Tensor, other: Tensor, value: Tensor
) -> tuple[Tensor, Tensor]:
    """Relevance of two summands; per image their totals keep |sum a| : |sum b| and add to sum R.

    Args:
        relevance, one, other, value: (B, ...), of one shape, value = one + other.
    """
    share = safe_divide(relevance, value)
    parts = one * share, other * share
    sums = [part.reshape(len(part), -1).sum(1) for part in parts]
    total = relevance.reshape(len(relevance), -1).sum(1)
    whole = sums[0].abs() + sums[1].abs()
    scales = [safe_divide(safe_divide(s.abs(), whole) * total, s) for s in sums]
    first, second = (
        part.mul_(scale.reshape(-1, *[1] * (part.ndim - 1)))
        for part, scale in zip(parts, scales, strict=True)
    )
    return first, second


def transformer_attribution(
    gradients: Sequence[Tensor], relevances: Sequence[Tensor], start_layer: int = 0
) -> Tensor:
    """R = (I + C_L) ... (I + C_s) with C_l the mean over heads of (D_l * Rel_l)+.

    Args:
        gradients, relevances: Per layer, input side first, (B, H, N, N).
        start_layer: First layer s to count, from 0.

    Returns:
        (B, N, N), rows not normalised; read the row of the class token, or the mean over rows.

    Raises:
        IncompatibleExplainer: No layer is left, or layers differ in their tokens.
    """
    pairs = list(zip(gradients, relevances, strict=True))[start_layer:]
    if len({gradient.shape[-2:] for gradient, _ in pairs}) != 1:
        raise IncompatibleExplainer(
            "Relevance cannot be followed: the model's layers do not attend to the same patches."
        )
    steps = [(gradient * relevance).clamp_min(0).mean(1) for gradient, relevance in pairs]
    flow = eye = torch.eye(steps[0].shape[-1], device=steps[0].device, dtype=steps[0].dtype)
    for step in steps:
        flow = (step + eye) @ flow
    return flow
