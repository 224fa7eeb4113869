"""What stands in a study report, before it is paper or JSON: sections of words, tables and charts.

The PDF and the JSON are made of the same blocks, so that they cannot tell two stories.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Words:
    """A paragraph.

    Args:
        text: The words.
        kind: "body", "bold", "small", "subheading", all of which stay with what follows; or
            "note", small and below what it speaks of.
    """

    text: str
    kind: str = "body"


@dataclass(frozen=True)
class Pairs:
    """Rows of element and response."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Grid:
    """A table.

    Args:
        header: Names of the columns. rows: Cells, as text. shares: Relative widths of the columns.
        title: Above the table; empty for none.
        empty: What to say where there is no row.
        once: Whether the first cell is printed only where it differs from the one above.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    shares: tuple[float, ...]
    title: str = ""
    empty: str = "None."
    once: bool = False


@dataclass(frozen=True)
class Estimate:
    """One row of a forest plot; `value` None where undefined, ends None without an interval.

    Args:
        label: What is estimated. said: The numbers in words. heading: A row without estimate.
    """

    label: str
    value: float | None
    low: float | None
    high: float | None
    said: str
    heading: bool = False


@dataclass(frozen=True)
class Forest:
    """Estimates with intervals on one axis.

    Args:
        title: Above the plot. axis: Name of the axis. rows: From the top down.
        low, high: Ends of the axis. marks: Values with a reference line.
    """

    title: str
    axis: str
    rows: tuple[Estimate, ...]
    low: float
    high: float
    marks: tuple[float, ...] = (0.0,)


@dataclass(frozen=True)
class Bars:
    """Counts of one question in one condition.

    Args:
        title: Of the panel. labels: Of the bars. counts: Their heights. aside: Below the bars.
    """

    title: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    aside: str = ""


@dataclass(frozen=True)
class Histograms:
    """Panels of counts side by side, on one scale of height."""

    title: str
    panels: tuple[Bars, ...]


@dataclass(frozen=True)
class Flow:
    """Boxes one below the other, each with what left before it.

    Args:
        title: Above the chart. steps: (lines of the box, lines of what left after it).
    """

    title: str
    steps: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


Block = Words | Pairs | Grid | Forest | Histograms | Flow


@dataclass(frozen=True)
class Section:
    """A numbered part of a report."""

    title: str
    blocks: tuple[Block, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain types; each block names its kind."""
        blocks = [{"block": type(b).__name__.lower(), **asdict(b)} for b in self.blocks]
        return {"title": self.title, "blocks": blocks}


def alternative(block: Forest | Histograms | Flow) -> str:
    """Words that stand for a chart."""
    if isinstance(block, Forest):
        rows = "; ".join(f"{row.label}: {row.said}" for row in block.rows if not row.heading)
        return f"Forest plot, {block.title}. {rows}."
    if isinstance(block, Flow):
        return f"Flow chart, {block.title}. " + " Then: ".join(
            ", ".join(box) + (f" (left out: {', '.join(out)})" if out else "")
            for box, out in block.steps
        )
    panels = (
        f"{p.title}: " + ", ".join(f"{n} of {c}" for n, c in zip(p.counts, p.labels, strict=True))
        for p in block.panels
    )
    return f"Bar charts, {block.title}. " + "; ".join(panels) + "."
