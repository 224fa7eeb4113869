"""A manifest of the real images named by LIGHTBOX_REAL_DATA; nothing is copied.

Run as `python -m tests.real_manifest OUT`. Mammograms are mini-MIAS, histology is of several
collections; no pair is of one woman, so pairs by class are artificial. Classes are Normal, Benign
and Malignant (in situ and invasive together); the two atypical fields are left out. The site is
the collection. Images are research material: figures on them are no clinical evidence.
"""

from __future__ import annotations

import csv
import os
import sys
from collections import defaultdict
from pathlib import Path

CLASSES = ("Normal", "Benign", "Malignant")
GRADES = ("Benign", "Malignant")
COLUMNS = ("patient", "site", "modality", "path", "class", "grade", "box")

_HISTOLOGY = {
    "Normal": "Normal",
    "Benign": "Benign",
    "InSitu": "Malignant",
    "Invasive": "Malignant",
}
_MAMMOGRAMS = {"normal": "Normal", "benign": "Benign", "malignant": "Malignant"}


def data_folder() -> Path:
    """Where the real images lie, or would lie."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("LIGHTBOX_REAL_DATA", default)).resolve()


def write(folder: Path) -> Path:
    """Write "manifest.csv" with absolute paths; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.csv"
    data = data_folder()
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, COLUMNS)
        table.writeheader()
        table.writerows(_mammograms(data / "mammography_train"))
        table.writerows(_fields(data / "histology"))
    return path


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _mammograms(folder: Path) -> list[dict[str, str]]:
    """One row a film; of several lesions the largest of the worse kind."""
    films: dict[str, list[dict[str, str]]] = defaultdict(list)
    for line in _table(folder / "annotations.csv"):
        films[line["image"]].append(line)
    rows = []
    for image, lines in films.items():
        worst = max((_MAMMOGRAMS[line["label"]] for line in lines), key=CLASSES.index)
        lesions = [line for line in lines if line["radius"] and line["label"] == worst.lower()]
        largest = max(lesions, key=lambda line: float(line["radius"]), default=None)
        box = "" if largest is None else _box(largest)
        rows.append(_row(lines[0]["patient_id"], "mini-MIAS", "mammography", folder / image, worst))
        rows[-1]["box"] = box
    return rows


def _box(line: dict[str, str]) -> str:
    """The circle's box, cut at the edges of the film."""
    x, y, radius = (float(line[name]) for name in ("cx", "cy", "radius"))
    left, top = max(0.0, x - radius), max(0.0, y - radius)
    right = min(float(line["width"]), x + radius)
    bottom = min(float(line["height"]), y + radius)
    return f"{left:g};{top:g};{right - left:g};{bottom - top:g}"


def _fields(folder: Path) -> list[dict[str, str]]:
    return [
        _row(
            line["patient_id"],
            line["dataset"].split(" ")[0],
            "pathology",
            folder / line["image"],
            _HISTOLOGY[line["label"]],
        )
        for line in _table(folder / "labels.csv")
        if line["label"] in _HISTOLOGY and line["blank_like"] != "yes"
    ]


def _row(patient: str, site: str, modality: str, path: Path, label: str) -> dict[str, str]:
    grade = label if label in GRADES else ""
    return {
        "patient": patient,
        "site": site,
        "modality": modality,
        "path": str(path),
        "class": label,
        "grade": grade,
        "box": "",
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.real_manifest OUT")
    sys.stdout.write(f"{write(Path(sys.argv[1]))}\n")
