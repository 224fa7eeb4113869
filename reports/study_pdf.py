"""A study report as PDF, and the same content as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from reportlab.platypus import Flowable

from engine.study.analysis import analysis_to_json
from reports import fonts
from reports.layout import clipped, gap, spoken, text
from reports.pages import Furniture, laid_out
from reports.study_content import LAYOUT, StudyReport
from reports.typeset import flowables

TITLE = "Lightbox study report"


def study_pdf_bytes(report: StudyReport) -> bytes:
    """The PDF of a study; the same report gives the same bytes.

    Raises:
        ReportError: The pages could not be laid out.
    """
    fonts.register()
    facts = report.facts
    furniture = Furniture(
        title=TITLE,
        left=f"Study {facts.code}, version {facts.version}",
        right=f"Report {report.id} ({report.status})",
        below=clipped(facts.protocol.title, 90),
        banner=report.banner,
        created=report.created,
    )
    story: list[Flowable] = [
        text(report.title, "title"),
        text(
            f"Study {facts.code}. Report {report.id}, {report.status}, {spoken(report.created)}. "
            "Reliability and agreement between readers, reported by GRRAS."
        ),
        text(f"Content digest (SHA-256): {report.digest}", "small"),
        gap(1),
        *flowables(report.sections),
    ]
    return laid_out(story, furniture)


def study_report_json(report: StudyReport) -> bytes:
    """The same content as the PDF, and every number of the analysis, as UTF-8 JSON."""
    facts = report.facts
    content: dict[str, Any] = {
        "report": report.id,
        "title": report.title,
        "status": report.status,
        "created": report.created.isoformat(),
        "digest_sha256": report.digest,
        "layout": LAYOUT,
        "banner": report.banner,
        "study": {
            "code": facts.code,
            "version": facts.version,
            "state": facts.state.value,
            "unblinded": facts.unblinded,
            "digests": dict(sorted(facts.digests.items())),
            "deviations": list(facts.deviations),
        },
        "provenance": asdict(report.provenance),
        "grras": [asdict(item) for item in report.grras],
        "sections": [section.as_json() for section in report.sections],
        "analysis": analysis_to_json(report.analysis),
    }
    return (json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
