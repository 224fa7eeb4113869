"""Weighting of several tasks by learned uncertainty."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FORMS = ("classification", "regression", "bounded")


class UncertaintyWeightedMultiTaskLoss(nn.Module):
    """Weigh tasks by learned homoscedastic uncertainty: sum of exp(-s_i) L_i + s_i / 2.

    An absent task (None) adds nothing, not even its s_i: counting it as 0 would make the objective
    unbounded below. s_i = log sigma_i^2 is kept in [-4, 4] by `project`, after each step.

    Args:
        num_tasks: How many losses there are.
        form: "classification" as above; "regression", exp(-s) L / 2 + s / 2; "bounded",
            exp(-s) L / 2 + log(1 + exp(s)), which never falls below zero.

    Source:
        Kendall, Gal and Cipolla, CVPR 2018; Liebel and Koerner, arXiv 1805.06334 (bounded).
    """

    limit = 4.0

    def __init__(self, num_tasks: int = 3, form: str = "classification") -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form {form!r} is not one of {FORMS}")
        self.form = form
        self.log_variances = nn.Parameter(torch.zeros(num_tasks))

    def terms(self, losses: Sequence[Tensor | None]) -> list[Tensor | None]:
        """What each loss adds to the total; None where absent."""
        if len(losses) != len(self.log_variances):
            raise ValueError(f"{len(self.log_variances)} tasks were declared, {len(losses)} given")
        scale = 1.0 if self.form == "classification" else 0.5
        found: list[Tensor | None] = []
        for loss, s in zip(losses, self.log_variances, strict=True):
            cost = F.softplus(s) if self.form == "bounded" else s / 2
            found.append(None if loss is None else scale * torch.exp(-s) * loss + cost)
        return found

    def weights(self) -> list[float]:
        """What each loss is multiplied by."""
        scale = 1.0 if self.form == "classification" else 0.5
        weights: list[float] = (scale * torch.exp(-self.log_variances.detach())).tolist()
        return weights

    def forward(self, losses: Sequence[Tensor | None]) -> tuple[Tensor, list[float]]:
        """Losses in a fixed order, None where absent, to (total, weight of each task)."""
        total = self.log_variances.new_zeros(())
        for term in self.terms(losses):
            if term is not None:
                total = total + term
        return total, self.weights()

    @torch.no_grad()
    def project(self) -> None:
        """Put every s_i back into its range; call after each optimiser step."""
        self.log_variances.clamp_(-self.limit, self.limit)
