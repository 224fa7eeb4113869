"""Metrics of a trained network over a whole split."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from engine.metrics.agreement import cohen_kappa
from engine.metrics.prediction import accuracy, box_iou, macro_auc
from engine.models.breast import BreastCancerDiagnosisModel
from engine.training.augment import plain
from engine.training.data import Batch


@torch.no_grad()
def outputs_of(
    network: BreastCancerDiagnosisModel,
    data: Batch,
    device: torch.device,
    *,
    pathology: bool = True,
    batch_size: int = 64,
) -> dict[str, np.ndarray]:
    """Probabilities (N, K), grade probabilities (N, G), boxes (N, 4) and lesion maps (N, h, w)."""
    network.eval()
    found: dict[str, list[np.ndarray]] = {"class": [], "grade": [], "box": [], "lesion": []}
    for indices in torch.arange(len(data)).split(batch_size):
        examples = plain(data.take(indices).to(device))
        patho = network.normalise_pathology(examples.patho)
        out = network(examples.mammo, patho if pathology else None)
        for name, values in (
            ("class", out["classification"].float().softmax(1)),
            ("grade", out["grading"].float().exp()),
            ("box", out["localization"].float()),
            ("lesion", out["lesion_map"].float().sigmoid()),
        ):
            found[name].append(values.cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def measure(
    network: BreastCancerDiagnosisModel,
    data: Batch,
    device: torch.device,
    *,
    pathology: bool = True,
) -> dict[str, Any]:
    """Accuracy, macro AUC, mean box IoU, quadratic-weighted grade kappa and lesion Dice."""
    out = outputs_of(network, data, device, pathology=pathology)
    labels, grades = data.label.numpy(), data.grade.numpy()
    graded, boxed = grades >= 0, data.box[:, 2].numpy() > 0
    levels = out["grade"].shape[1]
    kappa = cohen_kappa(
        np.stack((grades[graded], out["grade"][graded].argmax(1)), 1).astype(float),
        tuple(range(levels)),
        weights="quadratic",
    ).value
    truth, guess = data.mask.numpy()[boxed] >= 128, out["lesion"][boxed] >= 0.5
    overlap = 2 * (truth & guess).sum((1, 2)) / np.maximum(1, truth.sum((1, 2)) + guess.sum((1, 2)))
    return {
        "cases": len(data),
        "accuracy": accuracy(out["class"], labels),
        "macro_auc": macro_auc(out["class"], labels),
        "box_iou": float(box_iou(out["box"][boxed], data.box.numpy()[boxed]).mean()),
        "grade_quadratic_kappa": kappa,
        "lesion_dice": float(overlap.mean()),
        "pathology": pathology,
    }
