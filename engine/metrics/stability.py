"""How much a map changes when the image changes too little to matter, and what maps predict.

Letters of shapes: B images, C channels, H rows, W columns. An explain function maps normalised
images (B, C, H, W) to maps (B, ...) and may differentiate; it is called as it is, with gradients
enabled or not as it chooses. Changes are relative to the map's own size, so that the scale of
a method does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from engine.errors import ShapeMismatch
from engine.metrics.base import scored
from engine.progress import Progress
from engine.records import Score

Explain = Callable[[Tensor], Tensor]
SHIFTS = ((0, 1), (0, -1), (1, 0), (-1, 0), (2, 2), (-2, -2))
FACTORS = (0.9, 0.95, 1.05, 1.1)
FLAT = "The map of the unchanged image is zero everywhere."


def max_sensitivity(
    explain: Explain,
    image: Tensor,
    perturbed: Iterable[Tensor],
    *,
    progress: Progress | None = None,
) -> Tensor:
    """Largest relative change of the map over changed images, (B,); smaller is more stable.

    max over x' of |phi(x') - phi(x)| / |phi(x)|, Euclidean over all axes but the first.

    Args:
        explain: See the module.
        image: x, (B, C, H, W).
        perturbed: Images x' of the same shape, one after the other; nothing of them is kept.
        progress: Told after each explanation.

    Returns:
        (B,) float64; NaN where the map of x is zero everywhere.

    Source:
        Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019.
    """
    own = _explained(explain, image, progress)
    size = _length(own)
    largest = torch.zeros_like(size)
    for other in perturbed:
        change = _length(_explained(explain, other, progress) - own)
        largest = torch.maximum(largest, change)
    return _relative(largest, size)


def noise_ball(image: Tensor, radius: float, draws: int, seed: int = 0) -> Iterator[Tensor]:
    """Images whose every value is moved by at most `radius`, uniformly, `draws` times.

    Drawn on the CPU, so that every device gets the same noise.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        noise = torch.rand(image.shape, generator=generator) * 2 - 1
        yield image + radius * noise.to(image)


def scaled_intensities(
    image: Tensor, factors: Sequence[float] = FACTORS, black: float | Tensor = 0.0
) -> Iterator[Tensor]:
    """Brighter and darker images: the distance from black is multiplied.

    Args:
        image: (B, C, H, W), normalised.
        factors: Multipliers.
        black: Value of black in normalised space, number or (C, 1, 1).
    """
    for factor in factors:
        yield (image - black) * factor + black


def moved(image: Tensor, down: int, right: int) -> Tensor:
    """Images (B, C, H, W) moved by whole pixels; the uncovered border repeats the edge."""
    height, width = image.shape[-2:]
    rows = (torch.arange(height, device=image.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=image.device) - right).clamp(0, width - 1)
    return image[..., rows, :][..., columns]


def shift_sensitivity(
    explain: Explain,
    image: Tensor,
    offsets: Sequence[tuple[int, int]] = SHIFTS,
    *,
    progress: Progress | None = None,
) -> Tensor:
    """Largest relative change of the map, moved back, over small shifts of the image, (B,).

    Each pair of maps is compared on the pixels that both cover, against the size of the unmoved
    map there.

    Args:
        explain: Its maps end in (H, W), the size of the image.
        image: (B, C, H, W).
        offsets: Rows down and columns right, pixels.
        progress: Told after each explanation.

    Raises:
        ShapeMismatch: Maps and image differ in size, or a shift leaves nothing to compare.
    """
    own = _explained(explain, image, progress)
    if own.shape[-2:] != image.shape[-2:]:
        raise ShapeMismatch("The heat map and the image differ in size.")
    worst = torch.zeros(len(own), dtype=own.dtype, device=own.device)
    for down, right in offsets:
        if abs(down) >= image.shape[-2] or abs(right) >= image.shape[-1]:
            raise ShapeMismatch("The image was moved by more than its own size.")
        other = _explained(explain, moved(image, down, right), progress)
        still = _window(own, -down, -right)
        change = _length(_window(other, down, right) - still)
        worst = torch.maximum(worst, _relative(change, _length(still)))
    return worst


