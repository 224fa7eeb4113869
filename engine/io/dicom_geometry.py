"""Pixel pitch and position of DICOM images.

The rule for projections follows OHIF: what a length means depends on whether PixelSpacing,
ImagerPixelSpacing or both are stated, and the source of the pitch says which.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.io.dicom_values import group, numbers
from engine.io.volume import assemble
from engine.records import Spacing

NO_PITCH = "The file states a pixel spacing of zero or below, so lengths cannot be measured."
_PROJECTIONS = ("CR", "DX", "MG", "RF", "XA", "PX", "IO", "RG")
_CALIBRATIONS = {"GEOMETRY": "from the geometry", "FIDUCIAL": "from an object of known size"}
_CENTIMETRE = 3


def spacing(dataset: Any) -> tuple[Spacing | None, tuple[str, ...]]:
    """Pitch and how it is known; None, with a warning where what is stated makes no sense."""
    found = _stated(dataset)
    if found is None:
        return None, ()
    pitch, source = found
    if len(pitch) < 2 or min(pitch[:2]) <= 0:
        return None, (NO_PITCH,)
    return Spacing(pitch[0], pitch[1], _slice_mm(dataset), source), ()


def _stated(dataset: Any) -> tuple[tuple[float, ...], str] | None:
    """Row and column pitch as stated, mm, and its source in words."""
    pixel, imager = numbers(dataset, "PixelSpacing"), numbers(dataset, "ImagerPixelSpacing")
    measures = group(dataset, "PixelMeasuresSequence")
    if not pixel and measures is not None:
        pixel = numbers(measures, "PixelSpacing")
    if str(dataset.get("Modality", "")) in _PROJECTIONS and (pixel or imager):
        return _projection(dataset, pixel, imager)
    if pixel:
        return pixel, "stated by the file"
    if imager:
        return _projection(dataset, pixel, imager)
    scanned = numbers(dataset, "NominalScannedPixelSpacing")
    if scanned:
        return scanned, "at the film digitiser"
    return _ultrasound(dataset)


def _projection(
    dataset: Any, pixel: tuple[float, ...], imager: tuple[float, ...]
) -> tuple[tuple[float, ...], str]:
    if not imager:
        return pixel, "pixel spacing of the file, its meaning unknown"
    if pixel == imager:
        return pixel, "at detector"
    if pixel:
        kind = str(dataset.get("PixelSpacingCalibrationType", "")).strip().upper()
        how = _CALIBRATIONS.get(kind, "in a way the file does not state")
        return pixel, f"calibrated {how}"
    factor = next(iter(numbers(dataset, "EstimatedRadiographicMagnificationFactor")), 0.0)
    if factor > 0:
        pitch = tuple(step / factor for step in imager)
        return pitch, f"at detector, divided by the magnification of {factor:g}"
    return imager, "at detector, not corrected for magnification"


def _ultrasound(dataset: Any) -> tuple[tuple[float, ...], str] | None:
    """Pitch of an ultrasound image with one two-dimensional region in centimetres."""
    regions: Any = dataset.get("SequenceOfUltrasoundRegions") or ()
    if len(regions) != 1:
        return None
    region = regions[0]
    if 1.0 not in numbers(region, "RegionSpatialFormat"):  # two-dimensional  # two-dimensional
        return None
    keywords = ("PhysicalUnitsXDirection", "PhysicalUnitsYDirection")
    units = {unit for keyword in keywords for unit in numbers(region, keyword)}
    across, down = numbers(region, "PhysicalDeltaX"), numbers(region, "PhysicalDeltaY")
    if units != {_CENTIMETRE} or not across or not down:
        return None
    return (abs(down[0]) * 10, abs(across[0]) * 10), "ultrasound region"


def _slice_mm(dataset: Any) -> float | None:
    """Distance between frames of a multi-frame image, mm; None for one plane."""
    if int(dataset.get("NumberOfFrames") or 1) < 2:
        return None
    measures = group(dataset, "PixelMeasuresSequence")
    for place in (dataset, measures):
        stated = numbers(place, "SpacingBetweenSlices") if place is not None else ()
        if stated and stated[0] > 0:
            return stated[0]
    return None


def plane(dataset: Any, frame: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Position (3,) and orientation (2, 3) of a frame in LPS mm; None when not stated."""
    where = group(dataset, "PlanePositionSequence", frame) or dataset
    how = group(dataset, "PlaneOrientationSequence", frame) or dataset
    position = numbers(where, "ImagePositionPatient")
    orientation = numbers(how, "ImageOrientationPatient")
    if len(position) != 3 or len(orientation) != 6:
        return None
    axes = np.array(orientation).reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    if not np.allclose(lengths, 1, atol=1e-2) or abs(float(axes[0] @ axes[1])) > 1e-2:
        return None
    return np.array(position), axes


def affine(dataset: Any, pitch: Spacing | None, frames: int) -> NDArray[np.float64] | None:
    """(4, 4) voxel (column, row, frame) to LPS mm; None unless frames are evenly spaced."""
    if pitch is None or (frames > 1 and "PerFrameFunctionalGroupsSequence" not in dataset):
        return None
    planes = [plane(dataset, frame) for frame in range(frames)]
    if any(each is None for each in planes):
        return None
    positions = np.array([each[0] for each in planes if each is not None])
    axes = np.array([each[1] for each in planes if each is not None])
    if not np.allclose(axes, axes[0], atol=1e-4):
        return None
    thickness = numbers(dataset, "SliceThickness")
    return assemble(positions, axes[0], pitch, thickness[0] if thickness else 1.0)
