"""One adaptation from beginning to end: a copy of the model, unlabelled cases, guards, a report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from engine.adaptation.adapter import CausalTTA
from engine.adaptation.errors import AdaptationRefused
from engine.adaptation.feeding import (
    Probabilities,
    breast_network,
    inputs_of,
    modalities_of,
    probabilities_of,
)
from engine.adaptation.guards import (
    EntropyFloor,
    Finite,
    Guard,
    HistogramDrift,
    SourceSensitivity,
    Step,
    chance_divergence,
)
from engine.adaptation.report import counts, kl_part, source_part, target_part
from engine.adaptation.settings import AdaptationSettings
from engine.adaptation.start import Start, joined, look
from engine.datasets.batch import Batch
from engine.datasets.source import Source
from engine.errors import Cancelled
from engine.models.base import System
from engine.models.breast import BreastCancerDiagnosisModel

logger = logging.getLogger(__name__)

Told = Callable[[Mapping[str, Any]], None]
"""Called after each step with `step`, `steps`, `loss`, `entropy` and `kept`."""


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What came of an adaptation.

    Args:
        network: The adapted copy, in evaluation mode; equal to the source when rolled back.
        tensors: The tensors that were adapted, by name, on the CPU.
        report: Plain values; see `adapt`. settings: How it was done.
    """

    network: BreastCancerDiagnosisModel
    tensors: Mapping[str, Tensor]
    report: Mapping[str, Any]
    settings: AdaptationSettings

    @property
    def rolled_back(self) -> str:
        """Why a guard put the source back; empty when none did."""
        return str(self.report["rolled_back"])


def adapt(
    system: System,
    batches: Iterable[Batch],
    settings: AdaptationSettings | None = None,
    *,
    source: Source | None = None,
    cases: Sequence[str] | None = None,
    start: Start | None = None,
    progress: Told | None = None,
    stop: Callable[[], object] | None = None,
) -> Adaptation:
    """Adapt a copy of a system's network to unlabelled cases; the system itself stays as it is.

    Labels of the target are never shown to the method; where they are known, accuracy is reported.

    Args:
        system: Of the cross-modal breast kind. batches: The target cases.
        settings: How; the defaults when None.
        source: Labelled cases that the model did not train on. They give the Fisher information,
            the class prior and the sensitivity that must hold. Without them the constraint is L2,
            the prior is what the model predicted before, and sensitivity is not watched.
        cases: Pseudonym of each target case, in order; their `index` when None.
        start: What `look` found for the same arguments, where several methods are compared.
        progress: Told of each step.
        stop: Asked before each step; when it says true, or raises, the adaptation ends.

    Returns:
        The adapted copy and its report: `method`, `steps` (wished), `steps_done`, `skipped`,
        `recoveries`, `kept_share`, `constraint`, `tensors`, `numbers` (adapted), `cases`,
        `classes`, `entropy` {before, after}, `histogram` {before, after: counts}, `changed`,
        `accuracy` (None, or {cases, before, after, difference: {value, low, high}}), `rows` (case,
        before, after, changed), `source` (None, or {cases, positives, prior, divergence,
        sensitivity, accuracy: {before, after}}), `kl` {before, after, limit}, `guards` (name,
        value, limit), `rolled_back` (a sentence, or ""), `settings`, `parent`, `seconds`.

    Raises:
        AdaptationRefused: There is no case, or the model or the source does not suit.
        Cancelled: `stop` said so.
    """
    started = time.perf_counter()
    settings = settings or AdaptationSettings()
    target = joined(batches)
    names = list(cases) if cases is not None else [str(int(i)) for i in target.index]
    if len(names) != len(target):
        raise AdaptationRefused("The number of names differs from the number of cases.")
    start = start or look(system, [target], settings, source=source)
    work = _Work(system, target, settings, start)
    after, known, facts = work.run(progress, stop)
    report = {
        "parent": system.card.name,
        "parent_digest": system.card.weights_digest,
        "method": settings.method,
        **target_part(target, names, system.card.classes, start.answers, after, settings.seed),
        **facts,
        "source": source_part(start.buffer, start.source_answers, known),
        "kl": kl_part(start.answers, after, start.prior, work.histogram_limit),
        "settings": {**asdict(settings), "learning_rate": work.rate},
        "seconds": time.perf_counter() - started,
    }
    logger.info(
        "adapted %s by %s: %d steps, %s",
        system.card.name, settings.method, report["steps_done"],
        "rolled back" if report["rolled_back"] else "kept",
    )  # fmt: skip
    tensors = {name: t.detach().cpu().clone() for name, t in work.tta.tensors.items()}
    return Adaptation(work.network.eval(), tensors, report, settings)


