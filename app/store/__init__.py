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
from app.store.work import ActivationInfo, DatasetInfo, ModelInfo, RunInfo

__all__ = [
    "ActivationInfo",
    "AuditEntry",
    "CaseStatus",
    "CaseSummary",
    "DatasetInfo",
    "EvidenceRow",
    "ExplanationRow",
    "MapInfo",
    "ModelInfo",
    "ReportInfo",
    "RunInfo",
    "Store",
]
