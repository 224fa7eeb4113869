"""Between records of the engine and rows of the database."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from app.store.arrays import Array
from app.store.database import plain
from app.store.tables import ImageRow, PredictionRow, RatingRow, RegionRow
from engine.records import (
    AnswerStatus,
    BoolArray,
    Box,
    Grade,
    Image,
    Laterality,
    Modality,
    Patch,
    Prediction,
    Rating,
    Region,
    Spacing,
    Window,
)


def image_row(case_id: str, position: int, image: Image, array_digest: str) -> ImageRow:
    """Everything of an image but its pixels."""
    frames, height, width, channels = (int(size) for size in image.pixels.shape)
    return ImageRow(
        case_id=case_id,
        position=position,
        modality=image.modality.value,
        digest=image.digest,
        array_digest=array_digest,
        frames=frames,
        height=height,
        width=width,
        channels=channels,
        bits=int(image.bits),
        inverted=bool(image.inverted),
        laterality=image.laterality.value if image.laterality else None,
        view=plain(image.view) if image.view is not None else None,
        background=None if image.background is None else float(image.background),
        spacing=asdict(image.spacing) if image.spacing else None,
        windows=[asdict(window) for window in image.windows],
        affine=None if image.affine is None else np.asarray(image.affine, np.float64).tolist(),
        facts={plain(str(k)): plain(str(v)) for k, v in image.facts.items()},
        warnings=[plain(sentence) for sentence in image.warnings],
    )


def image_of(row: ImageRow, pixels: Array) -> Image:
    """The image of a row and its array, (F, H, W, C)."""
    return Image(
        pixels=pixels.astype(np.float32, copy=False),
        modality=Modality(row.modality),
        digest=row.digest,
        spacing=Spacing(**row.spacing) if row.spacing else None,
        windows=tuple(Window(**window) for window in row.windows),
        inverted=row.inverted,
        laterality=Laterality(row.laterality) if row.laterality else None,
        view=row.view,
        bits=row.bits,
        affine=None if row.affine is None else np.array(row.affine, dtype=np.float64),
        background=row.background,
        facts=dict(row.facts),
        warnings=tuple(row.warnings),
    )


def box_values(box: Box | None) -> dict[str, Any] | None:
    """A box as plain values."""
    return None if box is None else {name: float(v) for name, v in asdict(box).items()}


def box_of(values: dict[str, Any] | None) -> Box | None:
    """A box of plain values."""
    return None if values is None else Box(**values)


def prediction_row(case_id: str, prediction: Prediction) -> PredictionRow:
    """Everything of a prediction but its regions."""
    return PredictionRow(
        case_id=case_id,
        model=prediction.model,
        version=prediction.version,
        weights_digest=prediction.weights_digest,
        probabilities=[[name, float(p)] for name, p in prediction.probabilities.items()],
        grade=asdict(prediction.grade) if prediction.grade else None,
        patches=[asdict(patch) for patch in prediction.patches],
        frames=[[int(image), int(frame)] for image, frame in prediction.frames.items()],
        warnings=[plain(sentence) for sentence in prediction.warnings],
        seconds=float(prediction.seconds),
    )


def region_row(position: int, region: Region, mask: str | None, digest: str | None) -> RegionRow:
    """Everything of a region but its mask."""
    return RegionRow(
        position=position,
        image=region.image,
        frame=region.frame,
        box=box_values(region.box),
        score=None if region.score is None else float(region.score),
        mask=mask,
        mask_digest=digest,
    )


def region_of(row: RegionRow, mask: BoolArray | None) -> Region:
    """The region of a row and its mask."""
    return Region(row.image, row.frame, box_of(row.box), mask, row.score)


def prediction_of(row: PredictionRow, regions: tuple[Region, ...]) -> Prediction:
    """The prediction of a row and its regions."""
    return Prediction(
        probabilities=dict(row.probabilities),
        model=row.model,
        version=row.version,
        weights_digest=row.weights_digest,
        grade=_grade(row.grade),
        regions=regions,
        patches=tuple(Patch(p["image"], Box(**p["box"]), p["weight"]) for p in row.patches),
        frames=dict(row.frames),
        warnings=tuple(row.warnings),
        seconds=row.seconds,
    )


def rating_of(row: RatingRow) -> Rating:
    """The rating of a row."""
    return Rating(
        id=row.id,
        case=row.case_id,
        reader=row.reader,
        question=row.question,
        method=row.method,
        target=row.target,
        status=AnswerStatus(row.status),
        value=row.value,
        comment=row.comment,
        created=row.created,
        revision=row.revision,
        weights_digest=row.weights_digest,
    )


def _grade(values: dict[str, Any] | None) -> Grade | None:
    if values is None:
        return None
    return Grade(tuple(values["names"]), tuple(values["probabilities"]), values["level"])
