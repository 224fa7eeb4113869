"""What is known before any step: answers on target and source, class prior, Fisher information."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.adaptation.adapter import class_logits
from engine.adaptation.buffer import Buffer, draw_buffer
from engine.adaptation.choose import choose_tensors
from engine.adaptation.constraint import fisher_diagonal
from engine.adaptation.errors import AdaptationRefused
from engine.adaptation.feeding import (
    Probabilities,
    breast_network,
    inputs_of,
    modalities_of,
    probabilities_of,
)
from engine.adaptation.report import counts
from engine.adaptation.settings import AdaptationSettings
from engine.adaptation.standing import laid_down
from engine.datasets.batch import Batch
from engine.datasets.source import Source
from engine.models.base import System
from engine.models.breast import BreastCancerDiagnosisModel


@dataclass(frozen=True, eq=False)
class Start:
    """What is known before any step.

    Args:
        answers: Class probabilities of the target cases, (N, K).
        prior: Share of each class that is expected, (K,): that of the source cases; without them,
            that of the answers.
        buffer, source_answers: Labelled source cases and (M, K) answers to them; None without.
        fisher: Diagonal Fisher information by tensor; None without source cases, or not wanted.
    """

    answers: Probabilities
    prior: tuple[float, ...]
    buffer: Buffer | None = None
    source_answers: Probabilities | None = None
    fisher: Mapping[str, Tensor] | None = None


def look(
    system: System,
    batches: Iterable[Batch],
    settings: AdaptationSettings,
    *,
    source: Source | None = None,
) -> Start:
    """Measure before adapting; arguments and errors as in `adapt`."""
    target = joined(batches)
    network = breast_network(system.network)
    answers = probabilities_of(network, target, system.device)
    if source is None:
        shares = counts(answers) / len(answers)
        return Start(answers, tuple(float(share) for share in shares))
    buffer = draw_buffer(
        source,
        target,
        system.card.classes,
        count=settings.buffer,
        positives=settings.positives,
        seed=settings.seed,
    )
    return Start(
        answers,
        tuple(float(share) for share in buffer.prior),
        buffer,
        probabilities_of(network, buffer.cases, system.device),
        _fisher(network, buffer.cases, target, settings, system.device),
    )


def joined(batches: Iterable[Batch]) -> Batch:
    """All cases in one batch on the CPU.

    Raises:
        AdaptationRefused: There is none.
    """
    parts = [part for part in batches if len(part)]
    if not parts:
        raise AdaptationRefused("There is no case to adapt to.")
    return Batch.join(parts).to("cpu")


def _fisher(
    network: BreastCancerDiagnosisModel,
    known: Batch,
    target: Batch,
    settings: AdaptationSettings,
    device: torch.device,
) -> dict[str, Tensor] | None:
    """Of the tensors that will be adapted, on some of the source cases."""
    if settings.constraint != "fisher" or not settings.fisher_cases:
        return None
    copy = deepcopy(network)  # the served network never requires a gradient
    chosen = choose_tensors(
        copy,
        keep_last=settings.keep_last,
        adapters=settings.adapters,
        modalities=modalities_of(target),
    )
    order = np.random.default_rng(settings.seed).permutation(len(known))
    single = torch.from_numpy(order[: settings.fisher_cases]).split(1)

    def logits(case: object) -> Tensor:
        assert isinstance(case, Batch)
        return class_logits(copy(**inputs_of(copy, case)))

    with laid_down(copy, chosen):
        return fisher_diagonal(logits, (known.take(i).to(device) for i in single), chosen)
