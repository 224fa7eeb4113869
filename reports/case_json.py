"""The content of a case report as JSON: what is printed, without pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC
from typing import Any

import numpy as np

from engine.export.plain import plain
from engine.metrics.catalogue import METRICS
from engine.records import Explanation, Image, Rating
from reports.content import LAYOUT, Report
from reports.sections import LIMITS


def case_json(report: Report) -> bytes:
    """UTF-8 JSON of a report; equal reports give equal bytes."""
    said, card, case = report.prediction, report.card, report.case
    content: dict[str, Any] = {
        "report": report.id,
        "status": report.status,
        "created": report.created.isoformat(),
        "digest_sha256": report.digest,
        "layout": LAYOUT,
        "banner": report.banner,
        "case": {
            "id": case.id,
            "images": [_image(image) for image in case.images],
            "clinical_text": case.note,
            "warnings": list(case.warnings),
            "reference": None
            if case.truth is None
            else {"label": case.truth.label, "source": case.truth.source},
        },
        "prediction": None
        if said is None
        else {
            "class": said.leading,
            "probabilities": dict(said.probabilities),
            "grade": None if said.grade is None else asdict(said.grade),
            "lesions": [
                {
                    "image": region.image,
                    "frame": region.frame,
                    "box_xywh": None
                    if region.box is None
                    else [region.box.x, region.box.y, region.box.width, region.box.height],
                    "mask_pixels": None if region.mask is None else int(region.mask.sum()),
                    "score": region.score,
                }
                for region in said.regions
            ],
            "patches": [asdict(patch) for patch in said.patches],
            "uncertainty": None,
            "warnings": list(said.warnings),
            "model": said.model,
            "version": said.version,
            "weights_sha256": said.weights_digest,
        },
        "explanations": [_explanation(report, one) for one in report.explanations],
        "measures": _measures(report),
        "ratings": [_rating(rating) for rating in report.ratings],
        "questions": [asdict(question) for question in report.questions],
        "model_card": None
        if card is None
        else {
            "name": card.name,
            "title": card.title,
            "version": card.version,
            "intended_use": card.intended_use,
            "training_data": card.training_data,
            "limits": list(card.limits),
            "metrics": card.metrics,
        },
        "limits": list(LIMITS),
        "conclusion": None,
        "provenance": asdict(report.provenance),
        "overlays": {
            "colour": report.colour,
            "opacity": report.opacity,
            "threshold": report.threshold,
        },
    }
    text = json.dumps(plain(content), ensure_ascii=False, indent=1, allow_nan=False)
    return (text + "\n").encode()


def _image(image: Image) -> dict[str, Any]:
    return {
        "modality": image.modality.value,
        "laterality": None if image.laterality is None else image.laterality.value,
        "view": image.view,
        "sha256": image.digest,
        "height": image.height,
        "width": image.width,
        "frames": image.frames,
        "bits": image.bits,
        "inverted": image.inverted,
        "spacing_mm": None if image.spacing is None else asdict(image.spacing),
        "facts": dict(image.facts),
        "warnings": list(image.warnings),
    }


def _explanation(report: Report, one: Explanation) -> dict[str, Any]:
    scores = report.scores.get(one.method, ())
    return {
        "method": one.method,
        "target": one.target,
        "settings": one.settings,
        "maps": [
            {
                "image": heat.image,
                "frame": heat.frame,
                "grid": list(heat.grid),
                "min": float(np.min(heat.values)),
                "max": float(np.max(heat.values)),
                "localised": heat.localised,
                "reason": heat.reason,
            }
            for heat in one.maps
        ],
        "scores": [asdict(score) for score in scores],
        "sanity_check": report.sanity.get(one.method),
    }


def _measures(report: Report) -> Mapping[str, Mapping[str, str]]:
    used = dict.fromkeys(score.metric for scores in report.scores.values() for score in scores)
    return {
        name: {"title": METRICS[name].title, "meaning": METRICS[name].summary,
               "limits": METRICS[name].limits, "unit": METRICS[name].unit,
               "better": METRICS[name].better}
        for name in used
        if name in METRICS
    }  # fmt: skip


def _rating(rating: Rating) -> dict[str, Any]:
    moment = rating.created.astimezone(UTC) if rating.created.tzinfo else rating.created
    return {
        "reader": rating.reader,
        "question": rating.question,
        "method": rating.method,
        "target": rating.target,
        "status": rating.status.value,
        "value": rating.value,
        "comment": rating.comment,
        "created": moment.isoformat(),
        "revision": rating.revision,
        "weights_sha256": rating.weights_digest,
    }
