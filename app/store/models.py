"""Models in the database: which are installed, which one serves, and how many answers each has."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import func, select

from app.errors import InvalidInput, NotFound
from app.store.database import Database, serialise
from app.store.tables import RatingRow
from app.store.work import ActivationInfo, ModelInfo
from app.store.work_tables import ActivationRow, ModelRow

ABSENT = "There is no such model."
TAKEN = "There is a model of this name already; please choose another name."


class ModelRows(Database):
    """Keeps models and activations; the files of models are not its business."""

    def add_model(
        self,
        name: str,
        who: str,
        *,
        digest: str,
        card_digest: str,
        origin: str,
        parent: str = "",
        run_id: int | None = None,
    ) -> ModelInfo:
        """Note a model whose files are in place.

        Raises:
            InvalidInput: The name is taken.
        """
        row = ModelRow(
            name=name,
            digest=digest,
            card_digest=card_digest,
            origin=origin,
            created=datetime.now(UTC),
            who=who,
            parent=parent,
            run_id=run_id,
        )
        with self._writing() as session:
            serialise(session)
            if session.get(ModelRow, name) is not None:
                raise InvalidInput(TAKEN)
            session.add(row)
            session.flush()
            return _model(row)

    def model(self, name: str) -> ModelInfo | None:
        """A model, or None."""
        with self._reading() as session:
            row = session.get(ModelRow, name)
            return None if row is None else _model(row)

    def models(self) -> list[ModelInfo]:
        """All models of the workspace, by name."""
        with self._reading() as session:
            return [_model(row) for row in session.scalars(select(ModelRow).order_by("name"))]

    def remove_model(self, name: str) -> None:
        """Forget a model.

        Raises:
            NotFound: There is no such model.
        """
        with self._writing() as session:
            row = session.get(ModelRow, name)
            if row is None:
                raise NotFound(ABSENT)
            session.delete(row)

    def add_activation(
        self, model: str, digest: str, who: str, kind: str = "activate", *, after: int | None = None
    ) -> ActivationInfo | None:
        """Let a model serve from now on.

        Args:
            kind: "activate" or "roll_back".
            after: Number of the last change that the caller knows, 0 for none; when there was
                another one since, nothing is changed and the answer is None.
        """
        row = ActivationRow(
            model=model, digest=digest, kind=kind, who=who, created=datetime.now(UTC)
        )
        last = select(func.max(ActivationRow.id))
        with self._writing() as session:
            serialise(session)
            if after is not None and (session.scalar(last) or 0) != after:
                return None
            session.add(row)
            session.flush()
            return _activation(row)

    def activations(self) -> list[ActivationInfo]:
        """All changes of the model that serves, oldest first."""
        with self._reading() as session:
            rows = session.scalars(select(ActivationRow).order_by(ActivationRow.id))
            return [_activation(row) for row in rows]

    def active_model(self) -> str:
        """Name of the model that was activated last; empty when none was."""
        wanted = select(ActivationRow.model).order_by(ActivationRow.id.desc()).limit(1)
        with self._reading() as session:
            return session.scalar(wanted) or ""

    def ratings_by_weights(self) -> dict[str, int]:
        """Number of answers of readers by digest of the weights they were given on.

        An answer that was changed counts once.
        """
        counted = (
            select(RatingRow.weights_digest, func.count())
            .where(RatingRow.revision == 1)
            .group_by(RatingRow.weights_digest)
        )
        with self._reading() as session:
            return {row[0]: row[1] for row in session.execute(counted)}


def _model(row: ModelRow) -> ModelInfo:
    return ModelInfo(
        name=row.name,
        digest=row.digest,
        card_digest=row.card_digest,
        origin=row.origin,
        created=row.created,
        who=row.who,
        parent=row.parent,
        run_id=row.run_id,
    )


def _activation(row: ActivationRow) -> ActivationInfo:
    return ActivationInfo(row.id, row.model, row.digest, row.kind, row.who, row.created)
