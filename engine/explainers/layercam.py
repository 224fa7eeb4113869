"""LayerCAM: places where a stronger feature would raise the class."""

from __future__ import annotations

from collections.abc import Sequence

from engine.explainers import cam
from engine.explainers.base import Maps, explainer
from engine.trace import Trace


@explainer(
    "layercam",
    title="LayerCAM",
    summary="Places where a stronger feature would raise the class.",
    limits="Ignores evidence against the class; in early layers it follows edges.",
    family="activation",
    needs={"features"},
    settings={"layers": None},
)
def run(trace: Trace, *, layers: Sequence[str] | None) -> Maps:
    """See `cam.layercam`; `layers` names the modules read, the model's default when None."""
    return cam.over_layers(trace, cam.layercam, layers)
