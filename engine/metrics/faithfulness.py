"""Whether the model uses what a map shows: pixels are removed or uncovered, and it is asked again.

Shapes and the probability function are those of `engine.metrics.perturbation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from engine.errors import EmptyMask, ShapeMismatch
from engine.metrics.base import scored
from engine.metrics.baselines import Fill, baseline_fill
from engine.metrics.perturbation import Curve, Probability, curve, evaluate, heat_ranks
from engine.progress import Progress
from engine.records import Score

SHARES = (0.05, 0.1, 0.2, 0.5)
CHANCE_BLOCKS = 14


def curve_score(
    kind: Literal["deletion", "insertion"],
    probability: Probability,
    image: Tensor,
    heat: Tensor,
    fill: Tensor | Fill,
    *,
    fill_name: str = "the given baseline",
    steps: int | None = None,
    step_pixels: int | None = None,
    portion: int = 16,
    chance_draws: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Score, Curve]:
    """Area under a curve as a score, with the chance level where draws are asked for.

    Args:
        kind, probability, image, heat, fill, steps, step_pixels, portion, progress: See `curve`.
        fill_name: What stands in the place of removed pixels, in words.
        chance_draws: Random orders of square blocks whose mean area is the chance level; each
            costs a whole curve.
        seed: Seed of the orders.

    Returns:
        Score, whose n counts the evaluations of the map's own curve, and the curve.
    """

    def run(values: Tensor) -> Curve:
        return curve(
            kind,
            probability,
            image,
            values,
            fill,
            steps=steps,
            step_pixels=step_pixels,
            portion=portion,
            progress=progress,
        )

    own = run(heat)
    draws = [run(values).auc for values in random_heats(heat, chance_draws, seed)]
    note = f"Removed pixels: {fill_name}; {own.step_pixels} pixels a step; area not normalised."
    result = scored(
        kind,
        own.auc,
        len(own.scores),
        chance=float(np.mean(draws)) if draws else None,
        note=note + _chance_note(draws),
    )
    return result, own


deletion = partial(curve_score, "deletion")
"""Area under the deletion curve, lower is better, and the curve; see `curve_score`."""

insertion = partial(curve_score, "insertion")
"""Area under the insertion curve, higher is better, and the curve; see `curve_score`."""


def erasure(
    probability: Probability,
    image: Tensor,
    heat: Tensor,
    fill: Tensor | Fill,
    *,
    fill_name: str = "the given baseline",
    shares: Sequence[float] = SHARES,
    portion: int = 16,
    chance_draws: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Score, Score]:
    """Sufficiency and comprehensiveness: the fall when only, or all but, the hottest are kept.

    Args:
        probability, image, heat, fill, portion, progress: See `curve`.
        fill_name: What stands in the place of removed pixels, in words.
        shares: Shares of the pixels, over which the falls are averaged.
        chance_draws: Random orders of square blocks for the chance level.
        seed: Seed of the orders.

    Returns:
        Sufficiency (lower is better) and comprehensiveness (higher is better).

    Source:
        DeYoung et al., "ERASER", ACL 2020; there for words, here for pixels.
    """
    make = baseline_fill(fill) if isinstance(fill, Tensor) else fill

    def falls(values: Tensor) -> tuple[float, float]:
        ranks = heat_ranks(values, image)
        tops = [ranks < max(1, round(share * ranks.numel())) for share in shares]
        removed = torch.stack([torch.zeros_like(tops[0]), *(~top for top in tops), *tops])
        scores = evaluate(probability, lambda mask: make(image, mask), removed, portion, progress)
        kept, erased = np.split(scores[0] - scores[1:], 2)
        return float(kept.mean()), float(erased.mean())

    own = falls(heat)
    draws = [falls(values) for values in random_heats(heat, chance_draws, seed)]
    chance = np.mean(draws, axis=0) if draws else (None, None)
    percent = ", ".join(f"{share:.0%}" for share in shares)
    note = f"Removed pixels: {fill_name}; hottest {percent}.{_chance_note(draws)}"
    count = 1 + 2 * len(shares)
    return (
        scored("sufficiency", own[0], count, chance=chance[0], note=note),
        scored("comprehensiveness", own[1], count, chance=chance[1], note=note),
    )


def region_effect(
    probability: Probability,
    image: Tensor,
    mask: Tensor,
    fill: Tensor | Fill,
    *,
    fill_name: str = "the given baseline",
    portion: int = 16,
    chance_draws: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Score:
    """Change of the probability when a region is removed; below zero, the region spoke for it.

    Args:
        probability, image, fill, portion, progress: See `curve`.
        mask: The region, (H, W) bool.
        fill_name: What stands in the place of removed pixels, in words.
        chance_draws: Regions of the same shape elsewhere, moved at random and continued round the
            border, whose mean change is the chance level.
        seed: Seed of the moves.

    Raises:
        EmptyMask: The region has no pixel.
        ShapeMismatch: Region and image differ in size.
    """
    if mask.shape != image.shape[-2:]:
        raise ShapeMismatch("The region and the image differ in size.")
    region = mask.to(device=image.device, dtype=torch.bool)
    if not bool(region.any()):
        raise EmptyMask("The region has no pixel, so nothing can be removed.")
    make = baseline_fill(fill) if isinstance(fill, Tensor) else fill
    height, width = region.shape
    draw = np.random.default_rng(seed)
    moves = [(int(draw.integers(height)), int(draw.integers(width))) for _ in range(chance_draws)]
    moved = [region.roll(move, (0, 1)) for move in moves]
    removed = torch.stack([torch.zeros_like(region), region, *moved])
    scores = evaluate(probability, lambda part: make(image, part), removed, portion, progress)
    changes = scores[1:] - scores[0]
    elsewhere = changes[1:]
    note = f"Removed pixels: {fill_name}; {float(region.float().mean()):.1%} of the image"
    note += f"; chance from {len(moves)} equal regions elsewhere." if moves else "."
    chance = float(elsewhere.mean()) if moves else None
    return scored("region_effect", changes[0], 2 + len(moves), chance=chance, note=note)


def random_heats(heat: Tensor, draws: int, seed: int) -> Iterator[Tensor]:
    """Maps (H, W) of random square blocks, about 14 along the shorter side."""
    height, width = heat.shape
    block = max(1, min(height, width) // CHANCE_BLOCKS)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        cells = torch.rand(-(-height // block), -(-width // block), generator=generator)
        wide = cells.repeat_interleave(block, 0).repeat_interleave(block, 1)
        yield wide[:height, :width].to(heat.device)


def _chance_note(draws: Sequence[object]) -> str:
    return f" Chance from {len(draws)} random orders of blocks." if draws else ""
