"""Cases of a batch as the network takes them, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine.adaptation.adapter import class_logits
from engine.adaptation.errors import AdaptationRefused
from engine.datasets.augment import plain
from engine.datasets.batch import Batch
from engine.datasets.encode import mammogram_bytes, pathology_bytes
from engine.models.base import System
from engine.models.breast import MAMMOGRAPHY, PATHOLOGY, BreastCancerDiagnosisModel
from engine.models.crossmodal import CrossModal, mammogram_input, pathology_input
from engine.records import Case
from engine.trace import at_rest

Probabilities = NDArray[np.float64]


def breast_network(network: nn.Module) -> BreastCancerDiagnosisModel:
    """The network, when it is of the kind whose cases are known.

    Raises:
        AdaptationRefused: It is not.
    """
    if not isinstance(network, BreastCancerDiagnosisModel):
        raise AdaptationRefused("Only models of the cross-modal breast system can be adapted here.")
    return network


def inputs_of(network: BreastCancerDiagnosisModel, batch: Batch) -> dict[str, Any]:
    """Named inputs of the network for a batch on its device; no pathology where none has any."""
    examples = plain(batch)
    inputs: dict[str, Any] = {"mammo_img": examples.mammo}
    if bool(batch.has_patho.any()):
        inputs["patho_img"] = network.normalise_pathology(examples.patho)
        if not bool(batch.has_patho.all()):
            inputs["patho_present"] = batch.has_patho
    return inputs


def modalities_of(batch: Batch) -> tuple[str, ...]:
    """Modalities that any case has."""
    return (MAMMOGRAPHY, PATHOLOGY) if bool(batch.has_patho.any()) else (MAMMOGRAPHY,)


@torch.no_grad()
def probabilities_of(
    network: BreastCancerDiagnosisModel, batch: Batch, device: torch.device, size: int = 32
) -> Probabilities:
    """Class probabilities (N, K) of all cases, in evaluation mode."""
    found = []
    with at_rest(network):
        for indices in torch.arange(len(batch)).split(size):
            output = network(**inputs_of(network, batch.take(indices).to(device)))
            found.append(class_logits(output).double().softmax(1).cpu())
    return torch.cat(found).numpy()


def without_pathology(batch: Batch, count: int | None = None) -> Batch:
    """The same cases with the pathology of the first `count` hidden; of all when None."""
    has_patho = batch.has_patho.clone()
    has_patho[:count] = False
    return replace(batch, has_patho=has_patho)


def batch_of_cases(system: System, cases: Sequence[Case]) -> Batch:
    """Unlabelled cases as one batch, in their order; truth is used where a case has it.

    Args:
        system: Of the cross-modal breast kind. cases: At least one.

    Raises:
        AdaptationRefused: No case, or a system of another kind.
        UnsupportedImage: A case without a mammogram.
    """
    if not isinstance(system, CrossModal):
        raise AdaptationRefused("Only models of the cross-modal breast system can be adapted here.")
    if not cases:
        raise AdaptationRefused("There is no case to adapt to.")
    return Batch.join([_one(system, case, index) for index, case in enumerate(cases)])


def _one(system: CrossModal, case: Case, index: int) -> Batch:
    prepared = system.prepare(case)  # refuses a case without a mammogram, and chooses the frames
    mammo, patho = system.sizes
    view = prepared.views[MAMMOGRAPHY]
    pixels, _ = mammogram_input(case.images[view.image], view.frame, mammo)
    white = np.full((3, patho, patho), 255, np.uint8)
    other = prepared.views.get(PATHOLOGY)
    if other is not None:
        white = pathology_bytes(pathology_input(case.images[other.image], other.frame, patho)[0])
    label = -1
    if case.truth is not None and case.truth.label in system.card.classes:
        label = system.card.classes.index(case.truth.label)
    return Batch(
        mammo=torch.from_numpy(mammogram_bytes(pixels))[None],
        patho=torch.from_numpy(white)[None],
        has_patho=torch.tensor([other is not None]),
        label=torch.tensor([label]),
        grade=torch.tensor([-1]),
        box=torch.zeros(1, 4),
        mask=torch.zeros(1, 1, 1, dtype=torch.uint8),
        has_mask=torch.tensor([False]),
        site=torch.zeros(1, dtype=torch.int64),
        patient=torch.tensor([index]),
        index=torch.tensor([index]),
    )
