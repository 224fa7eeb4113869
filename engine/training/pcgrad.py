"""PCGrad: gradients of tasks that pull against each other are made orthogonal first.

Source:
    Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from engine.models.layers.shards import averaged

Gradients = list[Tensor | None]


def pcgrad(gradients: list[Gradients], generator: torch.Generator) -> Gradients:
    """Project each task's gradient off those it conflicts with, in random order; then the mean.

    Args:
        gradients: One list per task, entries of the same tensors in the same order; None where a
            task does not reach a tensor, which counts as zero.
        generator: Draws the orders; on the CPU.

    Returns:
        One gradient per tensor; None where no task reaches it.
    """
    columns = zip(*gradients, strict=True)
    shapes = [next((g for g in column if g is not None), None) for column in columns]
    reached = [g for g in shapes if g is not None]
    if not reached:
        return list(shapes)
    rows = torch.stack([_flat(task, shapes) for task in gradients])
    products = rows @ rows.T
    norms = products.diagonal().clamp_min(torch.finfo(rows.dtype).tiny)
    merged = torch.zeros_like(rows[0])
    for index, row in enumerate(rows):
        kept = row.clone()
        order = torch.randperm(len(rows), generator=generator).tolist()
        for other in (o for o in order if o != index):
            against = torch.dot(kept, rows[other]).clamp_max(0)
            kept -= against / norms[other] * rows[other]
        merged += kept
    parts = iter((merged / len(rows)).split([g.numel() for g in reached]))
    return [None if g is None else next(parts).view_as(g).to(g.dtype) for g in shapes]


def _flat(task: Gradients, shapes: Gradients) -> Tensor:
    """A task's gradients in one row, zeros where it does not reach a tensor that others reach."""
    pairs = [(g, like) for g, like in zip(task, shapes, strict=True) if like is not None]
    found = [(torch.zeros_like(like) if g is None else g).flatten() for g, like in pairs]
    return torch.cat([part if part.dtype == torch.float64 else part.float() for part in found])


def backward_with_pcgrad(
    losses: Mapping[str, Tensor],
    shared: Sequence[Parameter],
    others: Sequence[Parameter],
    generator: torch.Generator,
) -> None:
    """Set `.grad`: mended by PCGrad for the shared trunk, the plain sum of tasks for the rest.

    Under torch.distributed each task's gradient is averaged over processes before it is mended,
    and the result is the same on each, so that a further average changes nothing; the generators
    must be in the same state.

    Args:
        losses: What each task adds to the total; see `BreastLoss.weighted_losses`.
        shared, others: Parameters, none in both. generator: See `pcgrad`.

    Source:
        The mean over tasks for shared tensors and the sum for others, as the authors' code does.
    """
    wanted = [p for p in (*shared, *others) if p.requires_grad]
    count = sum(p.requires_grad for p in shared)
    trained = [loss for loss in losses.values() if loss.requires_grad]
    tasks: list[Gradients] = []
    for position, loss in enumerate(trained):
        found = torch.autograd.grad(
            loss, wanted, retain_graph=position + 1 < len(trained), allow_unused=True
        )
        tasks.append(averaged(found))
    if not tasks:
        return
    mended = pcgrad([task[:count] for task in tasks], generator)
    summed = [_sum(column) for column in zip(*(task[count:] for task in tasks), strict=True)]
    for parameter, gradient in zip(wanted, [*mended, *summed], strict=True):
        parameter.grad = gradient


def _sum(gradients: Sequence[Tensor | None]) -> Tensor | None:
    found = [g for g in gradients if g is not None]
    return torch.stack(found).sum(0) if found else None
