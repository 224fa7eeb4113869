"""Reports: a frozen snapshot of a case or of a reader study, and what is printed from it."""

from reports.case_json import case_json
from reports.content import Provenance, Report, compose
from reports.errors import ReportError
from reports.pdf import pdf_bytes, write_pdf
from reports.study_content import StudyReport, compose_study
from reports.study_pdf import study_pdf_bytes, study_report_json

__all__ = [
    "Provenance",
    "Report",
    "ReportError",
    "StudyReport",
    "case_json",
    "compose",
    "compose_study",
    "pdf_bytes",
    "study_pdf_bytes",
    "study_report_json",
    "write_pdf",
]
