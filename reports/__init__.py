"""Reports: a frozen snapshot of one case, and the PDF printed from it."""

from reports.content import Provenance, Report, compose
from reports.errors import ReportError
from reports.pdf import pdf_bytes, write_pdf

__all__ = ["Provenance", "Report", "ReportError", "compose", "pdf_bytes", "write_pdf"]
