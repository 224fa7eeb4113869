"""What a volume states of its place in space, in words and numbers; needs no NIfTI library."""

from __future__ import annotations

from engine.records import HeatMap, Image

PLACED = "The volume lies at the patient coordinates that the source states (NIfTI: RAS, mm)."
SPACED = "The source states no position; the volume has its pixel pitch in mm, and no position."
FLAT_STACK = (
    "The source states a pixel pitch but no distance between frames; 1 stands in for that distance."
)
BARE = "The source states neither position nor pixel pitch; the voxel size of 1 has no unit."


def geometry(image: Image) -> str:
    """How the volume is placed in space, in one sentence."""
    if image.affine is not None:
        return PLACED
    if image.spacing is None:
        return BARE
    return FLAT_STACK if image.frames > 1 and image.spacing.slice_mm is None else SPACED


def elsewhere(heat: HeatMap) -> float:
    """Value of the frames that were not explained: 0, or the smallest value when that is below.

    So no other frame ever looks more relevant than the coldest place of the map.
    """
    return min(0.0, float(heat.values.min()))
