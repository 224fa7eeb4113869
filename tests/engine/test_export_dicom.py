"""Overlays as Secondary Capture: whole, readable, in place, and without anybody's identity."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from engine.errors import LimitExceeded
from engine.export.dicom import Capture, capture_bytes, secondary_capture, text
from engine.export.pictures import overlaid
from engine.io import read_image
from engine.io.privacy import BURNT_IN
from engine.records import (
    Box,
    Case,
    Explanation,
    HeatMap,
    Image,
    Laterality,
    Modality,
    ModelCard,
    Prediction,
    Region,
    Spacing,
)

DIGEST = "ab" * 32
NOTICE = "Demonstration model, not for diagnosis."
CARD = ModelCard(
    "tiny", "crossmodal", "1.2", "Tiny", NOTICE, "nothing", (), ("No", "Yes"),
    ("Yes",), {}, {}, {}, "tiny.safetensors", DIGEST,
)  # fmt: skip
SAID = Prediction({"No": 0.25, "Yes": 0.75}, "tiny", "1.2", DIGEST)

# PS3.3 A.8.1: modules that are mandatory (M), with the attributes of type 1 and of type 2; of the
# conditional ones, those whose condition holds for an RGB picture. C.7.3.1, C.7.5.1 and C.7.6.1.
TYPE_1 = {
    "General Study": ["StudyInstanceUID"],
    "General Series": ["Modality", "SeriesInstanceUID"],
    "SC Equipment": ["ConversionType"],
    "Image Pixel": [
        "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated",
        "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration", "PixelData",
    ],
    "SOP Common": ["SOPClassUID", "SOPInstanceUID", "SpecificCharacterSet"],
}  # fmt: skip
TYPE_2 = {
    "Patient": ["PatientName", "PatientID", "PatientBirthDate", "PatientSex"],
    "General Study": [
        "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
    ],
    "General Series": ["SeriesNumber"],
    "General Equipment": ["Manufacturer"],
    "General Image": ["InstanceNumber"],
}  # fmt: skip


def image(frames: int = 1, **changes: Any) -> Image:
    ramp = np.arange(frames * 40 * 31, dtype=np.float32).reshape(frames, 40, 31, 1)
    return Image(ramp, changes.pop("modality", Modality.CT), "11" * 32, **changes)


def capture(source: Image | None = None, **changes: Any) -> Capture:
    source = source or image()
    case = Case(changes.pop("pseudonym", "LB-c0ffee00ac1d"), (source,))
    values = np.zeros((source.height, source.width), np.float32)
    values[10:20, 5:15] = 1
    heat = changes.pop("heat", HeatMap(0, source.frames - 1, values, (5, 5)))
    said = Explanation("gradcam", "Yes", (heat,), {"layer": 3}, "tiny", DIGEST)
    said = replace(said, **changes.pop("said", {}))
    picture = overlaid(case, replace(SAID, regions=changes.pop("regions", ())), heat)
    facts = {"card": CARD, "picture": picture, "software": "Lightbox 0", "series": 2} | changes
    return Capture(case=case, explanation=said, heat=heat, **facts)


def read(made: Capture) -> Dataset:
    return dcmread(io.BytesIO(capture_bytes(made)))


def oblique() -> np.ndarray:
    a = 0.4
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    made = np.eye(4)
    made[:3, :3] = turn @ np.diag([0.6, 0.8, 2.5])
    made[:3, 3] = (-101.123456789, 55.5, -733.25)
    return made


PLACED = {"affine": oblique(), "spacing": Spacing(0.8, 0.6, 2.5)}


@pytest.mark.parametrize("source", [image(), image(3, **PLACED)])
def test_what_the_standard_requires_is_there(source: Image) -> None:
    made = read(capture(source))
    for module, keywords in TYPE_1.items():
        for keyword in keywords:
            assert keyword in made and made[keyword].value not in ("", None), (module, keyword)
    for module, keywords in TYPE_2.items():
        for keyword in keywords:
            assert keyword in made, (module, keyword)
    assert "Laterality" in made or "ImageLaterality" in made  # 2C: one of the two
    assert "PatientOrientation" in made or "ImageOrientationPatient" in made  # 2C, as above
    if "ImagePositionPatient" in made:
        plane = ["PixelSpacing", "ImageOrientationPatient", "FrameOfReferenceUID"]
        assert all(made[keyword].value for keyword in plane)
        assert {"SliceThickness", "PositionReferenceIndicator"} <= set(made.dir())
    assert made.SOPClassUID == SecondaryCaptureImageStorage == made.file_meta[0x00020002].value
    assert made.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
    assert list(made.ImageType) == ["DERIVED", "SECONDARY"] and made.ConversionType == "WSD"


def test_the_pixels_are_those_of_the_overlay_though_their_number_is_odd(tmp_path: Path) -> None:
    odd = Image(np.zeros((1, 39, 31, 1), np.float32), Modality.CT, "22" * 32)
    made = capture(odd, regions=(Region(0, 0, Box(4, 4, 20, 20)),))
    assert made.picture.size % 2 == 1
    path = tmp_path / "gradcam.dcm"
    path.write_bytes(capture_bytes(made))
    assert np.array_equal(dcmread(path).pixel_array, made.picture)
    mine = read_image(path)
    assert mine.is_colour and np.array_equal(mine.pixels[0], made.picture.astype(np.float32))
    assert mine.modality is Modality.UNKNOWN


def test_it_lies_where_the_frame_lies(tmp_path: Path) -> None:
    source = image(3, **PLACED)
    path = tmp_path / "gradcam.dcm"
    path.write_bytes(capture_bytes(capture(source)))
    mine = read_image(path)
    assert mine.affine is not None and source.affine is not None
    for row, column in ((0, 0), (17, 29)):
        there = source.affine @ np.array([column, row, 2, 1.0])
        assert np.allclose(mine.affine @ np.array([column, row, 0, 1.0]), there, atol=1e-4)
    assert mine.spacing is not None
    assert (mine.spacing.row_mm, mine.spacing.column_mm) == pytest.approx((0.8, 0.6))
    bare = read(capture(image(3, affine=oblique())))
    assert [float(v) for v in bare.PixelSpacing] == pytest.approx([0.8, 0.6])


def test_without_a_position_none_is_claimed() -> None:
    sheared = oblique()
    sheared[:3, 1] += sheared[:3, 0]
    for source in (image(), image(affine=sheared)):
        made = read(capture(source))
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"):
            assert keyword not in made
        assert "PixelSpacing" not in made


SOURCES = [
    ("at detector", "ImagerPixelSpacing", None, "at detector"),
    ("at detector, not corrected for magnification", "ImagerPixelSpacing", None, "at detector"),
    ("at detector, divided by the magnification of 1.5", "PixelSpacing", "GEOMETRY", "stated"),
    ("calibrated from an object of known size", "PixelSpacing", "FIDUCIAL", "stated"),
    ("calibrated from the geometry", "PixelSpacing", "GEOMETRY", "stated"),
    ("calibrated in a way the file does not state", "PixelSpacing", None, "stated"),
    ("at the film digitiser", "NominalScannedPixelSpacing", None, "at the film digitiser"),
    ("NIfTI header", "PixelSpacing", None, "stated"),
]


@pytest.mark.parametrize(("source", "keyword", "calibration", "back"), SOURCES)
def test_the_pitch_keeps_its_meaning(
    tmp_path: Path, source: str, keyword: str, calibration: str | None, back: str
) -> None:
    data = capture_bytes(capture(image(spacing=Spacing(0.0941, 0.07, None, source))))
    made = dcmread(io.BytesIO(data))
    every = {"PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"}
    assert every & set(made.dir()) == {keyword}
    assert [float(v) for v in made[keyword].value] == [0.0941, 0.07]
    assert made.get("PixelSpacingCalibrationType") == calibration
    assert ("PixelSpacingCalibrationDescription" in made) == (calibration is not None)
    (tmp_path / "x.dcm").write_bytes(data)
    mine = read_image(tmp_path / "x.dcm").spacing
    assert mine is not None and mine.source.startswith(back)
    assert (mine.row_mm, mine.column_mm) == (0.0941, 0.07)


def test_side_and_view_are_told_where_known(tmp_path: Path) -> None:
    source = image(modality=Modality.MAMMOGRAPHY, laterality=Laterality.LEFT, view="MLO")
    data = capture_bytes(capture(source))
    (tmp_path / "x.dcm").write_bytes(data)
    mine = read_image(tmp_path / "x.dcm")
    assert (mine.laterality, mine.view) == (Laterality.LEFT, "MLO")
    made = dcmread(io.BytesIO(data))
    assert made.ImageLaterality == "L" and "Laterality" not in made
    assert "ViewPosition" not in read(capture())


def test_what_made_it_is_told() -> None:
    made = read(capture())
    for word in ("gradcam", "Yes", "tiny", "1.2", DIGEST):
        assert word in made.DerivationDescription
    assert made.ImageComments == NOTICE and made.SoftwareVersions == "Lightbox 0"
    assert made.SeriesDescription == "Heat map gradcam: Yes" and made.SeriesNumber == 2
    flat = HeatMap(0, 0, np.zeros((40, 31), np.float32), (5, 5), False, "The map is flat.")
    assert "The map is flat." in read(capture(heat=flat)).DerivationDescription


def test_nobody_is_named() -> None:
    source = image(facts={"format": "DICOM", "note": "Doe^Jane"}, **PLACED)
    made = read(capture(source))
    assert made.PatientID == "LB-c0ffee00ac1d" and made.PatientName == "LB-c0ffee00ac1d^"
    empty = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber")
    assert all(not made[keyword].value for keyword in (*empty, "StudyID"))
    assert b"Doe" not in capture_bytes(capture(source))
    uids = [element.value for element in made.iterall() if element.VR == "UI"]
    own = [uid for uid in uids if uid != SecondaryCaptureImageStorage]
    assert len(own) == len(set(own)) == 4
    assert all(UID(uid).is_valid and re.fullmatch(r"2\.25\.[1-9]\d*", uid) for uid in own)


@pytest.mark.parametrize(
    ("warnings", "facts", "burnt", "removed"),
    [
        ((BURNT_IN,), {"format": "DICOM"}, "YES", None),
        ((), {"format": "DICOM"}, "NO", "YES"),
        ((), {"format": "PNG"}, None, None),
    ],
)
def test_burnt_in_text_is_judged_as_on_the_screen(
    warnings: tuple[str, ...], facts: dict[str, str], burnt: str | None, removed: str | None
) -> None:
    made = read(capture(image(warnings=warnings, facts=facts)))
    assert made.get("BurnedInAnnotation") == burnt
    assert made.get("PatientIdentityRemoved") == removed
    assert ("DeidentificationMethod" in made) == (removed is not None)


def uids(made: Capture) -> tuple[str, str, str]:
    found = secondary_capture(made)
    return found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID


def test_identifiers_depend_on_the_run_and_on_nothing_else() -> None:
    first = uids(capture())
    assert uids(capture()) == first and capture_bytes(capture()) == capture_bytes(capture())
    for change in (
        {"said": {"method": "rollout"}}, {"said": {"target": "No"}},
        {"said": {"settings": {"layer": 4}}}, {"said": {"weights_digest": "cd" * 32}},
        {"software": "Lightbox 1"},
    ):  # fmt: skip
        study, series, instance = uids(capture(**change))
        assert study == first[0] and series != first[1] and instance != first[2], change
    drawn = uids(capture(regions=(Region(0, 0, Box(4, 4, 9, 9)),)))
    assert drawn[:2] == first[:2] and drawn[2] != first[2]
    assert uids(capture(replace(image(), digest="99" * 32)))[0] != first[0]
    assert uids(capture(pseudonym="LB-2"))[0] != first[0]


def test_names_that_dicom_cannot_hold_are_made_to_fit() -> None:
    odd = "Grad 3\\\x07\nNST – Karzinom " + "x" * 90
    made = read(capture(said={"target": odd}, card=replace(CARD, intended_use=odd, name=odd)))
    assert len(made.SeriesDescription) <= 64 and made["SeriesDescription"].VM == 1
    assert "–" in made.DerivationDescription and made["ManufacturerModelName"].VM == 1
    assert text("a\\b\nc", 64) == "a/b c" and len(text("x" * 99, 64)) == 64


def test_a_picture_beyond_dicom_is_refused() -> None:
    wide = np.zeros((1, 65536, 3), np.uint8)
    with pytest.raises(LimitExceeded, match="another format"):
        secondary_capture(capture(picture=wide))


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name", ["693_J2KR.dcm", "mg_phantom_pixel_spacing.dcm", "dx_image.dcm", "liver.dcm"]
)
def test_no_identifier_of_a_real_header_survives(
    tmp_path: Path, real_data: Path, name: str
) -> None:
    path = real_data / "dicom" / name
    source = read_image(path)
    data = capture_bytes(capture(source))
    header = dcmread(path, stop_before_pixels=True)
    kinds = ("UI", "PN", "LO", "SH", "DA", "TM", "DT", "LT", "ST", "UT")
    told = {
        str(value)
        for element in header.iterall()
        if element.VR in kinds
        for value in (element.value if element.VM > 1 else [element.value])
        if len(str(value)) >= 6 and not str(value).startswith("1.2.840.10008.")
    }
    assert len(told) > 2
    assert not [value for value in told if value.encode() in data]
    (tmp_path / "x.dcm").write_bytes(data)
    mine = read_image(tmp_path / "x.dcm")
    assert (mine.laterality, mine.view) == (source.laterality, source.view)
    if source.affine is not None:
        corner = np.array([3.0, 5.0, source.frames - 1, 1.0])
        assert mine.affine is not None
        assert np.allclose(mine.affine @ (3, 5, 0, 1), source.affine @ corner, atol=1e-3)
