"""SmoothGrad: the gradient of the score, averaged over noisy copies of the image."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.explainers.base import Maps, explainer
from engine.explainers.integrated_gradients import differentiable
from engine.explainers.masks import require
from engine.probe import Probe
from engine.trace import Trace


@explainer(
    "smoothgrad",
    title="SmoothGrad",
    family="gradient",
    summary="To which pixels the score of the class is most sensitive, averaged over slightly "
    "noisy copies of the image.",
    limits="Shows where a small change would matter, not whether it speaks for or against the "
    "class; edges light up even where the model does not rely on them.",
    needs={"input"},
    gradients=False,
    slow=True,
    settings={"samples": 25, "noise": 0.15, "seed": 0},
    facts={"channels": "absolute value of the mean gradient, summed"},
)
def run(trace: Trace, *, samples: int, noise: float, seed: int) -> Maps:
    """Absolute value of the mean gradient, summed over channels; (B, H, W), non-negative."""
    return {
        stream: mean_gradient(trace.probe(stream), samples=samples, noise=noise, seed=seed)
        .abs()
        .sum(1)
        for stream in trace.images
    }


def mean_gradient(probe: Probe, *, samples: int = 25, noise: float = 0.15, seed: int = 0) -> Tensor:
    """Mean over noisy copies of the gradient with its sign, (B, C, H, W).

    Not captum's NoiseTunnel: that draws from the generator of the whole process, which other users'
    computations share, and averages absolute values.

    Args:
        probe: The image and the score.
        samples: Noisy copies, >= 1.
        noise: Standard deviation, share of the range of each image.
        seed: The same noise for every image of the batch, so that an image's map does not depend
            on its neighbours.

    Raises:
        UnknownName: `samples` or `noise` is out of range.

    Source:
        Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.
    """
    require(samples >= 1, f"SmoothGrad takes at least 1 sample, not {samples}.")
    require(noise >= 0, f"The noise must not be negative; it is {noise}.")
    image = probe.image.detach()
    spread = noise * (image.flatten(1).amax(1) - image.flatten(1).amin(1))[:, None, None, None]
    generator = torch.Generator().manual_seed(seed)
    probe.progress.expect(samples * len(image))
    at_once = max(1, probe.portion // len(image))
    total = torch.zeros_like(image, dtype=torch.float32)
    for first in range(0, samples, at_once):
        count = min(at_once, samples - first)
        draws = [torch.randn(image.shape[1:], generator=generator) for _ in range(count)]
        copies = image + spread * torch.stack(draws).to(image)[:, None]
        total += _gradients(probe, copies.flatten(0, 1)).unflatten(0, (count, -1)).sum(0)
    return total / samples


def _gradients(probe: Probe, images: Tensor) -> Tensor:
    """Gradients of copies (n * B, C, H, W), the batch repeated n times."""
    score = differentiable(probe)
    owners = torch.arange(len(images), device=images.device) % len(probe.image)
    found = []
    for part, whose in zip(images.split(probe.portion), owners.split(probe.portion), strict=True):
        with torch.enable_grad():
            leaf = part.detach().requires_grad_()
            found.append(torch.autograd.grad(score(leaf, whose).sum(), leaf)[0].float())
    return torch.cat(found)
