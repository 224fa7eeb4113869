"""Domain generalisation by invariance: IRMv1 and V-REx penalties over the risks of domains.

Source:
    Arjovsky et al., "Invariant Risk Minimization", arXiv 1907.02893; Krueger et al.,
    "Out-of-Distribution Generalization via Risk Extrapolation", ICML 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.layers.mixstyle import MixStyle
from engine.models.layers.shards import gathered

KINDS = ("irm", "vrex")


def irm_penalty(logits: Tensor, labels: Tensor, unbiased: bool = False) -> Tensor:
    """IRMv1 of one domain: (d/dw CE(w z, y) at w = 1) squared.

    The derivative has a closed form, the mean over samples of sum_c p_c z_c - z_y, so that no
    second-order graph is needed.

    Args:
        logits: (N, C) with class labels (N,); or (N, 1) with labels (N, 1) in {0, 1}.
        unbiased: Multiply the derivatives of the even and the odd samples instead, which is
            unbiased and can be negative; 0 for a single sample.
    """
    if logits.shape[1] == 1:
        slopes = ((logits.sigmoid() - labels.view_as(logits)) * logits)[:, 0]
    else:
        expected = (logits.softmax(1) * logits).sum(1)
        slopes = expected - logits.gather(1, labels[:, None])[:, 0]
    if not unbiased:
        return slopes.mean().square()
    if len(slopes) < 2:
        return slopes.sum() * 0
    return slopes[::2].mean() * slopes[1::2].mean()


def vrex_penalty(risks: Sequence[Tensor] | Tensor) -> Tensor:
    """Variance of the risks of the domains, divided by their number."""
    values = risks if isinstance(risks, Tensor) else torch.stack(tuple(risks))
    return (values - values.mean()).square().mean()


def by_domain(logits: Tensor, labels: Tensor, domains: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Logits and labels of each domain, over all processes; cases without a label left out."""
    logits, labels, domains = gathered(logits.float()), gathered(labels), gathered(domains)
    known = labels >= 0
    return [
        (logits[rows], labels[rows])
        for domain in torch.unique(domains[known])
        for rows in [known & (domains == domain)]
    ]


def domain_risks(logits: Tensor, labels: Tensor, domains: Tensor) -> list[Tensor]:
    """Mean cross-entropy of each domain that has a labelled case, by ascending number.

    Args:
        logits: (B, C). labels: (B,) int, negative where unknown. domains: (B,) int.
    """
    return [F.cross_entropy(z, y) for z, y in by_domain(logits, labels, domains)]


def invariance_penalty(kind: str, logits: Tensor, labels: Tensor, domains: Tensor) -> Tensor:
    """Mean IRMv1 penalty of the domains, or V-REx of their risks; 0 without a labelled case.

    Args:
        kind: "irm" or "vrex". Others as in `domain_risks`.
    """
    if kind not in KINDS:
        raise ValueError(f"invariance {kind!r} is not one of {KINDS}")
    found = by_domain(logits, labels, domains)
    if not found:
        return logits.float().sum() * 0
    if kind == "vrex":
        return vrex_penalty([F.cross_entropy(z, y) for z, y in found])
    return torch.stack([irm_penalty(z, y) for z, y in found]).mean()


class IRMLoss(nn.Module):
    """Mean risk of the domains plus `penalty_weight` times their mean IRMv1 penalty.

    Args:
        penalty_weight: lambda >= 0. In training it is small at first and raised later.
    """

    def __init__(self, penalty_weight: float = 1.0) -> None:
        super().__init__()
        self.penalty_weight = penalty_weight

    def forward(
        self, logits_list: Sequence[Tensor], labels_list: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Logits (N_e, C) and labels (N_e,) of each domain to (total, penalty)."""
        pairs = list(zip(logits_list, labels_list, strict=True))
        if not pairs:
            raise ValueError("invariance needs the logits of at least one domain")
        risk = torch.stack([F.cross_entropy(z, y) for z, y in pairs]).mean()
        penalty = torch.stack([irm_penalty(z, y) for z, y in pairs]).mean()
        return risk + self.penalty_weight * penalty, penalty


class DomainGeneralization(nn.Module):
    """MixStyle and IRMv1 side by side.

    Args:
        use_mixstyle: Whether `apply_mixstyle` does anything. mixstyle_alpha: See `MixStyle`.
        irm_penalty: Weight of the IRMv1 penalty.
    """

    def __init__(
        self, use_mixstyle: bool = True, mixstyle_alpha: float = 0.1, irm_penalty: float = 1.0
    ) -> None:
        super().__init__()
        self.mixstyle = MixStyle(mixstyle_alpha, 0.5 if use_mixstyle else 0.0)
        self.irm = IRMLoss(irm_penalty)

    def apply_mixstyle(self, features: Tensor) -> Tensor:
        """(B, C, H, W) or patch tokens (B, N, D) to the same shape; unchanged in evaluation."""
        mixed: Tensor = self.mixstyle(features)
        return mixed

    def compute_irm_loss(
        self, logits_list: Sequence[Tensor], labels_list: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """See `IRMLoss`."""
        total, penalty = self.irm(logits_list, labels_list)
        return total, penalty