class _Work:
    """The copy that is adapted, with everything that watches it."""

    def __init__(
        self, system: System, target: Batch, settings: AdaptationSettings, start: Start
    ) -> None:
        self._settings, self._target, self._device = settings, target, system.device
        self._start = start
        self.network = deepcopy(breast_network(system.network)).eval()
        self.rate = settings.rate(len(self.network.encoder.blocks))
        self._drift = HistogramDrift(
            start.prior, system.card.classes, settings.histogram_limit, pool=len(target)
        )
        self._sensitivity = self._source_guard()
        self._guards = self._all_guards()
        self.tta = self._adapter(start.fisher)

    @property
    def histogram_limit(self) -> float:
        """Divergence that is borne for as many cases as there are."""
        chance = chance_divergence(len(self._start.prior), len(self._target))
        return max(self._settings.histogram_limit, chance)

    def run(
        self, progress: Told | None, stop: Callable[[], object] | None
    ) -> tuple[Probabilities, Probabilities | None, dict[str, Any]]:
        """Take the steps, ask the guards about the whole; answers on target and source, facts."""
        tta, settings = self.tta, self._settings
        for batch in self._stream(settings.steps):
            if stop is not None and stop():
                raise Cancelled("The adaptation was cancelled; nothing of it was kept.")
            step = tta.step(inputs_of(self.network, batch), settings.constraint_weight)
            if progress is not None:
                progress(_told(tta.steps, settings.steps, step))
            if tta.rolled_back:
                break
        if not tta.rolled_back:
            answers, known = self._answers()
            reason = self._verdict(answers, known) if settings.guards else ""
            if not reason:
                return answers, known, self._facts()
            tta.roll_back(reason)
        return self._start.answers, self._start.source_answers, self._facts()

    def _answers(self) -> tuple[Probabilities, Probabilities | None]:
        buffer = self._start.buffer
        known = None
        if buffer is not None:
            known = probabilities_of(self.network, buffer.cases, self._device)
        return probabilities_of(self.network, self._target, self._device), known

    def _verdict(self, answers: Probabilities, known: Probabilities | None) -> str:
        """Why the network as it is at the end cannot stay; empty when it can."""
        reason = self._drift.judge(counts(answers))
        buffer, guard = self._start.buffer, self._sensitivity
        if reason or buffer is None or known is None or guard is None:
            return reason
        return guard.judge(buffer.sensitivity(known))

    def _facts(self) -> dict[str, Any]:
        tta = self.tta
        return {
            "steps": self._settings.steps,
            "steps_done": tta.steps,
            "skipped": tta.skipped,
            "recoveries": tta.recoveries,
            "kept_share": tta.kept / max(1, tta.seen),
            "constraint": tta.constraint,
            "tensors": list(tta.tensors),
            "numbers": sum(tensor.numel() for tensor in tta.tensors.values()),
            "guards": [guard.facts() for guard in self._guards],
            "rolled_back": tta.rolled_back,
        }

    def _stream(self, steps: int) -> Iterator[Batch]:
        """Batches of the target cases, each pass in another order."""
        generator = torch.Generator().manual_seed(self._settings.seed)
        while steps > 0:
            order = torch.randperm(len(self._target), generator=generator)
            for indices in order.split(self._settings.batch_size)[:steps]:
                yield self._target.take(indices).to(self._device)
                steps -= 1

    def _source_guard(self) -> SourceSensitivity | None:
        buffer, before = self._start.buffer, self._start.source_answers
        if buffer is None or before is None:
            return None
        return SourceSensitivity(
            lambda: buffer.sensitivity(probabilities_of(self.network, buffer.cases, self._device)),
            buffer.sensitivity(before),
            self._settings.sensitivity_limit,
            self._settings.check_every,
        )

    def _all_guards(self) -> list[Guard]:
        """Finite steps are asked for in any case."""
        if not self._settings.guards:
            return [Finite()]
        watched = [] if self._sensitivity is None else [self._sensitivity]
        return [Finite(), EntropyFloor(self._settings.entropy_floor), self._drift, *watched]

    def _adapter(self, fisher: Mapping[str, Tensor] | None) -> CausalTTA:
        settings = self._settings
        return CausalTTA(
            self.network,
            self.rate,
            settings.entropy_weight,
            method=settings.method,
            constraint=settings.constraint,
            fisher=fisher,
            momentum=settings.momentum,
            keep_last=settings.keep_last,
            adapters=settings.adapters,
            modalities=modalities_of(self._target),
            guards=self._guards,
            batch_statistics=False,
        )


def _told(done: int, wished: int, step: Step) -> dict[str, Any]:
    return {
        "step": done, "steps": wished, "loss": step.loss, "entropy": step.entropy,
        "kept": step.kept,
    }  # fmt: skip
