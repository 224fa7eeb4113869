"""Segmentations, structured reports and encapsulated PDFs: valid, true to the numbers, nameless."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, EncapsulatedPDFStorage, SegmentationStorage

from engine.errors import UnknownName
from engine.export import write_explanations
from engine.export.dicom import file_bytes, study_uid
from engine.export.dicom_pdf import encapsulated_pdf, pdf_dicom_bytes
from engine.export.dicom_seg import heat_segmentation, lesions_segmentation
from engine.export.dicom_source import source_capture
from engine.export.dicom_sr import Findings, measurement_report
from engine.export.objects import sources_of
from engine.records import (
    AnswerStatus,
    Box,
    Case,
    Explanation,
    Grade,
    HeatMap,
    Image,
    Laterality,
    Modality,
    ModelCard,
    Prediction,
    Rating,
    Region,
    Score,
    Spacing,
)

DIGEST = "ab" * 32
SOFTWARE = "Lightbox 0"
CARD = ModelCard(
    "tiny", "crossmodal", "1.2", "Tiny", "Not for diagnosis.", "nothing", (), ("No", "Yes"),
    ("low", "high"), {}, {}, {}, "tiny.safetensors", DIGEST,
)  # fmt: skip
PDF = b"%PDF-1.4\n%%EOF\n"
H, W = 40, 30
MASK = np.zeros((H, W), dtype=bool)
MASK[20:25, 3:9] = True


def image(kind: str = "plain") -> Image:
    ramp = np.arange(3 * H * W, dtype=np.float32).reshape(3, H, W, 1)
    if kind == "mammogram":
        return Image(
            ramp[:1], Modality.MAMMOGRAPHY, "11" * 32, laterality=Laterality.LEFT, view="MLO",
            spacing=Spacing(0.1, 0.1, source="at detector"),
        )  # fmt: skip
    if kind == "placed":
        affine = np.diag([0.6, 0.8, 2.5, 1.0])
        return Image(ramp, Modality.CT, "22" * 32, affine=affine, spacing=Spacing(0.8, 0.6, 2.5))
    if kind == "colour":
        pixels = np.full((1, H, W, 3), 200, dtype=np.float32)
        return Image(pixels, Modality.PATHOLOGY, "33" * 32)
    return Image(ramp[:1], Modality.RADIOGRAPH, "44" * 32)


KINDS = ("plain", "mammogram", "placed", "colour")


def made_of(kind: str = "plain", **changes: Any) -> tuple[Case, Prediction, Explanation]:
    source = image(kind)
    frame = source.frames - 1
    case = Case("LB-c0ffee", (source,), note="Anna Muster, born 1950")
    regions = (
        Region(0, frame, Box(5, 10, 10, 8), score=0.8),
        Region(0, frame, mask=MASK),
    )
    said = Prediction(
        {"No": 0.25, "Yes": 0.75}, "tiny", "1.2", DIGEST,
        Grade(("low", "high"), (0.3, 0.7), 1), regions, frames={0: frame},
    )  # fmt: skip
    values = np.linspace(-1, 3, H * W, dtype=np.float32).reshape(H, W)
    heat = HeatMap(0, frame, values, (5, 5))
    one = Explanation("gradcam", "Yes", (heat,), {"layer": 3}, "tiny", DIGEST)
    return case, replace(said, **changes), one


def rating(question: str, value: int | None, reader: str = "reader-7") -> Rating:
    status = AnswerStatus.CANNOT_JUDGE if value is None else AnswerStatus.ANSWERED
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Rating(
        1, "LB-c0ffee", reader, question, "gradcam", "Yes", status, value, "", moment, 1, DIGEST
    )


SCORES = {
    "gradcam": (
        Score("deletion", 0.31, "mean probability along the curve", "lower", 0.5, 20),
        Score("insertion", None, "mean probability along the curve", "higher", None, 0, "none"),
    )
}
RATINGS = (rating("trust", 4), rating("lesion_match", None), rating("trust", 2, "reader-8"))


def findings(kind: str = "plain", **changes: Any) -> Findings:
    case, said, _ = made_of(kind)
    sources = sources_of(case, [(0, case.images[0].frames - 1)], SOFTWARE)
    known: dict[str, Any] = {"scores": SCORES, "ratings": RATINGS}
    return Findings(case, CARD, said, sources, SOFTWARE, **{**known, **changes})


def objects(kind: str) -> dict[str, Dataset]:
    """One of each object of a case."""
    case, said, one = made_of(kind)
    frame = case.images[0].frames - 1
    source = source_capture(case, 0, frame, SOFTWARE)
    return {
        "source": source,
        "lesions": lesions_segmentation(case, CARD, source, (0, frame), said.regions, SOFTWARE),
        "heat": heat_segmentation(case, CARD, source, one, one.maps[0], 1, SOFTWARE),
        "report": measurement_report(findings(kind)),
        "pdf": encapsulated_pdf(PDF, case, "Lightbox report", SOFTWARE),
    }


def validator() -> str:
    found = shutil.which("dciodvfy")
    if found is None and "dciodvfy" not in os.environ.get("LIGHTBOX_REQUIRE", ""):
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    assert found is not None, "dciodvfy is required"
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_validator_finds_no_error(kind: str, tmp_path: Path) -> None:
    program = validator()
    for name, made in objects(kind).items():
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(file_bytes(made))
        done = subprocess.run([program, "-new", path], capture_output=True, check=False)
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        errors = [line for line in said.splitlines() if line.startswith("Error")]
        assert not errors, (name, errors)
        iods = ("SCImage", "Segmentation", "ComprehensiveSR", "EncapsulatedPDF")
        assert any(line in iods for line in said.splitlines()), said


@pytest.mark.parametrize("kind", KINDS)
def test_all_objects_share_patient_and_study_and_tell_no_name(kind: str) -> None:
    case = made_of(kind)[0]
    for made in objects(kind).values():
        assert made.PatientID == "LB-c0ffee" and str(made.PatientName) == "LB-c0ffee^"
        assert made.StudyInstanceUID == study_uid(case)
        data = file_bytes(made)
        assert b"Anna" not in data and b"1950" not in data
        assert dcmread(io.BytesIO(data)).SOPInstanceUID == made.SOPInstanceUID


@pytest.mark.parametrize("kind", KINDS)
def test_equal_content_gives_equal_bytes_and_no_two_objects_share_a_number(kind: str) -> None:
    first, second = objects(kind), objects(kind)
    assert {n: file_bytes(m) for n, m in first.items()} == {
        n: file_bytes(m) for n, m in second.items()
    }
    assert len({str(made.SOPInstanceUID) for made in first.values()}) == len(first)
    assert len({str(made.SeriesInstanceUID) for made in first.values()}) == len(first)


def test_the_lesions_are_the_pixels_of_the_prediction() -> None:
    made = dcmread(io.BytesIO(file_bytes(objects("mammogram")["lesions"])))
    assert made.SOPClassUID == SegmentationStorage and made.SegmentationType == "BINARY"
    box, mask = made.pixel_array.astype(bool)
    assert np.array_equal(mask, MASK)
    inside = np.zeros((H, W), dtype=bool)
    inside[10:18, 5:15] = True
    assert np.array_equal(box, inside)
    assert [item.SegmentLabel for item in made.SegmentSequence] == ["Lesion 1", "Lesion 2"]
    assert made.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"


def test_the_heat_map_is_relative_relevance_and_says_so() -> None:
    made = dcmread(io.BytesIO(file_bytes(objects("placed")["heat"])))
    assert made.SegmentationType == "FRACTIONAL"
    assert made.SegmentationFractionalType == "PROBABILITY" and made.MaximumFractionalValue == 255
    share = made.pixel_array.reshape(H, W) / 255
    wanted = np.linspace(0, 1, H * W).reshape(H, W)
    assert np.abs(share - wanted).max() <= 0.5 / 255 + 1e-6
    assert "not a probability" in made.ContentDescription
    shared = made.SharedFunctionalGroupsSequence[0]
    assert [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing] == [0.8, 0.6]


def test_segmentations_refer_to_their_image() -> None:
    made = objects("plain")
    for name in ("lesions", "heat"):
        (series,) = made[name].ReferencedSeriesSequence
        assert series.SeriesInstanceUID == made["source"].SeriesInstanceUID
        (instance,) = series.ReferencedInstanceSequence
        assert instance.ReferencedSOPInstanceUID == made["source"].SOPInstanceUID


def values_of(items: Any) -> dict[str, float]:
    """Meaning of a measurement to its number, over the whole tree."""
    found: dict[str, float] = {}
    for item in items:
        if item.ValueType == "NUM":
            name = item.ConceptNameCodeSequence[0].CodeMeaning
            found[name] = float(item.MeasuredValueSequence[0].NumericValue)
        found |= values_of(item.get("ContentSequence", ()))
    return found


def texts_of(items: Any) -> list[str]:
    """All words of the tree, and the meanings of all codes."""
    found: list[str] = []
    for item in items:
        if "TextValue" in item:
            found.append(item.TextValue)
        if "ConceptCodeSequence" in item:
            found.append(item.ConceptCodeSequence[0].CodeMeaning)
        found += texts_of(item.get("ContentSequence", ()))
    return found


def test_the_report_holds_probabilities_lesions_scores_and_ratings() -> None:
    made = dcmread(io.BytesIO(file_bytes(measurement_report(findings("placed")))))
    assert made.SOPClassUID == ComprehensiveSRStorage
    assert made.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    numbers, words = values_of(made.ContentSequence), texts_of(made.ContentSequence)
    assert numbers["Probability of Yes"] == 0.75 and numbers["Probability of No"] == 0.25
    assert numbers["Area"] == pytest.approx(30 * 0.8 * 0.6)  # the second lesion: 30 pixels
    assert numbers["Deletion"] == 0.31 and "Insertion" not in numbers
    assert numbers["How far do you trust this result overall?"] == 2
    assert {"Yes", "high", "Cannot judge", "Reader reader-7", "Reader reader-8"} <= set(words)
    assert made.VerificationFlag == "UNVERIFIED"


def test_without_calibration_an_area_is_one_of_pixels() -> None:
    for kind in ("plain", "mammogram"):
        numbers = values_of(measurement_report(findings(kind)).ContentSequence)
        assert numbers["Area in pixels"] == 30 and "Area" not in numbers


def test_a_report_without_lesion_score_or_rating_is_a_report() -> None:
    found = findings(scores={}, ratings=())
    found = replace(found, prediction=replace(found.prediction, regions=(), grade=None))
    numbers = values_of(measurement_report(found).ContentSequence)
    measured = {name for name in numbers if not name.startswith("Pixel Data")}
    assert measured == {"Probability of Yes", "Probability of No"}


def test_any_script_and_any_length_fit() -> None:
    found = findings(scores={"x" * 200: SCORES["gradcam"]})
    said = replace(found.prediction, probabilities={"恶性": 0.6, "z\\" * 90: 0.4}, grade=None)
    made = dcmread(io.BytesIO(file_bytes(measurement_report(replace(found, prediction=said)))))
    assert values_of(made.ContentSequence)["Probability of 恶性"] == 0.6


def test_the_pdf_comes_out_as_it_went_in() -> None:
    case = made_of()[0]
    moment = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
    read = dcmread(io.BytesIO(pdf_dicom_bytes(PDF, case, "报告", SOFTWARE, moment)))
    assert read.SOPClassUID == EncapsulatedPDFStorage and read.DocumentTitle == "报告"
    assert read.EncapsulatedDocument[: read.EncapsulatedDocumentLength] == PDF
    assert (read.ContentDate, read.ContentTime) == ("20261120", "083000")


def test_the_files_of_a_case_lie_side_by_side(tmp_path: Path) -> None:
    case, said, one = made_of("mammogram")
    write_explanations(
        tmp_path, case, CARD, said, [one], {}, SOFTWARE,
        scores=SCORES, formats=("dicom-seg", "dicom-sr"),
    )  # fmt: skip
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "explanation.json", "gradcam_seg.dcm", "lesions_0_0.dcm", "measurements.dcm",
        "source_0_0.dcm",
    }  # fmt: skip
    told = json.loads((tmp_path / "explanation.json").read_text("utf-8"))
    assert told["explanations"][0]["maps"][0]["files"] == {"dicom_seg": "gradcam_seg.dcm"}
    write_explanations(tmp_path, case, CARD, said, [one], {}, SOFTWARE, formats=("npz",))
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".npz"}


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    case, said, one = made_of()
    with pytest.raises(UnknownName, match="dicom-sr"):
        write_explanations(tmp_path, case, CARD, said, [one], {}, SOFTWARE, formats=("dicom-rt",))


def test_two_images_alike_are_two_objects() -> None:
    case = Case("LB-c0ffee", (image(), image()))
    made = [source_capture(case, n, 0, SOFTWARE) for n in range(2)]
    assert made[0].SOPInstanceUID != made[1].SOPInstanceUID
    assert made[0].SeriesInstanceUID != made[1].SeriesInstanceUID
