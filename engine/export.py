"""Explanations as files: maps as NPZ, overlays as PNG, everything else as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.records import Case, Explanation, HeatMap, ModelCard, Prediction
from engine.render import display, draw_box, overlay, png_bytes


def write_explanations(
    folder: Path,
    case: Case,
    card: ModelCard,
    prediction: Prediction,
    explanations: Sequence[Explanation],
    refused: Mapping[str, str],
    software: str,
) -> None:
    """Write `<method>.npz`, `<method>.png` and `explanation.json` for one case.

    The NPZ holds `map`, (H, W) float32 in the pixels and orientation of the first image the model
    read, and `map_<modality>` for each further image. Nothing names the source file.

    Args:
        folder: Made when absent; maps of an earlier run are removed.
        case: The case. card: Card of the model. prediction: What it said.
        explanations: Its maps. refused: Methods that could not be served, with the reason.
        software: Name and version of the program.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (*folder.glob("*.npz"), *folder.glob("*.png")):
        stale.unlink()
    for explanation in explanations:
        arrays = {
            "map" if n == 0 else f"map_{case.images[heat.image].modality}": heat.values
            for n, heat in enumerate(explanation.maps)
        }
        with (folder / f"{explanation.method}.npz").open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)
        for n, heat in enumerate(explanation.maps):
            suffix = "" if n == 0 else f"_{case.images[heat.image].modality}"
            picture = png_bytes(_overlaid(case, prediction, heat))
            (folder / f"{explanation.method}{suffix}.png").write_bytes(picture)
    facts = summary(case, card, prediction, explanations, refused, software)
    text = json.dumps(facts, ensure_ascii=False, indent=2, allow_nan=False)
    (folder / "explanation.json").write_text(text + "\n", "utf-8")


def _overlaid(case: Case, prediction: Prediction, heat: HeatMap) -> np.ndarray[Any, Any]:
    picture = overlay(display(case.images[heat.image], heat.frame), heat.values)
    for region in prediction.regions:
        if region.image == heat.image and region.box is not None:
            picture = draw_box(picture, region.box)
    return picture


def summary(
    case: Case,
    card: ModelCard,
    prediction: Prediction,
    explanations: Sequence[Explanation],
    refused: Mapping[str, str],
    software: str,
) -> dict[str, Any]:
    """The content of `explanation.json`."""
    grade = prediction.grade
    return {
        "case": case.id,
        "software": software,
        "notice": card.intended_use,
        "model": {
            "name": card.name,
            "version": card.version,
            "system": card.system,
            "weights_sha256": card.weights_digest,
        },
        "images": [
            {
                "modality": str(image.modality),
                "sha256": image.digest,
                "height": image.height,
                "width": image.width,
                "frames": image.frames,
                "frame_read": prediction.frames.get(n),
                "laterality": None if image.laterality is None else str(image.laterality),
                "view": image.view,
                "warnings": list(image.warnings),
            }
            for n, image in enumerate(case.images)
        ],
        "prediction": {
            "class": prediction.leading,
            "probabilities": dict(prediction.probabilities),
            "grade": None
            if grade is None
            else {
                "name": grade.name,
                "level": grade.level,
                "probabilities": dict(zip(grade.names, grade.probabilities, strict=True)),
            },
            "lesions": [
                {
                    "image": region.image,
                    "score": region.score,
                    "box_xywh": None
                    if region.box is None
                    else [region.box.x, region.box.y, region.box.width, region.box.height],
                    "mask_pixels": None if region.mask is None else int(region.mask.sum()),
                }
                for region in prediction.regions
            ],
        },
        "explanations": [
            {
                "method": explanation.method,
                "target": explanation.target,
                "settings": dict(explanation.settings),
                "maps": [
                    {
                        "image": heat.image,
                        "grid": list(heat.grid),
                        "min": float(heat.values.min()),
                        "max": float(heat.values.max()),
                        "localised": heat.localised,
                        "reason": heat.reason,
                    }
                    for heat in explanation.maps
                ],
            }
            for explanation in explanations
        ],
        "refused": dict(refused),
        "warnings": [*case.warnings, *prediction.warnings],
    }
