"""Storage: records in, records out; SQLAlchemy and array files stay in this package."""

from app.store.rows import (
    AuditEntry,
    CaseStatus,
    CaseSummary,
    EvidenceRow,
    ExplanationRow,
    MapInfo,
    ReportInfo,
)
from app.store.store import Store

__all__ = [
    "AuditEntry",
    "CaseStatus",
    "CaseSummary",
    "EvidenceRow",
    "ExplanationRow",
    "MapInfo",
    "ReportInfo",
    "Store",
]
