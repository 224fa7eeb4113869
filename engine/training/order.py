"""Which case comes when, and every seed: functions of the recipe's seed and the step alone.

Nothing depends on how often a training was interrupted, nor on how many processes share a step.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engine.datasets.source import Source

_ORDER, _SAMPLE, _STEP, _HIDE = range(4)


def seed_of(*numbers: int) -> int:
    """A seed below 2^63 drawn from several whole numbers >= 0."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))


def epoch_order(source: Source, seed: int, epoch: int, *, balanced: bool) -> Tensor:
    """Cases of an epoch in order, (N,): a permutation, or draws that give each class its share.

    Cases without a label come as often as cases with one do on average.
    """
    rng = np.random.default_rng(seed_of(seed, _ORDER, epoch))
    if not balanced:
        return torch.from_numpy(rng.permutation(len(source)))
    labels = np.asarray(source.labels)
    known = labels >= 0
    weights = np.ones(len(labels))
    if known.any():
        _, places, counts = np.unique(labels[known], return_inverse=True, return_counts=True)
        weights[known] = 1.0 / counts[places]
        weights[~known] = weights[known].mean()
    drawn = rng.choice(len(source), len(source), p=weights / weights.sum())
    return torch.from_numpy(drawn.astype(np.int64))


def steps_per_epoch(cases: int, batch_size: int) -> int:
    """Whole batches in an epoch; one at least."""
    return max(1, cases // batch_size)


def sample_seeds(seed: int, epoch: int, indices: Tensor, first: int) -> list[int]:
    """One seed for each case of a step; `first` is the place of the first in its epoch."""
    return [
        seed_of(seed, _SAMPLE, epoch, first + place, int(index))
        for place, index in enumerate(indices)
    ]


def shown(seeds: list[int], rate: float) -> Tensor:
    """Which cases keep their pathology, (B,) bool: all but a share `rate`, by each one's seed."""
    draws = [np.random.default_rng(seed_of(s, _HIDE)).random() for s in seeds]
    return torch.tensor([draw >= rate for draw in draws], dtype=torch.bool)


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of what the network draws in a step (dropout, mixing), on one process."""
    return seed_of(seed, _STEP, step, rank)
