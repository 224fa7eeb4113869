"""Pages of a report: header and footer on each, bookmarks, tags; equal content, equal bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from typing import Any

from reportlab.lib.units import mm
from reportlab.lib.utils import TimeStamp
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, PageTemplate
from reportlab.platypus.doctemplate import LayoutError

from reports import fonts
from reports.errors import ReportError
from reports.figures import write
from reports.layout import MARGIN, PAGE, WIDTH
from reports.tags import Tags, artifact

HEAD = 13 * mm
FOOT_SIZE = 7.5


@dataclass(frozen=True)
class Furniture:
    """What stands on every page, and what the file says of itself.

    Args:
        title: Of the file; names no patient.
        left: First line of the header, such as the case; right: beside it, such as the report.
        below: Second line of the header; the page number stands beside it.
        banner: Intended use, in the footer.
        created: Time of the report, with zone.
    """

    title: str
    left: str
    right: str
    below: str
    banner: str
    created: datetime


def laid_out(story: Sequence[Flowable], furniture: Furniture) -> bytes:
    """The PDF; equal stories with equal furniture give equal bytes.

    Raises:
        ReportError: A part is too large for a page.
    """
    fonts.register()
    footer = wrapped(furniture.banner, WIDTH, FOOT_SIZE)
    foot = (len(footer) + 1) * FOOT_SIZE * 1.3
    stream = BytesIO()
    document = BaseDocTemplate(
        stream,
        pagesize=PAGE,
        title=furniture.title,
        author="Lightbox",
        subject="",
        creator="Lightbox",
        lang="en",
        invariant=1,
        allowSplitting=1,
    )
    bottom = 10 * mm + foot
    height = PAGE[1] - bottom - 10 * mm - HEAD
    frame = Frame(MARGIN, bottom, WIDTH, height, 0, 0, 0, 0)
    document.addPageTemplates([PageTemplate("page", [frame])])
    try:
        document.build(list(story), canvasmaker=partial(_Pages, furniture=furniture, footer=footer))
    except LayoutError:
        raise ReportError("A part of the report is too large for a page.") from None
    return stream.getvalue()


class _Pages(Canvas):
    """A canvas that draws header and footer once the number of pages is known."""

    def __init__(self, *args: Any, furniture: Furniture, footer: list[str], **options: Any) -> None:
        super().__init__(*args, **{**options, "initialFontName": fonts.REGULAR})
        self._doc._timeStamp = _stamp(furniture.created)
        self._furniture_, self._footer = furniture, footer
        self._kept: list[dict[str, Any]] = []
        self._bookmarks: list[tuple[int, str, int, float]] = []
        self.tags = Tags()
        self.setViewerPreference("DisplayDocTitle", "true")
        self.showOutline()

    @property
    def page_now(self) -> int:
        """Number of the page that is drawn, from 0."""
        return len(self._kept)

    def bookmark(self, title: str, level: int) -> None:
        """An entry of the outline that leads to this place; `level` from 0."""
        _, top = self.absolutePosition(0, 0)
        self._bookmarks.append((self.page_now, title, level, top))

    def showPage(self) -> None:  # noqa: N802 - the library's name
        """Keep the page until the end."""
        self._kept.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        """Finish all pages, then the outline and the tags."""
        for number, state in enumerate(self._kept):
            self.__dict__.update(state)
            self._furniture(number + 1, len(self._kept))
            for place, (page, _, _, top) in enumerate(self._bookmarks):
                if page == number:
                    self.bookmarkPage(f"part{place}", fit="XYZ", left=0, top=top + 16, zoom=0)
            Canvas.showPage(self)
        for place, (_, title, level, _) in enumerate(self._bookmarks):
            self.addOutlineEntry(title, f"part{place}", level)
        self.tags.write(self._doc)
        Canvas.save(self)

    def _furniture(self, number: int, total: int) -> None:
        with artifact(self):
            self._header(f"page {number} of {total}")
            step = FOOT_SIZE * 1.3
            start = 9 * mm + step * (len(self._footer) - 1)
            self.line(MARGIN, start + step, PAGE[0] - MARGIN, start + step)
            for row, line in enumerate(self._footer):
                write(self, MARGIN, start - row * step, line, FOOT_SIZE, fonts.BOLD)

    def _header(self, pages: str) -> None:
        said, top = self._furniture_, PAGE[1] - 10 * mm
        self.setFillGray(0.0)
        self.setStrokeGray(0.4)
        self.setLineWidth(0.5)
        room = WIDTH - fonts.width(said.right, 8) - 12
        left = fonts.shortened(said.left, 9, room, fonts.BOLD)
        write(self, MARGIN, top - 9, left, 9, fonts.BOLD)
        write(self, PAGE[0] - MARGIN - fonts.width(said.right, 8), top - 9, said.right, 8)
        room = WIDTH - fonts.width(pages, 8) - 12
        write(self, MARGIN, top - 20, fonts.shortened(said.below, 8, room), 8)
        write(self, PAGE[0] - MARGIN - fonts.width(pages, 8), top - 20, pages, 8)
        self.line(MARGIN, top - 25, PAGE[0] - MARGIN, top - 25)


def _stamp(created: datetime) -> TimeStamp:
    """The time of the report, UTC, in the form that the PDF library keeps."""
    moment = created.astimezone(UTC)
    stamp = TimeStamp(1)
    stamp.t = moment.timestamp()
    stamp.lt = moment.timetuple()
    stamp.YMDhms = tuple(stamp.lt)[:6]
    return stamp


def wrapped(words: str, limit: float, size: float) -> list[str]:
    """Lines no wider than the limit; words longer than a line are broken."""
    lines = [""]
    for word in words.split():
        for piece in _broken(word, limit, size):
            longer = f"{lines[-1]} {piece}".strip()
            if fonts.width(longer, size, fonts.BOLD) <= limit:
                lines[-1] = longer
            else:
                lines.append(piece)
    return lines


def _broken(word: str, limit: float, size: float) -> list[str]:
    pieces = [""]
    for char in word:
        if pieces[-1] and fonts.width(pieces[-1] + char, size, fonts.BOLD) > limit:
            pieces.append("")
        pieces[-1] += char
    return pieces
