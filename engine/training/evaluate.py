"""Metrics of a trained network over a whole split, with patient-level intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.datasets.augment import plain
from engine.datasets.source import Source
from engine.metrics.prediction import accuracy, box_iou, macro_auc
from engine.metrics.segmentation import dice
from engine.models.breast import BreastCancerDiagnosisModel

INTERVAL = (2.5, 97.5)
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Outputs:
    """What a network said of a split, and what is true; all arrays have one row a case.

    Args:
        classes: Probabilities (N, K). grades: (N, G). boxes: (N, 4) shares of the image.
        labels, grade: (N,) int, -1 where unknown. patients: (N,) int.
        overlap: (N,) IoU with the true box; NaN where there is none.
        dice: (N,) Dice of the lesion at 0.5; NaN where its extent is unknown; of a case without
            a lesion 1 where none is drawn, else 0. lesion: (N,) whether there is one.
    """

    classes: NDArray[np.float32]
    grades: NDArray[np.float32]
    boxes: NDArray[np.float32]
    labels: Indices
    grade: Indices
    patients: Indices
    overlap: NDArray[np.float64]
    dice: NDArray[np.float64]
    lesion: NDArray[np.bool_]


@torch.no_grad()
def outputs_of(
    network: BreastCancerDiagnosisModel,
    source: Source,
    device: torch.device,
    *,
    pathology: bool = True,
    batch_size: int = 64,
    workers: int = 0,
) -> Outputs:
    """Run a network over all cases of a source, in evaluation mode.

    Args:
        pathology: False to hide all pathology.
    """
    network.eval()
    rows: list[dict[str, np.ndarray]] = []
    for batch in source.batches(torch.arange(len(source)), batch_size, workers=workers):
        examples = plain(batch.to(device))
        shown = pathology and bool(examples.has_patho.any())
        patho = network.normalise_pathology(examples.patho) if shown else None
        present = examples.has_patho if shown and not bool(examples.has_patho.all()) else None
        out = network(examples.mammo, patho, patho_present=present)
        lesion = out["lesion_map"].float().sigmoid().cpu().numpy()
        boxes = out["localization"].float().cpu().numpy()
        rows.append(
            {
                "classes": out["classification"].float().softmax(1).cpu().numpy(),
                "grades": out["grading"].float().exp().cpu().numpy(),
                "boxes": boxes,
                "labels": batch.label.numpy(),
                "grade": batch.grade.numpy(),
                "patients": batch.patient.numpy(),
                "overlap": _overlap(boxes, batch.box.numpy()),
                "dice": _dice(lesion, batch.mask.numpy(), batch.has_mask.numpy()),
                "lesion": np.asarray((batch.mask.numpy() >= 128).any((1, 2))),
            }
        )
    return Outputs(**{name: np.concatenate([row[name] for row in rows]) for name in rows[0]})


def _overlap(guess: np.ndarray, truth: np.ndarray) -> NDArray[np.float64]:
    return np.where(truth[:, 2] > 0, box_iou(guess, truth), np.nan)


def _dice(lesion: np.ndarray, masks: np.ndarray, known: np.ndarray) -> NDArray[np.float64]:
    pairs = zip(lesion >= 0.5, masks >= 128, known, strict=True)
    return np.array([dice(guess, truth) if has else np.nan for guess, truth, has in pairs])


def _accuracy(said: Outputs, rows: Indices) -> float | None:
    rows = rows[said.labels[rows] >= 0]
    return accuracy(said.classes[rows], said.labels[rows]) if len(rows) else None


def _auc(said: Outputs, rows: Indices) -> float | None:
    rows = rows[said.labels[rows] >= 0]
    return macro_auc(said.classes[rows], said.labels[rows]) if len(rows) else None


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _overlap_mean(said: Outputs, rows: Indices) -> float | None:
    return _mean(said.overlap[rows])


def _lesion_dice(said: Outputs, rows: Indices) -> float | None:
    return _mean(said.dice[rows[said.lesion[rows]]])


def _dice_of_all(said: Outputs, rows: Indices) -> float | None:
    return _mean(said.dice[rows])


def _kappa(said: Outputs, rows: Indices) -> float | None:
    """Quadratically weighted kappa of the grade; from the confusion table, without its interval."""
    rows = rows[said.grade[rows] >= 0]
    levels = said.grades.shape[1]
    if not len(rows) or levels < 2:
        return None
    pairs = said.grade[rows] * levels + said.grades[rows].argmax(1)
    table = np.bincount(pairs, minlength=levels**2).reshape(levels, levels) / len(rows)
    distance = np.subtract.outer(np.arange(levels), np.arange(levels)) ** 2
    chance = float((distance * np.outer(table.sum(1), table.sum(0))).sum())
    return None if chance == 0 else 1 - float((distance * table).sum()) / chance


FIGURES: dict[str, Callable[[Outputs, Indices], float | None]] = {
    "accuracy": _accuracy,
    "macro_auc": _auc,
    "box_iou": _overlap_mean,
    "grade_quadratic_kappa": _kappa,
    "lesion_dice": _lesion_dice,
    "dice_with_normals": _dice_of_all,
}
"""Figures of a split by name; None where a split cannot tell."""


def figures(said: Outputs) -> dict[str, float | None]:
    """Every figure over all cases."""
    everything = np.arange(len(said.labels))
    return {name: figure(said, everything) for name, figure in FIGURES.items()}


def resampled(patients: Indices, count: int, seed: int = 0) -> list[Indices]:
    """Rows of `count` samples of as many patients, drawn with replacement; all rows of each."""
    rng = np.random.default_rng(seed)
    names, places = np.unique(patients, return_inverse=True)
    rows_of = np.split(np.argsort(places, kind="stable"), np.cumsum(np.bincount(places))[:-1])
    draws = rng.integers(len(names), size=(count, len(names)))
    return [np.concatenate([rows_of[n] for n in draw]) for draw in draws]


def intervals(said: Outputs, count: int = 2000, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals by patient-level bootstrap; figures without a value left out."""
    samples = resampled(said.patients, count, seed)
    found = {}
    for name, figure in FIGURES.items():
        values = [value for rows in samples if (value := figure(said, rows)) is not None]
        if len(values) >= count / 2:
            low, high = np.percentile(values, INTERVAL)
            found[name] = (float(low), float(high))
    return found


