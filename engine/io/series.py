"""Single-frame DICOM images stacked to one image."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.io.limits import Limits
from engine.io.volume import assemble
from engine.records import Image

UNEVEN = "The slices of this series are not evenly spaced; one may be missing."


@dataclass(frozen=True)
class Header:
    """What decides about grouping; kept in memory only, and never part of an image.

    Args:
        patient: PatientID; empty when not stated.
        study: StudyInstanceUID; empty when not stated.
        series: SeriesInstanceUID.
        origin: First voxel, LPS mm; None when the file cannot be part of a stack.
        axes: Directions along a row, and down a column, six numbers.
        shape: Rows and columns.
        variant: What tells acquisitions of one series apart.
    """

    patient: str
    study: str
    series: str
    origin: tuple[float, ...] | None = None
    axes: tuple[float, ...] = ()
    shape: tuple[int, int] = (0, 0)
    variant: str = ""

    @property
    def depth(self) -> float:
        """Position along the normal of the slice, mm."""
        normal = np.cross(self.axes[:3], self.axes[3:])
        return float(normal @ np.array(self.origin))


def stacks(headers: Sequence[Header]) -> list[list[int]]:
    """Positions of the headers by image: slices of a stack sorted along their normal.

    Slices stack when they share series, orientation and shape, and no two lie in one place; where
    two do, acquisitions are told apart first. What cannot be stacked stands alone.
    """
    groups: dict[Any, list[int]] = defaultdict(list)
    for index, header in enumerate(headers):
        alone = header.origin is None or not header.series
        key = index if alone else (header.series, header.axes, header.shape)
        groups[key].append(index)
    result: list[list[int]] = []
    for members in groups.values():
        if _distinct(headers, members):
            result.append(_sorted(headers, members))
            continue
        variants: dict[str, list[int]] = defaultdict(list)
        for index in members:
            variants[headers[index].variant].append(index)
        for part in variants.values():
            whole = _distinct(headers, part)
            result.extend([_sorted(headers, part)] if whole else [[index] for index in part])
    return sorted(result, key=min)


def _distinct(headers: Sequence[Header], members: list[int]) -> bool:
    """Whether no two slices lie in one place."""
    if len(members) == 1:
        return True
    return float(np.diff(sorted(headers[index].depth for index in members)).min()) > 1e-3


def _sorted(headers: Sequence[Header], members: list[int]) -> list[int]:
    if len(members) == 1:
        return members
    return sorted(members, key=lambda index: headers[index].depth)


def stack(images: Sequence[Image], headers: Sequence[Header], limits: Limits) -> Image:
    """One image of single-frame images that are sorted along their normal.

    Its digest is the SHA-256 of the sorted digests of the files.

    Raises:
        LimitExceeded: Together they are too large.
    """
    first = images[0]
    if len(images) == 1:
        return first
    limits.check_plane(first.height, first.width, len(images))
    middle = images[len(images) // 2]
    gaps = np.diff([header.depth for header in headers])
    even = bool(np.allclose(gaps, gaps.mean(), rtol=0.01, atol=1e-3))
    pitch, affine = first.spacing, None
    if pitch is not None:
        pitch = replace(pitch, slice_mm=float(np.median(gaps)))
        origins = np.array([header.origin for header in headers], dtype=np.float64)
        affine = assemble(origins, np.array(headers[0].axes).reshape(2, 3), pitch, 1.0)
    warnings = [text for image in images for text in image.warnings]
    return replace(
        first,
        pixels=np.concatenate([image.pixels for image in images]),
        digest=combined(image.digest for image in images),
        spacing=pitch,
        affine=affine,
        windows=middle.windows,
        facts={**first.facts, "frames": str(len(images))},
        warnings=tuple(dict.fromkeys(warnings if even else [*warnings, UNEVEN])),
    )


def combined(digests: Any) -> str:
    """SHA-256 over sorted digests, hexadecimal."""
    return hashlib.sha256("\n".join(sorted(digests)).encode("ascii")).hexdigest()
