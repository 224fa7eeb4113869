"""Vector charts of a study report: forest plot, bars of ratings, flow of readings."""

from __future__ import annotations

from math import ceil
from typing import Any

from reportlab.graphics import renderPDF
from reportlab.graphics.shapes import Drawing, Group, Line, Polygon, Rect, String
from reportlab.lib.colors import Color, black, white
from reportlab.platypus import Flowable

from reports import fonts
from reports.blocks import Bars, Estimate, Flow, Forest, Histograms, alternative
from reports.layout import WIDTH
from reports.tags import tagged

DARK = Color(0.16, 0.27, 0.42)
PALE = Color(0.88, 0.91, 0.95)
RULE = Color(0.7, 0.7, 0.7)
SIZE = 7.5
ROW = 12.0
PANELS = 3
NARROW = 10.0
"""Width of a bar's place, points, below which only the first and last bar are labelled."""


class Chart(Flowable):
    """A drawing in vectors with words that stand for it."""

    def __init__(self, drawing: Drawing, alt: str) -> None:
        super().__init__()
        self.drawing, self.alt = drawing, alt
        self.width, self.height = drawing.width, drawing.height
        self.spaceBefore, self.spaceAfter = 3, 4

    def wrap(self, *_: Any) -> tuple[float, float]:
        """Size, points."""
        return self.width, self.height

    def draw(self) -> None:
        """Draw it, tagged as a figure."""
        with tagged(self.canv, "Figure", self.alt):
            renderPDF.draw(self.drawing, self.canv, 0, 0)


def _canvas(height: float) -> Drawing:
    drawing = Drawing(WIDTH, height)
    drawing.initialFontName = fonts.REGULAR  # else the library names a font that is not embedded
    return drawing


def label(
    x: float,
    y: float,
    words: str,
    *,
    size: float = SIZE,
    font: str = fonts.REGULAR,
    anchor: str = "start",
    room: float | None = None,
    colour: Color = black,
) -> Group:
    """One line of text in any script; shortened where it is wider than `room` points."""
    if room is not None:
        words = fonts.shortened(words, size, room, font)
    wide = fonts.width(words, size, font)
    x -= {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
    group = Group()
    for name, run in fonts.runs(words.replace("\n", " "), font):
        group.add(String(x, y, run, fontName=name, fontSize=size, fillColor=colour))
        x += fonts.width(run, size, name)
    return group


def forests(block: Forest, most: int = 48) -> list[Chart]:
    """The forest plot; a long one in several parts of at most `most` rows."""
    rows = block.rows
    parts = [rows[i : i + most] for i in range(0, len(rows), most)]
    return [
        Chart(_forest(block, part), alternative(Forest(block.title, block.axis, part, 0, 1)))
        for part in parts
    ]


def _forest(block: Forest, rows: tuple[Estimate, ...]) -> Drawing:
    names, numbers = 62 * 2.835, 40 * 2.835
    left, right = names + 6, WIDTH - numbers - 6
    foot = 24.0
    height = foot + ROW * len(rows) + 4

    def place(value: float) -> float:
        share = (min(max(value, block.low), block.high) - block.low) / (block.high - block.low)
        return left + share * (right - left)

    drawing = _canvas(height)
    for tick in _ticks(block.low, block.high):
        x = place(tick)
        drawing.add(Line(x, foot - 3, x, height - 2, strokeColor=PALE, strokeWidth=0.4))
        drawing.add(label(x, foot - 11, f"{tick:g}", size=6.5, anchor="middle"))
    for mark in block.marks:
        x = place(mark)
        drawing.add(
            Line(x, foot, x, height - 2, strokeColor=RULE, strokeWidth=0.7, strokeDashArray=[2, 2])
        )
    drawing.add(Line(left, foot, right, foot, strokeColor=black, strokeWidth=0.5))
    drawing.add(label((left + right) / 2, 3, block.axis, size=7, anchor="middle"))
    for number, row in enumerate(rows):
        y = height - 4 - ROW * (number + 1) + 3
        if row.heading:
            drawing.add(label(0, y, row.label, font=fonts.BOLD, room=WIDTH))
            continue
        drawing.add(label(6, y, row.label, room=names - 6))
        drawing.add(label(right + 8, y, row.said, size=7, room=numbers))
        _whisker(drawing, block, row, y + SIZE * 0.36, place)
    return drawing


def _whisker(drawing: Drawing, block: Forest, row: Estimate, y: float, place: Any) -> None:
    """The interval as a line, an arrow where it leaves the axis, the estimate as a square."""
    if row.value is None:
        return
    if row.low is not None and row.high is not None:
        low, high = place(row.low), place(row.high)
        drawing.add(Line(low, y, high, y, strokeColor=DARK, strokeWidth=1.1))
        for end, value, step in ((low, row.low, 1.0), (high, row.high, -1.0)):
            if block.low <= value <= block.high:
                drawing.add(Line(end, y - 2.2, end, y + 2.2, strokeColor=DARK, strokeWidth=0.9))
            else:
                points = [end, y, end + 4 * step, y + 2.4, end + 4 * step, y - 2.4]
                drawing.add(Polygon(points, fillColor=DARK, strokeColor=None))
    if block.low <= row.value <= block.high:
        x = place(row.value)
        drawing.add(Rect(x - 2.3, y - 2.3, 4.6, 4.6, fillColor=DARK, strokeColor=white))


def _ticks(low: float, high: float) -> list[float]:
    for step in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0):
        if (high - low) / step <= 10.5:
            first = ceil(low / step - 1e-9)
            count = int((high - low) / step + 1e-9) + 1
            ticks = [round((first + i) * step, 6) for i in range(count)]
            return [tick + 0.0 for tick in ticks if tick <= high + 1e-9]
    return [low, high]


