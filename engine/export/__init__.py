"""Explanations as files: maps (NPZ, PNG, NIfTI), overlays (PNG, DICOM), everything else as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.errors import EngineError, ShapeMismatch
from engine.export.layout import (
    DEFAULT_FORMATS,
    FORMATS,
    Names,
    checked_formats,
    names_of,
)
from engine.export.pictures import map_png, overlaid, sheet
from engine.export.summary import summary
from engine.records import Case, Explanation, HeatMap, ModelCard, Prediction, Score
from engine.render import png_bytes

__all__ = ["DEFAULT_FORMATS", "FORMATS", "checked_formats", "summary", "write_explanations"]

SHEET = "all_methods.png"
_FACTS = "explanation.json"
_OURS = re.compile(r"[a-z0-9_]+\.(npz|png|nii\.gz|dcm)")


@dataclass(frozen=True, eq=False)
class _About:
    """What all maps of one case share."""

    case: Case
    card: ModelCard
    prediction: Prediction
    software: str
    formats: tuple[str, ...]


def write_explanations(
    folder: Path,
    case: Case,
    card: ModelCard,
    prediction: Prediction,
    explanations: Sequence[Explanation],
    refused: Mapping[str, str],
    software: str,
    *,
    scores: Mapping[str, Sequence[Score]] | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
) -> None:
    """Write the maps of one case, and `explanation.json` when all of them are there.

    Per method, for the first image the model read; for each further image `_<modality>` follows
    the method. All pixels lie as in the source image.

    - npz: `<method>.npz` with `map`, (H, W) float32, and `map_<modality>` for further images.
    - png: `<method>.png`, the overlay; `<method>_map.png`, the map in sixteen grey bits; and
      `all_methods.png`, small multiples of the first image.
    - nifti: `<method>.nii.gz`, the map as a volume in the geometry of the source.
    - dicom: `<method>.dcm`, the overlay as Secondary Capture.
    - dicom-seg: `<method>_seg.dcm`, the map as fractional segmentation, and lesions as binary
      one, `lesions_<image>_<frame>.dcm`.
    - dicom-sr: `measurements.dcm`, probabilities, lesions and scores as structured report.

    Both of the last come with `source_<image>_<frame>.dcm`, the images that they refer to.

    Nothing names the source file or the patient.

    Args:
        folder: Made when absent; files of an earlier run are removed.
        case: The case. card: Card of the model. prediction: What it said.
        explanations: Its maps. refused: Methods that could not be served, with the reason.
        software: Name and version of the program.
        scores: Measured evidence by method name; those of methods without a map are left out.
        formats: Names from `FORMATS`.

    Raises:
        EngineError: A map or a probability is no number, or a map does not fit its image; nothing
            is written.
        UnknownName: There is no such format.
        LimitExceeded: The picture is too large for DICOM.
        OSError: The folder cannot be written.
    """
    chosen = checked_formats(formats)
    for explanation in explanations:
        for heat in explanation.maps:
            _check(case, heat)
    facts = summary(
        case, card, prediction, explanations, refused, software, scores=scores, formats=chosen
    )
    text = json.dumps(facts, ensure_ascii=False, indent=2, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    about = _About(case, card, prediction, software, chosen)
    series = 0
    for explanation, names in zip(explanations, names_of(case, explanations), strict=True):
        if "npz" in chosen:
            _write_npz(folder, explanation, names)
        for heat, name in zip(explanation.maps, names, strict=True):
            series += 1
            _write_map(folder, about, explanation, heat, name, series)
    if "png" in chosen and len(explanations) > 1:
        (folder / SHEET).write_bytes(png_bytes(sheet(case, prediction, explanations)))
    if {"dicom-seg", "dicom-sr"} & set(chosen):
        from engine.export.objects import write_objects

        facts["objects"] = write_objects(
            folder, case, card, prediction, explanations, scores or {}, software, chosen
        )
        text = json.dumps(facts, ensure_ascii=False, indent=2, allow_nan=False)
    (folder / _FACTS).write_text(text + "\n", "utf-8")


def _check(case: Case, heat: HeatMap) -> None:
    image = case.images[heat.image]
    if heat.values.shape != (image.height, image.width) or not 0 <= heat.frame < image.frames:
        raise ShapeMismatch("A heat map does not fit its image, so nothing was written.")
    if not np.isfinite(heat.values).all():
        raise EngineError("A heat map holds values that are no numbers; nothing was written.")


def _clear(folder: Path) -> None:
    """Remove the files of an earlier run in all formats, first the JSON that vouches for them."""
    (folder / _FACTS).unlink(missing_ok=True)
    for path in sorted(folder.iterdir()):
        if _OURS.fullmatch(path.name) and path.is_file():
            path.unlink()


def _write_npz(folder: Path, explanation: Explanation, names: Sequence[Names]) -> None:
    if not names:
        return
    arrays = {name.key: heat.values for name, heat in zip(names, explanation.maps, strict=True)}
    with (folder / names[0].archive).open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def _write_map(
    folder: Path, about: _About, explanation: Explanation, heat: HeatMap, names: Names, series: int
) -> None:
    """One heat map in the formats other than NPZ; NIfTI and DICOM are imported when asked for."""
    files = {what: folder / name for what, name in names.files(about.formats).items()}
    if "map_png" in files:
        files["map_png"].write_bytes(map_png(heat.values))
    if "nifti" in files:
        from engine.export.nifti import volume

        volume(about.case.images[heat.image], heat).to_filename(files["nifti"])
    if not {"overlay_png", "dicom"} & set(files):
        return
    signed = bool(explanation.settings.get("signed"))
    picture = overlaid(about.case, about.prediction, heat, signed=signed)
    if "overlay_png" in files:
        files["overlay_png"].write_bytes(png_bytes(picture))
    if "dicom" in files:
        from engine.export.dicom import Capture, capture_bytes

        capture = Capture(
            about.case, about.card, explanation, heat, picture, about.software, series
        )
        files["dicom"].write_bytes(capture_bytes(capture))
