"""Data sets in the database: where a manifest lies, and what its last check has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select

from app.errors import InvalidInput, NotFound
from app.store.database import Database, json_text, plain, serialise
from app.store.work import DatasetInfo
from app.store.work_tables import DatasetRow

ABSENT = "There is no such data set."


class DatasetRows(Database):
    """Keeps data sets."""

    def add_dataset(
        self,
        name: str,
        who: str,
        *,
        path: str,
        classes: Sequence[str],
        grades: Sequence[str],
    ) -> DatasetInfo:
        """Register a data set.

        Raises:
            InvalidInput: The name is taken.
        """
        row = DatasetRow(
            name=plain(name),
            created=datetime.now(UTC),
            who=who,
            path=plain(path),
            classes=[plain(each) for each in classes],
            grades=[plain(each) for each in grades],
            digest="",
        )
        taken = select(DatasetRow.id).where(func.lower(DatasetRow.name) == row.name.lower())
        with self._writing() as session:
            serialise(session)
            if session.scalar(taken) is not None:
                raise InvalidInput("There is a data set of this name already.")
            session.add(row)
            session.flush()
            return _public(row)

    def dataset(self, dataset_id: int) -> DatasetInfo:
        """A data set.

        Raises:
            NotFound: There is no such data set.
        """
        with self._reading() as session:
            row = session.get(DatasetRow, dataset_id)
            if row is None:
                raise NotFound(ABSENT)
            return _public(row)

    def datasets(self) -> list[DatasetInfo]:
        """All data sets, newest first."""
        with self._reading() as session:
            rows = session.scalars(select(DatasetRow).order_by(DatasetRow.id.desc()))
            return [_public(row) for row in rows]

    def change_dataset(
        self,
        dataset_id: int,
        *,
        path: str | None = None,
        run_id: int | None = None,
        digest: str | None = None,
        found: Mapping[str, Any] | None = None,
    ) -> DatasetInfo:
        """Change what is given.

        Raises:
            NotFound: There is no such data set. InvalidInput: What was found cannot be stored.
        """
        _check(found)
        given = {"path": path, "run_id": run_id, "digest": digest, "found": found}
        with self._writing() as session:
            row = session.get(DatasetRow, dataset_id)
            if row is None:
                raise NotFound(ABSENT)
            for name, value in given.items():
                if value is not None:
                    setattr(row, name, dict(value) if isinstance(value, Mapping) else value)
            session.flush()
            return _public(row)

    def remove_dataset(self, dataset_id: int) -> None:
        """Forget a data set.

        Raises:
            NotFound: There is no such data set.
        """
        with self._writing() as session:
            row = session.get(DatasetRow, dataset_id)
            if row is None:
                raise NotFound(ABSENT)
            session.delete(row)


def _check(found: Mapping[str, Any] | None) -> None:
    try:
        json_text(found)
    except (ValueError, TypeError):
        raise InvalidInput("What the check found cannot be stored.") from None


def _public(row: DatasetRow) -> DatasetInfo:
    return DatasetInfo(
        id=row.id,
        name=row.name,
        created=row.created,
        who=row.who,
        path=row.path,
        classes=tuple(row.classes),
        grades=tuple(row.grades),
        digest=row.digest,
        found=row.found,
        run_id=row.run_id,
    )
