"""A procedural mammogram with the exact mask of its lesion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.phantoms.breast import breast
from engine.phantoms.classes import check_label, check_sides
from engine.phantoms.lesions import add_lesion
from engine.phantoms.parenchyma import parenchyma, skin, thickness
from engine.phantoms.shapes import softened, tight_box
from engine.phantoms.site import Site, drawn_site
from engine.records import BoolArray, Box, FloatArray, Laterality

HEIGHT_MM = 220.0
FULL_SCALE = 4095.0


@dataclass(frozen=True, eq=False)
class Mammogram:
    """One mammogram and what is known about it.

    Args:
        pixels: (H, W) float32, whole numbers 0 to 4095; air is near 0, dense tissue bright.
        mask: (H, W) bool, lesion; empty where there is none.
        box: Tight around the mask; None where there is none.
        laterality: Side. The chest wall lies on the left edge for a left breast.
        view: "CC" or "MLO".
        row_mm: Pixel pitch, mm, the same along rows and columns; the picture is 220 mm high.
        inside: (H, W) bool, breast with muscle, without air.
    """

    pixels: FloatArray
    mask: BoolArray
    box: Box | None
    laterality: Laterality
    view: str
    row_mm: float
    inside: BoolArray


def mammogram(
    rng: np.random.Generator,
    label: str,
    *,
    height: int = 512,
    width: int = 384,
    site: Site | None = None,
) -> Mammogram:
    """Draw a mammogram of a class.

    Args:
        rng: Source of everything random; the same state gives the same pixels.
        label: A name of `LABELS`.
        height: Rows, 128 to 4096.
        width: Columns, 128 to 4096.
        site: Scanner; None draws one of `SITES`.

    Raises:
        UnknownName: no class has this name.
        LimitExceeded: a side is out of range.
    """
    check_label(label)
    check_sides(height, width)
    scanner = drawn_site(rng) if site is None else site
    side = Laterality.LEFT if rng.random() < 0.5 else Laterality.RIGHT
    view = "CC" if rng.random() < 0.5 else "MLO"
    parts = breast(rng, view, height, width)
    healthy = parenchyma(rng, parts)
    tissue, mask = add_lesion(rng, label, healthy, parts)
    density = tissue * thickness(rng, parts) + skin(rng, parts)
    pixels, inside = _exposed(rng, density, scanner, parts.scale), parts.inside
    if side is Laterality.RIGHT:
        pixels, mask = np.ascontiguousarray(pixels[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
        inside = np.ascontiguousarray(inside[:, ::-1])
    return Mammogram(pixels, mask, tight_box(mask), side, view, HEIGHT_MM / height, inside)


def _exposed(rng: np.random.Generator, density: FloatArray, site: Site, scale: float) -> FloatArray:
    """Detector counts, 0 to 4095: grey-level curve, blur, noise, whole numbers."""
    bright = np.clip(density * site.contrast, 0.004, 1.0) ** site.gamma
    seen = softened(np.asarray(bright, np.float32), site.blur * scale)
    noise = rng.standard_normal(density.shape, dtype=np.float32)
    seen += site.noise * np.sqrt(seen) * softened(noise, 0.45 * scale)
    return np.asarray(np.rint(np.clip(seen, 0.0, 1.0) * FULL_SCALE), np.float32)
