"""A slide in the making: amounts of haematoxylin and eosin, laid on layer by layer, then stained.

Source: stain vectors and optical density after Ruifrok and Johnston, "Quantification of
    histochemical staining by color deconvolution", Analyt. Quant. Cytol. Histol. 2001.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from engine.phantoms.cells import Nuclei, paint_pleomorphic, paint_regular, scattered
from engine.phantoms.shapes import (
    blank,
    covered,
    fibres,
    fill,
    outline,
    power_law,
    softened,
    trace_line,
)
from engine.phantoms.site import Site
from engine.records import BoolArray, FloatArray


@dataclass(eq=False)
class Slide:
    """A square field under the microscope.

    Args:
        rng: Source of everything random.
        size: Rows and columns, pixels.
        heading: Main direction of the collagen, radians.
        eosin: (H, W) float32, amount of eosin outside nuclei.
        blue: (H, W) float32, amount of haematoxylin outside nuclei.
        taken: (H, W) bool, where something other than stroma lies.
        regular: Nuclei drawn smooth.
        wild: Nuclei drawn pleomorphic.
    """

    rng: np.random.Generator
    size: int
    heading: float
    eosin: FloatArray
    blue: FloatArray
    taken: BoolArray
    regular: list[Nuclei] = field(default_factory=list)
    wild: list[Nuclei] = field(default_factory=list)

    @property
    def scale(self) -> float:
        """Pixels per pixel of a field of 256 rows."""
        return self.size / 256.0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.size, self.size

    def lay(self, cover: FloatArray, *, eosin: float, blue: float) -> None:
        """Replace what lies under `cover` (0 to 1) by tissue of these amounts of stain."""
        self.eosin = self.eosin * (1.0 - cover) + np.float32(eosin) * cover
        self.blue = self.blue * (1.0 - cover) + np.float32(blue) * cover

    def stained(self, site: Site) -> FloatArray:
        """The colours seen, (H, W, 3) float32, whole numbers 0 to 255."""
        chromatin = self._chromatin()
        grain = 1.0 + 0.09 * power_law(self.rng, self.shape, 1.2)
        eosin = (self.eosin * (1.0 - 0.75 * np.minimum(chromatin, 1.0))) * grain
        blue = self.blue * grain + 1.15 * chromatin
        eosin, blue = self._evened(eosin, 0.42), self._evened(blue, 0.23)
        density = site.strength * (
            blue[..., None] * np.asarray(site.haematoxylin, np.float32)
            + eosin[..., None] * np.asarray(site.eosin, np.float32)
        )
        light = np.asarray(site.glass, np.float32) * np.exp(-density)
        light = softened(np.asarray(light, np.float32), site.softness * self.scale)
        light += self.rng.normal(0.0, 0.008, self.shape).astype(np.float32)[..., None]
        return np.asarray(np.rint(np.clip(light, 0.0, 1.0) * 255.0), np.float32)

    def _chromatin(self) -> FloatArray:
        canvas = blank(self.shape)
        for group in self.regular:
            paint_regular(self.rng, canvas, group)
        for group in self.wild:
            paint_pleomorphic(self.rng, canvas, group)
        clumps = 1.0 + 0.16 * power_law(self.rng, self.shape, 1.0)
        return np.asarray(covered(canvas) * clumps, np.float32)

    def _evened(self, stain: FloatArray, usual: float) -> FloatArray:
        """Stain brought to an overall amount drawn without regard to the class.

        A laboratory stains to a target; without this the colour alone would give the class away.
        """
        target = usual * float(np.exp(self.rng.normal(0.0, 0.22)))
        factor = (target / float(stain.mean())) ** 0.8
        return np.asarray(stain * np.clip(factor, 0.7, 1.5), np.float32)


def stroma(rng: np.random.Generator, size: int) -> Slide:
    """An empty field of wavy collagen with clefts."""
    heading = float(rng.uniform(0.0, np.pi))
    shape = (size, size)
    bundles = fibres(rng, shape, heading, rng.uniform(4.0, 8.0))
    wave = power_law(rng, shape, 3.4) * np.float32(5.0 * size / 256)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    sway_x = np.asarray(columns - wave * np.sin(heading), np.float32)
    sway_y = np.asarray(rows + wave * np.cos(heading), np.float32)
    bundles = cv2.remap(bundles, sway_x, sway_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    cleft = 1.0 / (1.0 + np.exp((bundles + rng.uniform(1.3, 2.0)) * 7.0))
    eosin = (rng.uniform(0.42, 0.55) + 0.10 * bundles) * (1.0 - 0.85 * cleft)
    eosin = np.asarray(np.maximum(eosin, 0.03), np.float32)
    blue = np.full(shape, 0.05, np.float32)
    return Slide(rng, size, heading, eosin, blue, np.zeros(shape, np.bool_))


def add_fat(slide: Slide, place: tuple[float, float], count: int) -> None:
    """A group of fat cells about a place: empty rounds with thin walls."""
    rng, scale = slide.rng, slide.scale
    room, walls = blank(slide.shape), blank(slide.shape)
    reach = 17.0 * scale * np.sqrt(count)
    offsets = rng.uniform(-1, 1, (count * 6, 2)) * reach
    chosen: list[np.ndarray] = []
    for spot in np.asarray(place) + offsets:
        if len(chosen) < count and all(np.hypot(*(spot - c)) > 33 * scale for c in chosen):
            chosen.append(spot)
    for spot in chosen:
        edge = outline(rng, (spot[0], spot[1]), 18.5 * scale, aspect=0.88, waves=(0.05, 0.05))
        fill(room, edge)
        trace_line(walls, edge, 210, max(1, round(scale)), closed=True)
    free = softened(covered(room), 0.5) * ~slide.taken
    slide.lay(np.asarray(free, np.float32), eosin=0.02, blue=0.0)
    slide.lay(np.asarray(covered(walls) * ~slide.taken, np.float32), eosin=0.4, blue=0.05)
    slide.taken |= room > 127


def add_stromal_cells(slide: Slide) -> None:
    """Spindle nuclei along the collagen, and now and then a crowd of lymphocytes: any class."""
    rng, scale = slide.rng, slide.scale
    heading, free = np.degrees(slide.heading), ~slide.taken
    share = float(free.mean())
    count = int(share * rng.uniform(35, 110))
    slide.regular.append(
        scattered(rng, free, count, 2.9 * scale, aspect=0.3, heading=heading, loose=0.2)
    )
    if rng.random() < 0.4:
        x, y = rng.uniform(0, slide.size, 2)
        canvas = blank(slide.shape)
        blob = outline(rng, (x, y), rng.uniform(22, 48) * scale, aspect=0.5, waves=(0.2, 0.15))
        fill(canvas, blob)
        crowd = free & (canvas > 127)
        many = int(crowd.sum() / (95 * scale**2))
        slide.regular.append(scattered(rng, crowd, many, 2.9 * scale, aspect=0.92, heading=0.0))
