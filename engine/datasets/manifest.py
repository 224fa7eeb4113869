"""A manifest: a table, CSV or Parquet, with one image a row; nothing is decoded here."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.datasets.errors import InvalidManifest
from engine.datasets.table import read_table
from engine.records import Box, Modality

REQUIRED = ("patient", "site", "modality", "path", "class")
OPTIONAL = ("split", "grade", "box", "mask")
SPLIT_NAMES = ("train", "validation", "test", "external")

_SPLITS = {"val": "validation", "valid": "validation", "training": "train", "testing": "test"}
_MODALITIES = {"mg": "mammography", "mammogram": "mammography", "sm": "pathology"}
_MODALITIES |= {"histology": "pathology", "histopathology": "pathology"}


@dataclass(frozen=True)
class Row:
    """One image of a manifest, its cells as text; empty where unknown.

    Args:
        number: Line of the table; the header is line 1.
        patient: Identifier within the site. site: Where the image was made.
        split: One of `SPLIT_NAMES`, or whatever was written.
        modality: "mammography" or "pathology", or whatever was written.
        path: File, relative to the manifest, or absolute.
        label: Class name. grade: Name or 0-based number of a grade.
        box: "left;top;width;height" in source pixels. mask: File, as `path`.
    """

    number: int
    patient: str = field(repr=False)
    site: str
    split: str
    modality: str
    path: str = field(repr=False)
    label: str
    grade: str
    box: str
    mask: str = field(repr=False)

    @property
    def key(self) -> str:
        """Hash of site and patient, hexadecimal: the unit of a split.

        It is for work in memory: identifiers that are numbers can be guessed from it, so that
        what is stored holds `salted`.
        """
        return hashlib.sha256(f"{self.site}\0{self.patient}".encode()).hexdigest()[:32]

    def salted(self, salt: str) -> str:
        """The key hashed again with a salt, hexadecimal; the key itself without one."""
        return salted(self.key, salt) if salt else self.key

    @property
    def is_mammogram(self) -> bool:
        """Whether this row is a mammogram."""
        return self.modality == Modality.MAMMOGRAPHY

    @property
    def is_pathology(self) -> bool:
        """Whether this row is a pathology image."""
        return self.modality == Modality.PATHOLOGY


@dataclass(frozen=True)
class Manifest:
    """All rows of a manifest.

    Args:
        rows: In the order of the table, at least one.
        folder: Where relative paths start.
        digest: SHA-256 of the file, the classes and the grades, hexadecimal.
        classes: Class names, in the order of the labels.
        grades: Grade names, lowest first.
    """

    rows: tuple[Row, ...]
    folder: Path = field(repr=False)
    digest: str
    classes: tuple[str, ...]
    grades: tuple[str, ...] = ()

    def file(self, row: Row) -> Path:
        """Where the image of a row lies."""
        return self.folder / row.path

    def mask_file(self, row: Row) -> Path | None:
        """Where the lesion mask of a row lies; None where it has none."""
        return self.folder / row.mask if row.mask else None

    @property
    def healthy(self) -> frozenset[str]:
        """Classes without a lesion: those beside the grades where grades are classes, or Normal."""
        graded = set(self.grades)
        if graded and graded < set(self.classes):
            return frozenset(set(self.classes) - graded)
        return frozenset(name for name in self.classes if name.casefold() == "normal")


def read_manifest(path: Path, classes: Sequence[str] = (), grades: Sequence[str] = ()) -> Manifest:
    """Read a manifest, CSV (UTF-8, commas) or Parquet, told apart by content.

    Names of classes, splits and modalities may differ in case. Cells that mean nothing stay as
    they are, for `check` to find.

    Args:
        path: The table. classes: Names by label; those in the table, sorted, when empty.
        grades: Names, lowest first.

    Raises:
        InvalidManifest: The file cannot be read as a table, lacks columns, or has no row.
    """
    data, cells = read_table(path, REQUIRED)
    if not cells:
        raise InvalidManifest("The manifest has a header but no rows.")
    known = tuple(classes) or tuple(sorted({each["class"] for each in cells} - {""}))
    rows = tuple(_row(number, each, known) for number, each in enumerate(cells, 2))
    whole = hashlib.sha256(data)
    whole.update(repr((known, tuple(grades))).encode())
    return Manifest(rows, path.resolve().parent, whole.hexdigest(), known, tuple(grades))


def salted(key: str, salt: str) -> str:
    """A key of a row hashed with a salt, hexadecimal."""
    return hashlib.sha256(f"{salt}\0{key}".encode()).hexdigest()[:32]


def box_of(row: Row) -> Box | None:
    """The box of a row, source pixels; None where the cell is empty.

    Raises:
        InvalidManifest: Not four numbers, or not a box.
    """
    if not row.box:
        return None
    try:
        left, top, width, height = (float(part) for part in row.box.split(";"))
    except ValueError:
        raise InvalidManifest(
            f"The box in row {row.number} is not four numbers: left;top;width;height."
        ) from None
    sound = all(map(math.isfinite, (left, top, width, height))) and width > 0 and height > 0
    if not sound:
        raise InvalidManifest(f"The box in row {row.number} has no area.")
    return Box(left, top, width, height)


def grade_of(row: Row, manifest: Manifest) -> int | None:
    """The grade of a row, 0-based; None where the cell is empty, or no grades are known.

    Raises:
        InvalidManifest: Not a known grade, or one that the class of the row cannot have.
    """
    if not row.grade or not manifest.grades:
        return None
    names = [name.casefold() for name in manifest.grades]
    if row.grade.casefold() in names:
        level = names.index(row.grade.casefold())
    else:
        level = _whole(row.grade)
    if not 0 <= level < len(names):
        raise InvalidManifest(f"The grade in row {row.number} is not one of the known grades.")
    are_classes = set(manifest.grades) <= set(manifest.classes) and row.label in manifest.classes
    if are_classes and manifest.grades[level] != row.label:
        raise InvalidManifest(f"The grade in row {row.number} contradicts its class.")
    return level


def label_of(row: Row, manifest: Manifest) -> int:
    """The label of a row; -1 where the cell is empty.

    Raises:
        InvalidManifest: No class has this name.
    """
    if not row.label:
        return -1
    if row.label not in manifest.classes:
        raise InvalidManifest(f"The class in row {row.number} is not one of the known classes.")
    return manifest.classes.index(row.label)


def _whole(text: str) -> int:
    """A whole number, also as "1.0"; -1 for anything else."""
    try:
        value = float(text)
    except ValueError:
        return -1
    return int(value) if math.isfinite(value) and value == int(value) else -1


def _row(number: int, cells: dict[str, str], classes: tuple[str, ...]) -> Row:
    split, modality = cells["split"].casefold(), cells["modality"].casefold()
    names = {name.casefold(): name for name in classes}
    return Row(
        number,
        cells["patient"],
        cells["site"],
        _SPLITS.get(split, split),
        _MODALITIES.get(modality, modality),
        cells["path"],
        names.get(cells["class"].casefold(), cells["class"]),
        cells["grade"],
        cells["box"],
        cells["mask"],
    )
