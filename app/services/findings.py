"""What the model said about a case, in the words of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from app.store import ExplanationRow
from engine.records import Box, Case, Image, ModelCard, Prediction


def findings(
    case: Case,
    card: ModelCard | None,
    prediction: Prediction | None,
    rows: Sequence[ExplanationRow],
    refused: Mapping[str, str],
    target: str,
    problem: str,
) -> dict[str, Any]:
    """Value of the findings panel.

    Args:
        case: The case. card: Card of the model; None when it could not be read.
        prediction: What it said; None when it could not read the case.
        rows: Maps of the target. refused: Method to the reason why there is no map.
        target: Class explained. problem: Why there is no prediction, one sentence.
    """
    warnings = [problem] if problem else []
    warnings += [*case.warnings, *(() if prediction is None else prediction.warnings)]
    warnings += [warning for image in case.images for warning in image.warnings]
    value: dict[str, Any] = {
        "version": 0,
        "case": case.id,
        "report": f"/reports/{case.id}.pdf?target={quote(target)}",
        "model": None if card is None else _model(card),
        "target": target,
        "probabilities": [],
        "leading": "",
        "grade": None,
        "box": None,
        "score": None,
        "patches": [],
        "warnings": list(dict.fromkeys(warnings)),
        "methods": _methods(rows),
        "refused": _refused(refused),
    }
    return value if prediction is None else value | _prediction(case, prediction)


def _model(card: ModelCard) -> dict[str, str]:
    return {
        "title": card.title,
        "version": card.version,
        "weights": card.weights_digest[:12],
        "intended_use": card.intended_use,
    }


def _prediction(case: Case, prediction: Prediction) -> dict[str, Any]:
    grade, region = prediction.grade, next(iter(prediction.regions), None)
    box = None if region is None else region.box
    return {
        "probabilities": [
            {"name": name, "value": value} for name, value in prediction.probabilities.items()
        ],
        "leading": prediction.leading,
        "grade": None
        if grade is None
        else {
            "names": list(grade.names),
            "probabilities": list(grade.probabilities),
            "level": grade.level,
            "name": grade.name,
        },
        "box": None
        if region is None or box is None
        else {"text": box_text(box, case.images[region.image])},
        "score": None if region is None else region.score,
        "patches": [
            {"label": str(rank), "weight": patch.weight}
            for rank, patch in enumerate(prediction.patches, 1)
        ],
    }


def box_text(box: Box, image: Image) -> str:
    """A box in pixels, and in millimetres where the pitch is known."""
    text = f"x {box.x:.0f}, y {box.y:.0f}, {box.width:.0f} × {box.height:.0f} px"
    spacing = image.spacing
    if spacing is None:
        return f"{text} (no calibration)"
    wide, high = box.width * spacing.column_mm, box.height * spacing.row_mm
    return f"{text} ({wide:.1f} × {high:.1f} mm)"


def _methods(rows: Sequence[ExplanationRow]) -> list[dict[str, Any]]:
    if not rows:
        return []
    from engine.explainers import EXPLAINERS

    return [
        {
            "id": row.method,
            "title": EXPLAINERS[row.method].title,
            "summary": EXPLAINERS[row.method].summary,
            "localised": any(heat.localised for heat in row.maps),
            "reason": next((heat.reason for heat in row.maps if heat.reason), ""),
        }
        for row in rows
    ]


def _refused(refused: Mapping[str, str]) -> list[dict[str, str]]:
    if not refused:
        return []
    from engine.explainers import EXPLAINERS

    return [{"title": EXPLAINERS[name].title, "reason": reason} for name, reason in refused.items()]
