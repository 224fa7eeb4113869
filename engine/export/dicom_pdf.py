"""A PDF as DICOM Encapsulated PDF: beside the images in the archive, under the pseudonym alone.

Source: DICOM PS3.3 A.45.1 (Encapsulated PDF IOD), C.24.1, C.24.2. Written with pydicom, since
highdicom has no such object. No date or time is written but the one that the caller states.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from engine.errors import LimitExceeded
from engine.export.dicom import file_bytes, patient_and_study, text, uid, with_meta
from engine.records import Case

SERIES = 900
LARGEST = 2**32 - 2


def encapsulated_pdf(
    pdf: bytes, case: Case, title: str, software: str, created: datetime | None = None
) -> Dataset:
    """The PDF of a case as a data set.

    Args:
        pdf: The file. case: Its pseudonym and study. title: Of the document; names no patient.
        software: Name and version of the program.
        created: Time of the document; left empty, as the standard allows, when None.

    Raises:
        LimitExceeded: The file is larger than DICOM can hold.
    """
    if len(pdf) > LARGEST:
        raise LimitExceeded("The report is too large for DICOM.")
    digest = hashlib.sha256(pdf).hexdigest()
    made = Dataset()
    patient_and_study(made, case)
    made.Modality = "DOC"
    made.SeriesInstanceUID = uid("report series", case.id, digest)
    made.SeriesNumber = SERIES
    made.SeriesDescription = text(title, 64)
    made.Manufacturer = "Lightbox"
    made.ManufacturerModelName = "Lightbox"
    made.SoftwareVersions = text(software, 64)
    made.ConversionType = "WSD"
    made.SOPClassUID = EncapsulatedPDFStorage
    made.SOPInstanceUID = uid("report", case.id, digest)
    made.InstanceNumber = 1
    made.ContentDate = "" if created is None else created.strftime("%Y%m%d")
    made.ContentTime = "" if created is None else created.strftime("%H%M%S")
    made.AcquisitionDateTime = ""
    made.BurnedInAnnotation = "YES"  # the pseudonym stands on every page
    made.DocumentTitle = text(title, 1024)
    made.ConceptNameCodeSequence = []
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    made.EncapsulatedDocumentLength = len(pdf)
    return with_meta(made)


def pdf_dicom_bytes(
    pdf: bytes, case: Case, title: str, software: str, created: datetime | None = None
) -> bytes:
    """As `encapsulated_pdf`, as a file."""
    return file_bytes(encapsulated_pdf(pdf, case, title, software, created))
