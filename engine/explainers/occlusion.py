"""Occlusion: how far the score falls when a window of the image is covered."""

from __future__ import annotations

import math

import torch
from captum.attr import Occlusion
from torch import Tensor

from engine.explainers.base import Maps, explainer
from engine.explainers.masks import filled, require
from engine.probe import Probe
from engine.trace import Span, Trace


@explainer(
    "occlusion",
    title="Occlusion",
    family="perturbation",
    summary="How far the score of the class falls when each small window of the image is covered.",
    limits="A finding larger than the window, or seen twice, is missed, since the rest still shows "
    "it; the covered image is one that the model was never trained on.",
    needs={"input"},
    gradients=False,
    signed=True,
    common_scale=True,
    slow=True,
    settings={"window": None, "stride": None, "baseline": "mean"},
)
def run(trace: Trace, *, window: int | None, stride: int | None, baseline: str) -> Maps:
    """Fall of the logit under each pixel's windows; positive speaks for the class. (B, H, W).

    The window is by default one cell of the token grid, and windows touch without overlap.
    """
    maps: Maps = {}
    for stream in trace.images:
        probe, span = trace.probe(stream), trace.spans[stream]
        sides = _cell(span, probe.image) if window is None else (window, window)
        steps = sides if stride is None else (stride, stride)
        maps[stream] = logit_drop(probe, window=sides, stride=steps, baseline=baseline)
    return maps


def logit_drop(
    probe: Probe, *, window: tuple[int, int], stride: tuple[int, int], baseline: str = "mean"
) -> Tensor:
    """Mean over the windows that cover a pixel of f(x) - f(x covered), (B, H, W).

    Args:
        probe: The image and the score.
        window: Height and width, pixels; the last window is clipped at the border.
        stride: Between windows, down and across, pixels, at most the window.
        baseline: What covers: "mean" (0 in normalised units), "black", or "blur" (the image,
            smoothed by half a window).

    Raises:
        UnknownName: The window or the stride is out of range, or `baseline` is unknown.

    Source:
        Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014; run
        by captum.
    """
    image = probe.image.detach()
    size = image.shape[2:]
    require(
        all(1 <= s <= w <= side for s, w, side in zip(stride, window, size, strict=True)),
        "The window must fit into the image, and the stride must be 1 to the window's side.",
    )
    cover = filled(probe, baseline, blur=max(window) / 2).expand_as(image)
    probe.progress.expect(len(image) * (1 + _count(size, window, stride)))
    channels = image.shape[1]
    found = []
    for part in torch.arange(len(image), device=image.device).split(probe.portion):
        drops = Occlusion(probe.logit).attribute(
            image[part],
            sliding_window_shapes=(channels, *window),
            strides=(channels, *stride),
            baselines=cover[part],
            additional_forward_args=(part,),
            perturbations_per_eval=max(1, probe.portion // len(part)),
        )
        found.append(drops[:, 0].float())
    return torch.cat(found)


def _count(size: torch.Size, window: tuple[int, int], stride: tuple[int, int]) -> int:
    axes = zip(size, window, stride, strict=True)
    return math.prod(1 + math.ceil((side - w) / s) for side, w, s in axes)


def _cell(span: Span, image: Tensor) -> tuple[int, int]:
    """Height and width of one cell of the grid, pixels; 16 where there is no grid."""
    height, width = image.shape[2:]
    rows, columns = span.grid
    if rows < 1 or columns < 1:
        return min(16, height), min(16, width)
    return max(1, height // rows), max(1, width // columns)
