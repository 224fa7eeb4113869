"""Losses of boxes and grades, and the weighting of several tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss


def compute_bbox_loss(
    pred_bbox: Tensor, target_bbox: Tensor, has_box: Tensor | None = None
) -> Tensor:
    """5 L1 + 2 (1 - GIoU), mean over the boxes that exist.

    Args:
        pred_bbox, target_bbox: (B, 4), left, top, width, height, shares of the image.
        has_box: (B,) bool; all when None.

    Returns:
        Scalar >= 0; 0, without gradient, where no image has a box.

    Source:
        Carion et al. (DETR), ECCV 2020; Rezatofighi et al. (GIoU), CVPR 2019: unlike 1 - IoU it has
        a gradient for disjoint boxes.
    """
    if has_box is not None:
        pred_bbox, target_bbox = pred_bbox[has_box], target_bbox[has_box]
    if len(pred_bbox) == 0:
        return target_bbox.new_zeros(())
    distance = (pred_bbox - target_bbox).abs().sum(-1)
    overlap = generalized_box_iou_loss(_corners(pred_bbox), _corners(target_bbox))
    return (5 * distance + 2 * overlap).mean()


def _corners(boxes: Tensor) -> Tensor:
    return torch.cat((boxes[..., :2], boxes[..., :2] + boxes[..., 2:]), dim=-1)


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
    levels = torch.arange(ordinal.shape[1], device=ordinal.device)
    reached = grades[:, None] >= levels
    above = (grades[:, None] > levels).to(ordinal.dtype)
    terms = F.binary_cross_entropy_with_logits(ordinal, above, reduction="none")
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


class UncertaintyWeightedMultiTaskLoss(nn.Module):
    """Weigh tasks by learned homoscedastic uncertainty: sum of exp(-s_i) L_i + s_i / 2.

    An absent task (None) adds nothing, not even its s_i: counting it as 0 would make the objective
    unbounded below. s_i = log sigma_i^2 is kept in [-4, 4] by `project`, after each step.

    Args:
        num_tasks: How many losses there are.

    Source:
        Kendall, Gal and Cipolla, CVPR 2018 (classification form).
    """

    limit = 4.0

    def __init__(self, num_tasks: int = 3) -> None:
        super().__init__()
        self.log_variances = nn.Parameter(torch.zeros(num_tasks))

    def forward(self, losses: Sequence[Tensor | None]) -> tuple[Tensor, list[float]]:
        """Losses in a fixed order, None where absent, to (total, weight of each task)."""
        if len(losses) != len(self.log_variances):
            raise ValueError(f"{len(self.log_variances)} tasks were declared, {len(losses)} given")
        total = self.log_variances.new_zeros(())
        for loss, s in zip(losses, self.log_variances, strict=True):
            if loss is not None:
                total = total + torch.exp(-s) * loss + s / 2
        return total, torch.exp(-self.log_variances.detach()).tolist()

    @torch.no_grad()
    def project(self) -> None:
        """Put every s_i back into its range; call after each optimiser step."""
        self.log_variances.clamp_(-self.limit, self.limit)
