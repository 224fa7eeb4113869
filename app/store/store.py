"""The store: one object behind which database and array files stay hidden."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from app.errors import NotFound
from app.settings import DATABASE_NAME, Secret, Settings
from app.store.accounts import AccountRows
from app.store.audit import AuditTrail
from app.store.cases import Cases
from app.store.database import BUSY_MS, has_file
from app.store.datasets import DatasetRows
from app.store.evidence import EvidenceRows
from app.store.models import ModelRows
from app.store.ratings import Ratings
from app.store.reports import Reports
from app.store.results import Results
from app.store.runs import RunRows
from app.store.studies import Studies
from app.store.study_answers import StudyAnswers
from app.store.study_outcomes import StudyOutcomes


class Store(
    Cases,
    Results,
    EvidenceRows,
    Ratings,
    Reports,
    RunRows,
    DatasetRows,
    ModelRows,
    AccountRows,
    Studies,
    StudyAnswers,
    StudyOutcomes,
    AuditTrail,
):
    """Records in, records out; each call is one transaction. Safe to share between threads.

    Args:
        workspace: Folder of the arrays; made when it does not exist.
        url: SQLAlchemy URL; a SQLite file in the workspace when None.
        busy_ms: How long a writer waits for another one, milliseconds (SQLite).

    Raises:
        NewerDatabase: The database was written by a newer version; it is left as it is.
        StorageFailed: The workspace or the database cannot be opened.
    """

    def __init__(
        self, workspace: Path, url: str | Secret | None = None, *, busy_ms: int = BUSY_MS
    ) -> None:
        default = f"sqlite:///{(workspace / DATABASE_NAME).absolute().as_posix()}"
        super().__init__(workspace, url or default, busy_ms=busy_ms)

    @classmethod
    def open(cls, settings: Settings) -> Store:
        """The store of these settings; as the constructor."""
        return cls(settings.workspace, settings.database)

    @classmethod
    def existing(cls, settings: Settings) -> Store:
        """The store of these settings, which is not made where there is none.

        Raises:
            NotFound: There is no database; else as the constructor.
        """
        if not has_file(settings.database):
            raise NotFound("There is no Lightbox database in this place.")
        return cls.open(settings)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
