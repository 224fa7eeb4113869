"""Results: predictions and explanations, never edited; a new run is a new row."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from app.errors import InvalidInput, NotFound
from app.store.arrays import Array
from app.store.convert import prediction_of, prediction_row, region_of, region_row
from app.store.database import json_text
from app.store.rows import ExplanationRow, MapInfo
from app.store.tables import (
    CaseRow,
    ExplanationRecord,
    MapRecord,
    PredictionRow,
    RegionRow,
)
from app.store.workspace import NewFiles, Workspace
from engine.records import BoolArray, Explanation, HeatMap, Prediction, Region

REGIONS = (selectinload(PredictionRow.regions), selectinload(PredictionRow.case))
MAPS = (selectinload(ExplanationRecord.maps), selectinload(ExplanationRecord.case))


class Results(Workspace):
    """Keeps what models and explanation methods said."""

    def keep_prediction(self, case_id: str, prediction: Prediction) -> int:
        """Store a prediction with the masks of its regions; its number.

        Raises:
            NotFound: There is no such case.
            InvalidInput: A region does not fit its image.
            StorageFailed: The disk is full, or the database busy.
        """
        case = self._case_row(case_id)
        with self._new_files(case, "masks") as files:
            row = prediction_row(case.id, prediction)
            row.regions = [
                _region(case, n, region, files) for n, region in enumerate(prediction.regions)
            ]
            return self._add(row)

    def prediction(self, prediction_id: int) -> Prediction:
        """The prediction of a number.

        Raises:
            NotFound: There is no such prediction.
            StorageFailed: A stored mask is missing or damaged.
        """
        with self._reading() as session:
            row = session.get(PredictionRow, prediction_id, options=REGIONS)
        if row is None:
            raise NotFound("There is no such prediction.")
        return self._prediction(row)

    def latest_prediction(self, case_id: str, weights_digest: str) -> tuple[int, Prediction] | None:
        """Number and record of the newest prediction of a case by these weights, or None.

        Raises:
            StorageFailed: A stored mask is missing or damaged.
        """
        wanted = select(PredictionRow).where(
            PredictionRow.case_id == case_id, PredictionRow.weights_digest == weights_digest
        )
        wanted = wanted.order_by(PredictionRow.id.desc()).limit(1).options(*REGIONS)
        with self._reading() as session:
            row = session.scalar(wanted)
        return None if row is None else (row.id, self._prediction(row))

    def keep_explanation(self, case_id: str, prediction_id: int, explanation: Explanation) -> int:
        """Store an explanation with its heat maps; its number.

        Raises:
            NotFound: There is no such case, or it has no such prediction.
            InvalidInput: A map does not fit its image, or a setting cannot be stored.
            StorageFailed: The disk is full, or the database busy.
        """
        case = self._case_row(case_id)
        self._check_prediction(case.id, prediction_id)
        with self._new_files(case, "heat") as files:
            row = ExplanationRecord(
                case_id=case.id,
                prediction_id=prediction_id,
                method=explanation.method,
                target=explanation.target,
                settings=_checked(dict(explanation.settings)),
                model=explanation.model,
                weights_digest=explanation.weights_digest,
                seconds=float(explanation.seconds),
            )
            row.maps = [_map(case, n, heat, files) for n, heat in enumerate(explanation.maps)]
            return self._add(row)

    def explanation(self, explanation_id: int) -> Explanation:
        """The explanation of a number, with its heat maps.

        Raises:
            NotFound: There is no such explanation.
            StorageFailed: A stored map is missing or damaged.
        """
        row = self._explanation(explanation_id)
        return Explanation(
            method=row.method,
            target=row.target,
            maps=tuple(self._heat_map(row, heat) for heat in row.maps),
            settings=dict(row.settings),
            model=row.model,
            weights_digest=row.weights_digest,
            seconds=row.seconds,
        )

    def explanation_row(self, explanation_id: int) -> ExplanationRow:
        """The explanation of a number, without arrays.

        Raises:
            NotFound: There is no such explanation.
        """
        return _public(self._explanation(explanation_id))

    def explanations(self, case_id: str, weights_digest: str | None = None) -> list[ExplanationRow]:
        """Explanations of a case without arrays, newest first; of all weights when None."""
        wanted = select(ExplanationRecord).where(ExplanationRecord.case_id == case_id)
        if weights_digest is not None:
            wanted = wanted.where(ExplanationRecord.weights_digest == weights_digest)
        wanted = wanted.order_by(ExplanationRecord.id.desc())
        with self._reading() as session:
            rows = session.scalars(wanted.options(*MAPS))
            return [_public(row) for row in rows]

    def heat(self, explanation_id: int, n: int) -> Array:
        """Values of the n-th heat map, (H, W) float32, read-only and mapped from the file.

        Raises:
            NotFound: There is no such explanation or map.
            StorageFailed: The stored map is missing or damaged.
        """
        row = self._explanation(explanation_id)
        if not 0 <= n < len(row.maps):
            raise NotFound("The explanation has no such map.")
        heat = row.maps[n]
        return self._arrays.read(self._folder(row.case) / heat.file, heat.digest, mapped=True)

    def _case_row(self, case_id: str) -> CaseRow:
        with self._reading() as session:
            row = session.get(CaseRow, case_id, options=[selectinload(CaseRow.images)])
        if row is None:
            raise NotFound("There is no such case.")
        return row

    def _explanation(self, explanation_id: int) -> ExplanationRecord:
        """The row of an explanation with its maps and case, free of its session."""
        with self._reading() as session:
            row = session.get(ExplanationRecord, explanation_id, options=MAPS)
        if row is None:
            raise NotFound("There is no such explanation.")
        return row

    def _check_prediction(self, case_id: str, prediction_id: int) -> None:
        with self._reading() as session:
            row = session.get(PredictionRow, prediction_id)
            if row is None or row.case_id != case_id:
                raise NotFound("The case has no such prediction.")

    def _add(self, row: PredictionRow | ExplanationRecord) -> int:
        with self._writing() as session:
            row.created = datetime.now(UTC)
            session.add(row)
            session.flush()
            return row.id

    def _prediction(self, row: PredictionRow) -> Prediction:
        regions = tuple(region_of(found, self._mask(row, found)) for found in row.regions)
        return prediction_of(row, regions)

    def _mask(self, row: PredictionRow, region: RegionRow) -> BoolArray | None:
        if region.mask is None or region.mask_digest is None:
            return None
        return self._arrays.read(self._folder(row.case) / region.mask, region.mask_digest)

    def _heat_map(self, row: ExplanationRecord, heat: MapRecord) -> HeatMap:
        values = self._arrays.read(self._folder(row.case) / heat.file, heat.digest)
        grid = (heat.rows, heat.columns)
        return HeatMap(heat.image, heat.frame, values, grid, heat.localised, heat.reason)


def _check_fit(case: CaseRow, image: int, frame: int, shape: tuple[int, ...] | None) -> None:
    """Refuse what does not lie on an image of the case."""
    if not 0 <= image < len(case.images):
        raise InvalidInput("A result names an image that the case does not have.")
    row = case.images[image]
    if not 0 <= frame < row.frames:
        raise InvalidInput("A result names a frame that the image does not have.")
    if shape is not None and shape != (row.height, row.width):
        raise InvalidInput("A map or mask has not the size of its image.")


def _region(case: CaseRow, position: int, region: Region, files: NewFiles) -> RegionRow:
    mask: BoolArray | None = region.mask
    _check_fit(case, region.image, region.frame, None if mask is None else mask.shape)
    if mask is None:
        return region_row(position, region, None, None)
    return region_row(position, region, *files.write(np.asarray(mask, bool)))


def _map(case: CaseRow, position: int, heat: HeatMap, files: NewFiles) -> MapRecord:
    _check_fit(case, heat.image, heat.frame, heat.values.shape)
    values = np.asarray(heat.values, np.float32)
    if not np.isfinite(values).all():
        raise InvalidInput("A heat map holds values that are not numbers.")
    name, digest = files.write(values)
    return MapRecord(
        position=position,
        image=heat.image,
        frame=heat.frame,
        rows=int(heat.grid[0]),
        columns=int(heat.grid[1]),
        localised=bool(heat.localised),
        reason=heat.reason,
        file=name,
        digest=digest,
    )


def _checked(settings: dict[str, object]) -> dict[str, object]:
    """Settings that JSON can hold."""
    try:
        json_text(settings)
    except (ValueError, TypeError):
        raise InvalidInput("A setting of the explanation cannot be stored.") from None
    return settings


def _public(row: ExplanationRecord) -> ExplanationRow:
    maps = tuple(
        MapInfo(m.image, m.frame, (m.rows, m.columns), m.localised, m.reason) for m in row.maps
    )
    return ExplanationRow(
        id=row.id,
        case=row.case_id,
        prediction=row.prediction_id,
        created=row.created,
        method=row.method,
        target=row.target,
        settings=dict(row.settings),
        maps=maps,
        model=row.model,
        weights_digest=row.weights_digest,
        seconds=row.seconds,
    )
