"""Attention Grad-CAM: the last layer's heads weighted by how much they raise the class."""

from __future__ import annotations

from engine.explainers.base import Maps, explainer
from engine.explainers.reading import attention, reader, slopes
from engine.trace import Trace


@explainer(
    "attention_gradcam",
    title="Attention Grad-CAM",
    summary="Regions that the last layer attends to through heads that raise the class.",
    limits="The last layer only: regions that earlier layers have mixed together are not told "
    "apart.",
    family="relevance",
    needs={"attention"},
)
def run(trace: Trace) -> Maps:
    """(mean over heads of g_h A_h)+, g_h the mean gradient over patches, in the class's row.

    Source: the baseline of Chefer, Gur and Wolf, CVPR 2021. A model with a learned readout is read
    there, since that attention feeds the class.
    """
    maps: Maps = {}
    for stream in trace.images:
        found = trace.read("readout", stream)
        last = found[-1] if found else attention(trace, stream)[-1]
        values, gradients = last.values, slopes(last)
        if not found:
            rows = reader(trace, stream)
            values, gradients = rows @ values, rows @ gradients
        span = trace.spans[stream]
        patches = slice(values.shape[-1] - span.grid[0] * span.grid[1], None)
        values, gradients = values[:, :, 0, patches], gradients[:, :, 0, patches]
        weights = gradients.mean(2, keepdim=True)
        maps[stream] = trace.grid((weights * values).mean(1).clamp_min(0), stream)
    return maps
