"""Images whose pixels are removed or uncovered in the order of a map, and the model's answers.

Letters of shapes: N images, C channels, H rows, W columns. A probability function maps
normalised images (N, C, H, W) to (N,), the probability of the class that is explained. Images
are made in portions and never kept, so that memory does not grow with the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import EngineError, ShapeMismatch
from engine.metrics.baselines import Fill, baseline_fill
from engine.progress import Progress

Probability = Callable[[Tensor], Tensor]
STEPS = 100


@dataclass(frozen=True, eq=False)
class Curve:
    """Probability while pixels are replaced, hottest first.

    Args:
        fractions: (n,) float64, share of the pixels replaced, 0 to 1.
        scores: (n,) float64, probability.
        auc: Trapezoid over the n points, divided by n - 1; not divided by the first score.
        step_pixels: Pixels per step; the last step may be smaller.
    """

    fractions: NDArray[np.float64]
    scores: NDArray[np.float64]
    auc: float
    step_pixels: int


def perturbation_curve(
    probability: Probability,
    start: Tensor,
    end: Tensor,
    heat: Tensor,
    *,
    steps: int | None = None,
    step_pixels: int | None = None,
    portion: int = 16,
    progress: Progress | None = None,
) -> Curve:
    """Replace the pixels of one image by those of another in decreasing heat.

    All channels change together; equally hot pixels go in row order.

    Args:
        probability: The model; see the module.
        start, end: (C, H, W) on one device.
        heat: (H, W).
        steps: Number of steps, about; 100 unless either is given.
        step_pixels: Pixels per step, which takes precedence over `steps`.
        portion: Images evaluated at once.
        progress: Told after each portion.

    Raises:
        ShapeMismatch: Heat and images differ in size.
        EngineError: The heat holds values that are not numbers.

    Source:
        Petsiuk et al., "RISE", BMVC 2018; ties are broken there by an unstable sort.
    """
    if start.shape != end.shape:
        raise ShapeMismatch("The image and the image that replaces it differ in size.")
    step = _step(heat, steps, step_pixels)

    def compose(moved: Tensor) -> Tensor:
        return torch.where(moved, end, start)

    return _curve(probability, compose, heat_ranks(heat, start), step, portion, progress)


def curve(
    kind: Literal["deletion", "insertion"],
    probability: Probability,
    image: Tensor,
    heat: Tensor,
    fill: Tensor | Fill,
    *,
    steps: int | None = None,
    step_pixels: int | None = None,
    portion: int = 16,
    progress: Progress | None = None,
) -> Curve:
    """Deletion (image to fill) or insertion (fill to image), hottest pixels first.

    Args:
        kind: Which of the two.
        probability, heat, steps, step_pixels, portion, progress: See `perturbation_curve`.
        image: (C, H, W).
        fill: Baseline (C, H, W), or a fill that depends on what is removed, such as `inpainted`.
    """
    make = baseline_fill(fill) if isinstance(fill, Tensor) else fill
    step = _step(heat, steps, step_pixels)

    def compose(moved: Tensor) -> Tensor:
        return make(image, moved if kind == "deletion" else ~moved)

    return _curve(probability, compose, heat_ranks(heat, image), step, portion, progress)


def evaluate(
    probability: Probability,
    compose: Callable[[Tensor], Tensor],
    removed: Tensor,
    portion: int,
    progress: Progress | None,
) -> NDArray[np.float64]:
    """Probabilities (N,) of the images that `compose` makes from masks (N, H, W)."""
    parts = (part[:, None] for part in removed.split(portion))
    return _ask(probability, compose, parts, len(removed), progress)


def _step(heat: Tensor, steps: int | None, step_pixels: int | None) -> int:
    return max(1, step_pixels if step_pixels else -(-heat.numel() // (steps or STEPS)))


def heat_ranks(heat: Tensor, image: Tensor) -> Tensor:
    """Place of each pixel in decreasing heat, (H, W) int64 from 0; ties in row order."""
    if heat.shape != image.shape[-2:]:
        raise ShapeMismatch("The heat map and the image differ in size.")
    flat = heat.detach().to(image.device).flatten()
    if not bool(flat.isfinite().all()):
        raise EngineError("The heat map holds values that are not numbers, so it has no score.")
    order = flat.sort(descending=True, stable=True).indices
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    return ranks.view(heat.shape)


def _curve(
    probability: Probability,
    compose: Callable[[Tensor], Tensor],
    ranks: Tensor,
    step: int,
    portion: int,
    progress: Progress | None,
) -> Curve:
    total = ranks.numel()
    counts = torch.arange(-(-total // step) + 1, device=ranks.device) * step
    parts = (ranks < part[:, None, None, None] for part in counts.split(portion))
    scores = _ask(probability, compose, parts, len(counts), progress)
    auc = (scores.sum() - (scores[0] + scores[-1]) / 2) / (len(scores) - 1)
    fractions = np.minimum(counts.cpu().numpy() / total, 1.0)
    return Curve(fractions, scores, float(auc), step)


def _ask(
    probability: Probability,
    compose: Callable[[Tensor], Tensor],
    masks: Iterator[Tensor],
    count: int,
    progress: Progress | None,
) -> NDArray[np.float64]:
    if progress is not None:
        progress.expect(count)
    answers = []
    with torch.no_grad():
        for mask in masks:
            answers.append(probability(compose(mask)).detach().double())
            if progress is not None:
                progress.advance(len(mask))
    return torch.cat(answers).cpu().numpy()
