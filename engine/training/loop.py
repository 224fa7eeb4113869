"""The training loop: resumable at every epoch, averaged weights, non-finite steps skipped."""

from __future__ import annotations

import csv
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from engine.errors import EngineError
from engine.models.breast import BreastCancerDiagnosisModel
from engine.training.augment import Examples, augmented
from engine.training.data import Batch
from engine.training.evaluate import measure
from engine.training.recipes import Recipe

logger = logging.getLogger(__name__)


class TrainingFailed(EngineError):
    """Training cannot go on."""


@dataclass
class State:
    """All that a resumed run needs."""

    network: BreastCancerDiagnosisModel
    averaged: AveragedModel
    optimiser: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    epoch: int = 0
    best: float = -math.inf
    refused: int = 0
    """Non-finite steps in a row."""

    @property
    def kept(self) -> BreastCancerDiagnosisModel:
        """The averaged network, which is evaluated and kept."""
        return cast(BreastCancerDiagnosisModel, self.averaged.module)

    def save(self, path: Path) -> None:
        """Write everything, via a temporary name."""
        partial = path.with_suffix(".partial")
        torch.save(
            {
                "network": self.network.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "epoch": self.epoch,
                "best": self.best,
                "refused": self.refused,
                "random": torch.get_rng_state(),
            },
            partial,
        )
        partial.replace(path)

    def restore(self, path: Path) -> None:
        """Read what `save` wrote."""
        stored = torch.load(path, weights_only=True, map_location="cpu")
        try:
            self.network.load_state_dict(stored["network"])
            self.averaged.load_state_dict(stored["averaged"])
            self.optimiser.load_state_dict(stored["optimiser"])
        except (RuntimeError, ValueError):
            raise TrainingFailed(
                "The run in this folder has another network; choose another folder."
            ) from None
        self.scheduler.load_state_dict(stored["scheduler"])
        self.epoch, self.best = stored["epoch"], stored["best"]
        self.refused = stored["refused"]
        torch.set_rng_state(stored["random"])


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay for the weights of linear and convolution layers only, found by module, not by name."""
    decayed = {
        id(module.weight)
        for module in network.modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]


def begin(recipe: Recipe, network: BreastCancerDiagnosisModel, steps: int) -> State:
    """Optimiser (AdamW), schedule (linear warm-up, cosine) and averaged copy of a network."""
    optimiser = torch.optim.AdamW(
        parameter_groups(network, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.98)
    )
    warm = max(1, round(recipe.warmup * steps))

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))

    averaged = AveragedModel(
        network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True
    )
    return State(network, averaged, optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate))


def loss_of(network: BreastCancerDiagnosisModel, examples: Examples) -> tuple[torch.Tensor, Any]:
    """Total loss of a batch and its parts."""
    outputs = network(examples.mammo, network.normalise_pathology(examples.patho))
    return network.compute_loss(
        outputs,
        examples.label,
        examples.box,
        examples.grade,
        examples.label,
        outputs["mammo_proj"],
        outputs["patho_proj"],
        has_box=examples.has_box,
        lesion_masks=examples.mask,
    )


def train_epoch(
    state: State, data: Batch, recipe: Recipe, device: torch.device
) -> dict[str, float]:
    """One pass; mean of each loss part, and the number of skipped steps."""
    generator = torch.Generator().manual_seed(recipe.seed * 10_007 + state.epoch)
    state.network.train()
    totals: dict[str, float] = {}
    skipped = steps = 0
    for indices in torch.randperm(len(data), generator=generator).split(recipe.batch_size):
        examples = augmented(data.take(indices).to(device), generator)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss, parts = loss_of(state.network, examples)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(state.network.parameters(), recipe.clip)
        if bool(torch.isfinite(norm)):
            state.optimiser.step()
            state.network.task_weights.project()
            state.averaged.update_parameters(state.network)
            state.scheduler.step()
            state.refused = 0
        else:
            skipped, state.refused = skipped + 1, state.refused + 1
            if state.refused >= recipe.max_skipped:
                raise TrainingFailed(
                    f"{state.refused} steps in a row were not finite; training stopped."
                )
        steps += 1
        for name, value in parts.items():
            if name != "task_weights":
                totals[name] = totals.get(name, 0.0) + float(value.detach())
    return {name: value / steps for name, value in totals.items()} | {"skipped": float(skipped)}


def fit(
    recipe: Recipe,
    network: BreastCancerDiagnosisModel,
    train: Batch,
    validation: Batch,
    folder: Path,
    device: torch.device,
    *,
    report: Callable[[dict[str, Any]], None] = lambda row: None,
) -> BreastCancerDiagnosisModel:
    """Train, resuming from `folder/last.pt` where it exists; keep the best averaged weights.

    Best is by validation macro AUC plus mean box IoU of the averaged network.

    Args:
        folder: Gets `last.pt`, `best.pt` and `metrics.csv`.
        report: Called with each epoch's row.

    Returns:
        The best averaged network, in evaluation mode.

    Raises:
        TrainingFailed: Too many non-finite steps in a row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    steps = recipe.epochs * math.ceil(len(train) / recipe.batch_size)
    state = begin(recipe, network, steps)
    if (folder / "last.pt").is_file():
        state.restore(folder / "last.pt")
    while state.epoch < recipe.epochs:
        started = time.monotonic()
        losses = train_epoch(state, train, recipe, device)
        averaged = state.kept
        scores = measure(averaged, validation, device)
        state.epoch += 1
        value = (scores["macro_auc"] or 0.0) + scores["box_iou"]
        if value > state.best:
            state.best = value
            torch.save(averaged.state_dict(), folder / "best.pt")
        state.save(folder / "last.pt")
        row = {"epoch": state.epoch, **losses, **scores, "seconds": time.monotonic() - started}
        _append(folder / "metrics.csv", row)
        logger.info("epoch %d of %d: %s", state.epoch, recipe.epochs, json.dumps(scores))
        report(row)
    best = state.kept
    best.load_state_dict(torch.load(folder / "best.pt", weights_only=True, map_location=device))
    return best.eval()


def _append(path: Path, row: dict[str, Any]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(row))
        if fresh:
            writer.writeheader()
        writer.writerow(row)
