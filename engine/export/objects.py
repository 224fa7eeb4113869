"""Segmentations, the structured report, and the images that they refer to, as files of a case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from engine.export.dicom import file_bytes
from engine.export.dicom_seg import heat_segmentation, lesion_mask, lesions_segmentation
from engine.export.dicom_source import source_capture
from engine.export.layout import names_of
from engine.records import Case, Explanation, ModelCard, Prediction, Score

REPORT = "measurements.dcm"


def sources_of(
    case: Case, places: Iterable[tuple[int, int]], software: str
) -> dict[tuple[int, int], Dataset]:
    """(image, frame) to the frame as DICOM.

    Raises:
        LimitExceeded: An image is larger than DICOM can hold.
    """
    return {place: source_capture(case, *place, software) for place in sorted(set(places))}


def write_objects(
    folder: Path,
    case: Case,
    card: ModelCard,
    prediction: Prediction,
    explanations: Sequence[Explanation],
    scores: Mapping[str, Sequence[Score]],
    software: str,
    formats: Sequence[str],
) -> list[str]:
    """Write what `engine.export.write_explanations` lists under dicom-seg and dicom-sr.

    Returns:
        Names of the files that belong to the case rather than to one map.

    Raises:
        LimitExceeded: An image is larger than DICOM can hold.
        OSError: The folder cannot be written.
    """
    places = {(heat.image, heat.frame) for one in explanations for heat in one.maps}
    places |= {(region.image, region.frame) for region in prediction.regions}
    places |= set(prediction.frames.items())
    sources = sources_of(case, places or {(0, 0)}, software)
    files = {
        f"source_{image}_{frame}.dcm": file_bytes(source)
        for (image, frame), source in sources.items()
    }
    if "dicom-seg" in formats:
        _write_maps(folder, case, card, explanations, sources, software)
        files |= _lesions(case, card, prediction, sources, software)
    if "dicom-sr" in formats:
        from engine.export.dicom_sr import Findings, measurement_report

        found = Findings(case, card, prediction, sources, software, scores)
        files[REPORT] = file_bytes(measurement_report(found))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return sorted(files)


def _write_maps(
    folder: Path,
    case: Case,
    card: ModelCard,
    explanations: Sequence[Explanation],
    sources: Mapping[tuple[int, int], Dataset],
    software: str,
) -> None:
    series = 0
    for one, names in zip(explanations, names_of(case, explanations), strict=True):
        for heat, name in zip(one.maps, names, strict=True):
            series += 1
            source = sources[heat.image, heat.frame]
            made = heat_segmentation(case, card, source, one, heat, series, software)
            path = folder / name.files(("dicom-seg",))["dicom_seg"]
            path.write_bytes(file_bytes(made))


def _lesions(
    case: Case,
    card: ModelCard,
    prediction: Prediction,
    sources: Mapping[tuple[int, int], Dataset],
    software: str,
) -> dict[str, bytes]:
    files = {}
    for place, source in sources.items():
        here = [
            region
            for region in prediction.regions
            if (region.image, region.frame) == place
            and lesion_mask(case.images[region.image], region).any()
        ]
        if here:
            made = lesions_segmentation(case, card, source, place, here, software)
            files[f"lesions_{place[0]}_{place[1]}.dcm"] = file_bytes(made)
    return files
