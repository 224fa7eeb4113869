"""Which files of a batch make up one case."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from engine.errors import EngineError
from engine.io.expand import Item
from engine.io.limits import Limits
from engine.io.readers import peek
from engine.io.series import Header
from engine.io.source import Format, head, sniff
from engine.io.truth import LESION

_MAMMOGRAPHY = re.compile(r"(mammo|mg)", re.IGNORECASE)
_PATHOLOGY = re.compile(r"(patho|histology)", re.IGNORECASE)


class Kind(Enum):
    """Why the files of a group belong together."""

    SINGLE = "one file"
    PAIR = "mammography and pathology in one folder"
    STUDY = "one DICOM examination"


@dataclass(frozen=True)
class Group:
    """Files of one case, in order; headers stand beside DICOM files that have a sound one."""

    kind: Kind
    items: tuple[Item, ...]
    headers: tuple[Header | None, ...]

    @property
    def position(self) -> int:
        """Place of the first file in the batch."""
        return min(item.position for item in self.items)


def grouped(items: Sequence[Item], limits: Limits) -> list[Group]:
    """The cases of a batch, in the order of their first files."""
    headers = {item.position: _header(item, limits) for item in items}
    groups: list[Group] = []
    taken: set[int] = set()
    for members in _by_folder(items).values():
        pair, mask = _pair(members)
        if pair:
            groups.append(_group(Kind.PAIR, pair, headers))
            taken.update(item.position for item in (*pair, *mask))
    studies: dict[object, list[Item]] = defaultdict(list)
    for item in items:
        if item.position not in taken:
            header = headers[item.position]
            known = header is not None and header.study
            key = (header.patient, header.study) if header and known else item.position
            studies[key].append(item)
    for members in studies.values():
        kind = Kind.STUDY if len(members) > 1 else Kind.SINGLE
        groups.append(_group(kind, members, headers))
    return sorted(groups, key=lambda group: group.position)


def _group(kind: Kind, items: Sequence[Item], headers: dict[int, Header | None]) -> Group:
    return Group(kind, tuple(items), tuple(headers[item.position] for item in items))


def _header(item: Item, limits: Limits) -> Header | None:
    """Header of a DICOM file; None for other files, and for damaged ones."""
    if item.error is not None or sniff(head(item.path)) is not Format.DICOM:
        return None
    try:
        return peek(item.path, limits)
    except EngineError:
        return None


def _by_folder(items: Sequence[Item]) -> dict[Path, list[Item]]:
    folders: dict[Path, list[Item]] = defaultdict(list)
    for item in items:
        if item.folder is not None and item.error is None:
            folders[item.folder].append(item)
    return folders


def _pair(members: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Mammogram and pathology of a case folder, and its lesion mask; empty for other folders.

    Files named exactly "mammography" and "pathology" are a case whatever else is there; names that
    only begin so are one when nothing else is, so that a folder of many mammograms stays a batch.
    """
    mask = [item for item in members if item.path.name.lower() == LESION]
    others = [item for item in members if item not in mask]
    exact = [_named(others, "mammography"), _named(others, "pathology")]
    if len(exact[0]) == 1 and len(exact[1]) <= 1:
        loose = [item for item in others if _PATHOLOGY.match(item.path.name)]
        return [*exact[0], *(exact[1] or (loose if len(loose) == 1 else []))], mask
    mammograms = [item for item in others if _MAMMOGRAPHY.match(item.path.name)]
    slides = [item for item in others if _PATHOLOGY.match(item.path.name)]
    if len(mammograms) == 1 and len(slides) <= 1 and len(others) == 1 + len(slides):
        return [*mammograms, *slides], mask
    return [], []


def _named(items: Sequence[Item], stem: str) -> list[Item]:
    return [item for item in items if item.path.name.lower().split(".")[0] == stem]
