"""Ordinal grades: four ways to train them, and what each head says of the grades.

A head of kind "corn" gives K - 1 conditional logits, "coral" K - 1 cumulative logits of one score,
"sord" and "oll" K logits of an ordinary softmax.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.layers.shards import mean_of

ORDINAL = ("corn", "coral", "sord", "oll")
OLL_POWER = 1.5
TINY = 1e-12


class CoralLayer(nn.Module):
    """One score for all thresholds and a bias for each: features (B, D) to logits (B, K - 1).

    Source:
        Cao, Mirjalili and Raschka, Pattern Recognition Letters 140, 2020.
    """

    def __init__(self, dim: int, num_grades: int) -> None:
        super().__init__()
        count = num_grades - 1
        self.score = nn.Linear(dim, 1, bias=False)
        self.biases = nn.Parameter(torch.arange(count, 0, -1).float() / count)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) to logits of P(grade > k), (B, K - 1)."""
        return self.score(features) + self.biases


def last_layer(kind: str, dim: int, num_grades: int) -> nn.Module:
    """The layer that ends a head of this kind."""
    if kind not in ORDINAL:
        raise ValueError(f"ordinal {kind!r} is not one of {ORDINAL}")
    if kind == "coral":
        return CoralLayer(dim, num_grades)
    return nn.Linear(dim, num_grades - 1 if kind == "corn" else num_grades)


def corn_terms(ordinal: Tensor, grades: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropies (B, K - 1), and which of them count: level k needs grade >= k."""
    levels = torch.arange(ordinal.shape[1], device=ordinal.device)
    above = (grades[:, None] > levels).to(ordinal.dtype)
    terms = F.binary_cross_entropy_with_logits(ordinal, above, reduction="none")
    return terms, grades[:, None] >= levels


def coral_terms(ordinal: Tensor, grades: Tensor, importance: Tensor | None = None) -> Tensor:
    """Binary cross-entropies of all thresholds, summed; (B,)."""
    levels = torch.arange(ordinal.shape[1], device=ordinal.device)
    above = (grades[:, None] > levels).to(ordinal.dtype)
    terms = F.binary_cross_entropy_with_logits(ordinal, above, reduction="none")
    return (terms if importance is None else terms * importance).sum(1)


def sord_terms(logits: Tensor, grades: Tensor, power: float = 1.0) -> Tensor:
    """Cross-entropy with the soft target softmax(-|j - y|^power); (B,).

    Source:
        Diaz and Marathe, "Soft Labels for Ordinal Regression", CVPR 2019.
    """
    targets = (-(_distances(logits, grades) ** power)).softmax(1)
    return -(targets * logits.log_softmax(1)).sum(1)


def oll_terms(logits: Tensor, grades: Tensor, power: float = OLL_POWER) -> Tensor:
    """- sum over j of |j - y|^power log(1 - p_j); (B,).

    Source:
        Castagnos et al., "A Simple Log-based Loss Function for Ordinal Text Classification",
        COLING 2022.
    """
    count = logits.shape[1]
    itself = torch.eye(count, dtype=torch.bool, device=logits.device)
    others = logits[:, None, :].masked_fill(itself, -torch.inf).logsumexp(2)
    rest = others - logits.logsumexp(1, keepdim=True)
    return -(_distances(logits, grades) ** power * rest).sum(1)


def emd_terms(logits: Tensor, grades: Tensor) -> Tensor:
    """Squared earth mover's distance: squared differences of the distribution functions; (B,)."""
    truth = F.one_hot(grades, logits.shape[1]).to(logits.dtype)
    return (logits.softmax(1).cumsum(1) - truth.cumsum(1)).square().sum(1)


def _distances(logits: Tensor, grades: Tensor) -> Tensor:
    levels = torch.arange(logits.shape[1], device=logits.device)
    return (levels[None, :] - grades[:, None]).abs().to(logits.dtype)


def ordinal_terms(kind: str, ordinal: Tensor, grades: Tensor) -> tuple[Tensor, Tensor]:
    """Terms of the loss of a kind, and which of them count.

    Args:
        kind: One of `ORDINAL`. ordinal: What the head of this kind gave.
        grades: (B,) int; negative where a case has no grade.
    """
    if kind == "corn":
        return corn_terms(ordinal, grades)
    known = grades.clamp_min(0)
    if kind == "coral":
        return coral_terms(ordinal, known), grades >= 0
    terms = sord_terms(ordinal, known) if kind == "sord" else oll_terms(ordinal, known)
    return terms, grades >= 0


def ordinal_loss(kind: str, ordinal: Tensor, grades: Tensor) -> Tensor | None:
    """Mean loss of the graded cases of all processes; None where there is none."""
    return mean_of(*ordinal_terms(kind, ordinal.float(), grades))


def corn_loss(ordinal: Tensor, grades: Tensor) -> Tensor:
    """CORN: task k is trained on the samples that reached level k.

    Args:
        ordinal: Conditional logits, (B, K - 1). grades: (B,) int, 0 to K - 1.

    Returns:
        Scalar: summed binary cross-entropies over the number of terms.

    Source:
        Shi, Cao and Raschka, "Deep Neural Networks for Rank-Consistent Ordinal Regression Based on
        Conditional Probabilities", Pattern Analysis and Applications 2023.
    """
    terms, reached = corn_terms(ordinal, grades)
    return (terms * reached).sum() / reached.sum()


def compute_ordinal_loss(grade_logits: Tensor, grades: Tensor) -> Tensor:
    """CORN loss of grade log-probabilities (or unnormalised logits) over all K levels.

    The conditional logits follow exactly from the distribution: log P(> k) - log P(= k). The
    minimiser puts all mass on the true grade. How far a wrong grade lies enters through the
    thresholds it crosses, not as a weight: for the lowest grade only the first threshold counts.

    Args:
        grade_logits: (B, K). grades: (B,) int, 0 to K - 1.
    """
    logs = grade_logits.float().log_softmax(1)
    tails = logs.flip(1).logcumsumexp(1).flip(1)
    return corn_loss(tails[:, 1:] - logs[:, :-1], grades)


def grade_log_probabilities(ordinal: Tensor, kind: str = "corn") -> Tensor:
    """What a head of this kind gave, to log-probabilities of the K grades, (B, K)."""
    ordinal = ordinal.float()
    if kind in ("sord", "oll"):
        return ordinal.log_softmax(1)
    if kind == "coral":
        return _between(ordinal)
    above = F.logsigmoid(ordinal).cumsum(1)
    reached = torch.cat((torch.zeros_like(above[:, :1]), above), dim=1)
    stays = torch.cat((F.logsigmoid(-ordinal), torch.zeros_like(above[:, :1])), dim=1)
    return reached + stays


def _between(ordinal: Tensor) -> Tensor:
    """Cumulative logits to log-probabilities; thresholds out of order leave nothing between."""
    falling = ordinal.cummin(1).values
    first, last = F.logsigmoid(-falling[:, :1]), F.logsigmoid(falling[:, -1:])
    upper, lower = falling[:, :-1], falling[:, 1:]
    gap = (-torch.expm1(lower - upper)).clamp_min(TINY).log()
    middle = F.logsigmoid(upper) + F.logsigmoid(-lower) + gap
    return torch.cat((first, middle, last), dim=1).log_softmax(1)
