"""The header of a DICOM file, read without its pixels to decide which files belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom

from engine.io.dicom import ERRORS, parse
from engine.io.dicom_geometry import plane
from engine.io.limits import Limits
from engine.io.seam import decoding
from engine.io.series import Header
from engine.io.source import HEAD, load

_STACKED = ("CT", "MR", "PT")
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_VARIANTS = ("EchoNumbers", "AcquisitionNumber", "TemporalPositionIdentifier", "ImageType")


def peek(path: Path, limits: Limits) -> Header:
    """The header of a DICOM file.

    Raises:
        UnreadableFile: The file is damaged.
        LimitExceeded: It is too large.
    """
    with decoding(*ERRORS):
        with path.open("rb") as handle:
            start = handle.read(HEAD)
            if _DEFLATED in start[:1024]:
                dataset = parse(load(path, limits).data, limits, header_only=True)
            else:
                handle.seek(0)
                bare = start[128:132] != b"DICM"
                dataset = pydicom.dcmread(handle, force=bare, stop_before_pixels=True)
        return _header(dataset)


def _header(dataset: Any) -> Header:
    names = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")
    patient, study, series = (str(dataset.get(name) or "").strip() for name in names)
    place = plane(dataset)
    single = int(dataset.get("NumberOfFrames") or 1) == 1
    if str(dataset.get("Modality", "")) not in _STACKED or not single or place is None:
        return Header(patient, study, series)
    return Header(
        patient,
        study,
        series,
        origin=tuple(float(number) for number in place[0]),
        axes=tuple(round(float(number), 4) for number in place[1].ravel()),
        shape=(int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)),
        variant=repr([str(dataset.get(name)) for name in _VARIANTS]),
    )
