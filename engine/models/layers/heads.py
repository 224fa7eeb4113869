"""Task heads: class, lesion box, lesion map and ordinal grade."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.layers.ordinal import grade_log_probabilities, last_layer

MOST_LESIONS = 5


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
    """Learned queries find lesions among patch tokens and state their boxes.

    Args:
        embed_dim: Width D. hidden_dim: Width of the box regressor. dropout: In the regressor.
        lesions: Queries L, 1 to 5. Several also give the belief that their box holds a lesion.
    """

    def __init__(
        self,
        embed_dim: int = 768,
        hidden_dim: int = 256,
        dropout: float = 0.1,
        lesions: int = 1,
    ) -> None:
        super().__init__()
        if not 1 <= lesions <= MOST_LESIONS:
            raise ValueError(f"lesions must be 1 to {MOST_LESIONS}, not {lesions}")
        self.lesions = lesions
        self.query = nn.Parameter(torch.zeros(*(() if lesions == 1 else (lesions,)), embed_dim))
        self.key = nn.Linear(embed_dim, embed_dim)
        self.box = nn.Sequential(
            nn.Linear(embed_dim, hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, hidden_dim // 2),
            nn.ReLU(),
            nn.Linear(hidden_dim // 2, 4),
        )
        self.score = nn.Linear(embed_dim, 1) if lesions > 1 else None
        nn.init.trunc_normal_(self.query, std=0.02 if lesions == 1 else 0.5)

    def forward(
        self,
        features: Tensor,
        bias: Tensor | None = None,
        grid: tuple[int, int] | None = None,
    ) -> Tensor:
        """Find one box, the most believed of several.

        Args:
            features: Patch tokens (B, N, D), or one vector per image (B, D).
            bias: Added to the attention scores, (B, N).
            grid: Rows and columns of the tokens. The centre is then stated relative to the mean
                position of the attention (a reference point, as in Deformable DETR, ICLR 2021).

        Returns:
            (B, 4): left, top, width, height, in shares of the image, inside [0, 1].
        """
        boxes, scores = self.all_boxes(features, bias, grid)
        return best_box(boxes, scores)

    def all_boxes(
        self,
        features: Tensor,
        bias: Tensor | None = None,
        grid: tuple[int, int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `forward`: boxes (B, L, 4) and logits (B, L) that each holds a lesion, 0 for one."""
        reference = None
        if features.ndim == 3:
            queries = self.query.view(self.lesions, -1)
            scores = (self.key(features) @ queries.T / features.shape[-1] ** 0.5).float()
            shares = (scores if bias is None else scores + bias[..., None]).softmax(1)
            found = shares.transpose(1, 2)
            features = found.to(features.dtype) @ features
            reference = None if grid is None else found @ patch_centres(grid, shares.device)
        else:
            features = features[:, None].expand(-1, self.lesions, -1)
        if self.score is not None:
            features = features + self.query  # so that queries that see alike may differ
        numbers = self.box(features).float()
        if reference is not None:
            numbers = numbers + F.pad(reference.clamp(0.01, 0.99).logit(), (0, 2))
        beliefs = numbers.new_zeros(numbers.shape[:2])
        if self.score is not None:
            beliefs = self.score(features)[..., 0].float()
        return _inside(numbers.sigmoid()), beliefs


def _inside(centred: Tensor) -> Tensor:
    """Centre, width and height to left, top, width and height, clipped to the image; (..., 4)."""
    centre_x, centre_y, width, height = centred.unbind(-1)
    left, right = (centre_x - width / 2).clamp(0, 1), (centre_x + width / 2).clamp(0, 1)
    top, bottom = (centre_y - height / 2).clamp(0, 1), (centre_y + height / 2).clamp(0, 1)
    return torch.stack((left, top, right - left, bottom - top), dim=-1)


def best_box(boxes: Tensor, scores: Tensor) -> Tensor:
    """The box of the highest score; (B, L, 4) and (B, L) to (B, 4)."""
    best = scores.argmax(1)
    return boxes[torch.arange(len(boxes), device=boxes.device), best]


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
    """Ordinal grade.

    Args:
        embed_dim: Width D. num_grades: Levels K. dropout: In the head.
        ordinal: One of `engine.models.layers.ordinal.ORDINAL`.
    """

    def __init__(
        self,
        embed_dim: int = 768,
        num_grades: int = 3,
        dropout: float = 0.1,
        ordinal: str = "corn",
    ) -> None:
        super().__init__()
        if num_grades < 2:
            raise ValueError(f"an ordinal head needs two grades or more, not {num_grades}")
        self.kind = ordinal
        self.layers = nn.Sequential(
            nn.Linear(embed_dim, embed_dim // 2),
            nn.ReLU(),
            nn.Dropout(dropout),
            last_layer(ordinal, embed_dim // 2, num_grades),
        )

    def ordinal(self, features: Tensor) -> Tensor:
        """(B, D) to what this kind is trained on: CORN's conditional logits, (B, K - 1)."""
        return self.layers(features)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) to log-probabilities of the grades, (B, K)."""
        return grade_log_probabilities(self.ordinal(features), self.kind)