def measure(
    network: BreastCancerDiagnosisModel,
    source: Source,
    device: torch.device,
    *,
    pathology: bool = True,
    resamples: int = 0,
    workers: int = 0,
) -> dict[str, Any]:
    """Figures of a split: accuracy, macro AUC, mean box IoU, grade kappa, lesion Dice.

    Args:
        resamples: Bootstrap samples; with some, each figure also has `<name>_interval`.
    """
    said = outputs_of(network, source, device, pathology=pathology, workers=workers)
    found: dict[str, Any] = {"cases": len(source), "patients": len(np.unique(said.patients))}
    bounds = intervals(said, resamples) if resamples else {}
    for name, value in figures(said).items():
        found[name] = value
        if name in bounds:
            found[f"{name}_interval"] = list(bounds[name])
    return found | {"pathology": pathology}


def compare(
    first: Outputs, second: Outputs, *, resamples: int = 2000, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Two networks on the same cases: each figure, and the difference with its 95 % interval.

    Returns:
        By figure: `a`, `b`, `difference` (b minus a), `low`, `high`; paired bootstrap of patients.
    """
    samples = resampled(first.patients, resamples, seed)
    everything = np.arange(len(first.labels))
    found = {}
    for name, figure in FIGURES.items():
        a, b = figure(first, everything), figure(second, everything)
        pairs = [(figure(first, rows), figure(second, rows)) for rows in samples]
        moves = [y - x for x, y in pairs if x is not None and y is not None]
        if a is None or b is None or len(moves) < resamples / 2:
            continue
        low, high = (float(v) for v in np.percentile(moves, INTERVAL))
        found[name] = {"a": a, "b": b, "difference": b - a, "low": low, "high": high}
    return found
