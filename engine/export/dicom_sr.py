"""Measurements and ratings as DICOM Comprehensive SR by TID 1500, written with highdicom.

What the model said and where, what was measured of each map, and what readers answered; each with
the image it speaks of. Public codes where there are any; the rest carries the scheme 99LIGHTBOX.

Source: DICOM PS3.16 TID 1500 (Measurement Report), TID 1501, TID 1410; PS3.3 A.35.3.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from engine.export.dicom import text, uid
from engine.export.dicom_seg import OWN, UNDATED, lesion_mask, settled
from engine.metrics.catalogue import METRICS
from engine.metrics.protocol import QUESTIONS
from engine.records import AnswerStatus, Case, ModelCard, Prediction, Rating, Region, Score

SERIES = 800
RATIO = codes.UCUM.NoUnits
PIXELS = sr.CodedConcept("{pixels}", "UCUM", "pixels")
SQUARE_MM = sr.CodedConcept("mm2", "UCUM", "square millimeter")

Sources = Mapping[tuple[int, int], Dataset]
"""(image, frame) to the image as `source_capture` made it."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What is reported about one case.

    Args:
        case: The case. card: Card of the model. prediction: What it said.
        sources: The images spoken of; at least one.
        scores: Measured evidence by method.
        ratings: Answers of readers, by pseudonym.
        software: Name and version of the program. created: Time to state.
    """

    case: Case
    card: ModelCard
    prediction: Prediction
    sources: Sources
    software: str
    scores: Mapping[str, Sequence[Score]] = field(default_factory=dict)
    ratings: Sequence[Rating] = ()
    created: datetime = UNDATED


def measurement_report(found: Findings) -> Dataset:
    """The report; equal findings give an equal data set."""
    key = _key(found)
    device = sr.ObserverContext(
        codes.DCM.Device,
        sr.DeviceObserverIdentifyingAttributes(
            uid=uid("device", found.software),
            name="Lightbox",
            manufacturer_name="Lightbox",
            model_name=text(found.software, 64),
        ),
    )
    groups = [
        _answer(found),
        *_lesions(found),
        *_maps(found),
        *_ratings(found),
    ]
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=sr.CodedConcept("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=list(found.sources.values()),
    )
    made = sr.ComprehensiveSR(
        evidence=list(found.sources.values()),
        content=content[0],
        series_instance_uid=uid("sr series", *key),
        series_number=SERIES,
        sop_instance_uid=uid("sr", *key),
        instance_number=1,
        manufacturer="Lightbox",
        is_complete=True,
        is_final=False,
        is_verified=False,
    )
    made.SeriesDescription = "Measurements and ratings"
    made.ManufacturerModelName = text(found.card.name, 64)
    made.SoftwareVersions = text(found.software, 64)
    return settled(made, found.created)


def _key(found: Findings) -> tuple[str, ...]:
    said = (sorted(found.prediction.probabilities.items()), found.prediction.weights_digest)
    measured = [(method, repr(tuple(scores))) for method, scores in found.scores.items()]
    places = sorted(str(source.SOPInstanceUID) for source in found.sources.values())
    answers = [repr(rating) for rating in found.ratings]
    return (found.case.id, repr(said), repr(measured), repr(places), repr(answers), found.software)


def _code(value: str, meaning: str) -> sr.CodedConcept:
    """A code of our own; codes have at most 16 characters, so longer ones end in a digest."""
    plain = "".join(
        c for c in value.upper().replace("_", "-") if (c.isascii() and c.isalnum()) or c == "-"
    )
    if len(plain) > 16 or not plain:
        plain = f"{plain[:9]}-{hashlib.sha256(value.encode()).hexdigest()[:6].upper()}"
    return sr.CodedConcept(plain, OWN, text(meaning, 64) or "not stated")


def _tracking(found: Findings, *parts: str) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(
        uid=uid("tracking", *_key(found), *parts), identifier=text(" ".join(parts), 64)
    )


def _group_images(found: Findings) -> list[sr.SourceImageForMeasurementGroup]:
    return [
        sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)
        for source in found.sources.values()
    ]


def _model(found: Findings) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=text(found.card.name, 64),
        version=text(found.card.version, 64),
        parameters=[f"weights SHA-256 {found.card.weights_digest}"],
        family=codes.DCM.ArtificialIntelligence,
    )


def _answer(found: Findings) -> sr.MeasurementsAndQualitativeEvaluations:
    """The probability of each class, and the grade."""
    said = found.prediction
    measured = [
        sr.Measurement(_code(f"PROB-{n}", f"Probability of {name}"), float(value), RATIO)
        for n, (name, value) in enumerate(said.probabilities.items(), 1)
    ]
    leading = [(_code("CLASS", "Most probable class"), _code("CLASS-VALUE", said.leading))]
    if said.grade is not None:
        leading.append((_code("GRADE", "Grade"), _code("GRADE-VALUE", said.grade.name)))
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(found, "Prediction"),
        algorithm_id=_model(found),
        measurements=measured,
        qualitative_evaluations=[sr.QualitativeEvaluation(n, v) for n, v in leading],
        source_images=_group_images(found),
    )


def _lesions(found: Findings) -> list[sr.PlanarROIMeasurementsAndQualitativeEvaluations]:
    """Each lesion as a box on its image, with its area and score."""
    made = []
    for number, region in enumerate(found.prediction.regions, 1):
        source = found.sources.get((region.image, region.frame))
        corners = _corners(found.case, region)
        if source is None or corners is None:
            continue
        reference = sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID)
        made.append(
            sr.PlanarROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=_tracking(found, "Lesion", str(number)),
                referenced_region=sr.ImageRegion("POLYLINE", corners, reference),
                finding_type=codes.SCT.Lesion,
                algorithm_id=_model(found),
                measurements=_sizes(found.case, region),
            )
        )
    return made


def _corners(case: Case, region: Region) -> np.ndarray | None:
    """Closed outline of the lesion's box, (5, 2) columns and rows in pixels of the image."""
    image = case.images[region.image]
    if region.box is not None:
        left, top = region.box.x, region.box.y
        right, bottom = left + region.box.width, top + region.box.height
    else:
        inside = lesion_mask(image, region)
        if not inside.any():
            return None
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        left, right = float(columns[0]), float(columns[-1] + 1)
        top, bottom = float(rows[0]), float(rows[-1] + 1)
    left, right = (min(max(0.0, x), float(image.width)) for x in (left, right))
    top, bottom = (min(max(0.0, y), float(image.height)) for y in (top, bottom))
    outline = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return np.asarray(outline, dtype=np.float64)


