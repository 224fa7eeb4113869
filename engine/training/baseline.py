"""Honest baselines on the same split: a frozen network of ImageNet, and a logistic regression."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from engine.datasets.augment import plain
from engine.datasets.source import Source
from engine.errors import InvalidRecipe, ModelUnavailable
from engine.models.checkpoint import read_checkpoint
from engine.training.evaluate import Outputs

STRENGTHS = np.logspace(-4, 2, 7)
FOLDS = 5
UNFIT = "These weights do not fit the architecture named: other tensors, or other shapes."


def frozen_network(architecture: str, weights: Path | None, seed: int = 0) -> nn.Module:
    """A timm network without its head, in evaluation mode.

    Args:
        architecture: Its name in timm. weights: Checkpoint; None for random weights of `seed`.

    Raises:
        InvalidRecipe: The architecture is unknown.
        ModelUnavailable: The weights cannot be read, or do not fit.
    """
    torch.manual_seed(seed)
    if not timm.is_model(architecture):
        raise InvalidRecipe(f"The architecture {architecture} is not known to timm.")
    network = timm.create_model(architecture, pretrained=False)
    if weights is not None:
        _fill(network, read_checkpoint(weights).tensors)
    network.reset_classifier(0)
    return network.eval()


def _fill(network: nn.Module, tensors: Any) -> None:
    """Load by name, or in order where a sister implementation names its tensors otherwise."""
    wanted = network.state_dict()
    if set(wanted) != set(tensors):
        if [t.shape for t in wanted.values()] != [t.shape for t in tensors.values()]:
            raise ModelUnavailable(UNFIT)
        tensors = dict(zip(wanted, tensors.values(), strict=True))
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError:
        raise ModelUnavailable(UNFIT) from None


@torch.no_grad()
def features(
    network: nn.Module,
    source: Source,
    *,
    pathology: bool = False,
    mean: float = 0.5,
    std: float = 0.5,
    batch_size: int = 32,
) -> NDArray[np.float32]:
    """Pooled features of the mammograms (N, F), or of both images side by side (N, 2 F).

    Args:
        pathology: Whether to add the features of the pathology images.
        mean, std: Normalisation of values in [0, 1] that the network expects.
    """
    rows = []
    for batch in source.batches(torch.arange(len(source)), batch_size):
        examples = plain(batch)
        parts = [((examples.mammo + 1) / 2).expand(-1, 3, -1, -1)]
        if pathology:
            parts.append(examples.patho)
        found = [network((part - mean) / std).numpy() for part in parts]
        rows.append(np.concatenate(found, 1))
    return np.concatenate(rows).astype(np.float32)


def fitted(
    train: NDArray[np.float32],
    labels: NDArray[np.int64],
    test: NDArray[np.float32],
    seed: int = 0,
    *,
    classes: int | None = None,
    patients: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Class probabilities (M, K) of the test rows by logistic regression.

    Scaling and the strength of the penalty (cross-validated on the training rows) never see a test
    row. Rows without a label (-1) are left out.

    Args:
        train: (N, F). labels: (N,). test: (M, F). seed: Of the regression.
        classes: K, also where the last ones have no case; one above the largest label when None.
        patients: (N,), none of whom is on both sides of a fold; each row by itself when None.

    Raises:
        InvalidRecipe: Fewer than two classes, or a class of one patient.
    """
    count = int(labels.max(initial=-1)) + 1 if classes is None else classes
    known = labels >= 0
    groups = np.arange(len(labels)) if patients is None else patients
    train, labels, groups = train[known], labels[known], groups[known]
    if len(np.unique(labels)) < 2:
        raise InvalidRecipe("The baseline needs training cases of two classes at least.")
    folds = _folds(labels, groups)
    model = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=STRENGTHS, cv=folds, max_iter=2000, random_state=seed, scoring="neg_log_loss",
            l1_ratios=(0.0,), use_legacy_attributes=False,
        ),
    )  # fmt: skip
    model.fit(train, labels)
    found = np.zeros((len(test), count), np.float32)
    found[:, model.classes_] = model.predict_proba(test)
    return found


def _folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to learn from and to choose by, every class on both sides, no group on both."""
    names = np.unique(labels)
    fewest = min(len(np.unique(groups[labels == name])) for name in names)
    is_single = len(np.unique(groups)) == len(groups)
    for folds in range(min(FOLDS, fewest), 1, -1):
        kind = StratifiedKFold(folds) if is_single else StratifiedGroupKFold(folds)
        found = list(kind.split(labels[:, None], labels, None if is_single else groups))
        if all(len(np.unique(labels[rows])) == len(names) for pair in found for rows in pair):
            return found
    raise InvalidRecipe("The baseline needs training cases of two patients of each class at least.")


def as_outputs(probabilities: NDArray[np.float32], like: Outputs) -> Outputs:
    """Class probabilities in the form that figures and comparisons read; no grade, no lesion."""
    nothing = np.full(len(like.labels), np.nan)
    return replace(
        like,
        classes=probabilities,
        grade=np.full(len(like.labels), -1),
        overlap=nothing,
        dice=nothing,
    )
