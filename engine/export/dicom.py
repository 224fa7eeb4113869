"""Overlays as DICOM Secondary Capture, with new identifiers and no word of the source header.

Source: DICOM PS3.3 A.8.1 (Secondary Capture Image IOD) and the modules it names. Image Plane,
ImagerPixelSpacing and ViewPosition come on top, as a Standard Extended SOP Class may (PS3.4 B.5).
No date or time is written, so equal runs give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from engine.errors import LimitExceeded
from engine.export.dicom_place import place_plane, place_spacing
from engine.export.plain import plain
from engine.io.privacy import BURNT_IN
from engine.records import Case, Explanation, HeatMap, ModelCard

_NAMESPACE = uuid.UUID("6f1c1f0e-5d0b-4c53-9a55-6a1d2f5b7c10")
_MAX_SIDE = 65535
_MAX_BYTES = 2**32 - 2
_LONG_STRING, _SHORT_TEXT, _LONG_TEXT = 64, 1024, 10240


@dataclass(frozen=True, eq=False)
class Capture:
    """What one Secondary Capture is made of.

    Args:
        case: The case. card: Card of the model. explanation: The method, target and settings.
        heat: Which map of it.
        picture: (H, W, 3) uint8 RGB, the overlay in source pixels.
        software: Name and version of the program.
        series: Number of the series, from 1.
    """

    case: Case
    card: ModelCard
    explanation: Explanation
    heat: HeatMap
    picture: NDArray[np.uint8]
    software: str
    series: int


def capture_bytes(capture: Capture) -> bytes:
    """A DICOM file.

    Raises:
        LimitExceeded: The picture is larger than DICOM can hold uncompressed.
    """
    return file_bytes(secondary_capture(capture))


def secondary_capture(capture: Capture) -> Dataset:
    """The data set; as `capture_bytes`."""
    height, width = capture.picture.shape[:2]
    if max(height, width) > _MAX_SIDE or capture.picture.nbytes > _MAX_BYTES:
        raise LimitExceeded("The picture is too large for DICOM; choose another format.")
    made = Dataset()
    patient_and_study(made, capture.case)
    _series_and_equipment(made, capture)
    place_spacing(made, capture.case.images[capture.heat.image].spacing)
    _image(made, capture)
    _pixels(made, capture.picture)
    return with_meta(made)


def with_meta(made: Dataset) -> Dataset:
    """The data set with the file header that its own UIDs ask for."""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.ImplementationClassUID = uid("implementation")
    made.file_meta.ImplementationVersionName = "LIGHTBOX"
    return made


def file_bytes(made: Dataset) -> bytes:
    """The data set as a DICOM file."""
    buffer = BytesIO()
    dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


def uid(*parts: str) -> str:
    """A UID under 2.25 (PS3.5 B.2), always the same for the same parts."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, json.dumps(parts)).int}"


def study_uid(case: Case) -> str:
    """UID of the DICOM study that all files made of a case share."""
    return uid("study", case.id, *(image.digest for image in case.images))


def _run(capture: Capture) -> tuple[str, ...]:
    """What makes one explanation of one image: the parts of its series UID."""
    said = capture.explanation
    image = capture.case.images[capture.heat.image]
    settings = json.dumps(plain(said.settings), sort_keys=True)
    place = f"{capture.heat.image} {capture.heat.frame}"
    return (
        capture.case.id, image.digest, place, said.method, said.target, settings,
        capture.card.name, said.weights_digest, capture.software,
    )  # fmt: skip


def patient_and_study(made: Dataset, case: Case) -> None:
    """Patient and General Study: the pseudonym, and nothing else that is known."""
    made.SpecificCharacterSet = "ISO_IR 192"
    made.PatientID = text(case.id, _LONG_STRING)
    made.PatientName = f"{made.PatientID}^"  # one component, said to be meant so
    made.PatientBirthDate = made.PatientSex = ""
    made.StudyInstanceUID = study_uid(case)
    made.StudyDate = made.StudyTime = made.ReferringPhysicianName = ""
    made.StudyID = made.AccessionNumber = ""
    made.StudyDescription = "Lightbox explanations"


def _series_and_equipment(made: Dataset, capture: Capture) -> None:
    """General Series, General Equipment, SC Equipment.

    The modality is OT (other), lest an overlay be hung, stacked or read as an original picture.
    """
    said = capture.explanation
    made.Modality = "OT"
    made.SeriesInstanceUID = uid("series", *_run(capture))
    made.SeriesNumber = capture.series
    made.SeriesDescription = text(f"Heat map {said.method}: {said.target}", _LONG_STRING)
    made.Manufacturer = "Lightbox"
    made.ManufacturerModelName = text(capture.card.name, _LONG_STRING)
    made.SoftwareVersions = text(capture.software, _LONG_STRING)
    made.ConversionType = "WSD"


def _image(made: Dataset, capture: Capture) -> None:
    """General Image, Image Plane and SOP Common: what the picture is and where it came from."""
    case, heat = capture.case, capture.heat
    image = case.images[heat.image]
    made.SOPClassUID = SecondaryCaptureImageStorage
    drawn = hashlib.sha256(capture.picture.tobytes()).hexdigest()
    made.SOPInstanceUID = uid("instance", *_run(capture), drawn)
    made.InstanceNumber = 1
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = text(_derivation(capture), _SHORT_TEXT)
    made.ImageComments = text(capture.card.intended_use, _LONG_TEXT)
    if image.laterality is not None:
        made.ImageLaterality = str(image.laterality)
    else:
        made.Laterality = ""
    if image.view is not None:
        made.ViewPosition = text(image.view.upper(), 16)
    place_plane(made, image, heat.frame, uid("space", image.digest))
    made.PatientOrientation = None  # its directions, where known, stand in Image Plane
    burnt_in(made, image.warnings, image.facts.get("format"))


def burnt_in(made: Dataset, warnings: tuple[str, ...], source: str | None) -> None:
    """Burnt-in text as Lightbox judges it of the source; nothing is claimed where nothing is known.

    Only DICOM states it, and only there its absence means anything.
    """
    if BURNT_IN in warnings:
        made.BurnedInAnnotation = "YES"
    elif source == "DICOM":
        made.BurnedInAnnotation = "NO"
        made.PatientIdentityRemoved = "YES"
        made.DeidentificationMethod = "Lightbox: nothing of the source header is copied"


def _derivation(capture: Capture) -> str:
    said, card = capture.explanation, capture.card
    flat = "" if capture.heat.localised else f" No localised evidence: {capture.heat.reason}"
    return (
        f"Heat map of method {said.method} for target {said.target}, drawn over the source picture "
        f"(frame {capture.heat.frame + 1}) from its smallest to its largest value. "
        f"Model {card.name}, version {card.version}, weights SHA-256 {said.weights_digest}.{flat}"
    )


def _pixels(made: Dataset, picture: NDArray[Any]) -> None:
    """Image Pixel: RGB, eight bits, by pixel."""
    made.SamplesPerPixel, made.PhotometricInterpretation = 3, "RGB"
    made.PlanarConfiguration = 0
    made.Rows, made.Columns = (int(side) for side in picture.shape[:2])
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    data = np.ascontiguousarray(picture, np.uint8).tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OB"


def text(words: str, length: int) -> str:
    """Words that fit a DICOM text element: no separator, nothing unprintable, not too long."""
    kept = "".join(mark if mark.isprintable() else " " for mark in words).replace("\\", "/")
    return kept[:length].strip()
