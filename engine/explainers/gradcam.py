"""Grad-CAM: regions whose features raise the score of the class."""

from __future__ import annotations

from collections.abc import Sequence

from engine.explainers import cam
from engine.explainers.base import Maps, explainer
from engine.trace import Trace


@explainer(
    "gradcam",
    title="Grad-CAM",
    summary="Regions whose features raise the score of the class.",
    limits="Coarse: one value per patch of the model's grid, and one weight per feature for "
    "the whole image, so that it can light regions the class does not use.",
    family="activation",
    needs={"features"},
    settings={"layers": None},
)
def run(trace: Trace, *, layers: Sequence[str] | None) -> Maps:
    """See `cam.gradcam`; `layers` names the modules read, the model's default when None."""
    return cam.over_layers(trace, cam.gradcam, layers)
