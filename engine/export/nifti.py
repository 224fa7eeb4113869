"""Heat maps as NIfTI volumes that lie where the source image lies.

Voxel (c, r, k) of the volume is column c, row r, frame k of the source, as `engine.io` reads NIfTI.
The affine turns from LPS (DICOM) to RAS (NIfTI) millimetres.
"""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from engine.export.space import elsewhere
from engine.records import HeatMap, Image

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SCANNER = 1
_UNKNOWN = 0
_NIFTI_1_SIDE = 32767


def volume(image: Image, heat: HeatMap) -> Any:
    """A NIfTI image of (columns, rows, frames) float32: the map in its frame.

    NIfTI-1, which every viewer reads; NIfTI-2 only where a side is too long for it.
    Where the affine of the source is known it is in sform and, if its axes are orthogonal, in
    qform too, both with code 1 (scanner coordinates). Otherwise both codes are 0.
    """
    data = np.full((image.width, image.height, image.frames), elsewhere(heat), np.float32)
    data[:, :, heat.frame] = heat.values.T
    kind = nibabel.Nifti1Image if max(data.shape) <= _NIFTI_1_SIDE else nibabel.Nifti2Image
    if image.affine is None:
        return _unplaced(image, kind(data, None))
    affine = _LPS_TO_RAS @ image.affine
    made = kind(data, affine)
    made.header.set_xyzt_units("mm")
    made.set_sform(affine, code=_SCANNER)
    orthogonal = _is_orthogonal(affine[:3, :3])
    made.set_qform(affine if orthogonal else None, code=_SCANNER if orthogonal else _UNKNOWN)
    return made


def _unplaced(image: Image, made: Any) -> Any:
    """The volume without position: pitch where it is known."""
    pitch = image.spacing
    zooms = (1.0, 1.0, 1.0)
    if pitch is not None:
        zooms = (pitch.column_mm, pitch.row_mm, pitch.slice_mm or 1.0)
    made.header.set_zooms(zooms)
    made.header.set_xyzt_units("mm" if pitch is not None else "unknown")
    return made


def _is_orthogonal(axes: NDArray[np.float64]) -> bool:
    directions = axes / np.linalg.norm(axes, axis=0)
    return bool(np.allclose(directions.T @ directions, np.eye(3), atol=1e-5))
