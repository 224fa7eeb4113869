"""Problems that the table alone shows, before any image is opened."""

from __future__ import annotations

import os.path
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import chain

from engine.datasets.errors import InvalidManifest, in_rows
from engine.datasets.manifest import SPLIT_NAMES, Manifest, Row, box_of, grade_of
from engine.datasets.problems import Problem, error, warning


def table_problems(manifest: Manifest) -> list[Problem]:
    """All problems of the cells and of their agreement with each other."""
    parts = (_cells, _values, _splits, _files, _classes, _annotations, _pairs)
    return list(chain.from_iterable(part(manifest) for part in parts))


def _where(manifest: Manifest, test: Callable[[Row], bool]) -> list[int]:
    return [row.number for row in manifest.rows if test(row)]


def _cells(manifest: Manifest) -> Iterator[Problem]:
    for name in ("patient", "site", "modality", "path"):
        rows = [row.number for row in manifest.rows if not getattr(row, name)]
        if rows:
            yield error("missing", rows, f"The {name} is missing in {in_rows(rows)}.")


def _values(manifest: Manifest) -> Iterator[Problem]:
    rows = _where(manifest, lambda r: bool(r.modality) and not (r.is_mammogram or r.is_pathology))
    if rows:
        known = "mammography and pathology are known"
        yield error("modality", rows, f"The modality is unknown in {in_rows(rows)}; {known}.")
    rows = _where(manifest, lambda row: bool(row.label) and row.label not in manifest.classes)
    if rows:
        names = ", ".join(manifest.classes)
        yield error("class", rows, f"The class is unknown in {in_rows(rows)}; known are {names}.")
    for row in manifest.rows:
        try:
            grade_of(row, manifest)
        except InvalidManifest as wrong:
            yield error("grade", [row.number], str(wrong))
        try:
            box_of(row)
        except InvalidManifest as wrong:
            yield error("box", [row.number], str(wrong))


def _splits(manifest: Manifest) -> Iterator[Problem]:
    names = ", ".join(SPLIT_NAMES)
    rows = _where(manifest, lambda row: bool(row.split) and row.split not in SPLIT_NAMES)
    if rows:
        yield error("split", rows, f"The split is unknown in {in_rows(rows)}; known are {names}.")
    rows = _where(manifest, lambda row: not row.split)
    if rows and len(rows) < len(manifest.rows):
        yield error("split", rows, f"The split is stated elsewhere, but not in {in_rows(rows)}.")
    patients: dict[str, list[Row]] = defaultdict(list)
    for row in manifest.rows:
        if row.split and row.patient:
            patients[row.key].append(row)
    for found in patients.values():
        if len({row.split for row in found}) > 1:
            rows = [row.number for row in found]
            yield error("patient", rows, f"One patient is in two splits: see {in_rows(rows)}.")


def _files(manifest: Manifest) -> Iterator[Problem]:
    """Files that stand under several patients, in whatever way their path is written."""
    files: dict[str, list[Row]] = defaultdict(list)
    for row in manifest.rows:
        if row.path:
            files[os.path.normpath(manifest.file(row))].append(row)
    for found in files.values():
        if len({row.key for row in found}) > 1:
            rows = [row.number for row in found]
            yield error("leak", rows, f"The same file is under two patients: see {in_rows(rows)}.")


def _classes(manifest: Manifest) -> Iterator[Problem]:
    present = {row.label for row in manifest.rows}
    for name in manifest.classes:
        if name not in present:
            yield error("empty", (), f"No image is of the class {name}.")
    mammograms = [row for row in manifest.rows if row.is_mammogram]
    if not mammograms:
        yield error("empty", (), "The manifest holds no mammogram.")
        return
    seen = {row.label for row in mammograms}
    for name in manifest.classes:
        if name in present - seen:
            yield warning("empty", (), f"No mammogram is of the class {name}, only pathology.")
    for split in SPLIT_NAMES:
        labels = {row.label for row in mammograms if row.split == split}
        absent = [name for name in manifest.classes if name in seen and name not in labels]
        if labels and absent:
            names = ", ".join(absent)
            yield warning("empty", (), f"The split {split} holds no mammogram of: {names}.")


def _annotations(manifest: Manifest) -> Iterator[Problem]:
    rows = _where(manifest, lambda row: row.is_pathology and bool(row.box or row.mask))
    if rows:
        said = "Boxes and masks are read for mammograms only; those in"
        yield warning("box", rows, f"{said} {in_rows(rows)} are not used.")
    rows = _where(
        manifest,
        lambda row: row.is_mammogram and bool(row.box) and row.label in manifest.healthy,
    )
    if rows:
        said = "A lesion is marked although the class has none in"
        yield warning("box", rows, f"{said} {in_rows(rows)}.")
    unlabelled = _where(manifest, lambda row: row.is_mammogram and not row.label)
    if unlabelled:
        said = "The class is not stated, so there is nothing to learn it from, in"
        yield warning("class", unlabelled, f"{said} {in_rows(unlabelled)}.")


def _pairs(manifest: Manifest) -> Iterator[Problem]:
    """What pathology of the same patient says of a mammogram before anybody looks at it."""
    first: dict[str, Row] = {}
    for row in manifest.rows:
        if row.is_pathology and row.patient:
            first.setdefault(row.key, row)
    labelled = [row for row in manifest.rows if row.is_mammogram and row.label in manifest.classes]
    paired = {row.label for row in labelled if row.key in first}
    alone = [n for n in manifest.classes if n in {row.label for row in labelled} - paired]
    if paired and alone:
        said = "so that its presence gives the class away where images are paired by patient"
        names = ", ".join(alone)
        yield warning("pathology", (), f"No mammogram of {names} comes with pathology, {said}.")
    rows = []
    for row in labelled:
        other = first.get(row.key)
        if other is not None and other.label and other.label != row.label:
            rows += [row.number, other.number]
    if rows:
        said = "The first pathology image of the patient is of another class than the mammogram in"
        yield warning("pathology", rows, f"{said} {in_rows(rows)}.")
