"""Pictures on paper: lossless pixels at print resolution, vector marks, colour and scale bars.

Lengths on the page are points. Pixels are reduced to 300 dpi where the source holds more, and
never enlarged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from reportlab.lib.utils import ImageReader
from reportlab.platypus import Flowable

from engine.records import Box, FloatArray, Image, Region
from engine.render import blend, colour_map, contours, fit
from reports import fonts
from reports.tags import tagged

Bytes = NDArray[np.uint8]

DPI = 300
SOLID: tuple[float, ...] = ()
DASHED = (3.0, 1.8)
DOTTED = (0.8, 1.4)
STRIP = 11.0
"""Height of the strip with the scale bar, and of the colour bar, points."""

_LENGTHS_MM = tuple(step * 10.0**power for power in range(-3, 4) for step in (1, 2, 5))
_MOST_CORNERS = 20_000


@dataclass(frozen=True, eq=False)
class Mark:
    """Closed outlines on a picture.

    Args:
        outlines: (K, 2) corners (x, y), each from 0 to 1 of width and height, y downwards.
        dash: Line and gap lengths, points; empty for a solid line.
        label: Short text at the first corner.
    """

    outlines: Sequence[FloatArray]
    dash: tuple[float, ...] = SOLID
    label: str = ""


def true_size(image: Image) -> tuple[float, float]:
    """Width and height in proportion to the object: millimetres when calibrated, else pixels."""
    if image.spacing is None:
        return float(image.width), float(image.height)
    return image.width * image.spacing.column_mm, image.height * image.spacing.row_mm


def fitted(image: Image, most_width: float, most_height: float) -> tuple[float, float]:
    """Points (width, height) of the image at its true aspect within a cell; each at least 3."""
    width, height = true_size(image)
    scale = min(most_width / width, most_height / height)
    return max(3.0, width * scale), max(3.0, height * scale)


def printed(pixels: Bytes, size: tuple[float, float]) -> Bytes:
    """Pixels reduced to 300 dpi of the printed size; unchanged where they hold less."""
    rows, columns = print_grid(pixels.shape[:2], size)
    return fit(pixels, rows, columns) if (rows, columns) != pixels.shape[:2] else pixels


def print_grid(shape: tuple[int, ...], size: tuple[float, float]) -> tuple[int, int]:
    """(rows, columns) of a picture of `shape` printed at `size` points (width, height)."""
    rows, columns = (round(length / 72 * DPI) for length in (size[1], size[0]))
    return min(shape[0], max(1, rows)), min(shape[1], max(1, columns))


def reduced(values: FloatArray, grid: tuple[int, int]) -> FloatArray:
    """Values averaged onto a smaller (rows, columns) grid, float32."""
    if values.shape == grid:
        return values
    smaller = cv2.resize(values, (grid[1], grid[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, dtype=np.float32)


def level_mark(values: FloatArray, level: float) -> Mark:
    """Dotted outline of where relative heat (H, W) reaches a level; empty where too ragged."""
    outlines = _relative_outlines(values >= level)
    if sum(len(outline) for outline in outlines) > _MOST_CORNERS:
        outlines = []
    return Mark(outlines, DOTTED)


def region_marks(image: Image, region: Region, grid: tuple[int, int], label: str) -> list[Mark]:
    """Solid box and dashed outline of a lesion; the mask is reduced to the grid of the picture."""
    marks = []
    if region.mask is not None:
        share = reduced(region.mask.astype(np.float32), grid)
        inside = share >= 0.5
        marks.append(Mark(_relative_outlines(inside if inside.any() else share > 0), DASHED))
    if region.box is not None:
        marks.append(box_mark(image, region.box, label))
    return marks


def box_mark(image: Image, box: Box, label: str) -> Mark:
    """Solid outline of a box in source pixels."""
    right, bottom = box.x + box.width, box.y + box.height
    corners = ((box.x, box.y), (right, box.y), (right, bottom), (box.x, bottom))
    scale = np.asarray([image.width, image.height], dtype=np.float32)
    return Mark([np.asarray(corners, dtype=np.float32) / scale], SOLID, label)


def _relative_outlines(mask: NDArray[np.bool_]) -> list[FloatArray]:
    scale = np.asarray([mask.shape[1], mask.shape[0]], dtype=np.float32)
    return [outline / scale for outline in contours(mask)]


class Picture(Flowable):
    """Pixels with marks over them, centred in the cell, and a thin frame.

    Args:
        pixels: (H, W) grey or (H, W, 3) RGB, uint8.
        size: Width and height, points.
        marks: What is drawn over the pixels.
        alt: Words that stand for the picture.
    """

    def __init__(
        self,
        pixels: Bytes,
        size: tuple[float, float],
        marks: Sequence[Mark] = (),
        alt: str = "Picture",
    ) -> None:
        super().__init__()
        self.pixels, self.marks, self.alt = pixels, marks, alt
        self.width, self.height = size
        self.hAlign = "CENTER"

    def wrap(self, *_: Any) -> tuple[float, float]:
        """Size, points."""
        return self.width, self.height

    def draw(self) -> None:
        """Draw the pixels, the frame and the marks."""
        with tagged(self.canv, "Figure", self.alt):
            self._draw()

    def _draw(self) -> None:
        picture = ImageReader(Pillow.fromarray(np.ascontiguousarray(self.pixels)))
        self.canv.drawImage(picture, 0, 0, self.width, self.height)
        self.canv.setLineWidth(0.3)
        self.canv.setStrokeGray(0.4)
        self.canv.rect(0, 0, self.width, self.height)
        self.canv.saveState()
        area = self.canv.beginPath()
        area.rect(0, 0, self.width, self.height)
        self.canv.clipPath(area, stroke=0, fill=0)
        for mark in self.marks:
            self._outline(mark)
            if mark.label and mark.outlines:
                self._label(mark)
        self.canv.restoreState()

    def _outline(self, mark: Mark) -> None:
        path = self.canv.beginPath()
        for outline in mark.outlines:
            points = [(float(x) * self.width, (1 - float(y)) * self.height) for x, y in outline]
            path.moveTo(*points[0])
            for point in points[1:]:
                path.lineTo(*point)
            path.close()
        self.canv.setDash(*([list(mark.dash)] if mark.dash else [[]]))
        self.canv.setLineJoin(1)
        for grey, thickness in ((0.0, 1.9), (1.0, 0.8)):
            self.canv.setStrokeGray(grey)
            self.canv.setLineWidth(thickness)
            self.canv.drawPath(path, stroke=1, fill=0)

    def _label(self, mark: Mark) -> None:
        x, y = mark.outlines[0][0]
        wide = fonts.width(mark.label, 6, fonts.BOLD) + 3
        left = min(max(0.0, float(x) * self.width), max(0.0, self.width - wide))
        foot = min(max(0.0, (1 - float(y)) * self.height + 1.5), max(0.0, self.height - 8))
        self.canv.setFillGray(0.0)
        self.canv.rect(left, foot, wide, 8, stroke=0, fill=1)
        self.canv.setFillGray(1.0)
        write(self.canv, left + 1.5, foot + 2, mark.label, 6, fonts.BOLD)


class ScaleBar(Flowable):
    """A length in millimetres under a picture, or the words "no calibration"."""

    def __init__(self, image: Image, size: tuple[float, float], cell: float) -> None:
        super().__init__()
        self.image, self.size, self.width = image, size, cell
        self.alt = "Scale bar" if image.spacing is not None else "No calibration"
        self.height = STRIP + 2

    def wrap(self, *_: Any) -> tuple[float, float]:
        """Size, points."""
        return self.width, self.height

    def draw(self) -> None:
        """Draw the bar at the left edge of the picture."""
        with tagged(self.canv, "Figure", self.alt):
            self._draw()

    def _draw(self) -> None:
        self.canv.setFillGray(0.0)
        left = (self.width - self.size[0]) / 2
        text, bar = "no calibration", 0.0
        if self.image.spacing is not None:
            per_mm = self.size[0] / true_size(self.image)[0]
            length = scale_length(min(self.size[0], 0.45 * self.width) / per_mm)
            text = f"{length:g} mm" if length >= 0.1 else f"{1000 * length:g} µm"
            bar = length * per_mm
            self.canv.setStrokeGray(0.0)
            self.canv.setLineWidth(1.2)
            self.canv.line(left, 6, left + bar, 6)
            for x in (left, left + bar):
                self.canv.line(x, 3.5, x, 8.5)
        start = left + bar + 4 if bar else left
        write(self.canv, start, 4, text, 6.5)


def scale_length(most_mm: float) -> float:
    """The longest round length (1, 2 or 5 times a power of ten) not above `most_mm`."""
    return max((length for length in _LENGTHS_MM if length <= most_mm), default=_LENGTHS_MM[0])


class ColourBar(Flowable):
    """The colours from 0 to 1: above as they are, below as blended over mid-grey."""

    def __init__(self, width: float, colour: str, opacity: float, threshold: float) -> None:
        super().__init__()
        self.width, self.height = width, STRIP + 10
        self.alt = f"Colour bar of {colour}, from 0 to 1"
        ramp = np.linspace(0, 1, 256, dtype=np.float32)[None, :]
        grey = np.full((1, 256, 3), 128, dtype=np.uint8)
        drawn = blend(grey, ramp, opacity=opacity, colour=colour, threshold=threshold)
        self.pixels = np.concatenate([colour_map(colour)[None], drawn])

    def wrap(self, *_: Any) -> tuple[float, float]:
        """Size, points."""
        return self.width, self.height

    def draw(self) -> None:
        """Draw the bar with five numbered ticks."""
        with tagged(self.canv, "Figure", self.alt):
            self._draw()

    def _draw(self) -> None:
        inset = 6.0
        wide = self.width - 2 * inset
        bar = ImageReader(Pillow.fromarray(self.pixels.repeat(4, axis=0)))
        self.canv.drawImage(bar, inset, 11, wide, STRIP - 2)
        self.canv.setLineWidth(0.3)
        self.canv.setStrokeGray(0.2)
        self.canv.rect(inset, 11, wide, STRIP - 2)
        self.canv.setFillGray(0.0)
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
            x = inset + tick * wide
            self.canv.line(x, 9, x, 11)
            text = f"{tick:g}"
            write(self.canv, x - fonts.width(text, 6) / 2, 3, text, 6)


class ShareBar(Flowable):
    """A probability as a bar: dark for the share, outlined to the full width."""

    def __init__(self, share: float, width: float, height: float = 7.0) -> None:
        super().__init__()
        self.share, self.width, self.height = min(1.0, max(0.0, share)), width, height
        self.alt = f"Bar of {100 * self.share:.1f} %"

    def wrap(self, *_: Any) -> tuple[float, float]:
        """Size, points."""
        return self.width, self.height

    def draw(self) -> None:
        """Draw the bar."""
        with tagged(self.canv, "Figure", self.alt):
            self._draw()

    def _draw(self) -> None:
        self.canv.setLineWidth(0.4)
        self.canv.setStrokeGray(0.35)
        self.canv.setFillGray(0.25)
        self.canv.rect(0, 0, self.width * self.share, self.height, stroke=0, fill=1)
        self.canv.rect(0, 0, self.width, self.height, stroke=1, fill=0)


def write(
    canvas: Any, x: float, y: float, text: str, size: float, font: str = fonts.REGULAR
) -> None:
    """One line of text in any script at (x, y), points."""
    for name, run in fonts.runs(text, font):
        canvas.setFont(name, size)
        canvas.drawString(x, y, run)
        x += fonts.width(run, size, name)
