"""XGrad-CAM: as Grad-CAM, with each feature weighted by how much of the score it carries."""

from __future__ import annotations

from collections.abc import Sequence

from engine.explainers import cam
from engine.explainers.base import Maps, explainer
from engine.trace import Trace


@explainer(
    "xgradcam",
    title="XGrad-CAM",
    summary="As Grad-CAM, with each feature weighted by how much of the score it carries.",
    limits="Unstable where a feature's activations cancel out.",
    family="activation",
    needs={"features"},
    settings={"layers": None},
)
def run(trace: Trace, *, layers: Sequence[str] | None) -> Maps:
    """See `cam.xgradcam`; `layers` names the modules read, the model's default when None."""
    return cam.over_layers(trace, cam.xgradcam, layers)
