"""Cross-modal alignment: projections and contrastive losses."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CrossModalAlignment(nn.Module):
    """Project both modalities into one unit sphere.

    Args:
        embed_dim: Width D of the features. temperature: Initial tau; learnt as exp(-logit_scale).
        projection_dim: Width of the sphere.
    """

    def __init__(
        self, embed_dim: int = 768, temperature: float = 0.07, projection_dim: int = 256
    ) -> None:
        super().__init__()
        self.mammo = _projection(embed_dim, projection_dim)
        self.patho = _projection(embed_dim, projection_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))

    @property
    def temperature(self) -> Tensor:
        """Current tau, at least 0.01."""
        return 1 / self.logit_scale.exp().clamp(max=100)

    def forward(self, z_mammo: Tensor, z_patho: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) twice to unit rows (B, projection_dim) twice."""
        return F.normalize(self.mammo(z_mammo), dim=-1), F.normalize(self.patho(z_patho), dim=-1)


def _projection(embed_dim: int, projection_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(embed_dim, embed_dim), nn.GELU(), nn.Linear(embed_dim, projection_dim)
    )


def compute_contrastive_loss(
    mammo_features: Tensor,
    patho_features: Tensor,
    labels: Tensor | None = None,
    temperature: float | Tensor = 0.07,
) -> Tensor:
    """Symmetric cross-modal InfoNCE; chance level is ln B.

    Args:
        mammo_features, patho_features: Unit rows, (B, D).
        labels: (B,) int; pairs of equal label are positives ("out" form: the mean of log-softmax
            over the positives). None: row i of one belongs to row i of the other.
        temperature: tau > 0.

    Returns:
        Scalar.

    Source:
        Radford et al. (CLIP), ICML 2021; Khosla et al., NeurIPS 2020, eq. 2.
    """
    scores = mammo_features @ patho_features.T / temperature
    count = len(scores)
    same = (
        torch.eye(count, dtype=torch.bool, device=scores.device)
        if labels is None
        else labels[:, None] == labels[None, :]
    ).to(scores.dtype)

    def one_way(similarity: Tensor) -> Tensor:
        positives = (similarity.log_softmax(1) * same).sum(1) / same.sum(1)
        return -positives.mean()

    return (one_way(scores) + one_way(scores.T)) / 2
