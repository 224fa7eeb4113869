"""No identifier of a file survives reading: markers planted everywhere must be gone."""

from __future__ import annotations

import logging
import pickle
import struct
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel
import numpy as np
import pytest
import tifffile
from pydicom import dcmwrite
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import set_pixel_data
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from engine.io import gather
from engine.io.privacy import burnt_in_text, listed, pseudonym, window_explanation, words

MARKER = "ZQXV"
UID = "1.2.826.99887766"
TEXT = {"AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
KEPT = {"Modality", "PhotometricInterpretation", "SpecificCharacterSet"}


def plane() -> np.ndarray:
    """A small grey picture."""
    return np.arange(24 * 30, dtype=np.uint8).reshape(24, 30)


def fill(dataset: Dataset) -> None:
    """Put a marker into every text element of the dictionary that a file may hold."""
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        group = Tag(tag).group
        if retired or keyword in KEPT or not keyword or group < 8 or group in (0x5400, 0x7FE0):
            continue
        if vr in TEXT:
            dataset.add_new(tag, vr, "099Y" if vr == "AS" else f"{MARKER}_{keyword}".upper()[:16])
        elif vr == "UI":
            dataset.add_new(tag, vr, UID)
        elif vr in ("DA", "DT"):
            dataset.add_new(tag, vr, "19770717")
    private = dataset.private_block(0x0011, f"{MARKER} CREATOR", create=True)
    private.add_new(0x01, "LO", f"{MARKER} PRIVATE")
    private.add_new(0x02, "OB", MARKER.encode())


def dicom(path: Path) -> Path:
    """A DICOM file whose every text is a marker, in nested sequences as well."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    made.file_meta.MediaStorageSOPInstanceUID = UID
    made.file_meta.ImplementationVersionName = MARKER
    made.file_meta.SourceApplicationEntityTitle = MARKER
    made.preamble = MARKER.encode().ljust(128, b"\0")
    fill(made)
    for keyword in ("RequestAttributesSequence", "ViewCodeSequence", "FrameVOILUTSequence"):
        item, inner = Dataset(), Dataset()
        fill(item)
        fill(inner)
        item.AnatomicRegionSequence = Sequence([inner])
        setattr(made, keyword, Sequence([item]))
    made.Modality = "MG"
    made.WindowCenter, made.WindowWidth = "100", "200"
    made.WindowCenterWidthExplanation = MARKER
    set_pixel_data(made, plane(), "MONOCHROME2", 8)
    dcmwrite(path, made, enforce_file_format=True)
    return path


def png(path: Path) -> Path:
    """A PNG file with text chunks."""
    data = imagecodecs.png_encode(plane())
    chunks = b""
    for name in (b"tEXt", b"eXIf"):
        body = b"Comment\0" + MARKER.encode()
        check = struct.pack(">I", zlib.crc32(name + body))
        chunks += struct.pack(">I", len(body)) + name + body + check
    path.write_bytes(data[:33] + chunks + data[33:])
    return path


def tiff(path: Path) -> Path:
    """A TIFF file with text tags."""
    tags = [(315, "s", 0, MARKER, True), (65000, "s", 0, MARKER, True)]
    tifffile.imwrite(
        path, plane(), photometric="minisblack", description=MARKER, software=MARKER,
        extratags=tags,
    )  # fmt: skip
    return path


def nifti(path: Path) -> Path:
    """A NIfTI file with texts."""
    made = nibabel.Nifti1Image(plane(), np.eye(4))
    for key in ("descrip", "aux_file", "intent_name", "db_name"):
        made.header[key] = MARKER.encode()
    made.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", MARKER.encode()))
    path.write_bytes(made.to_bytes())
    return path


def nrrd(path: Path) -> Path:
    """A NRRD file with keys of its own."""
    header = (
        f"NRRD0004\n# {MARKER}\ntype: uchar\ndimension: 2\nsizes: 30 24\nencoding: raw\n"
        f'content: {MARKER}\nPatient:={MARKER}\nspace units: "{MARKER}" "{MARKER}"\n\n'
    )
    path.write_bytes(header.encode() + plane().tobytes())
    return path


def metaimage(path: Path) -> Path:
    """A MetaImage file with keys of its own."""
    header = (
        f"ObjectType = Image\nNDims = 2\nComment = {MARKER}\nPatientName = {MARKER}\n"
        "DimSize = 30 24\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + plane().tobytes())
    return path


def jpeg(path: Path) -> Path:
    """A JPEG file with a comment."""
    data = imagecodecs.jpeg_encode(plane())
    body = MARKER.encode()
    path.write_bytes(data[:2] + b"\xff\xfe" + struct.pack(">H", len(body) + 2) + body + data[2:])
    return path


MAKERS = (dicom, png, tiff, nifti, nrrd, metaimage, jpeg)


def leaves(text: str) -> list[str]:
    """Markers found in a text."""
    return [mark for mark in (MARKER, MARKER.lower(), UID, "19770717") if mark in text]


@pytest.mark.parametrize("make", MAKERS)
def test_no_marker_survives(tmp_path: Path, make: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path = make(tmp_path / f"{MARKER}_Jane.bin")
    assert MARKER.encode() in path.read_bytes()
    outcome = next(iter(gather([path])))
    assert outcome.case is not None, outcome.problem
    assert leaves(repr(outcome.case)) == []
    assert leaves(str(asdict(outcome.case))) == []
    assert leaves(pickle.dumps(outcome.case).decode("latin-1")) == []
    assert leaves(outcome.problem + caplog.text) == []


@pytest.mark.parametrize("make", MAKERS)
def test_no_marker_in_a_refusal(
    tmp_path: Path,
    make: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    whole = make(tmp_path / "whole").read_bytes()
    path = tmp_path / f"{MARKER}.bin"
    for part in (0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * part)])
        outcome = next(iter(gather([path])))
        assert outcome.case is None
        assert leaves(outcome.problem) == []
        assert outcome.problem.endswith(".")
    assert leaves(caplog.text) == []
    assert capfd.readouterr() == ("", "")


def test_no_marker_from_an_archive(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / f"{MARKER}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = MARKER.encode()
        archive.write(dicom(tmp_path / "d"), f"{MARKER}/{MARKER}.dcm")
        archive.writestr(f"{MARKER}/bad.dcm", b"DICM" * 100)
    outcomes = list(gather([path]))
    assert len(outcomes) == 2
    assert leaves("".join(o.problem + repr(o.case) for o in outcomes) + caplog.text) == []


def test_facts_come_from_closed_lists(tmp_path: Path) -> None:
    outcome = next(iter(gather([dicom(tmp_path / "d")])))
    assert outcome.case is not None
    assert dict(outcome.case.images[0].facts) == {
        "format": "DICOM",
        "transfer_syntax": "Explicit VR Little Endian",
        "photometric": "MONOCHROME2",
        "bits": "8",
        "frames": "1",
        "modality": "MG",
    }
    assert outcome.case.images[0].view is None


def test_pseudonym() -> None:
    first, second = "ab" * 32, "cd" * 32
    assert pseudonym([first, second]) == pseudonym([second, first])
    assert pseudonym([first]) != pseudonym([second])
    assert pseudonym([first]).startswith("LB-")


@pytest.mark.parametrize(
    ("text", "kept"),
    [("NORMAL", "Normal"), ("WINDOW1", "Window 1"), ("SOFT TISSUE", "Soft tissue"),
     ("Jane Doe", ""), ("BONE Doe", ""), ("WINDOW 19770717", ""), (None, ""), ("BONE;", "")],
)  # fmt: skip
def test_window_explanations(text: str | None, kept: str) -> None:
    assert window_explanation(text) == kept


@pytest.mark.parametrize(
    ("flag", "code", "sop_class", "told"),
    [("YES", "MG", "", True), ("NO", "US", "", False), (None, "US", "", True),
     (None, "MG", "1.2.840.10008.5.1.4.1.1.7", True),
     (None, "MG", "1.2.840.10008.5.1.4.1.1.7.2", True), (None, "MG", "1.2.3", False),
     ("maybe", None, None, False)],
)  # fmt: skip
def test_burnt_in_text(flag: Any, code: str | None, sop_class: Any, told: bool) -> None:
    assert burnt_in_text(flag, code, sop_class) is told


def test_closed_lists() -> None:
    assert listed(" mg ", words("CT MG")) == "MG"
    assert listed("Jane", words("CT MG")) is None
    assert listed(None, words("CT MG")) is None
