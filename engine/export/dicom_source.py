"""An image of a case as DICOM, for other objects to refer to: pseudonymous, as displayed.

Segmentations and reports must name the image they speak of. Lightbox keeps no header of the
source, so the image itself is written anew, in its default window, as a Secondary Capture in the
same study as all that is said about it.

Source: DICOM PS3.3 A.8.1 (Secondary Capture Image IOD); `engine.export.dicom` says what is added.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from engine.errors import LimitExceeded
from engine.export.dicom import burnt_in, patient_and_study, text, uid, with_meta
from engine.export.dicom_place import place_plane, place_spacing
from engine.records import Case
from engine.render import display, window_levels

SERIES = 500
LARGEST = 65535


def source_capture(case: Case, index: int, frame: int, software: str) -> Dataset:
    """One frame of one image of a case.

    Args:
        case: The case. index: Which image. frame: Which frame of it.
        software: Name and version of the program.

    Raises:
        LimitExceeded: The image is larger than DICOM can hold.
    """
    image = case.images[index]
    if max(image.height, image.width) > LARGEST:
        raise LimitExceeded("The image is too large for DICOM; choose another format.")
    made = Dataset()
    patient_and_study(made, case)
    made.Modality = "OT"
    made.SeriesInstanceUID = uid("source series", case.id, str(index), image.digest)
    made.SeriesNumber = SERIES + index
    made.SeriesDescription = text(f"Image {index + 1}, as displayed", 64)
    made.Manufacturer = "Lightbox"
    made.ManufacturerModelName = "Lightbox"
    made.SoftwareVersions = text(software, 64)
    made.ConversionType = "WSD"
    place_spacing(made, image.spacing)
    made.SOPClassUID = SecondaryCaptureImageStorage
    made.SOPInstanceUID = uid("source", case.id, f"{index} {frame}", image.digest, software)
    made.InstanceNumber = frame + 1
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = "De-identified; grey levels of the default window, eight bits"
    if image.laterality is not None:
        made.ImageLaterality = str(image.laterality)
    else:
        made.Laterality = ""
    place_plane(made, image, frame, uid("space", image.digest))
    made.PatientOrientation = None  # its directions, where known, stand in Image Plane
    burnt_in(made, image.warnings, image.facts.get("format"))
    _pixels(made, display(image, frame) if image.is_colour else window_levels(image, frame))
    return with_meta(made)


def _pixels(made: Dataset, picture: np.ndarray) -> None:
    """Image Pixel: eight bits, grey or RGB."""
    made.SamplesPerPixel = 1 if picture.ndim == 2 else 3
    made.PhotometricInterpretation = "MONOCHROME2" if picture.ndim == 2 else "RGB"
    if picture.ndim == 3:
        made.PlanarConfiguration = 0
    made.Rows, made.Columns = (int(side) for side in picture.shape[:2])
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    data = np.ascontiguousarray(picture, np.uint8).tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OB"
