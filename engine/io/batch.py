"""Batches: files, folders and archives become cases, and one bad file stops nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.errors import EngineError, UnreadableFile, UnsupportedImage
from engine.io.expand import NOTHING, Item, expand
from engine.io.grouping import Group, Kind, grouped
from engine.io.limits import Limits
from engine.io.privacy import pseudonym
from engine.io.readers import decode
from engine.io.series import Header, stack, stacks
from engine.io.source import load
from engine.io.truth import read_truth
from engine.records import Case, Image, Modality

MIXED = "This case mixes files of different patients, so it was not read."
_ROLES = (Modality.MAMMOGRAPHY, Modality.PATHOLOGY)


@dataclass(frozen=True)
class Outcome:
    """What became of one case, or of one file that could not be read.

    Args:
        position: Place of its first file in the expanded list, from 1.
        case: The case; None when there is a problem.
        problem: One sentence without names; empty when all is well.
        digests: SHA-256 of the images, or of the files that could be opened.
        sources: Where it came from; for the caller only, never to be stored or shown.
    """

    position: int
    case: Case | None
    problem: str
    digests: tuple[str, ...]
    sources: tuple[Path, ...]


@dataclass(frozen=True)
class _Reading:
    """One file: its image, or why there is none."""

    item: Item
    image: Image | None = None
    error: EngineError | None = None
    digest: str = ""


def gather(paths: Sequence[Path], *, limits: Limits | None = None) -> Iterator[Outcome]:
    """Read a batch, one outcome per case or per failure.

    Folders are walked in sorted order, and archives unpacked into a private folder that is
    removed when the iterator ends or is closed. A folder with mammography.* and pathology.* is one
    case; DICOM files of one examination are one case; every other file is a case of its own.

    Args:
        paths: Files, folders and zip archives.
        limits: What the machine can bear; the usual limits when None.
    """
    bounds = limits or Limits()
    with TemporaryDirectory(prefix="lightbox-") as workspace:
        for group in grouped(expand(paths, Path(workspace), bounds), bounds):
            yield from _outcomes(group, bounds)


def read_case(path: Path, *, limits: Limits | None = None) -> Case:
    """Read one file, or one folder or archive that holds one case.

    Raises:
        EngineError: The case cannot be read, or there is none, or more than one.
    """
    bounds = limits or Limits()
    with TemporaryDirectory(prefix="lightbox-") as workspace:
        groups = grouped(expand([path], Path(workspace), bounds), bounds)
        if not groups:
            raise UnreadableFile(NOTHING)
        if len(groups) > 1:
            raise UnsupportedImage(
                f"This folder or archive holds {len(groups)} cases; read them as a batch."
            )
        readings = _readings(groups[0], bounds)
        error = next((each.error for each in readings if each.error), None)
        if error and (groups[0].kind is not Kind.STUDY or not any(r.image for r in readings)):
            raise error
        return _case(groups[0], readings, bounds)


def _outcomes(group: Group, limits: Limits) -> Iterator[Outcome]:
    readings = _readings(group, limits)
    failed = [reading for reading in readings if reading.error is not None]
    if failed and group.kind is not Kind.STUDY:
        yield _failure(group, readings, failed[0].error)
        return
    for reading in failed:
        yield Outcome(
            reading.item.position,
            None,
            str(reading.error),
            (reading.digest,) if reading.digest else (),
            (reading.item.source,),
        )
    if len(failed) == len(readings):
        return
    try:
        case = _case(group, readings, limits)
    except EngineError as error:
        yield _failure(group, readings, error)
        return
    read = [reading for reading in readings if reading.image is not None]
    yield Outcome(
        min(reading.item.position for reading in read),
        case,
        "",
        tuple(image.digest for image in case.images),
        _sources(read),
    )


def _failure(group: Group, readings: Sequence[_Reading], error: EngineError | None) -> Outcome:
    digests = tuple(reading.digest for reading in readings if reading.digest)
    return Outcome(group.position, None, str(error), digests, _sources(readings))


def _sources(readings: Sequence[_Reading]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(reading.item.source for reading in readings))


def _readings(group: Group, limits: Limits) -> list[_Reading]:
    roles = _ROLES if group.kind is Kind.PAIR else ()
    if group.kind is Kind.PAIR and _is_mixed(group.headers):
        return [_Reading(item, error=UnsupportedImage(MIXED)) for item in group.items]
    return [
        _read(item, roles[index] if roles else None, limits)
        for index, item in enumerate(group.items)
    ]


def _is_mixed(headers: Sequence[Header | None]) -> bool:
    return len({header.patient for header in headers if header and header.patient}) > 1


def _read(item: Item, modality: Modality | None, limits: Limits) -> _Reading:
    digest = ""
    try:
        if item.error is not None:
            raise item.error
        source = load(item.path, limits)
        digest = source.digest
        return _Reading(item, decode(source, modality=modality, limits=limits), digest=digest)
    except EngineError as error:
        return _Reading(item, error=error, digest=digest)


def _case(group: Group, readings: Sequence[_Reading], limits: Limits) -> Case:
    """The case of a group of which at least one file was read."""
    images = _images(group, readings, limits)
    truth, warnings = None, list[str]()
    folder = group.items[0].folder
    if group.kind is Kind.PAIR and folder is not None:
        truth, problems = read_truth(folder, images[0])
        warnings.extend(problems)
    missing = sum(reading.image is None for reading in readings)
    if missing:
        files = "One file" if missing == 1 else f"{missing} files"
        warnings.append(f"{files} of this examination could not be read.")
    return Case(pseudonym([image.digest for image in images]), images, "", truth, tuple(warnings))


def _images(group: Group, readings: Sequence[_Reading], limits: Limits) -> tuple[Image, ...]:
    """Images of a case, slices stacked, copies of one file left out."""
    unique: dict[str, tuple[Image, Header | None]] = {}
    for reading, header in zip(readings, group.headers, strict=True):
        if reading.image is not None:
            unique.setdefault(reading.digest, (reading.image, header))
    pairs = list(unique.values())
    if group.kind is not Kind.STUDY:
        return tuple(image for image, _ in pairs)
    images = [image for image, _ in pairs]
    headers = [header or Header("", "", "") for _, header in pairs]
    return tuple(
        stack([images[i] for i in order], [headers[i] for i in order], limits)
        for order in stacks(headers)
    )