def histograms(block: Histograms) -> list[Chart]:
    """Rows of panels; all panels share one scale of height."""
    tallest = max((max(panel.counts, default=0) for panel in block.panels), default=0)
    rows = [block.panels[i : i + PANELS] for i in range(0, len(block.panels), PANELS)]
    made = []
    for row in rows:
        drawing = _canvas(84)
        wide = WIDTH / PANELS
        for number, panel in enumerate(row):
            _panel(drawing, panel, number * wide, wide - 12, max(1, tallest))
        made.append(Chart(drawing, alternative(Histograms(block.title, row))))
    return made


def _panel(drawing: Drawing, panel: Bars, left: float, wide: float, tallest: int) -> None:
    foot, room = 22.0, 42.0
    drawing.add(label(left, 75, panel.title, font=fonts.BOLD, room=wide))
    drawing.add(Line(left, foot, left + wide, foot, strokeColor=black, strokeWidth=0.5))
    step = wide / max(1, len(panel.counts))
    for i, (name, count) in enumerate(zip(panel.labels, panel.counts, strict=True)):
        middle, tall = left + (i + 0.5) * step, room * count / tallest
        bar = min(step * 0.72, 26)
        if count:
            drawing.add(Rect(middle - bar / 2, foot, bar, tall, fillColor=DARK, strokeColor=None))
        if step >= NARROW:
            drawing.add(label(middle, foot + tall + 2, str(count), size=6.5, anchor="middle"))
        if step >= NARROW or i in (0, len(panel.counts) - 1):
            room_here = max(step - 1, NARROW)
            drawing.add(label(middle, foot - 8, name, size=6.5, anchor="middle", room=room_here))
    drawing.add(label(left, 3, panel.aside, size=6.5, room=wide, colour=Color(0.3, 0.3, 0.3)))


def flow(block: Flow) -> Chart:
    """Boxes down the left, what was left out to the right of each."""
    wide, aside, line = WIDTH * 0.46, WIDTH * 0.42, 10.0
    heights = [line * len(box) + 8 for box, _ in block.steps]
    gaps = [max(16.0, line * len(out) + 12) if out else 16.0 for _, out in block.steps]
    height = sum(heights) + sum(gaps[:-1]) + 2
    drawing = _canvas(height)
    top = height - 1
    for number, ((box, out), tall, gap) in enumerate(zip(block.steps, heights, gaps, strict=True)):
        _box(drawing, box, 0, top, wide, PALE)
        below = top - tall
        if number < len(block.steps) - 1:
            middle = wide / 2
            drawing.add(Line(middle, below, middle, below - gap + 4, strokeWidth=0.8))
            tip = below - gap
            drawing.add(
                Polygon([middle, tip, middle - 3, tip + 5, middle + 3, tip + 5], fillColor=black)
            )
            if out:
                tall_out = line * len(out) + 8
                y = below - gap / 2
                drawing.add(Line(middle, y, WIDTH - aside, y, strokeWidth=0.8))
                _box(drawing, out, WIDTH - aside, y + tall_out / 2, aside, white)
        top = below - gap
    return Chart(drawing, alternative(block))


def _box(
    drawing: Drawing, lines: tuple[str, ...], left: float, top: float, wide: float, fill: Color
) -> None:
    tall = 10.0 * len(lines) + 8
    drawing.add(
        Rect(left, top - tall, wide, tall, fillColor=fill, strokeColor=RULE, strokeWidth=0.6)
    )
    for number, words in enumerate(lines):
        font = fonts.BOLD if number == 0 and fill is PALE else fonts.REGULAR
        drawing.add(
            label(left + 5, top - 12 - 10.0 * number, words, size=8, font=font, room=wide - 10)
        )
