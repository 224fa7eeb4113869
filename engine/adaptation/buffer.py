"""Labelled source cases that show whether an adapted model still knows what it knew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from engine.adaptation.errors import AdaptationRefused
from engine.adaptation.feeding import Probabilities
from engine.datasets.batch import Batch
from engine.datasets.source import Source

MALIGNANT = ("in situ", "insitu", "invasive", "malignant")


@dataclass(frozen=True, eq=False)
class Buffer:
    """Source cases, seen as the target is seen.

    Args:
        cases: Every one with a label. positive: (K,) bool, classes that must not be missed.
    """

    cases: Batch
    positive: NDArray[np.bool_]

    @property
    def prior(self) -> NDArray[np.float64]:
        """Share of each class, (K,)."""
        counts = np.bincount(self.cases.label.numpy(), minlength=len(self.positive))
        return counts / counts.sum()

    @property
    def positives(self) -> int:
        """Cases of the positive classes."""
        return int(self.positive[self.cases.label.numpy()].sum())

    def sensitivity(self, probabilities: Probabilities) -> float:
        """Share of positive cases whose leading class is a positive one; (N, K)."""
        wanted = self.positive[self.cases.label.numpy()]
        return float(self.positive[probabilities.argmax(1)][wanted].mean())

    def accuracy(self, probabilities: Probabilities) -> float:
        """Share of cases whose leading class is right."""
        return float((probabilities.argmax(1) == self.cases.label.numpy()).mean())


def draw_buffer(
    source: Source,
    target: Batch,
    classes: Sequence[str],
    *,
    count: int,
    positives: Sequence[str] = (),
    seed: int = 0,
) -> Buffer:
    """Some labelled cases of the source, shown with pathology as often as the target's are.

    Args:
        source: Cases that the model did not train on, best from its validation split.
        target: The cases to adapt to. classes: Of the model. count: Cases at most.
        positives: As in `AdaptationSettings`. seed: Of the choice, and of what is hidden.

    Raises:
        AdaptationRefused: No labelled source case, none of a positive class, or other classes.
    """
    if tuple(source.classes) != tuple(classes):
        raise AdaptationRefused("The source cases have other classes than the model.")
    known = np.flatnonzero(source.labels >= 0)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(known)[:count])
    positive = positive_classes(classes, positives)
    if not positive[source.labels[chosen]].any():
        raise AdaptationRefused(
            "The source cases hold none of the classes that must not be missed, so that they "
            "cannot guard the adaptation."
        )
    cases = source.take(torch.from_numpy(chosen))
    absent = float((~target.has_patho).float().mean())
    return Buffer(_with_absent(cases, round(len(cases) * absent), rng), positive)


def _with_absent(cases: Batch, wanted: int, rng: np.random.Generator) -> Batch:
    """The cases with pathology hidden by lot, until `wanted` of them are without."""
    present = np.flatnonzero(cases.has_patho.numpy())
    more = max(0, wanted - (len(cases) - len(present)))
    has_patho = cases.has_patho.clone()
    has_patho[torch.from_numpy(rng.permutation(present)[:more])] = False
    return replace(cases, has_patho=has_patho)


def positive_classes(classes: Sequence[str], named: Sequence[str] = ()) -> NDArray[np.bool_]:
    """Which classes must not be missed, (K,) bool; see `AdaptationSettings.positives`.

    Raises:
        AdaptationRefused: A class of this name does not exist.
    """
    for name in named:
        if name not in classes:
            raise AdaptationRefused(f"The model has no class {name!r}.")
    folded = [name.casefold().replace("-", " ") for name in classes]
    found = [name in named for name in classes] if named else [n in MALIGNANT for n in folded]
    if not any(found):
        found = [index > 0 for index in range(len(classes))]
    return np.array(found)
