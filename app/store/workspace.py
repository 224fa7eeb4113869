"""The folder of a workspace beside its database: where the arrays of a case lie."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.settings import Secret
from app.store.arrays import Array, Verifier, sweep_drafts, write_array
from app.store.database import BUSY_MS, Database
from app.store.failures import translated
from app.store.tables import CaseRow


class Workspace(Database):
    """A database together with the folder of its arrays.

    Args:
        folder: The workspace; made when it does not exist.
        url: SQLAlchemy URL of the database.
        busy_ms: How long a writer waits for another one, milliseconds.
    """

    def __init__(self, folder: Path, url: str | Secret, *, busy_ms: int = BUSY_MS) -> None:
        self.cases_folder = folder / "cases"
        self._arrays = Verifier()
        with translated():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(url, busy_ms=busy_ms)
        sweep_drafts(self.cases_folder)

    def _folder(self, case: CaseRow | str) -> Path:
        """Folder of a case; its name was made by the store."""
        return self.cases_folder / (case if isinstance(case, str) else case.folder)

    @contextmanager
    def _new_files(self, case: CaseRow, kind: str) -> Iterator[NewFiles]:
        """Arrays to be written beside a case; removed when the block fails."""
        files = NewFiles(self._folder(case), kind)
        try:
            yield files
        except BaseException:
            files.remove()
            raise


class NewFiles:
    """Arrays written for one record, under names that nothing else has."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._prefix = f"{kind}/{secrets.token_hex(8)}"
        self._written: list[Path] = []

    def write(self, values: Array) -> tuple[str, str]:
        """Write an array; its name within the case's folder, and its SHA-256."""
        name = f"{self._prefix}-{len(self._written)}.npy"
        digest = write_array(self._folder / name, values, drafts=self._folder.parent)
        self._written.append(self._folder / name)
        return name, digest

    def remove(self) -> None:
        """Take back what was written."""
        for path in self._written:
            path.unlink(missing_ok=True)
