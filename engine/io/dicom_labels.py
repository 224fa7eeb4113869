"""Modality, side and view of DICOM images, and what a file without pixels is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.io.dicom_values import group
from engine.io.privacy import MODALITY_CODES, listed, words
from engine.records import Laterality, Modality

TWO_SIDES = "The file states two different sides of the body; the side is not shown."
_MODALITIES = {
    "MG": Modality.MAMMOGRAPHY,
    "SM": Modality.PATHOLOGY,
    "MR": Modality.MRI,
    "CT": Modality.CT,
    "US": Modality.ULTRASOUND,
    "CR": Modality.RADIOGRAPH,
    "DX": Modality.RADIOGRAPH,
    "SEG": Modality.MASK,
}
_VIEW_CODES = {  # SNOMED CT and SNOMED RT codes of DICOM CID 4014
    "399162004": "CC", "R-10242": "CC",
    "399368009": "MLO", "R-10226": "MLO",
    "399260004": "ML", "R-10224": "ML",
    "399352003": "LM", "R-10228": "LM",
    "399099002": "LMO", "R-10230": "LMO",
    "399196006": "FB", "R-10244": "FB",
    "399192008": "XCCL", "R-1024A": "XCCL",
    "399101009": "XCCM", "R-1024B": "XCCM",
    "399188001": "SIO", "R-102D0": "SIO",
    "441555000": "ISO", "R-40AAA": "ISO",
}  # fmt: skip
_VIEWS = words(
    "CC MLO ML LM LMO XCC XCCL XCCM FB SIO ISO CV AT RL RM RI RS SPOT AP PA LL LLO RLO LLD RLD "
    "RO LO AXIAL LATERAL TAN"
)
_BREAST_VIEWS = words("CC MLO ML LM LMO XCC XCCL XCCM FB SIO ISO")
_WITHOUT_PIXELS = {
    "RTPLAN": "a radiotherapy plan",
    "RTSTRUCT": "radiotherapy contours",
    "RTRECORD": "a radiotherapy record",
    "SR": "a report",
    "KO": "a selection of other images",
    "PR": "a presentation of another image",
    "ECG": "an electrocardiogram",
    "DOC": "a document",
    "REG": "a registration",
}
_DIRECTORY = "1.2.840.10008.1.3.10"


def modality(dataset: Any) -> Modality:
    """Modality stated by the file; UNKNOWN for those Lightbox has no word for."""
    code = listed(dataset.get("Modality"), MODALITY_CODES)
    return _MODALITIES.get(code or "", Modality.UNKNOWN)


def no_picture(dataset: Any) -> str:
    """The sentence for a file without pixel data."""
    if dataset.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
        return "This DICOM file is a table of contents of other files and holds no picture."
    if dataset.get("Rows") and dataset.get("Columns"):
        return "The pixel data of this DICOM file are missing."
    code = str(dataset.get("Modality", "")).strip().upper()
    what = _WITHOUT_PIXELS.get(code)
    if "EncapsulatedDocument" in dataset:
        what = _WITHOUT_PIXELS["DOC"]
    return (
        f"This DICOM file holds {what}, not a picture."
        if what
        else ("This DICOM file holds no picture.")
    )


def laterality(dataset: Any) -> tuple[Laterality | None, tuple[str, ...]]:
    """Side of the body, or None; with a warning where the file contradicts itself."""
    sides = {side for side in _sides(dataset) if side in ("L", "R")}
    if len(sides) > 1:
        return None, (TWO_SIDES,)
    return (Laterality(sides.pop()) if sides else None), ()


def _sides(dataset: Any) -> Iterator[str]:
    """All statements of the side."""
    for keyword in ("ImageLaterality", "Laterality"):
        yield _text(dataset, keyword)
    frames = len(dataset.get("PerFrameFunctionalGroupsSequence") or ()) or 1
    for frame in range(frames):
        anatomy = group(dataset, "FrameAnatomySequence", frame)
        if anatomy is not None:
            yield _text(anatomy, "FrameLaterality")


def view(dataset: Any) -> str | None:
    """View by code, by ViewPosition, or by a breast view kept in PatientOrientation."""
    for item in dataset.get("ViewCodeSequence") or ():
        named = _VIEW_CODES.get(_text(item, "CodeValue"))
        if named:
            return named
    stated = listed(dataset.get("ViewPosition"), _VIEWS)
    return stated or listed(dataset.get("PatientOrientation"), _BREAST_VIEWS)


def _text(dataset: Any, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip().upper()
