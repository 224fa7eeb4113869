"""HiResCAM: places where feature and gradient agree, without averaging over the image."""

from __future__ import annotations

from collections.abc import Sequence

from engine.explainers import cam
from engine.explainers.base import Maps, explainer
from engine.trace import Trace


@explainer(
    "hirescam",
    title="HiResCAM",
    summary="Places where feature and gradient agree, without averaging over the image: each "
    "lit place did take part in the score.",
    limits="Coarse and noisier than Grad-CAM; says nothing of places whose effect passes "
    "through other places.",
    family="activation",
    needs={"features"},
    settings={"layers": None},
)
def run(trace: Trace, *, layers: Sequence[str] | None) -> Maps:
    """See `cam.hirescam`; `layers` names the modules read, the model's default when None."""
    return cam.over_layers(trace, cam.hirescam, layers)
