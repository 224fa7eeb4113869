"""A procedural H&E field: one of four architectures, stained as a site stains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.phantoms.classes import check_label, check_sides
from engine.phantoms.glands import benign, in_situ, invasive, normal
from engine.phantoms.site import Site, drawn_site
from engine.phantoms.slide import Slide, add_stromal_cells, stroma
from engine.records import FloatArray

PIXEL_MM = 0.0005

_ARCHITECTURE: dict[str, Callable[[Slide], None]] = {
    "Normal": normal,
    "Benign": benign,
    "In situ": in_situ,
    "Invasive": invasive,
}


def histology(
    rng: np.random.Generator, label: str, *, size: int = 256, site: Site | None = None
) -> FloatArray:
    """Draw an H&E field of a class.

    Args:
        rng: Source of everything random; the same state gives the same pixels.
        label: A name of `LABELS`.
        size: Rows and columns, 128 to 4096; the field is 128 micrometres wide at 256.
        site: Laboratory; None draws one of `SITES`.

    Returns:
        (H, W, 3) float32, R, G, B, whole numbers 0 to 255.

    Raises:
        UnknownName: no class has this name.
        LimitExceeded: the size is out of range.
    """
    check_label(label)
    check_sides(size)
    laboratory = drawn_site(rng) if site is None else site
    slide = stroma(rng, size)
    _ARCHITECTURE[label](slide)
    add_stromal_cells(slide)
    return slide.stained(laboratory)
