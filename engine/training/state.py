"""All that a training holds between two steps, and how it is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from engine.models.breast import BreastCancerDiagnosisModel
from engine.training.checkpoints import TrainingFailed, read_checkpoint, write_checkpoint
from engine.training.groups import parameter_groups
from engine.training.recipes import Recipe

OTHER = "The run in this folder has another network or recipe; choose another folder."


@dataclass
class State:
    """A training in progress.

    Args:
        network: What is trained. averaged: Its moving average, which is evaluated and kept.
        optimiser, scheduler: AdamW and its schedule.
        step: Steps made. epoch: Epochs that are over. position: Steps made of the present epoch.
        best: Best validation so far. stale: Epochs since. refused: Non-finite steps in a row.
        skipped: All of them. sums: Loss parts summed over the present epoch. counted: Over how
            many steps.
    """

    network: BreastCancerDiagnosisModel
    averaged: AveragedModel
    optimiser: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    step: int = 0
    epoch: int = 0
    position: int = 0
    best: float = -math.inf
    stale: int = 0
    refused: int = 0
    skipped: int = 0
    counted: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    _PLAIN = ("step", "epoch", "position", "best", "stale", "refused", "skipped", "counted", "sums")

    @property
    def kept(self) -> BreastCancerDiagnosisModel:
        """The averaged network."""
        return cast(BreastCancerDiagnosisModel, self.averaged.module)

    def save(self, path: Path, facts: dict[str, Any]) -> None:
        """Write everything, with what the run is about.

        Raises:
            TrainingFailed: The disk is full; the last checkpoint is untouched.
        """
        content: dict[str, Any] = {name: getattr(self, name) for name in self._PLAIN}
        content["sums"] = dict(self.sums)
        for name in ("network", "averaged", "optimiser", "scheduler"):
            content[name] = getattr(self, name).state_dict()
        write_checkpoint(path, content | {"facts": facts})

    def restore(self, path: Path, facts: dict[str, Any]) -> None:
        """Read what `save` wrote.

        Raises:
            TrainingFailed: Damaged, or of another recipe, data or network.
        """
        stored = read_checkpoint(path)
        if stored.get("facts") != facts:
            raise TrainingFailed(OTHER)
        try:
            self.network.load_state_dict(stored["network"])
            self.averaged.load_state_dict(stored["averaged"])
            self.optimiser.load_state_dict(stored["optimiser"])
            self.scheduler.load_state_dict(stored["scheduler"])
            for name in self._PLAIN:
                setattr(self, name, stored[name])
        except (RuntimeError, ValueError, KeyError):
            raise TrainingFailed(OTHER) from None


def begin(recipe: Recipe, network: BreastCancerDiagnosisModel, steps: int) -> State:
    """Optimiser (AdamW), schedule (linear warm-up, cosine) and averaged copy of a network.

    Args:
        steps: Steps of the whole training.
    """
    settings = recipe.optimiser
    optimiser = torch.optim.AdamW(
        parameter_groups(network, settings), lr=settings.learning_rate, betas=(0.9, 0.98)
    )
    warm = max(1, round(settings.warmup * steps))

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))

    averaged = AveragedModel(
        network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True
    )
    return State(network, averaged, optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate))
