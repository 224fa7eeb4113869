"""Where a DICOM picture lies and how large its pixels are, as elements of a data set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from engine.records import Image, Spacing

_CALIBRATED = {
    "calibrated from the geometry": "GEOMETRY",
    "calibrated from an object of known size": "FIDUCIAL",
}
_CORRECTED = "at detector, divided by the magnification"


def place_spacing(made: Dataset, spacing: Spacing | None) -> None:
    """Pixel pitch in the element that tells what it means.

    At the detector of a projection it is ImagerPixelSpacing, so that no viewer takes it for
    millimetres in the patient; on digitised film NominalScannedPixelSpacing; else PixelSpacing,
    with the calibration where one is known.
    """
    if spacing is None:
        return
    pitch = decimals([spacing.row_mm, spacing.column_mm])
    if spacing.source.startswith(_CORRECTED):
        kind = "GEOMETRY"
    elif spacing.source.startswith("at detector"):
        made.ImagerPixelSpacing = pitch
        return
    elif spacing.source == "at the film digitiser":
        made.NominalScannedPixelSpacing = pitch
        return
    else:
        kind = _CALIBRATED.get(spacing.source, "")
    made.PixelSpacing = pitch
    if kind:
        made.PixelSpacingCalibrationType = kind
        made.PixelSpacingCalibrationDescription = "As stated by the source"


def place_plane(made: Dataset, image: Image, frame: int, reference: str) -> bool:
    """Image Plane and Frame of Reference of one frame, where the source states a position.

    Args:
        made: Gets the elements.
        image: The source. frame: Which plane of it.
        reference: UID of the frame of reference; never that of the source, which identifies.

    Returns:
        Whether the plane could be placed; the axes must be orthogonal, as DICOM asks.
    """
    if image.affine is None:
        return False
    position = image.affine @ np.array([0.0, 0.0, float(frame), 1.0])
    along, down = _unit(image.affine[:3, 0]), _unit(image.affine[:3, 1])
    if abs(float(along @ down)) > 1e-4:
        return False
    made.ImagePositionPatient = decimals(position[:3])
    made.ImageOrientationPatient = decimals([*along, *down])
    has_step = image.spacing is not None and image.spacing.slice_mm is not None
    step = decimals([float(np.linalg.norm(image.affine[:3, 2]))])[0]
    made.SliceThickness = step if has_step else None
    made.FrameOfReferenceUID = reference
    made.PositionReferenceIndicator = ""
    if "PixelSpacing" not in made:
        rows, columns = np.linalg.norm(image.affine[:3, 1]), np.linalg.norm(image.affine[:3, 0])
        made.PixelSpacing = decimals([float(rows), float(columns)])
    return True


def decimals(values: NDArray[np.float64] | list[float]) -> list[DSfloat]:
    """Numbers as DICOM decimal strings of at most sixteen characters."""
    return [DSfloat(float(value), auto_format=True) for value in values]


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """The direction, without negative zeros."""
    return np.asarray(vector / np.linalg.norm(vector) + 0.0)
