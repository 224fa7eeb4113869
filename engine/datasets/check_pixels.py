"""Problems that only the images show: unreadable, duplicate, too small, marked outside."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.datasets.decode import is_file, lesion_mask
from engine.datasets.errors import InvalidManifest, in_rows
from engine.datasets.manifest import Manifest, Row, box_of
from engine.datasets.prefetch import ahead
from engine.datasets.problems import Problem, error, warning
from engine.errors import EngineError
from engine.io import read_image
from engine.io.picture import CONSTANT
from engine.models.crossmodal import MIN_SIDE
from engine.progress import Watcher
from engine.records import Image, Modality

WORKERS = 2
MOST = 50
"""Groups of duplicates that are told one by one."""


@dataclass(frozen=True)
class Seen:
    """What one row's files hold: problems, and the digest of the pixels ("" when unreadable)."""

    row: Row
    problems: tuple[Problem, ...]
    digest: str = ""


def pixel_problems(manifest: Manifest, watcher: Watcher | None = None) -> list[Problem]:
    """Decode every image and mask once.

    Args:
        manifest: Rows; those without a path or a known modality are passed over.
        watcher: Called with (images done, images).

    Raises:
        Cancelled: The watcher asks to stop.
    """
    rows = [row for row in manifest.rows if row.path and (row.is_mammogram or row.is_pathology)]
    found: list[Problem] = []
    seen = []
    for done, each in enumerate(ahead(lambda row: _look(manifest, row), rows, WORKERS), 1):
        found.extend(each.problems)
        seen.append(each)
        if watcher is not None:
            watcher(done, len(rows))
    return [*_merged(found), *_duplicates(seen)]


def _look(manifest: Manifest, row: Row) -> Seen:
    number = row.number
    path = manifest.file(row)
    if not is_file(path):
        return Seen(row, (error("absent", [number], "The file is absent in {rows}."),))
    modality = Modality.MAMMOGRAPHY if row.is_mammogram else Modality.PATHOLOGY
    try:
        image = read_image(path, modality=modality)
    except EngineError as wrong:
        said = f"An image cannot be read in {{rows}}{_clause(wrong)}"
        return Seen(row, (error("unreadable", [number], said),))
    problems = [*_picture(row, image)]
    if row.is_mammogram:
        problems += [*_box(row, image), *_mask(manifest.mask_file(row), row, image)]
    whole = hashlib.sha256(repr(image.pixels.shape).encode())
    whole.update(image.pixels.data)
    return Seen(row, tuple(problems), whole.hexdigest())


def _picture(row: Row, image: Image) -> Iterator[Problem]:
    rows = [row.number]
    if min(image.height, image.width) < MIN_SIDE:
        yield error("size", rows, f"An image is smaller than {MIN_SIDE} pixels in {{rows}}.")
    if CONSTANT in image.warnings:
        yield warning("blank", rows, "All pixels of the image are equal in {rows}.")
    elif image.is_colour and row.is_mammogram:
        yield error("channels", rows, "A mammogram must be grey, not in colour, in {rows}.")
    elif not image.is_colour and row.is_pathology:
        yield error("channels", rows, "A pathology image must be in colour, not grey, in {rows}.")
    if image.frames > 1:
        yield warning("frames", rows, "Only the middle frame is read of the image in {rows}.")


def _box(row: Row, image: Image) -> Iterator[Problem]:
    try:
        box = box_of(row)
    except InvalidManifest:  # already told by the table
        return
    if box is None:
        return
    across, down = box.x + box.width, box.y + box.height
    if box.x < 0 or box.y < 0 or across > image.width or down > image.height:
        yield error("box", [row.number], "The box reaches outside the image in {rows}.")


def _mask(path: Path | None, row: Row, image: Image) -> Iterator[Problem]:
    if path is None:
        return
    rows = [row.number]
    if not is_file(path):
        yield error("absent", rows, "The file of the mask is absent in {rows}.")
        return
    try:
        mask = lesion_mask(path)
    except EngineError as wrong:
        yield error("unreadable", rows, f"A mask cannot be read in {{rows}}{_clause(wrong)}")
        return
    if mask.shape != (image.height, image.width):
        yield error("mask", rows, "The mask has another size than its image in {rows}.")
    elif not mask.any():
        yield warning("mask", rows, "The mask marks nothing in {rows}.")


def _clause(wrong: EngineError) -> str:
    """The sentence of an error, after a colon."""
    said = str(wrong)
    return f": {said[:1].lower()}{said[1:]}"


def _merged(found: list[Problem]) -> list[Problem]:
    """Problems of the same words as one, with all their rows."""
    groups: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in found:
        groups[problem.kind, problem.message].append(problem)
    merged = []
    for (kind, message), group in groups.items():
        rows = tuple(sorted(problem.rows[0] for problem in group))
        severity = group[0].severity
        merged.append(Problem(kind, severity, rows, message.replace("{rows}", in_rows(rows))))
    return merged


def _duplicates(seen: list[Seen]) -> Iterator[Problem]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for each in seen:
        if each.digest:
            groups[each.digest].append(each.row)
    problems = [_duplicate(rows) for rows in groups.values() if len(rows) > 1]
    problems.sort(key=lambda problem: (problem.severity, problem.rows))
    yield from problems[:MOST]
    for severity in ("error", "warning"):
        rest = [p for p in problems[MOST:] if p.severity == severity]
        if rest:
            rows = tuple(sorted(row for problem in rest for row in problem.rows))
            said = f"{len(rest)} more pictures appear more than once, in {in_rows(rows)}."
            yield Problem("leak" if severity == "error" else "duplicate", severity, rows, said)


def _duplicate(rows: list[Row]) -> Problem:
    numbers = [row.number for row in rows]
    where = in_rows(numbers)
    if len({row.split for row in rows}) > 1:
        return error("leak", numbers, f"The same picture is in two splits: see {where}.")
    if len({row.key for row in rows}) > 1:
        return error("leak", numbers, f"The same picture is under two patients: see {where}.")
    return warning("duplicate", numbers, f"The same picture appears more than once: see {where}.")
