"""Names of the files and arrays of a case: method and modality, nothing that identifies anybody."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.errors import UnknownName
from engine.records import Case, Explanation

FORMATS = ("npz", "png", "nifti", "dicom", "dicom-seg", "dicom-sr")
"""Ways to write a map, and with the last one what is said of the case; JSON is always written."""

DEFAULT_FORMATS = ("npz", "png")
_OTHER_MARKS = re.compile(r"[^a-z0-9_]+")


@dataclass(frozen=True)
class Names:
    """How the files of one heat map are called.

    Args:
        stem: Method, and for a further image its modality.
        archive: Name of the NPZ, shared by all maps of the explanation.
        key: Name of the array in it.
    """

    stem: str
    archive: str
    key: str

    def files(self, formats: Sequence[str]) -> dict[str, str]:
        """File names by what they hold, for the formats asked."""
        every = {
            "npz": {"npz": self.archive},
            "png": {"overlay_png": f"{self.stem}.png", "map_png": f"{self.stem}_map.png"},
            "nifti": {"nifti": f"{self.stem}.nii.gz"},
            "dicom": {"dicom": f"{self.stem}.dcm"},
            "dicom-seg": {"dicom_seg": f"{self.stem}_seg.dcm"},
            "dicom-sr": {},
        }
        return {what: name for each in formats for what, name in every[each].items()}


def checked_formats(formats: Iterable[str]) -> tuple[str, ...]:
    """The formats asked, each once, in the order of `FORMATS`.

    Raises:
        UnknownName: One of them does not exist.
    """
    asked = set(formats)
    for name in sorted(asked - set(FORMATS)):
        raise UnknownName(f"There is no format {name!r}. Known: {', '.join(FORMATS)}.")
    return tuple(name for name in FORMATS if name in asked)


def names_of(case: Case, explanations: Sequence[Explanation]) -> list[list[Names]]:
    """Names per explanation and heat map, in their order; no two files share one.

    The first map of an explanation carries the method alone; the next ones add the modality of
    their image, and a number where that is not enough.
    """
    stems: set[str] = set()
    made = []
    for explanation in explanations:
        method = _OTHER_MARKS.sub("_", explanation.method.lower())
        first = ""
        keys: set[str] = set()
        row = []
        for position, heat in enumerate(explanation.maps):
            suffix = f"_{case.images[heat.image].modality}" if position else ""
            stem = _unique(method + suffix, stems)
            first = first or stem
            row.append(Names(stem, f"{first}.npz", _unique(f"map{suffix}", keys)))
        made.append(row)
    return made


def _unique(name: str, taken: set[str]) -> str:
    """The name, or the name with the first free number from 2; remembered as taken."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found
