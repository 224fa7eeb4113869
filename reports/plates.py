"""The pictures of the report: every image bare and under each method's heat map, side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from reportlab.lib.units import mm
from reportlab.platypus import Flowable, KeepTogether, Table

from engine.records import BoolArray, Explanation, HeatMap, Image, Region, Window
from engine.render import (
    LEGACY_COLOURS,
    blend,
    default_window,
    display,
    relative,
    window_levels,
)
from reports import figures
from reports.content import Report
from reports.layout import (
    WIDTH,
    clipped,
    gap,
    image_name,
    length,
    method_title,
    percent,
    table,
    target_words,
    text,
)

TALLEST = 92 * mm
GUTTER = 5.0
LARGEST_CROP = 0.5
LEVEL = 0.5
"""Relative heat at which the dotted line is drawn."""

LEGEND = (
    "Solid box: lesion box. Dashed line: lesion outline. Dotted line: half of the map's maximum. "
    "Each map runs from 0 (its own minimum) to 1 (its own maximum): colours of two maps are not "
    "comparable. Opacity follows the value: none up to 0.05, where the image is unchanged, and "
    "complete from 0.5. Colour bar: above the colours, below the same as blended over mid-grey."
)


@dataclass(frozen=True, eq=False)
class Plane:
    """One frame of one image, as it is drawn in all cells of its plate.

    Args:
        image: The image.
        frame: Its frame.
        chosen: Its window; None for a colour image.
        window: Words about the window.
        size: Printed width and height, points.
        cell: Width of a cell, points.
        base: (H, W, 3) uint8 pixels at print resolution.
        grey: (H, W) or (H, W, 3) uint8, what is printed bare.
        marks: Lesions.
        regions: Lesions, as records.
        title: Name of the image.
    """

    image: Image
    frame: int
    chosen: Window | None
    window: str
    size: tuple[float, float]
    cell: float
    base: figures.Bytes
    grey: figures.Bytes
    marks: list[figures.Mark]
    regions: list[Region]
    title: str = "Image"


def pictures(report: Report) -> list[Flowable]:
    """The section with all planes of all images; each plate on one page where it fits."""
    head: list[Flowable] = [text("3. Pictures", "heading"), text(LEGEND, "small")]
    if report.colour in LEGACY_COLOURS:
        words = f"Colour map {report.colour}: legacy, not ordered in lightness."
        head.append(text(words, "small"))
    if not report.explanations:
        head.append(text("Explanation maps: not assessed."))
    parts: list[Flowable] = []
    for index, frame in report.planes():
        title, first, *rest = _plate(report, index, frame)
        parts.append(KeepTogether([KeepTogether([*head, title, first]), *rest]))
        head = []
    return parts


def _plate(report: Report, index: int, frame: int) -> list[Flowable]:
    """A title, then rows of cells."""
    maps = report.maps(index, frame)
    columns = _columns(report.case.images[index], len(maps))
    plane = plane_of(report, index, frame, columns)
    cells = [_bare(plane), *(_overlay(report, plane, *pair) for pair in maps)]
    cells += _lesion_cell(plane)
    cells += _patch_cell(report, plane, index)
    title = image_name(report, index)
    if plane.image.frames > 1:
        title += f", frame {frame + 1} of {plane.image.frames}"
    groups = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    rows: list[Flowable] = [_row(group, plane.cell, columns) for group in groups]
    absent = _without_map(report, {explanation.method for explanation, _ in maps})
    if absent:
        rows.append(text(absent, "small"))
    return [text(title, "subheading"), *rows]


def _without_map(report: Report, shown: set[str]) -> str:
    absent = [method_title(e.method) for e in report.explanations if e.method not in shown]
    return f"No map on this image: {', '.join(absent)}." if absent else ""


def _columns(image: Image, maps: int) -> int:
    width, height = figures.true_size(image)
    if width > 3.2 * height:
        return 1
    return min(maps + 1, 2 if width > 1.9 * height or maps < 2 else 3)


def plane_of(report: Report, index: int, frame: int, columns: int) -> Plane:
    """Pixels and marks of one frame, for a plate of so many columns."""
    image = report.case.images[index]
    cell = (WIDTH - (columns - 1) * GUTTER) / columns
    size = figures.fitted(image, cell - 2, TALLEST)
    chosen, words = None, "Colour as stored."
    if not image.is_colour:
        chosen = report.windows.get(index) or default_window(image, frame)
        words = f"Window {chosen.centre:g} / {chosen.width:g} ({chosen.function})"
        words += ", inverted (MONOCHROME1)." if image.inverted else "."
    grey = figures.printed(_levels(image, frame, chosen), size)
    base = grey if grey.ndim == 3 else np.repeat(grey[:, :, None], 3, axis=2)
    regions = report.regions(index, frame)
    marks = [
        mark
        for region in regions
        for mark in figures.region_marks(image, region, base.shape[:2], _number(report, region))
    ]
    title = image_name(report, index)
    return Plane(image, frame, chosen, words, size, cell, base, grey, marks, regions, title)


def _number(report: Report, region: Region) -> str:
    """The number of a lesion as in section 2; empty where it is the only one."""
    found = () if report.prediction is None else report.prediction.regions
    return str(next(i for i, r in enumerate(found, 1) if r is region)) if len(found) > 1 else ""


def _levels(image: Image, frame: int, window: Window | None) -> figures.Bytes:
    return display(image, frame) if image.is_colour else window_levels(image, frame, window)


def _row(cells: list[list[Flowable]], width: float, columns: int) -> Table:
    filled = [*cells, *([[]] * (columns - len(cells)))]
    widths = [width + (GUTTER if i < columns - 1 else 0) for i in range(columns)]
    look = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-2, -1), GUTTER),
        ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
        ("TOPPADDING", (0, 0), (-1, -1), 1),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
    ]
    return table([filled], widths, look)


def _bare(plane: Plane) -> list[Flowable]:
    # The bare picture carries no marks: the anatomy must be seen before it is pointed at.
    return [
        text("Without overlay", "bold"),
        figures.Picture(plane.grey, plane.size, (), f"{plane.title}, without overlay"),
        figures.ScaleBar(plane.image, plane.size, plane.cell),
        text(plane.window, "small"),
    ]


def _lesion_cell(plane: Plane) -> list[list[Flowable]]:
    """The first lesion enlarged, bare, with as much again around it.

    Nothing without a lesion, or where that would be most of the image again.
    """
    inside = _inside(plane.regions[:1], plane.image)
    if inside is None:
        return []
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    reach = max(8, int(rows[-1] - rows[0]), int(columns[-1] - columns[0]))
    top, left = max(0, int(rows[0]) - reach), max(0, int(columns[0]) - reach)
    part = plane.image.pixels[
        plane.frame : plane.frame + 1, top : rows[-1] + reach, left : columns[-1] + reach
    ]
    close = replace(plane.image, pixels=part)
    if close.width * close.height > LARGEST_CROP * plane.image.width * plane.image.height:
        return []
    size = figures.fitted(close, plane.cell - 2, plane.size[1])
    pixels = figures.printed(_levels(close, 0, plane.chosen), size)
    return [
        [
            text("Lesion enlarged, without overlay", "bold"),
            figures.Picture(pixels, size, (), f"{plane.title}, lesion enlarged"),
            figures.ScaleBar(close, size, plane.cell),
            text(f"Columns from {left}, rows from {top}. {plane.window}", "small"),
        ]
    ]


def _patch_cell(report: Report, plane: Plane, index: int) -> list[list[Flowable]]:
    """Where the numbered patches of section 2 lie; nothing on an image without patches."""
    patches = () if report.prediction is None else report.prediction.patches
    marks = [
        figures.box_mark(plane.image, patch.box, str(number))
        for number, patch in enumerate(patches, 1)
        if patch.image == index and plane.frame == report.frame(index)
    ]
    if not marks:
        return []
    return [
        [
            text("Most relevant patches", "bold"),
            figures.Picture(plane.grey, plane.size, marks, f"{plane.title}, relevant patches"),
            figures.ScaleBar(plane.image, plane.size, plane.cell),
            text("Numbers as in section 2.", "small"),
        ]
    ]


def _overlay(
    report: Report, plane: Plane, explanation: Explanation, heat: HeatMap
) -> list[Flowable]:
    title = text(method_title(explanation.method), "bold")
    caption = _caption(report, plane, explanation, heat)
    values = relative(heat.values)
    if not heat.localised or not values.any():
        reason = clipped(heat.reason, 300) or "the map has the same value everywhere"
        words = f"No localised evidence: {reason}"
        return [title, _placard(plane, words), gap(1), text(caption, "small")]
    small = figures.reduced(values, plane.base.shape[:2])
    pixels = blend(
        plane.base,
        small,
        opacity=report.opacity,
        colour=report.colour,
        threshold=report.threshold,
    )
    marks = [figures.level_mark(small, LEVEL), *plane.marks]
    return [
        title,
        figures.Picture(
            pixels,
            plane.size,
            marks,
            f"{plane.title} under the heat map of {method_title(explanation.method)}, "
            f"target {target_words(explanation)}",
        ),
        figures.ScaleBar(plane.image, plane.size, plane.cell),
        figures.ColourBar(plane.cell, report.colour, report.opacity, report.threshold),
        text(caption, "small"),
        *_within(plane, heat),
    ]


def _caption(report: Report, plane: Plane, explanation: Explanation, heat: HeatMap) -> str:
    rows, columns = heat.grid
    words = [f"Target: {target_words(explanation)}. Grid {rows} x {columns}"]
    if plane.image.spacing is not None and rows and columns:
        wide, tall = figures.true_size(plane.image)
        words[0] += f" (cells of {length(tall / rows)} x {length(wide / columns)})"
    words[0] += "."
    low, high = float(heat.values.min()), float(heat.values.max())
    if heat.localised:
        words.append(f"Relative to this map: 0 = {low:.3g}, 1 = {high:.3g}.")
        words.append(f"{report.colour.capitalize()}, opacity {100 * report.opacity:.0f} %.")
    if heat.localised and report.threshold > 0:
        words.append(f"Nothing drawn below {report.threshold:g}.")
    return " ".join(words)


def _within(plane: Plane, heat: HeatMap) -> list[Flowable]:
    """How much of the heat lies within the lesion that the system found."""
    inside = _inside(plane.regions, plane.image)
    if inside is None:
        return []
    values = np.clip(heat.values, 0, None).astype(np.float64)
    total = float(values.sum())
    if total <= 0:
        return []
    hit = bool(inside.flat[int(np.argmax(heat.values))])
    share, area = float(values[inside].sum()) / total, float(inside.mean())
    words = f"Within the predicted lesion: {percent(share)} of the heat on {percent(area)} of "
    words += f"the image; hottest point {'inside' if hit else 'outside'}."
    return [text(words, "small")]


def _inside(regions: list[Region], image: Image) -> BoolArray | None:
    """(H, W) bool of lesions, masks before boxes; None where there is none."""
    inside = np.zeros((image.height, image.width), dtype=bool)
    for region in regions:
        if region.mask is not None:
            inside |= region.mask
        elif region.box is not None:
            box = region.box
            rows = slice(max(0, round(box.y)), max(0, round(box.y + box.height)))
            inside[rows, max(0, round(box.x)) : max(0, round(box.x + box.width))] = True
    return inside if inside.any() else None


def _placard(plane: Plane, words: str) -> Table:
    height = max(plane.size[1], 18 * mm)
    look = [
        ("BOX", (0, 0), (-1, -1), 0.5, "#666666"),
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("BACKGROUND", (0, 0), (-1, -1), "#f2f2f2"),
    ]
    width = max(plane.size[0], min(plane.cell, 45 * mm))
    return table([[text(words)]], [width], look, rowHeights=[height])
