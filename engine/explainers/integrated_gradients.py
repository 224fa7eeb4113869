"""Integrated gradients: the score's rise from an empty image to this one, shared out to pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from engine.explainers.base import Maps, explainer
from engine.explainers.masks import filled, require
from engine.probe import Probe
from engine.trace import Trace

RULES = (
    "gausslegendre", "riemann_left", "riemann_middle", "riemann_right", "riemann_trapezoid",
)  # fmt: skip
"""Rules of integration, by captum's names."""

STARTS = ("mean", "black")
"""Empty images to start from."""


MOST_STEPS = 1000


@explainer(
    "integrated_gradients",
    title="Integrated gradients",
    family="gradient",
    summary="How much each pixel adds to or takes from the score of the class, "
    "as the image is faded in from an empty one.",
    limits="Depends on the empty image it starts from, and says nothing of pixels that look like "
    "it; the map is grainy, and single pixels mean little.",
    needs={"input"},
    gradients=False,
    signed=True,
    common_scale=True,
    slow=True,
    settings={"steps": 50, "method": "gausslegendre", "baseline": "mean"},
    facts={"channels": "summed with their sign"},
)
def run(trace: Trace, *, steps: int, method: str, baseline: str) -> Maps:
    """Attributions of each image, summed over channels with their sign; (B, H, W)."""
    maps: Maps = {}
    for stream in trace.images:
        probe = trace.probe(stream)
        probe.progress.expect(steps * len(probe.image))
        maps[stream] = _integrated(probe, steps, method, baseline).sum(1)
    return maps


def attributions(
    probe: Probe, *, steps: int = 50, method: str = "gausslegendre", baseline: str = "mean"
) -> tuple[Tensor, Tensor]:
    """Attributions, and how far they miss completeness.

    Args:
        probe: The image and the score.
        steps: Points on the straight line between the two images, >= 2.
        method: Rule of integration, one of `RULES`.
        baseline: Empty image to start from: "mean" (0 in normalised units) or "black".

    Returns:
        Attributions (B, C, H, W), and their sum less the rise of the score, (B,); more steps do
        not always bring it nearer to 0.

    Raises:
        UnknownName: `baseline` or `method` is unknown, or there are too few steps.

    Source:
        Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017; run by captum.
    """
    probe.progress.expect((steps + 2) * len(probe.image))
    found = _integrated(probe, steps, method, baseline)
    start = filled(probe, baseline).expand_as(probe.image)
    with torch.no_grad():
        rise = [
            probe.logit(probe.image[part], part) - probe.logit(start[part], part)
            for part in _parts(probe)
        ]
    return found, found.flatten(1).sum(1) - torch.cat(rise)


def differentiable(probe: Probe) -> Callable[[Tensor, Tensor], Tensor]:
    """The logit as a function that has a gradient: 0 where the image has no part in the score."""
    return lambda images, owners: probe.logit(images, owners) + 0 * images.flatten(1).sum(1)


def _integrated(probe: Probe, steps: int, method: str, baseline: str) -> Tensor:
    """captum, a portion of the batch at a time: it evaluates at least one step of all it gets."""
    require(method in RULES, f"The rule is one of {', '.join(RULES)}, not {method!r}.")
    require(baseline in STARTS, f"The baseline is one of {', '.join(STARTS)}, not {baseline!r}.")
    require(
        2 <= steps <= MOST_STEPS,
        f"Integrated gradients take 2 to {MOST_STEPS} steps, not {steps}.",
    )
    integral = IntegratedGradients(differentiable(probe))
    image, start = probe.image.detach(), filled(probe, baseline)
    return torch.cat(
        [
            integral.attribute(
                image[part],
                baselines=start.expand_as(image[part]),
                additional_forward_args=(part,),
                n_steps=steps,
                method=method,
                internal_batch_size=probe.portion,
            ).detach()
            for part in _parts(probe)
        ]
    )


def _parts(probe: Probe) -> tuple[Tensor, ...]:
    return torch.arange(len(probe.image), device=probe.image.device).split(probe.portion)
