"""The content of `explanation.json`: what was said, why, and what was measured of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import EngineError
from engine.export.layout import DEFAULT_FORMATS, Names, names_of
from engine.export.pictures import scale
from engine.export.plain import plain
from engine.export.space import elsewhere, geometry
from engine.records import (
    Box,
    Case,
    Explanation,
    HeatMap,
    Image,
    ModelCard,
    Prediction,
    Region,
    Score,
)

NO_NUMBER = "The metric gave no number that can be written."


def summary(
    case: Case,
    card: ModelCard,
    prediction: Prediction,
    explanations: Sequence[Explanation],
    refused: Mapping[str, str],
    software: str,
    scores: Mapping[str, Sequence[Score]] | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
) -> dict[str, Any]:
    """The content of `explanation.json`, in types that JSON has; as `write_explanations`.

    Raises:
        EngineError: A probability is not a number.
    """
    made = {
        "case": case.id,
        "software": software,
        "notice": card.intended_use,
        "model": {
            "name": card.name,
            "version": card.version,
            "system": card.system,
            "weights_sha256": card.weights_digest,
        },
        "images": [_image(image, prediction.frames.get(n)) for n, image in enumerate(case.images)],
        "prediction": _prediction(prediction),
        "explanations": [
            _explanation(case, explanation, names, (scores or {}).get(explanation.method), formats)
            for explanation, names in zip(explanations, names_of(case, explanations), strict=True)
        ],
        "refused": dict(refused),
        "warnings": [*case.warnings, *prediction.warnings],
    }
    return dict(plain(made))


def _image(image: Image, read: int | None) -> dict[str, Any]:
    pitch = image.spacing
    return {
        "modality": str(image.modality),
        "sha256": image.digest,
        "height": image.height,
        "width": image.width,
        "frames": image.frames,
        "frame_read": read,
        "laterality": None if image.laterality is None else str(image.laterality),
        "view": image.view,
        "spacing_mm": None
        if pitch is None
        else {
            "row": pitch.row_mm,
            "column": pitch.column_mm,
            "slice": pitch.slice_mm,
            "source": pitch.source,
        },
        "warnings": list(image.warnings),
    }


def _prediction(prediction: Prediction) -> dict[str, Any]:
    grade = prediction.grade
    shares = [*prediction.probabilities.values(), *(grade.probabilities if grade else ())]
    if None in plain(shares):
        raise EngineError("The model gave a probability that is no number; nothing was written.")
    return {
        "class": prediction.leading,
        "probabilities": dict(prediction.probabilities),
        "grade": None
        if grade is None
        else {
            "name": grade.name,
            "level": grade.level,
            "probabilities": dict(zip(grade.names, grade.probabilities, strict=True)),
        },
        "lesions": [_lesion(region) for region in prediction.regions],
    }


def _lesion(region: Region) -> dict[str, Any]:
    return {
        "image": region.image,
        "frame": region.frame,
        "score": region.score,
        "box_xywh": None if region.box is None else _xywh(region.box),
        "mask_pixels": None if region.mask is None else int(region.mask.sum()),
    }


def _xywh(box: Box) -> list[float]:
    return [box.x, box.y, box.width, box.height]


def _explanation(
    case: Case,
    explanation: Explanation,
    names: Sequence[Names],
    scores: Sequence[Score] | None,
    formats: Sequence[str],
) -> dict[str, Any]:
    return {
        "method": explanation.method,
        "target": explanation.target,
        "settings": explanation.settings,
        "maps": [
            _map(case.images[heat.image], heat, name, formats)
            for heat, name in zip(explanation.maps, names, strict=True)
        ],
        "scores": [_score(score) for score in scores or ()],
    }


def _map(image: Image, heat: HeatMap, names: Names, formats: Sequence[str]) -> dict[str, Any]:
    """One heat map: its files, and how to read values out of each."""
    made: dict[str, Any] = {
        "image": heat.image,
        "frame": heat.frame,
        "grid": list(heat.grid),
        "min": float(heat.values.min()),
        "max": float(heat.values.max()),
        "localised": heat.localised,
        "reason": heat.reason,
        "files": names.files(formats),
    }
    if "npz" in formats:
        made["npz_key"] = names.key
    if "png" in formats:
        zero, step = scale(heat.values)
        made["map_png_value"] = {"zero": zero, "step": step, "meaning": "zero + step x level"}
    if "nifti" in formats:
        made["nifti_geometry"] = geometry(image)
        if image.frames > 1:
            made["nifti_other_frames"] = elsewhere(heat)
    return made


def _score(score: Score) -> dict[str, Any]:
    """A score as a table row; a value that is no number becomes null, with a note."""
    value, chance = plain(score.value), plain(score.chance)
    lost = score.value is not None and value is None
    return {
        "metric": score.metric,
        "value": value,
        "unit": score.unit,
        "better": score.better,
        "chance": chance,
        "n": score.n,
        "note": " ".join(filter(None, (score.note, NO_NUMBER if lost else ""))),
    }
