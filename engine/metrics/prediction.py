"""How right predictions are: accuracy, area under the ROC curve, box overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from engine.errors import ShapeMismatch


def accuracy(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Share of cases whose most probable class is the label; (N, K) and (N,)."""
    return float((probabilities.argmax(1) == labels).mean())


def auc(scores: ArrayLike, positives: ArrayLike) -> float | None:
    """Area under the ROC curve (Mann-Whitney, ties count half); None where one class is absent."""
    values, truth = np.asarray(scores, float), np.asarray(positives, bool)
    if values.shape != truth.shape:
        raise ShapeMismatch(f"{values.shape} scores for {truth.shape} labels")
    plus, minus = int(truth.sum()), int((~truth).sum())
    if plus == 0 or minus == 0:
        return None
    ranks = rankdata(values)
    return float((ranks[truth].sum() - plus * (plus + 1) / 2) / (plus * minus))


def macro_auc(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float | None:
    """Mean over classes of one-against-rest AUC, classes without both kinds left out."""
    each = [auc(probabilities[:, k], labels == k) for k in range(probabilities.shape[1])]
    known = [value for value in each if value is not None]
    return float(np.mean(known)) if known else None


def box_iou(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of boxes (N, 4) as left, top, width, height; 0 for empty unions."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.shape != b.shape:
        raise ShapeMismatch(f"boxes of shape {a.shape} and {b.shape}")
    low = np.maximum(a[:, :2], b[:, :2])
    high = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    common = np.clip(high - low, 0, None).prod(1)
    union = a[:, 2:].prod(1) + b[:, 2:].prod(1) - common
    return np.divide(common, union, out=np.zeros_like(union), where=union > 0)
