"""Sums and batches over several processes, so that they compute what one process would.

Every process computes the loss of the whole batch. The backward pass of a sum over processes is
again a sum over processes, and the gradients are averaged afterwards: loss and gradient are those
of one process that held the whole batch. Without torch.distributed all of this is the identity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def processes() -> int:
    """How many processes share the batch; 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Sum(torch.autograd.Function):
    """Sum over processes, forwards and backwards."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        """The same on every process."""
        total = values.detach().clone().contiguous()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        """Every process holds the whole, so each share hears of all of them."""
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def summed(values: Tensor) -> Tensor:
    """Sum over processes, with gradient; the same shape on each."""
    if processes() == 1:
        return values
    total: Tensor = _Sum.apply(values)
    return total


def gathered(rows: Tensor) -> Tensor:
    """Rows of all processes in the order of their ranks, with gradient.

    Args:
        rows: (B, ...), B may differ between processes; any type.

    Returns:
        (sum of B, ...), equal on every process.
    """
    if processes() == 1:
        return rows
    counts = torch.zeros(processes(), dtype=torch.long, device=rows.device)
    counts[dist.get_rank()] = len(rows)
    sizes = summed(counts).tolist()
    before = sum(sizes[: dist.get_rank()])
    after = sum(sizes) - before - len(rows)
    values = rows.to(torch.uint8) if rows.dtype == torch.bool else rows
    whole = summed(F.pad(values, (0, 0) * (rows.ndim - 1) + (before, after)))
    return whole.to(rows.dtype)


def mean_of(terms: Tensor, mask: Tensor | None = None) -> Tensor | None:
    """Mean over the terms of all processes.

    Args:
        terms: Any shape. mask: Bool, of the same shape; which terms count. All when None.

    Returns:
        Scalar, or None where no process has a term.
    """
    kept = terms if mask is None else torch.where(mask, terms, 0)
    count = kept.new_tensor(terms.numel()) if mask is None else mask.sum().to(kept.dtype)
    total, number = summed(torch.stack((kept.sum(), count))).unbind()
    return total / number if bool(number > 0) else None


@torch.no_grad()
def averaged(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Mean of each gradient over processes; None only where no process has one.

    Args:
        gradients: In the same order, and for tensors of the same shape, on every process.

    Raises:
        ValueError: A gradient is missing here that another process has, and nothing states its
            shape; pass zeros instead (`average_gradients` does).
    """
    if processes() == 1:
        return list(gradients)
    given = torch.tensor([float(g is not None) for g in gradients])
    found = [g for g in gradients if g is not None]
    device = found[0].device if found else torch.device("cpu")
    if bool((summed(given.to(device)).cpu() != given * processes()).any()):
        raise ValueError("the processes hold gradients of different tensors")
    if not found:
        return list(gradients)
    flat = summed(torch.cat([g.flatten().float() for g in found])) / processes()
    parts = iter(flat.split([g.numel() for g in found]))
    return [None if g is None else next(parts).view_as(g).to(g.dtype) for g in gradients]


@torch.no_grad()
def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Average `.grad` over processes, as data-parallel training does; None only where all are None.

    Unlike a wrapper around `forward` it sees parameters that only the loss uses.
    """
    trained = [p for p in parameters if p.requires_grad]
    if processes() == 1 or not trained:
        return
    given = torch.tensor([float(p.grad is not None) for p in trained], device=trained[0].device)
    anywhere = summed(given).cpu() > 0
    kept = [p for p, has in zip(trained, anywhere.tolist(), strict=True) if has]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in kept]
    for parameter, gradient in zip(kept, averaged(gradients), strict=True):
        parameter.grad = gradient
