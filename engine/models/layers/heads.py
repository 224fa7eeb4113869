"""Task heads: class, lesion box, lesion map and ordinal grade."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ClassificationHead(nn.Module):
    """Linear, ReLU, dropout, linear: features (B, D) to logits (B, num_classes)."""

    def __init__(self, embed_dim: int = 768, num_classes: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(embed_dim, embed_dim // 2),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(embed_dim // 2, num_classes),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) to (B, num_classes)."""
        return self.layers(features)


class LocalizationHead(nn.Module):
    """A learned query finds the lesion among patch tokens and states its box.

    Args:
        embed_dim: Width D. hidden_dim: Width of the box regressor. dropout: In the regressor.
    """

    def __init__(self, embed_dim: int = 768, hidden_dim: int = 256, dropout: float = 0.1) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(embed_dim))
        self.key = nn.Linear(embed_dim, embed_dim)
        self.box = nn.Sequential(
            nn.Linear(embed_dim, hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, hidden_dim // 2),
            nn.ReLU(),
            nn.Linear(hidden_dim // 2, 4),
        )
        nn.init.trunc_normal_(self.query, std=0.02)

    def forward(
        self,
        features: Tensor,
        bias: Tensor | None = None,
        grid: tuple[int, int] | None = None,
    ) -> Tensor:
        """Find one box.

        Args:
            features: Patch tokens (B, N, D), or one vector per image (B, D).
            bias: Added to the attention scores, (B, N).
            grid: Rows and columns of the tokens. The centre is then stated relative to the mean
                position of the attention (a reference point, as in Deformable DETR, ICLR 2021).

        Returns:
            (B, 4): left, top, width, height, in shares of the image, inside [0, 1].
        """
        reference = None
        if features.ndim == 3:
            scores = (self.key(features) @ self.query / features.shape[-1] ** 0.5).float()
            shares = (scores if bias is None else scores + bias).softmax(1)
            features = (shares[..., None].to(features.dtype) * features).sum(1)
            reference = None if grid is None else shares @ patch_centres(grid, shares.device)
        numbers = self.box(features).float()
        if reference is not None:
            numbers = numbers + F.pad(reference.clamp(0.01, 0.99).logit(), (0, 2))
        centre_x, centre_y, width, height = numbers.sigmoid().unbind(-1)
        left, right = (centre_x - width / 2).clamp(0, 1), (centre_x + width / 2).clamp(0, 1)
        top, bottom = (centre_y - height / 2).clamp(0, 1), (centre_y + height / 2).clamp(0, 1)
        return torch.stack((left, top, right - left, bottom - top), dim=-1)


def patch_centres(grid: tuple[int, int], device: torch.device) -> Tensor:
    """Centres (x, y) of the patches of a grid, row by row, in shares of the image; (N, 2)."""
    rows, columns = (
        (torch.arange(count, device=device) + 0.5) / count for count in (grid[0], grid[1])
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x.flatten(), y.flatten()), dim=1)


class LesionMapHead(nn.Module):
    """Lesion logits on a grid finer than the patches: `cells` x `cells` values a token."""

    def __init__(self, embed_dim: int, cells: int = 4) -> None:
        super().__init__()
        self.cells = cells
        self.linear = nn.Linear(embed_dim, cells * cells)
        nn.init.constant_(self.linear.bias, -4.0)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patch tokens (B, N, D) on a grid (h, w) to logits (B, h * cells, w * cells)."""
        values = self.linear(tokens).float().transpose(1, 2)
        values = values.reshape(len(tokens), self.cells**2, *grid)
        return F.pixel_shuffle(values, self.cells)[:, 0]


class GradingHead(nn.Module):
    """Ordinal grade by conditional logits (CORN).

    Args:
        embed_dim: Width D. num_grades: Levels K. dropout: In the head.
    """

    def __init__(self, embed_dim: int = 768, num_grades: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(embed_dim, embed_dim // 2),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(embed_dim // 2, num_grades - 1),
        )

    def ordinal(self, features: Tensor) -> Tensor:
        """(B, D) to logits of P(grade > k | grade >= k), (B, K - 1)."""
        return self.layers(features)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) to log-probabilities of the grades, (B, K)."""
        return grade_log_probabilities(self.ordinal(features))


def grade_log_probabilities(ordinal: Tensor) -> Tensor:
    """Conditional logits (B, K - 1) to log-probabilities (B, K), by the chain rule."""
    above = F.logsigmoid(ordinal.float()).cumsum(1)
    reached = torch.cat((torch.zeros_like(above[:, :1]), above), dim=1)
    stays = torch.cat((F.logsigmoid(-ordinal.float()), torch.zeros_like(above[:, :1])), dim=1)
    return reached + stays
