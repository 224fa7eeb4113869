"""What ties adapted tensors to the source: a penalty on how far they moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import UnknownName

CONSTRAINTS = ("fisher", "l2", "none")
FISHER_SCALE = 2e5
"""The Fisher form is this much stronger, so that the usual weight 0.01 is EATA's 2000 in it."""


class Constraint:
    """Weighted squared distance from the source tensors.

    "fisher": 2e5 w sum F (theta - theta0)^2, so that w = 0.01 is EATA's factor 2000; "l2":
    w sum (theta - theta0)^2; "none": nothing. Without Fisher information "fisher" becomes "l2",
    and `kind` says so.

    Args:
        kind: Of `CONSTRAINTS`. source: Source tensors by name.
        fisher: Diagonal Fisher information by name, shaped as the tensors; non-negative.

    Raises:
        UnknownName: No such constraint.
    """

    def __init__(
        self, kind: str, source: Mapping[str, Tensor], fisher: Mapping[str, Tensor] | None = None
    ) -> None:
        if kind not in CONSTRAINTS:
            raise UnknownName(f"There is no constraint {kind!r}. Known: {', '.join(CONSTRAINTS)}.")
        self.kind = "l2" if kind == "fisher" and fisher is None else kind
        self._source = source
        self._fisher = fisher or {}

    def __call__(self, tensors: Mapping[str, Tensor], weight: float) -> Tensor | None:
        """Scalar penalty; None where there is none."""
        if self.kind == "none" or weight == 0:
            return None
        parts = []
        for name, tensor in tensors.items():
            squared = (tensor - self._source[name]) ** 2
            if self.kind == "fisher":
                squared = squared * self._fisher[name] * FISHER_SCALE
            parts.append(squared.sum())
        return weight * torch.stack(parts).sum()


def fisher_diagonal(
    forward: Callable[[object], Tensor], cases: Iterable[object], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Diagonal Fisher information of the tensors on source cases: the mean squared gradient.

    The gradient is that of the cross-entropy with the model's own leading class, as in EATA, case
    by case as the definition asks (EATA's code squares the mean gradient of a batch).

    Args:
        forward: One case to logits (1, C).
        cases: Source cases, each what `forward` takes.
        tensors: By name; they require a gradient.

    Returns:
        By name, shaped as the tensors; zeros where there was no case.
    """
    found = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    count = 0
    for case in cases:
        logits = forward(case)
        loss = F.cross_entropy(logits, logits.detach().argmax(1))
        grads = torch.autograd.grad(loss, list(tensors.values()), allow_unused=True)
        for total, grad in zip(found.values(), grads, strict=True):
            if grad is not None:
                total += grad**2
        count += 1
    return {name: total / max(1, count) for name, total in found.items()}
