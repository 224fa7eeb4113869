"""The report of a case as JSON, its measured numbers, and the number of its layout."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.records import Case, Score, Truth
from reports import case_json, content, pdf_bytes

sys.path.insert(0, str(Path(__file__).parent))

from test_pdf import flowing, mammogram, rating, report_of, slide, tool

DELETION = Score("deletion", 0.3142, "mean probability along the curve", "lower", 0.52, 24, "blur")
POINTING = Score("pointing_game", None, "hit", "higher", None, 0, "There is no lesion.", image=0)
MEASURED = {"gradcam": (DELETION, POINTING)}
SANITY = {"gradcam": "passes. The map changes when the weights are destroyed."}


def test_the_json_holds_what_the_pages_say() -> None:
    report = report_of(None, rating("a thought"), scores=MEASURED, sanity=SANITY)
    told = json.loads(case_json(report))
    assert told["report"] == report.id and told["digest_sha256"] == report.digest
    assert told["prediction"]["class"] == "malignant" and told["prediction"]["uncertainty"] is None
    assert told["prediction"]["probabilities"]["malignant"] == 0.83
    assert [image["modality"] for image in told["case"]["images"]] == ["mammography", "pathology"]
    first, second = told["explanations"]
    assert [score["value"] for score in first["scores"]] == [0.3142, None]
    assert first["sanity_check"] == SANITY["gradcam"] and second["sanity_check"] is None
    assert told["measures"]["deletion"]["better"] == "lower"
    assert told["ratings"][0]["comment"] == "a thought"
    assert told["conclusion"] is None and told["provenance"]["commit"] == "abc1234"
    assert case_json(report) == case_json(report)


def test_measured_numbers_are_printed_with_their_meaning(tmp_path: Path) -> None:
    words = flowing(report_of(scores=MEASURED, sanity=SANITY), tmp_path)
    assert "4. Explanation numbers" in words
    assert "0.314" in words and "0.52" in words and "lower is better" in words
    assert "How fast the model loses its answer" in words
    assert "undefined" in words and "There is no lesion." in words
    assert "passes. The map changes when the weights are destroyed." in words


def test_unmeasured_maps_say_so(tmp_path: Path) -> None:
    words = flowing(report_of(), tmp_path)
    assert "Faithfulness, localisation, stability, sanity check: not assessed." in words


def test_a_measure_changes_the_number_of_the_report() -> None:
    plain, measured = report_of(), report_of(scores=MEASURED)
    assert plain.digest != measured.digest
    assert report_of(sanity=SANITY).digest not in (plain.digest, measured.digest)


def test_another_layout_has_another_number(monkeypatch: pytest.MonkeyPatch) -> None:
    before = report_of()
    monkeypatch.setattr(content, "LAYOUT", "another")
    after = report_of()
    assert after.id != before.id and after.digest != before.digest


def test_several_answers_are_counted(tmp_path: Path) -> None:
    given = [
        rating("one", value=4),
        rating("two", value=2, reader="reader-8"),
        rating("three", value=2, reader="reader-9"),
    ]
    words = flowing(report_of(None, *given), tmp_path)
    assert "n 3, readers 3, cannot judge 0; 1: 0, 2: 2, 3: 0, 4: 1, 5: 0" in words
    assert "median 2, mean 2.67" in words
    assert "reader study are not printed here" in words


def test_pages_are_tagged_bookmarked_and_pictures_have_words(tmp_path: Path) -> None:
    path = tmp_path / "case.pdf"
    path.write_bytes(pdf_bytes(report_of(scores=MEASURED)))

    def ran(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, check=True)
        return done.stdout.decode()

    assert re.search(r"Tagged:\s+yes", ran(tool("pdfinfo"), str(path)))
    tree = ran(tool("pdfinfo"), "-struct", str(path))
    assert all(re.search(rf"^\s+{kind}\b", tree, re.M) for kind in ("H1", "H2", "Table", "Figure"))
    listed = ran(tool("pdftohtml"), "-xml", "-stdout", "-i", str(path))
    outline = listed[listed.index("<outline>") :]
    assert "3. Pictures" in outline and "Image 1: mammography L MLO" in outline
    assert path.read_bytes().count(b"/Alt") >= 6


def test_a_reference_is_printed_only_where_it_was_given(tmp_path: Path) -> None:
    case = Case("PH-1", (mammogram(), slide()), truth=Truth("malignant", source="biopsy"))
    assert "malignant (source: biopsy)" in flowing(report_of(case), tmp_path)
    blind = report_of(replace(case, truth=None))
    assert "biopsy" not in flowing(blind, tmp_path) and b"biopsy" not in case_json(blind)
