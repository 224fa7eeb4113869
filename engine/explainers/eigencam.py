"""Eigen-CAM: what stands out most in the model's features, whatever the class."""

from __future__ import annotations

from collections.abc import Sequence

from engine.explainers import cam
from engine.explainers.base import Maps, explainer
from engine.trace import Trace


@explainer(
    "eigencam",
    title="Eigen-CAM",
    summary="What stands out most in the model's features, whatever the class.",
    limits="Does not know the class: it shows what is prominent, not what decided.",
    family="activation",
    needs={"features"},
    gradients=False,
    class_blind=True,
    settings={"layers": None},
)
def run(trace: Trace, *, layers: Sequence[str] | None) -> Maps:
    """See `cam.eigencam`; `layers` names the modules read, the model's default when None."""
    return cam.without_gradients(trace, layers)
