"""Report to PDF: pages with header and footer, stable bytes, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from datetime import UTC
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from reportlab.lib.units import mm
from reportlab.lib.utils import TimeStamp
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, PageTemplate
from reportlab.platypus.doctemplate import LayoutError

from reports import fonts, sections
from reports.content import Report
from reports.errors import ReportError
from reports.figures import write
from reports.layout import MARGIN, PAGE, WIDTH, gap, kind_of, text
from reports.plates import pictures

HEAD = 13 * mm
FOOT_SIZE = 7.5
TITLE = "Lightbox report"


def write_pdf(report: Report, destination: Path) -> str:
    """Write the report to a file, and return the SHA-256 of its bytes, hexadecimal.

    The file appears complete or not at all; an existing one is replaced.

    Raises:
        ReportError: The pages could not be laid out, or the file could not be written.
    """
    data = pdf_bytes(report)
    part = None
    try:
        handle, name = tempfile.mkstemp(dir=destination.parent, prefix=".report-", suffix=".part")
        part = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(destination)
    except OSError:
        if part is not None:
            part.unlink(missing_ok=True)
        raise ReportError(
            "The report could not be saved: the disk is full or the folder cannot be written."
        ) from None
    return hashlib.sha256(data).hexdigest()


def pdf_bytes(report: Report) -> bytes:
    """The PDF of a report; the same report gives the same bytes.

    Raises:
        EngineError: A map holds values that are not numbers, or a window has no width.
        ReportError: The pages could not be laid out.
    """
    fonts.register()
    footer = _wrapped(report.banner, WIDTH, FOOT_SIZE)
    foot = (len(footer) + 1) * FOOT_SIZE * 1.3
    stream = BytesIO()
    document = BaseDocTemplate(
        stream,
        pagesize=PAGE,
        title=TITLE,
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
        document.build(_story(report), canvasmaker=partial(_Pages, report=report, footer=footer))
    except LayoutError:
        raise ReportError("A part of the report is too large for a page.") from None
    return stream.getvalue()


def _story(report: Report) -> list[Flowable]:
    return [
        text("AI explanation report", "title"),
        text(
            f"Case {report.case.id}. Report {report.id}, {report.status}, "
            f"{sections.created(report)}."
        ),
        gap(1),
        *sections.analysed(report),
        *sections.result(report),
        *pictures(report),
        *sections.ratings(report),
        *sections.limits(report),
        *sections.conclusion(),
        *sections.provenance(report),
    ]


class _Pages(Canvas):
    """A canvas that draws header and footer once the number of pages is known."""

    def __init__(self, *args: Any, report: Report, footer: list[str], **options: Any) -> None:
        super().__init__(*args, **{**options, "initialFontName": fonts.REGULAR})
        self._doc._timeStamp = _stamp(report)
        self._report, self._footer = report, footer
        self._kept: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802 - the library's name
        """Keep the page until the end."""
        self._kept.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        """Finish all pages."""
        for number, state in enumerate(self._kept, 1):
            self.__dict__.update(state)
            self._furniture(number, len(self._kept))
            Canvas.showPage(self)
        Canvas.save(self)

    def _furniture(self, number: int, total: int) -> None:
        report, top = self._report, PAGE[1] - 10 * mm
        kinds = dict.fromkeys(kind_of(image) for image in report.case.images)
        pages = f"page {number} of {total}"
        identity = f"Report {report.id} ({report.status})"
        self.setFillGray(0.0)
        self.setStrokeGray(0.4)
        self.setLineWidth(0.5)
        room = WIDTH - fonts.width(identity, 8) - 12
        case = fonts.shortened(f"Case {report.case.id}", 9, room, fonts.BOLD)
        write(self, MARGIN, top - 9, case, 9, fonts.BOLD)
        write(self, PAGE[0] - MARGIN - fonts.width(identity, 8), top - 9, identity, 8)
        room = WIDTH - fonts.width(pages, 8) - 12
        write(self, MARGIN, top - 20, fonts.shortened("; ".join(kinds), 8, room), 8)
        write(self, PAGE[0] - MARGIN - fonts.width(pages, 8), top - 20, pages, 8)
        self.line(MARGIN, top - 25, PAGE[0] - MARGIN, top - 25)
        step = FOOT_SIZE * 1.3
        start = 9 * mm + step * (len(self._footer) - 1)
        self.line(MARGIN, start + step, PAGE[0] - MARGIN, start + step)
        for row, line in enumerate(self._footer):
            write(self, MARGIN, start - row * step, line, FOOT_SIZE, fonts.BOLD)


def _stamp(report: Report) -> TimeStamp:
    """The time of the report, UTC, in the form that the PDF library keeps."""
    moment = report.created.astimezone(UTC)
    stamp = TimeStamp(1)
    stamp.t = moment.timestamp()
    stamp.lt = moment.timetuple()
    stamp.YMDhms = tuple(stamp.lt)[:6]
    return stamp


def _wrapped(words: str, limit: float, size: float) -> list[str]:
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
