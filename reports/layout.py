"""Page elements: text styles, tables of facts, and the words that many sections share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from reportlab.lib.colors import Color
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import CondPageBreak, Flowable, Paragraph, Spacer, Table

from engine.records import Explanation, Image
from reports import fonts
from reports.content import Report
from reports.tags import table_tags, tagged

PAGE = A4
MARGIN = 15 * mm
WIDTH = PAGE[0] - 2 * MARGIN
NOT_ASSESSED = "not assessed"
NOT_STATED = "not stated"

_RULE = Color(0.6, 0.6, 0.6)
_LONGEST = 20_000


@lru_cache(maxsize=32)
def style(kind: str, wide: bool = False) -> ParagraphStyle:
    """A text style: "body", "bold", "small", "title", "heading" or "subheading".

    Args:
        kind: Which.
        wide: True where lines may break between any two characters.
    """
    size, font, before, after = {
        "body": (8.5, fonts.REGULAR, 0, 2),
        "bold": (8.5, fonts.BOLD, 0, 2),
        "small": (7, fonts.REGULAR, 0, 1),
        "title": (15, fonts.BOLD, 0, 3),
        "heading": (11, fonts.BOLD, 9, 3),
        "subheading": (9, fonts.BOLD, 5, 2),
    }[kind]
    return ParagraphStyle(
        kind,
        fontName=font,
        fontSize=size,
        leading=size * 1.32,
        spaceBefore=before,
        spaceAfter=after,
        wordWrap="CJK" if wide else None,
        splitLongWords=1,
    )


class Words(Paragraph):
    """A paragraph that is tagged, and bookmarked where it is a heading."""

    tag = "P"
    level: int | None = None
    bookmark = ""

    def draw(self) -> None:
        """Draw the words within their tag."""
        if self.level is not None and hasattr(self.canv, "bookmark"):
            self.canv.bookmark(self.bookmark, self.level)
        with tagged(self.canv, self.tag):
            super().draw()


_TAGS = {"title": "H1", "heading": "H2", "subheading": "H3"}
_LEVELS = {"title": 0, "heading": 0, "subheading": 1}


def text(words: str, kind: str = "body") -> Paragraph:
    """A paragraph that prints the words literally, in any script; very long ones are cut."""
    if len(words) > _LONGEST:
        words = f"{words[:_LONGEST]} … ({len(words) - _LONGEST} more characters not printed)"
    look = style(kind, fonts.is_wide(words))
    made = Words(fonts.markup(words, look.fontName), look)
    if kind in _TAGS:
        made.tag, made.level, made.bookmark = _TAGS[kind], _LEVELS[kind], clipped(words, 90)
    return made


def section(title: str, kind: str = "heading") -> list[Flowable]:
    """A heading, moved to the next page where little room is left."""
    return [CondPageBreak(30 * mm), text(title, kind)]


def facts(rows: Sequence[tuple[str, str | Flowable]]) -> Table:
    """Rows of "element: response"; a response longer than a page flows on."""
    cells = [
        [text(name, "bold"), text(value) if isinstance(value, str) else value]
        for name, value in rows
    ]
    return grid(cells, (42 * mm, WIDTH - 42 * mm))


def grid(cells: Sequence[Sequence[Any]], widths: Sequence[float], header: bool = False) -> Table:
    """A table with hairlines between its rows, which may break within a row."""
    look: list[tuple[Any, ...]] = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 2),
        ("RIGHTPADDING", (0, 0), (-1, -1), 4),
        ("TOPPADDING", (0, 0), (-1, -1), 1.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
        ("LINEBELOW", (0, 0), (-1, -1), 0.25, _RULE),
    ]
    if header:
        look += [("BACKGROUND", (0, 0), (-1, 0), Color(0.9, 0.9, 0.9))]
    return table(
        cells,
        widths,
        look,
        repeatRows=int(header),
        splitInRow=1,
        spaceAfter=4,
        renderCB=table_tags,
    )


def table(
    cells: Sequence[Sequence[Any]],
    widths: Sequence[float],
    look: Sequence[tuple[Any, ...]],
    **options: Any,
) -> Table:
    """A table at the left margin that names no font but the embedded ones."""
    return Table(
        [list(row) for row in cells],
        colWidths=list(widths),
        style=[("FONTNAME", (0, 0), (-1, -1), fonts.REGULAR), *look],
        **{"hAlign": "LEFT", **options},
    )


def header_row(*names: str) -> list[Paragraph]:
    """Cells of a table's first row."""
    return [text(name, "bold") for name in names]


def gap(height_mm: float = 2.0) -> Spacer:
    """Empty space."""
    return Spacer(1, height_mm * mm)


def clipped(words: str, most: int = 120) -> str:
    """The words on one line, at most `most` characters, with an ellipsis where cut."""
    line = " ".join(words.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def method_title(name: str) -> str:
    """Name of an explanation method for people; the bare name of one that is not installed."""
    from engine.explainers import EXPLAINERS

    return EXPLAINERS[name].title if name in EXPLAINERS else clipped(name, 60)


def target_words(explanation: Explanation) -> str:
    """What is explained, in words; class-blind methods say so."""
    if explanation.settings.get("class_blind"):
        return "any class (class-blind method)"
    return clipped(explanation.target, 60)


def image_name(report: Report, index: int) -> str:
    """Such as "Image 1: mammography L CC"."""
    return f"Image {index + 1}: {kind_of(report.case.images[index])}"


def kind_of(image: Image) -> str:
    """Modality, laterality and view on one line."""
    words = [image.modality.value, image.laterality.value if image.laterality else ""]
    return clipped(" ".join(word for word in (*words, image.view or "") if word), 60)


def length(value_mm: float) -> str:
    """A length such as "12.3 mm" or "9.14 µm"."""
    return f"{value_mm:.3g} mm" if value_mm >= 0.1 else f"{1000 * value_mm:.3g} µm"


def percent(share: float) -> str:
    """A probability or share, such as "87.3 %"."""
    return f"{100 * share:.1f} %"


def plain(value: Any, most: int = 600) -> str:
    """A setting, metric or fact in one line of text."""
    if isinstance(value, Mapping):
        inner = "; ".join(f"{key}: {plain(item)}" for key, item in value.items())
        return clipped(inner or "none", most)
    if isinstance(value, (list, tuple)):
        return clipped(", ".join(plain(item) for item in value) or "none", most)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.4g}" if isinstance(value, float) else clipped(str(value), most)


def spoken(created: datetime) -> str:
    """Date, time and zone for people."""
    zone = created.strftime("%z")
    return f"{created:%Y-%m-%d %H:%M:%S} UTC{zone[:3]}:{zone[3:5]}"
