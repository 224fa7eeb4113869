"""The losses of the cross-modal breast network: what is unknown of a case adds nothing.

Every mean is over the batch of all processes; see `engine.models.layers.shards`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.models.layers.alignment import CrossModalAlignment, compute_contrastive_loss
from engine.models.layers.heads import GradingHead
from engine.models.layers.losses import box_terms, matched_box_losses
from engine.models.layers.multitask import UncertaintyWeightedMultiTaskLoss
from engine.models.layers.ordinal import ordinal_loss
from engine.models.layers.shards import gathered, mean_of, summed

TASKS = ("classification", "localization", "grading", "lesion")
WEIGHTS = {"alignment": 0.1, "alone": 0.5, "consistency": 0.1}
"""Of the parts that have no learned weight."""


LEAST = 1e-12
"""Under the root of a focal exponent below one, whose slope at zero is infinite."""


@dataclass(frozen=True)
class Truth:
    """What is known of a batch of B cases; None where a kind of label is absent altogether.

    Args:
        label: (B,) int, negative where unknown. grade: (B,) int, negative where there is none.
        boxes: (B, M, 4), left, top, width, height, shares of the image. has_box: (B, M) bool.
        masks: (B, h, w) in [0, 1]. has_mask: (B,) bool, whether the extent is known.
        groups: (B,) int, labels to align by; negative where unknown. patients: (B,) int.
    """

    label: Tensor | None = None
    grade: Tensor | None = None
    boxes: Tensor | None = None
    has_box: Tensor | None = None
    masks: Tensor | None = None
    has_mask: Tensor | None = None
    groups: Tensor | None = None
    patients: Tensor | None = None


class BreastLoss(nn.Module):
    """How a network with these parts is trained; `BreastCancerDiagnosisModel` is one."""

    alignment: CrossModalAlignment
    grading: GradingHead
    task_weights: UncertaintyWeightedMultiTaskLoss
    positives: str
    lesion_focus: float
    graded_classes: tuple[int, ...]

    def compute_loss(
        self,
        outputs: dict[str, Tensor],
        labels_cls: Tensor | None = None,
        labels_bbox: Tensor | None = None,
        labels_grade: Tensor | None = None,
        labels_align: Tensor | None = None,
        mammo_features: Tensor | None = None,
        patho_features: Tensor | None = None,
        *,
        has_box: Tensor | None = None,
        lesion_masks: Tensor | None = None,
        has_mask: Tensor | None = None,
        patients: Tensor | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Total loss and its parts; what has no label is masked, not counted as zero.

        Under torch.distributed it is the loss of the batch of all processes; see `shards`.

        Args:
            outputs: What `forward` returned.
            labels_cls: (B,) int; negative where unknown.
            labels_bbox: (B, 4) left, top, width, height in [0, 1]; or (B, M, 4), M <= lesions.
            labels_grade: (B,) int; negative where a case has no grade.
            labels_align: (B,) int, negative where unknown; read where `positives` is not "patient".
            mammo_features, patho_features: Projections to align, (B, P), unit rows.
            has_box: (B,) or (B, M) bool; all when None and boxes are given.
            lesion_masks: (B, h, w) in [0, 1] on the grid of `lesion_map`.
            has_mask: (B,) bool, cases whose extent is known, that of a normal breast included;
                all when None and masks are given.
            patients: (B,) int: pairs of one patient belong together; row by row when None.
            weights: Replaces weights of `WEIGHTS`; a task's multiplies its loss before
                the learned weight. A part of weight 0 is left out.

        Returns:
            Scalar, and a dict with `classification`, `localization`, `grading`, `lesion`,
            `alone` (classes from one modality, so that neither learns on the other's back),
            `consistency` (grades and classes agree), `alignment`, `alignment_excess` (above chance
            level), `total` (scalars, those that exist) and `task_weights` (list).

        Raises:
            ValueError: A weight is negative, or of a part that does not exist.
        """
        truth = Truth(
            labels_cls,
            labels_grade,
            *_several(labels_bbox, has_box),
            lesion_masks,
            has_mask,
            labels_align,
            patients,
        )
        with torch.autocast(outputs["classification"].device.type, enabled=False):
            parts = self._parts(outputs, truth, mammo_features, patho_features, factors(weights))
            terms = list(self.weighted_losses(parts, weights).values())
            nothing = outputs["classification"].float().sum() * 0
            total = torch.stack([nothing, *terms]).sum()
        weighing = {"total": total, "task_weights": self.task_weights.weights()}
        return total, parts | weighing

    def weighted_losses(
        self, parts: Mapping[str, Any], weights: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """What each part of `compute_loss` adds to the total, by name; their sum is the total."""
        factor = factors(weights)
        tasks = [factor[name] * parts[name] if name in parts else None for name in TASKS]
        found = dict(zip(TASKS, self.task_weights.terms(tasks), strict=True))
        found |= {name: factor[name] * parts[name] for name in WEIGHTS if name in parts}
        return {name: loss for name, loss in found.items() if loss is not None}

    def _parts(
        self,
        outputs: dict[str, Tensor],
        truth: Truth,
        mammo: Tensor | None,
        patho: Tensor | None,
        factor: Mapping[str, float],
    ) -> dict[str, Any]:
        parts = task_losses(outputs, truth, self.grading.kind, self.lesion_focus)
        if truth.label is not None:
            parts["alone"] = alone_loss(outputs, truth.label)
            if truth.grade is not None:
                parts["consistency"] = consistency_loss(
                    outputs, truth.label, truth.grade, self.graded_classes
                )
        kept = {n: part for n, part in parts.items() if part is not None and factor[n] > 0}
        if mammo is None or patho is None or factor["alignment"] == 0:
            return kept
        present = outputs.get("patho_present")
        found = alignment_loss(self.alignment, mammo, patho, truth, present, self.positives)
        if found is None:
            return kept
        loss, chance = found
        return kept | {"alignment": loss, "alignment_excess": loss.detach() - chance}


def factors(weights: Mapping[str, float] | None) -> dict[str, float]:
    """Weight of every part, the usual ones replaced by those given.

    Raises:
        ValueError: A part of this name does not exist, or a weight is negative.
    """
    found = dict.fromkeys(TASKS, 1.0) | WEIGHTS
    for name, value in (weights or {}).items():
        if name not in found:
            raise ValueError(f"there is no loss {name!r}; there are {', '.join(found)}")
        if not value >= 0:
            raise ValueError(f"the weight of {name} must not be negative, but is {value}")
        found[name] = float(value)
    return found


def task_losses(
    outputs: Mapping[str, Tensor], truth: Truth, ordinal: str, focus: float = 0.0
) -> dict[str, Tensor | None]:
    """Loss of each of `TASKS`; None where no process has a label for it."""
    parts: dict[str, Tensor | None] = dict.fromkeys(TASKS)
    if truth.label is not None:
        parts["classification"] = class_loss(outputs["classification"], truth.label)
    if truth.boxes is not None:
        parts["localization"] = location_loss(outputs, truth)
    if truth.grade is not None:
        parts["grading"] = ordinal_loss(ordinal, outputs["grading_ordinal"], truth.grade)
    if truth.masks is not None:
        parts["lesion"] = lesion_loss(outputs["lesion_map"], truth.masks, truth.has_mask, focus)
    return parts


def class_loss(logits: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor | None:
    """Mean cross-entropy of (B, K) over the cases with a label, within the mask (B,)."""
    known = labels >= 0 if mask is None else (labels >= 0) & mask
    terms = F.cross_entropy(logits.float(), labels.clamp_min(0), reduction="none")
    return mean_of(terms, known)


def location_loss(outputs: Mapping[str, Tensor], truth: Truth) -> Tensor | None:
    """Boxes that exist; with several queries also the belief of each that it holds a lesion."""
    assert truth.boxes is not None
    targets = truth.boxes.float()
    exists = truth.has_box
    if exists is None:
        exists = torch.ones(targets.shape[:2], dtype=torch.bool, device=targets.device)
    if "boxes" not in outputs:
        return mean_of(box_terms(outputs["localization"].float(), targets[:, 0]), exists[:, 0])
    known = exists.any(1) if truth.has_mask is None else exists.any(1) | truth.has_mask
    found = matched_box_losses(
        outputs["boxes"].float(), outputs["box_logits"].float(), targets, exists, known
    )
    present = [part for part in found if part is not None]
    return torch.stack(present).sum() if present else None


def lesion_loss(
    logits: Tensor, masks: Tensor, known: Tensor | None = None, focus: float = 0.0
) -> Tensor | None:
    """Binary (focal) cross-entropy plus soft Dice over the batch.

    Args:
        logits, masks: (B, h, w). known: (B,) bool, cases whose extent is known; all when None.
        focus: See `focal_terms`.

    Returns:
        Scalar; None where no process knows an extent.
    """
    logits = logits.float()
    masks = masks.to(logits.dtype)
    kept = torch.ones_like(logits, dtype=torch.bool)
    if known is not None:
        kept = kept & known[:, None, None]
    entropy = mean_of(focal_terms(logits, masks, focus), kept)
    if entropy is None:
        return None
    share, truth = logits.sigmoid() * kept, masks * kept
    overlap, total = summed(torch.stack(((share * truth).sum(), (share + truth).sum()))).unbind()
    return entropy + 1 - (2 * overlap + 1e-5) / (total + 1e-5)


def focal_terms(logits: Tensor, targets: Tensor, focus: float) -> Tensor:
    """Binary cross-entropies times (1 - p)^focus, p the probability of the truth; any shape.

    Source:
        Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.
    """
    terms = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if focus == 0:
        return terms
    share = logits.sigmoid()
    missed = share + targets - 2 * share * targets
    return terms * missed.clamp_min(LEAST) ** focus


def alone_loss(outputs: Mapping[str, Tensor], labels: Tensor) -> Tensor | None:
    """Classes from one modality, so that neither learns on the other's back."""
    each = [class_loss(outputs["mammo_alone"], labels)]
    if "patho_alone" in outputs:
        each.append(class_loss(outputs["patho_alone"], labels, outputs.get("patho_present")))
    present = [part for part in each if part is not None]
    return torch.stack(present).sum() if present else None


def consistency_loss(
    outputs: Mapping[str, Tensor],
    labels: Tensor,
    grades: Tensor,
    graded: Sequence[int],
) -> Tensor | None:
    """KL of the grades from the classes that have a grade, renormalised, where both are labelled.

    Args:
        graded: The class of each grade, lowest grade first.

    Returns:
        Scalar. None where no case has both, or where `graded` are not as many as the grades, so
        that classes and grades do not correspond.
    """
    levels = outputs["grading"].float()
    if len(graded) != levels.shape[1]:
        return None
    classes = outputs["classification"].float()[:, list(graded)].log_softmax(1)
    terms = F.kl_div(classes, levels, reduction="none", log_target=True).sum(1)
    return mean_of(terms, (labels >= 0) & (grades >= 0))


def alignment_loss(
    alignment: CrossModalAlignment,
    mammo: Tensor,
    patho: Tensor,
    truth: Truth,
    present: Tensor | None,
    positives: str,
) -> tuple[Tensor, float] | None:
    """Contrastive loss of the pairs of all processes, and its chance level.

    Pairs whose pathology is absent or hidden are left out. None where fewer than two remain.
    """
    features = [gathered(values.float()) for values in (mammo, patho)]
    groups = [None if g is None else gathered(g) for g in (truth.groups, truth.patients)]
    if present is not None:
        kept = gathered(present)
        features = [values[kept] for values in features]
        groups = [None if g is None else g[kept] for g in groups]
    count = len(features[0])
    if count < 2:
        return None
    labels, patients = groups
    if labels is None:
        positives = "patient"
    queue = alignment.queue
    older = 0 if queue is None else min(queue.written, queue.size)
    loss = compute_contrastive_loss(
        features[0],
        features[1],
        labels,
        alignment.temperature,
        patients=patients,
        positives=positives,
        queue=queue,
    )
    if queue is not None and alignment.training:
        unknown = torch.full((count,), -1, dtype=torch.long, device=loss.device)
        known = [unknown if g is None else g.long() for g in (labels, patients)]
        queue.put(features[0], features[1], torch.stack(known, dim=1))
    return loss, math.log(count + older)


def _several(boxes: Tensor | None, exists: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """One box an image as a list of one; (B, 4) and (B,) to (B, 1, 4) and (B, 1)."""
    if boxes is None or boxes.ndim == 3:
        return boxes, exists
    return boxes[:, None], None if exists is None else exists[:, None]
