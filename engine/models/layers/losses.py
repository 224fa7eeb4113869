"""Losses of boxes: one box, or several matched to the lesions that exist."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from engine.models.layers.shards import mean_of


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
    return box_terms(pred_bbox, target_bbox).mean()


def box_terms(pred_bbox: Tensor, target_bbox: Tensor) -> Tensor:
    """5 L1 + 2 (1 - GIoU) of each pair of boxes, (..., 4) twice to (...)."""
    distance = (pred_bbox - target_bbox).abs().sum(-1)
    overlap = generalized_box_iou_loss(_corners(pred_bbox), _corners(target_bbox))
    return 5 * distance + 2 * overlap


def _corners(boxes: Tensor) -> Tensor:
    return torch.cat((boxes[..., :2], boxes[..., :2] + boxes[..., 2:]), dim=-1)


def matched_box_losses(
    boxes: Tensor,
    beliefs: Tensor,
    targets: Tensor,
    exists: Tensor,
    known: Tensor,
) -> tuple[Tensor | None, Tensor | None]:
    """Losses of several boxes an image, each true box matched to one predicted box.

    Args:
        boxes: (B, L, 4). beliefs: (B, L), logits that a box holds a lesion.
        targets: (B, M, 4), M <= L. exists: (B, M) bool.
        known: (B,) bool, images of which all lesions are known, none included.

    Returns:
        Mean of 5 L1 + 2 (1 - GIoU) over matched pairs, and mean cross-entropy of the beliefs of
        known images; each None where no process has such a term.

    Source:
        Carion et al. (DETR), ECCV 2020: optimal assignment by box cost minus belief.
    """
    lesions, count = boxes.shape[1], targets.shape[1]
    if count > lesions:
        raise ValueError(f"{count} true boxes cannot be matched to {lesions} predicted ones")
    pairs = box_terms(
        boxes[:, :, None].expand(-1, -1, count, -1), targets[:, None].expand(-1, lesions, -1, -1)
    )
    partner = matching(pairs.detach() - beliefs.detach().sigmoid()[:, :, None], exists)
    chosen = (partner[:, :, None] == torch.arange(count, device=boxes.device)).to(pairs.dtype)
    terms = (pairs * chosen).sum(1)
    held = (partner >= 0).to(beliefs.dtype)
    doubts = F.binary_cross_entropy_with_logits(beliefs, held, reduction="none")
    return mean_of(terms, exists), mean_of(doubts, known[:, None].expand_as(doubts))


def matching(costs: Tensor, exists: Tensor) -> Tensor:
    """The cheapest assignment of true to predicted boxes (Hungarian method).

    Args:
        costs: (B, L, M). exists: (B, M) bool.

    Returns:
        (B, L) int: the true box of each predicted one, -1 for none.
    """
    partner = torch.full(costs.shape[:2], -1, dtype=torch.long)
    table, real = costs.float().cpu().numpy(), exists.cpu().numpy()
    for index in range(len(table)):
        columns = np.flatnonzero(real[index])
        rows, taken = linear_sum_assignment(table[index][:, columns])
        partner[index, torch.from_numpy(rows)] = torch.from_numpy(columns[taken])
    return partner.to(costs.device)
