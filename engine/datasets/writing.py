"""Phantoms as files with a manifest: an example for people, and data for tests."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from engine.datasets.manifest import REQUIRED
from engine.phantoms.cases import phantom_case, write_case
from engine.phantoms.classes import GRADES, LABELS
from engine.phantoms.site import SITES, Site
from engine.records import Truth

COLUMNS = (*REQUIRED, "grade", "box", "mask")
PHANTOM_CLASSES = LABELS
PHANTOM_GRADES = tuple(name for name, level in GRADES.items() if level is not None)


def write_phantom_manifest(
    folder: Path,
    count: int,
    *,
    sites: Sequence[Site] | None = None,
    seed: int = 0,
    height: int = 256,
    width: int = 192,
    tile: int = 128,
) -> Path:
    """Write phantom patients, each with a mammogram and a histology field, and their manifest.

    Classes and sites are equally frequent. The manifest states no split.

    Args:
        folder: Made when needed; gets one folder a patient and "manifest.csv".
        count: Patients. sites: Hospitals; all of `SITES` when None. seed: Of the first phantom.
        height, width, tile: Pixels, as in `phantom_case`.

    Returns:
        Path of the manifest.
    """
    places = tuple(sites) if sites is not None else SITES
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(COLUMNS)
        for number in range(count):
            label = LABELS[number % len(LABELS)]
            site = places[number // len(LABELS) % len(places)]
            case = phantom_case(
                seed + number, label, height=height, width=width, tile=tile, site=site
            )
            name = f"P{number:04d}"
            write_case(case, folder / name)
            assert case.truth is not None
            for modality in ("mammography", "pathology"):
                table.writerow((name, site.name, *_cells(name, modality, case.truth)))
    return path


def _cells(name: str, modality: str, truth: Truth) -> tuple[str, ...]:
    """Modality, path, class, grade, box and mask."""
    file, level = f"{name}/{modality}.png", truth.grade
    grade = "" if level is None else PHANTOM_GRADES[level]
    if modality != "mammography" or truth.box is None:
        return modality, file, truth.label, grade, "", ""
    box = truth.box
    corners = ";".join(f"{value:g}" for value in (box.x, box.y, box.width, box.height))
    return modality, file, truth.label, grade, corners, f"{name}/lesion.png"
