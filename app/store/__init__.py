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
from app.store.study_answers import HandedIn, Submission
from app.store.study_outcomes import CaseFacts, Outcome
from app.store.study_rows import By, Deviation, Given, OutputInfo
from app.store.study_standing import ReadingInfo, Standing, StudyInfo, StudyReaderInfo
from app.store.work import ActivationInfo, DatasetInfo, ModelInfo, RunInfo

__all__ = [
    "ActivationInfo",
    "AuditEntry",
    "By",
    "CaseFacts",
    "CaseStatus",
    "CaseSummary",
    "DatasetInfo",
    "Deviation",
    "EvidenceRow",
    "ExplanationRow",
    "Given",
    "HandedIn",
    "MapInfo",
    "ModelInfo",
    "Outcome",
    "OutputInfo",
    "ReadingInfo",
    "ReportInfo",
    "RunInfo",
    "Standing",
    "Store",
    "StudyInfo",
    "StudyReaderInfo",
    "Submission",
]
