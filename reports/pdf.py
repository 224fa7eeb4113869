"""Report to PDF: pages with header and footer, stable bytes, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from reportlab.platypus import Flowable

from reports import sections
from reports.content import Report
from reports.errors import ReportError
from reports.evidence import numbers
from reports.layout import gap, kind_of, spoken, text
from reports.pages import Furniture, laid_out
from reports.plates import pictures

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
    kinds = dict.fromkeys(kind_of(image) for image in report.case.images)
    furniture = Furniture(
        title=TITLE,
        left=f"Case {report.case.id}",
        right=f"Report {report.id} ({report.status})",
        below="; ".join(kinds),
        banner=report.banner,
        created=report.created,
    )
    return laid_out(_story(report), furniture)


def _story(report: Report) -> list[Flowable]:
    return [
        text("AI explanation report", "title"),
        text(
            f"Case {report.case.id}. Report {report.id}, {report.status}, {spoken(report.created)}."
        ),
        gap(1),
        *sections.analysed(report),
        *sections.result(report),
        *pictures(report),
        *numbers(report),
        *sections.ratings(report),
        *sections.limits(report),
        *sections.conclusion(),
        *sections.provenance(report),
    ]