def _sizes(case: Case, region: Region) -> list[sr.Measurement]:
    area = float(lesion_mask(case.images[region.image], region).sum())
    pitch = case.images[region.image].spacing
    made = []
    if pitch is None or pitch.source.startswith("at detector"):
        made.append(sr.Measurement(_code("AREA-PX", "Area in pixels"), area, PIXELS))
    else:
        square = area * pitch.row_mm * pitch.column_mm
        made.append(sr.Measurement(codes.SCT.Area, square, SQUARE_MM))
    if region.score is not None:
        name = _code("LESION-SCORE", "How sure the model is of the lesion")
        made.append(sr.Measurement(name, float(region.score), RATIO))
    return made


def _maps(found: Findings) -> list[sr.MeasurementsAndQualitativeEvaluations]:
    """What was measured of each map; a score without a value is left out."""
    made = []
    for method, scores in found.scores.items():
        measured = [
            sr.Measurement(_code(one.metric, _metric_title(one)), float(one.value), _unit(one))
            for one in scores
            if one.value is not None and math.isfinite(one.value)
        ]
        if measured:
            made.append(
                sr.MeasurementsAndQualitativeEvaluations(
                    tracking_identifier=_tracking(found, "Heat map", method),
                    algorithm_id=sr.AlgorithmIdentification(
                        name=text(method, 64), version=text(found.software, 64)
                    ),
                    measurements=measured,
                    source_images=_group_images(found),
                )
            )
    return made


def _unit(score: Score) -> sr.CodedConcept:
    return codes.UCUM.Millimeter if score.unit == "mm" else RATIO


def _metric_title(score: Score) -> str:
    title = METRICS[score.metric].title if score.metric in METRICS else score.metric
    return title if score.image is None else f"{title}, image {score.image + 1}"


def _ratings(found: Findings) -> list[sr.MeasurementsAndQualitativeEvaluations]:
    """The answers of each reader to each map: a score, or "cannot judge"."""
    texts = {question.id: question.text for question in QUESTIONS}
    groups: dict[tuple[str, str, str], list[Rating]] = {}
    for rating in found.ratings:
        groups.setdefault((rating.reader, rating.method, rating.target), []).append(rating)
    made = []
    for (reader, method, target), given in groups.items():
        numbers: list[Any] = []
        words: list[Any] = []
        for one in given:
            name = _code(one.question, texts.get(one.question, one.question))
            if one.status is AnswerStatus.ANSWERED and one.value is not None:
                numbers.append(sr.Measurement(name, float(one.value), _points()))
            else:
                none = _code("CANNOT-JUDGE", "Cannot judge")
                words.append(sr.QualitativeEvaluation(name, none))
        made.append(
            sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=_tracking(found, "Rating by", reader, "of", method, target),
                session=text(f"Reader {reader}", 64),
                measurements=numbers or None,
                qualitative_evaluations=words or None,
                source_images=_group_images(found),
            )
        )
    return made


def _points() -> sr.CodedConcept:
    return sr.CodedConcept("{score}", "UCUM", "score of 1 to 5")
