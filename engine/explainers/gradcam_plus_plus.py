"""Grad-CAM++: Grad-CAM weighted towards places where a feature raises the class."""

from __future__ import annotations

from collections.abc import Sequence

from engine.explainers import cam
from engine.explainers.base import Maps, explainer
from engine.trace import Trace


@explainer(
    "gradcam_plus_plus",
    title="Grad-CAM++",
    summary="As Grad-CAM, weighted towards places where a feature raises the class, so that "
    "several lesions are less likely to be merged.",
    limits="The weighting rests on an approximation of higher derivatives; it is no more "
    "faithful than Grad-CAM by itself.",
    family="activation",
    needs={"features"},
    settings={"layers": None},
)
def run(trace: Trace, *, layers: Sequence[str] | None) -> Maps:
    """See `cam.gradcam_plus_plus`; `layers` names the modules read."""
    return cam.over_layers(trace, cam.gradcam_plus_plus, layers)
