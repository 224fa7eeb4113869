"""The training loop: resumable to the bit at every step, on one process or several."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from engine.datasets.augment import Examples, augmented
from engine.datasets.batch import Batch
from engine.datasets.source import Source
from engine.errors import Cancelled, Paused
from engine.models.breast import BreastCancerDiagnosisModel
from engine.runs import RunFolder
from engine.training import order
from engine.training.checkpoints import (
    ABSENT,
    BEST,
    LAST,
    TrainingFailed,
    read_checkpoint,
    write_checkpoint,
)
from engine.training.evaluate import measure
from engine.training.journal import Journal, Report
from engine.training.objective import Objective, fields_of
from engine.training.pcgrad import backward_with_pcgrad
from engine.training.recipes import Recipe
from engine.training.state import begin

logger = logging.getLogger(__name__)


@dataclass
class Trainer:
    """One training, from its first step or from its last checkpoint, to its last step.

    Args:
        fabric: Processes, devices and precision. recipe: How. folder: Gets all files.
        network: What is trained, on the device of `fabric`.
        train, validation: Cases. facts: What a checkpoint must agree with.
    """

    fabric: Fabric
    recipe: Recipe
    folder: Path
    network: BreastCancerDiagnosisModel
    train: Source
    validation: Source
    facts: dict[str, Any]
    report: Report | None = None

    def __post_init__(self) -> None:
        self.steps_an_epoch = order.steps_per_epoch(
            len(self.train), self.recipe.optimiser.batch_size
        )
        self.steps = self.recipe.optimiser.epochs * self.steps_an_epoch
        self.state = begin(self.recipe, self.network, self.steps)
        self._run = RunFolder(self.folder)
        self._journal = Journal(self._run if self.fabric.is_global_zero else None, self.report)
        self._saved = time.monotonic()
        self._is_resumed = False

    def resume(self) -> None:
        """Go back to the last checkpoint of the folder, where it has one; done once.

        Raises:
            TrainingFailed: It is damaged, not complete, or of another recipe, data or network.
        """
        if self._is_resumed or not (self.folder / LAST).is_file():
            return
        self.state.restore(self.folder / LAST, self.facts)
        if self.state.epoch and not (self.folder / BEST).is_file():
            raise TrainingFailed(ABSENT)
        self._is_resumed = True
        self._journal.say("resumed", step=self.state.step)

    def fit(self) -> BreastCancerDiagnosisModel:
        """Train; the best averaged network by validation, in evaluation mode.

        Best is by macro AUC plus mean box IoU, as far as the split can tell them, the later of
        equals; where it can tell neither, the last epoch is kept, and patience never ends.

        Raises:
            TrainingFailed: Too many steps in a row were not finite, or the disk is full.
            Paused, Cancelled: Somebody asked for it; a paused run has a checkpoint of this step.
        """
        self.resume()
        try:
            self._run_epochs()
        except Paused:
            self._save()
            self._journal.say("paused", step=self.state.step)
            raise
        except Cancelled:
            self._journal.say("cancelled", step=self.state.step)
            raise
        finally:
            self._journal.close()
        best = self.state.kept
        best.load_state_dict(read_checkpoint(self.folder / BEST, self.fabric.device))
        return best.eval()

    def _run_epochs(self) -> None:
        settings = self.recipe.optimiser
        self.prepare()
        while self.state.epoch < settings.epochs and not self._is_stale():
            self._epoch()

    def prepare(self) -> None:
        """Hand network and optimiser to the processes that share the work; done once."""
        self._objective = Objective(self.network, self.recipe)
        self._module, self._optimiser = self.fabric.setup(self._objective, self.state.optimiser)

    def _is_stale(self) -> bool:
        patience = self.recipe.optimiser.patience
        return bool(patience) and self.state.stale >= patience

    def _epoch(self) -> None:
        """Finish the present epoch, then validate and save."""
        state, started = self.state, time.monotonic()
        self.network.train()
        for batch, seeds in self.batches():
            self.step(batch, seeds)
            self._interrupt()
        train = {name: value / max(1, state.counted) for name, value in state.sums.items()}
        row = {"train": train | {"skipped": state.skipped}, "validation": self._validate()}
        state.epoch, state.position, state.counted, state.sums = state.epoch + 1, 0, 0, {}
        is_best = self._judge(row["validation"])
        row["validation"]["seconds"] = time.monotonic() - started
        self._save()
        self._journal.epoch(state.epoch, state.step, row, is_best)

    def batches(self) -> Iterator[tuple[Batch, list[int]]]:
        """What is left of the epoch: this process's share of each step, with its seeds."""
        state, data = self.state, self.recipe.data
        size = self.recipe.optimiser.batch_size
        cases = order.epoch_order(self.train, self.recipe.seed, state.epoch, balanced=data.balanced)
        steps = cases[: self.steps_an_epoch * size].split(size)[state.position :]
        rank, world = self.fabric.global_rank, self.fabric.world_size
        if not steps:
            return
        shares = torch.cat([step[rank::world] for step in steps])
        share = len(steps[0][rank::world])
        batches = self.train.batches(shares, share, workers=data.workers)
        for place, (step, batch) in enumerate(zip(steps, batches, strict=True), state.position):
            seeds = order.sample_seeds(self.recipe.seed, state.epoch, step, place * size)
            yield batch, seeds[rank::world]

    def step(self, batch: Batch, seeds: list[int]) -> None:
        """One step of the optimiser, or a counted refusal where it would not be finite."""
        state, settings = self.state, self.recipe.optimiser
        self._started = time.monotonic()
        if state.step == self.recipe.objective.anneal_steps and self._has_penalty():
            state.optimiser.state.clear()  # momenta of the loss before mean nothing for this one
        torch.manual_seed(order.step_seed(self.recipe.seed, state.step, self.fabric.global_rank))
        examples = augmented(batch.to(self.fabric.device), seeds, self.recipe.augmentation)
        shown = order.shown(seeds, self.recipe.hidden_share)
        present = examples.has_patho & shown.to(self.fabric.device)
        parts = self._backward(examples, present)
        self._losses = {name: float(value.detach()) for name, value in parts.items()}
        norm = self.fabric.clip_gradients(
            self._module, self._optimiser, max_norm=settings.clip, error_if_nonfinite=False
        )
        if bool(torch.isfinite(norm)):
            self._optimiser.step()
            self.network.task_weights.project()
            state.averaged.update_parameters(self.network)
            state.scheduler.step()
            state.refused = 0
            for name, value in self._losses.items():
                state.sums[name] = state.sums.get(name, 0.0) + value
            state.counted += 1
        else:
            state.skipped, state.refused = state.skipped + 1, state.refused + 1
            if state.refused >= settings.max_skipped:
                raise TrainingFailed(
                    f"{state.refused} steps in a row were not finite; training stopped."
                )
        self._optimiser.zero_grad(set_to_none=True)
        state.step, state.position = state.step + 1, state.position + 1
        self._journal_step()

    def _has_penalty(self) -> bool:
        return self.recipe.objective.generalisation != "none"

    def _backward(self, examples: Examples, present: Tensor) -> dict[str, Tensor]:
        """Gradients of one step, in portions; the parts of the loss, averaged over them."""
        settings = self.recipe.optimiser
        portions = torch.arange(len(present)).chunk(settings.accumulation)
        sums: dict[str, Tensor] = {}
        for number, rows in enumerate(portions, 1):
            part = _rows(examples, rows)
            told = fields_of(part, present[rows.to(present.device)])
            if settings.pcgrad:
                with self.fabric.autocast():
                    _, parts = self._objective(self.state.step, **told)
                self._project(parts)
            else:
                waits = number < len(portions)
                with self.fabric.no_backward_sync(self._module, enabled=waits):
                    total, parts = self._module(self.state.step, **told)
                    self.fabric.backward(total / len(portions))
            for name, value in parts.items():
                share = value.detach() / len(portions)
                sums[name] = sums[name] + share if name in sums else share
        return sums

    def _project(self, parts: dict[str, Tensor]) -> None:
        """PCGrad on the shared trunk; one process, one portion."""
        shared = list(self.network.encoder.parameters())
        trunk = {id(p) for p in shared}
        others = [p for p in self.network.parameters() if id(p) not in trunk]
        seed = order.step_seed(self.recipe.seed, self.state.step, 0)
        losses = self._objective.losses(parts, self.state.step)
        backward_with_pcgrad(losses, shared, others, torch.Generator().manual_seed(seed))

    def _journal_step(self) -> None:
        state = self.state
        seconds = max(1e-9, time.monotonic() - self._started)
        self._journal.step(
            state.step,
            {
                "steps": self.steps,
                "epoch": state.epoch + 1,
                "epochs": self.recipe.optimiser.epochs,
                "loss": self._losses.get("total"),
                **{k: v for k, v in self._losses.items() if k != "total"},
                "learning_rate": state.scheduler.get_last_lr()[0],
                "images_per_second": self.recipe.optimiser.batch_size / seconds,
                "skipped": state.skipped,
            },
        )

    def _interrupt(self) -> None:
        """Rest or end where that is asked; save now and then."""
        word = self._run.wanted() if self.fabric.is_global_zero else ""
        if self.fabric.world_size > 1:
            word = self.fabric.broadcast(word)
        if word == "pause":
            raise Paused("The training was paused.")
        if word == "cancel":
            raise Cancelled("The training was cancelled.")
        minutes = self.recipe.optimiser.checkpoint_minutes
        if self.fabric.world_size == 1 and time.monotonic() - self._saved > minutes * 60:
            self._save()

    def _validate(self) -> dict[str, Any]:
        """Figures of the averaged network, the same on every process."""
        found: dict[str, Any] = {}
        if self.fabric.is_global_zero:
            found = measure(
                self.state.kept, self.validation, self.fabric.device,
                workers=self.recipe.data.workers,
            )  # fmt: skip
        if self.fabric.world_size > 1:
            found = self.fabric.broadcast(found)
        self.network.train()
        return found

    def _judge(self, scores: dict[str, Any]) -> bool:
        """Whether this is the best epoch so far; if so, its weights are kept.

        The later of equal epochs is kept, and the later of those that the split cannot tell apart;
        only figures that are no better count as stale.
        """
        state = self.state
        told = [scores[name] for name in ("macro_auc", "box_iou")]
        known = [value for value in told if value is not None and math.isfinite(value)]
        value = sum(known) if known else -math.inf
        if known:
            state.stale = 0 if value > state.best else state.stale + 1
        if value < state.best:
            return False
        state.best = value
        if self.fabric.is_global_zero:
            write_checkpoint(self.folder / BEST, state.kept.state_dict())
        return True

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            self.state.save(self.folder / LAST, self.facts)
            self._journal.say("checkpoint", step=self.state.step)
        self.fabric.barrier()
        self._saved = time.monotonic()


def _rows(examples: Examples, rows: Tensor) -> Examples:
    """Some of the cases."""
    chosen = rows.to(examples.mammo.device)
    return replace(examples, **{name: value[chosen] for name, value in vars(examples).items()})
