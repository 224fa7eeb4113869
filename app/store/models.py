"""Models in the database: which are installed, which one serves, and how many answers each has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import InvalidInput, NotFound, StaleRecord
from app.store.database import Database, serialise
from app.store.tables import RatingRow
from app.store.work import ActivationInfo, ModelInfo
from app.store.work_tables import ActivationRow, ModelRow

ABSENT = "There is no such model."
TAKEN = "There is a model of this name already; please choose another name."

RATED = "Readers have rated its maps, and their answers are tied to its weights."
CHANGED = "Somebody else has just changed the model in use; please look at the list again."
REPLACED = "The model was deleted or replaced meanwhile; please look at the list again."


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
        place: Callable[[], None] | None = None,
    ) -> ModelInfo:
        """Note a model.

        Args:
            place: Puts its files where they belong; called when the name is known to be free and
                while nobody else can take it. When it fails, nothing is noted.

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
            if place is not None:
                place()
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

    def remove_model(self, name: str, *, after: int | None = None) -> None:
        """Forget a model that nobody has rated.

        Args:
            after: Number of the last change of the model in use that the caller knows, 0 for none,
                since what is in use and what a roll-back returns to depend on these.

        Raises:
            NotFound: There is no such model. InvalidInput: Readers have rated its maps.
            StaleRecord: The model in use was changed since the caller looked.
        """
        with self._writing() as session:
            serialise(session)
            row = session.get(ModelRow, name)
            if row is None:
                raise NotFound(ABSENT)
            if after is not None and _last_change(session) != after:
                raise StaleRecord(CHANGED)
            rated = select(func.count()).where(RatingRow.weights_digest == row.digest)
            if session.scalar(rated):
                raise InvalidInput(RATED)
            session.delete(row)

    def while_free(self, name: str, work: Callable[[], None]) -> None:
        """Do something unless there is a model of this name; none can come meanwhile."""
        with self._writing() as session:
            serialise(session)
            if session.get(ModelRow, name) is None:
                work()

    def add_activation(
        self,
        model: str,
        digest: str,
        who: str,
        kind: str = "activate",
        *,
        after: int | None = None,
        shipped: bool = False,
    ) -> ActivationInfo | None:
        """Let a model serve from now on.

        Args:
            kind: "activate" or "roll_back".
            after: Number of the last change that the caller knows, 0 for none; when there was
                another one since, nothing is changed and the answer is None.
            shipped: Whether it ships with Lightbox, so that no row names it.

        Raises:
            StaleRecord: There is no model of this name and these weights, or no more.
        """
        row = ActivationRow(
            model=model, digest=digest, kind=kind, who=who, created=datetime.now(UTC)
        )
        with self._writing() as session:
            serialise(session)
            if after is not None and _last_change(session) != after:
                return None
            installed = None if shipped else session.get(ModelRow, model)
            if not shipped and (installed is None or installed.digest != digest):
                raise StaleRecord(REPLACED)
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


def _last_change(session: Session) -> int:
    """Number of the last activation; 0 when there is none."""
    return session.scalar(select(func.max(ActivationRow.id))) or 0


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