def infidelity(
    score: Callable[[Tensor], Tensor],
    attribution: Tensor,
    image: Tensor,
    noise: Iterable[Tensor],
    *,
    optimal_scale: bool = False,
) -> Tensor:
    """How badly a map predicts the effect of small changes on the score, (B,); lower is better.

    E[(d . phi - (f(x) - f(x - d)))^2] over the changes d. With the optimal scale, phi is first
    multiplied by E[(d . phi)(f(x) - f(x - d))] / E[(d . phi)^2], so that the scale of a method
    does not matter.

    Args:
        score: f, from (B, C, H, W) to (B,).
        attribution: phi, (B, C, H, W), or anything that can be multiplied with it.
        image: x, (B, C, H, W).
        noise: The changes d, each (B, C, H, W); at least one.
        optimal_scale: See above; a map that predicts nothing at all keeps the scale zero.

    Source:
        Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019.
    """
    predicted, observed = [], []
    with torch.no_grad():
        before = score(image).double()
        for change in noise:
            predicted.append((change.double() * attribution.double()).flatten(1).sum(1))
            observed.append(before - score(image - change).double())
    if not predicted:
        raise ShapeMismatch("No change of the image was given, so nothing can be predicted.")
    told, seen = torch.stack(predicted), torch.stack(observed)
    if optimal_scale:
        power = (told**2).mean(0)
        told = told * torch.where(power > 0, (told * seen).mean(0) / power, power)
    return ((told - seen) ** 2).mean(0)


def infidelity_score(
    score: Callable[[Tensor], Tensor],
    attribution: Tensor,
    image: Tensor,
    noise: Sequence[Tensor],
    *,
    optimal_scale: bool = True,
) -> Score:
    """Infidelity of one image's map, as a score; arguments as in `infidelity`, B = 1.

    Chance is what a map that predicts no change at all gets.
    """
    value = infidelity(score, attribution, image, noise, optimal_scale=optimal_scale)
    nothing = infidelity(score, torch.zeros_like(image), image, noise)
    note = "Map scaled to fit best." if optimal_scale else "Map on its own scale."
    return scored("infidelity", float(value), len(noise), chance=float(nothing), note=note)


def stability_scores(
    explain: Explain,
    image: Tensor,
    *,
    radius: float = 0.02,
    draws: int = 10,
    seed: int = 0,
    offsets: Sequence[tuple[int, int]] = SHIFTS,
    factors: Sequence[float] = FACTORS,
    black: float | Tensor = 0.0,
    progress: Progress | None = None,
) -> tuple[Score, Score, Score]:
    """Change of one image's map under noise, shifts and brightness, as scores.

    Args:
        explain: Its maps end in (H, W), the size of the image.
        image: (1, C, H, W), normalised.
        radius: Largest change of a value by noise, in units of the normalised image.
        draws: Noises.
        seed: Seed of the noise.
        offsets, factors, black: See `shift_sensitivity` and `scaled_intensities`.
        progress: Told after each explanation.
    """
    if progress is not None:
        progress.expect(3 + draws + len(offsets) + len(factors))
    noisy = noise_ball(image, radius, draws, seed)
    scaled = scaled_intensities(image, factors, black)
    far = max((max(abs(a), abs(b)) for a, b in offsets), default=0)
    shares = ", ".join(f"{factor:g}" for factor in factors)
    return (
        _score(
            "noise_sensitivity",
            max_sensitivity(explain, image, noisy, progress=progress),
            draws,
            f"Uniform noise up to {radius:g} of the normalised scale.",
        ),
        _score(
            "shift_sensitivity",
            shift_sensitivity(explain, image, offsets, progress=progress),
            len(offsets),
            f"Shifts of up to {far} pixels, compared on the common part.",
        ),
        _score(
            "intensity_sensitivity",
            max_sensitivity(explain, image, scaled, progress=progress),
            len(factors),
            f"Intensities times {shares}.",
        ),
    )


def _score(metric: str, values: Tensor, n: int, note: str) -> Score:
    value = float(values.max())
    if value != value:
        return scored(metric, None, n, note=FLAT)
    return scored(metric, value, n, note=note)


def _explained(explain: Explain, image: Tensor, progress: Progress | None) -> Tensor:
    values = explain(image).detach().double()
    if progress is not None:
        progress.advance(1)
    return values


def _length(values: Tensor) -> Tensor:
    return values.flatten(1).norm(dim=1)


def _relative(change: Tensor, size: Tensor) -> Tensor:
    return torch.where(size > 0, change / size, torch.full_like(size, float("nan")))


def _window(values: Tensor, down: int, right: int) -> Tensor:
    """What a map moved by (down, right) shares with an unmoved one: its part of the overlap."""
    height, width = values.shape[-2:]
    top, left = max(0, down), max(0, right)
    bottom, end = height + min(0, down), width + min(0, right)
    return values[..., top:bottom, left:end]
