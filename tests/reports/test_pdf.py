"""The PDF of a case: what is on the pages, in any script, for any shape of image."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reportlab.platypus import Spacer

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
    Patch,
    Prediction,
    Rating,
    Region,
    Spacing,
    Truth,
    Window,
)
from reports import Provenance, Report, ReportError, compose, pdf_bytes, write_pdf
from reports.figures import scale_length
from reports.pdf import _story
from reports.plates import plane_of

WEIGHTS = "ab" * 32
BANNER = "Demonstration model, trained on synthetic phantoms. Not for diagnosis."
NOW = datetime(2026, 11, 20, 12, 30, tzinfo=timezone(timedelta(hours=8)))
ANCHOR = "Covers most of the lesion with little spill"


def mammogram(height: int = 160, width: int = 120, **facts: Any) -> Image:
    """A bright disc on a ramp."""
    y, x = np.mgrid[0:height, 0:width]
    disc = np.hypot(y - height / 2, x - width / 2) < min(height, width) / 6
    pixels = (1000 + 5.0 * x + 1500 * disc).astype(np.float32)[None, ..., None]
    known = {
        "spacing": Spacing(0.2, 0.2, source="at detector"),
        "windows": (Window(2000, 3000),),
        "laterality": Laterality.LEFT,
        "view": "MLO",
        "bits": 12,
        "facts": {"format": "phantom"},
    }
    return Image(pixels, Modality.MAMMOGRAPHY, "c0" * 32, **{**known, **facts})


def slide(side: int = 96) -> Image:
    """Pink noise without calibration."""
    pixels = np.random.default_rng(0).integers(90, 255, (1, side, side, 3)).astype(np.float32)
    return Image(pixels, Modality.PATHOLOGY, "d1" * 32, warnings=("The stain is faint.",))


def heat_of(image: Image, index: int, **facts: Any) -> HeatMap:
    """Relevance around the centre."""
    y, x = np.mgrid[0 : image.height, 0 : image.width]
    far = (y - image.height / 2) ** 2 + (x - image.width / 2) ** 2
    values = np.exp(-far / (0.03 * image.height * image.width + 1)).astype(np.float32)
    return HeatMap(index, 0, values, (14, 14), **facts)


def explanation(case: Case, method: str = "gradcam", **facts: Any) -> Explanation:
    """One map per image."""
    maps = tuple(heat_of(image, i, **facts) for i, image in enumerate(case.images))
    return Explanation(method, "malignant", maps, {"seed": 7}, "demo", WEIGHTS, 0.5)


def prediction(**facts: Any) -> Prediction:
    """A complete answer of a system."""
    known: dict[str, Any] = {
        "probabilities": {"normal": 0.04, "benign": 0.13, "malignant": 0.83},
        "model": "demo",
        "version": "1.2.3",
        "weights_digest": WEIGHTS,
        "grade": Grade(("low", "middle", "high"), (0.1, 0.2, 0.7), 2),
        "regions": (Region(0, 0, Box(40, 60, 40, 30), score=0.91),),
        "warnings": ("Read without prior images.",),
    }
    return Prediction(**{**known, **facts})


def rating(comment: str = "", **facts: Any) -> Rating:
    """An answer to the first question."""
    known: dict[str, Any] = {
        "id": 1,
        "case": "PH-1",
        "reader": "reader-7",
        "question": "lesion_match",
        "method": "gradcam",
        "target": "malignant",
        "status": AnswerStatus.ANSWERED,
        "value": 4,
        "comment": comment,
        "created": datetime(2026, 11, 19, 8, 0, tzinfo=UTC),
        "revision": 1,
        "weights_digest": WEIGHTS,
    }
    return Rating(**{**known, **facts})


CARD = ModelCard(
    name="demo",
    system="crossmodal",
    version="1.2.3",
    title="Cross-modal demonstrator",
    intended_use=BANNER,
    training_data="Procedural phantoms.",
    limits=("Has never seen a patient.",),
    classes=("normal", "benign", "malignant"),
    grades=("low", "middle", "high"),
    config={},
    metrics={"auc": 0.971, "box": {"iou": 0.62}},
    facts={},
    weights="demo.safetensors",
    weights_digest=WEIGHTS,
)


def report_of(case: Case | None = None, *ratings: Rating, **parts: Any) -> Report:
    """A report with everything, unless parts are replaced."""
    chosen = case or Case("PH-1", (mammogram(), slide()), note="Lump.")
    known: dict[str, Any] = {
        "prediction": prediction(),
        "explanations": [explanation(chosen), explanation(chosen, "rollout")],
        "created": NOW,
        "provenance": Provenance("Lightbox 0.1.0", "CPU", 7, "operator-3", "abc1234"),
        "card": CARD,
    }
    known.update(parts)
    return compose(chosen, known.pop("prediction"), known.pop("explanations"), ratings, **known)


def tool(name: str) -> str:
    """Path of a poppler program; the test is skipped without it, unless it is required."""
    found = shutil.which(name)
    if found is None and "poppler" not in os.environ.get("LIGHTBOX_REQUIRE", ""):
        pytest.skip(f"{name} (poppler) is not installed")
    assert found is not None, f"{name} is required"
    return found


def pages(report: Report, folder: Path) -> list[str]:
    """Text of each page, blanks collapsed."""
    path = folder / "report.pdf"
    write_pdf(report, path)
    program = tool("pdftotext")
    shown = subprocess.run([program, "-layout", path, "-"], capture_output=True, check=True)
    assert shown.stderr == b""
    return [re.sub(r"\s+", " ", page) for page in shown.stdout.decode().split("\f")[:-1]]


def flowing(report: Report, folder: Path) -> str:
    """Text in reading order, blanks collapsed."""
    path = folder / "report.pdf"
    write_pdf(report, path)
    shown = subprocess.run([tool("pdftotext"), path, "-"], capture_output=True, check=True)
    return re.sub(r"\s+", " ", shown.stdout.decode())


def test_everything_of_the_record_is_printed(tmp_path: Path) -> None:
    case = Case(
        "PH-1",
        (mammogram(), slide()),
        note="Palpable lump.",
        truth=Truth("malignant", source="phantom generator"),
        warnings=("Two laboratories.",),
    )
    patches = (Patch(1, Box(8, 8, 24, 24), 0.31),)
    words = flowing(
        report_of(case, rating("Fine."), prediction=prediction(patches=patches)), tmp_path
    )
    for expected in (
        "mammography L MLO",
        "120 x 160 px, 12 bit",
        "0.2 mm (at detector)",
        "no calibration",
        "The stain is faint.",
        "Two laboratories.",
        "Palpable lump.",
        "malignant (source: phantom generator)",
        "malignant, 83.0 %",
        "13.0 %",
        "high",
        "70.0 %",
        "box from x 40, y 60 px; width x height 40 x 30 px = 8.0 x 6.0 mm; score 91.0 %",
        "Read without prior images.",
        "31.0 % of the relevance",
        "Without overlay",
        "Grad-CAM",
        "Attention rollout",
        "Target: malignant.",
        "Grid 14 x 14",
        "opacity 40 %",
        "Relative to this map",
        "Window 2000 / 3000 (LINEAR)",
        "reader-7",
        f"4 - {ANCHOR}",
        "Fine.",
        "Has never seen a patient.",
        "auc 0.971 box: iou 0.620",
        "Heat maps show association, not cause.",
        "disagree",
        "Signature:",
        "c0" * 32,
        "d1" * 32,
        WEIGHTS,
        "Lightbox 0.1.0, commit abc1234",
        "2026-11-20 12:30:00 UTC+08:00",
        "operator-3",
        "seed: 7",
    ):
        assert expected in words, expected


def test_every_page_has_header_and_banner(tmp_path: Path) -> None:
    report = report_of(None, *(rating(f"Comment {i}. " * 30, id=i) for i in range(40)))
    found = pages(report, tmp_path)
    assert len(found) > 5
    for number, page in enumerate(found, 1):
        assert BANNER in page
        assert "Case PH-1" in page
        assert f"Report {report.id} (final)" in page
        assert f"page {number} of {len(found)}" in page
        assert "mammography L MLO; pathology" in page
    assert "Comment 39." in " ".join(found)


def test_nothing_empty_ends_the_report() -> None:
    """An empty space after the last table gets a page of its own where that fills the last one."""
    assert not isinstance(_story(report_of())[-1], Spacer)


def test_figures_stand_with_their_intervals(tmp_path: Path) -> None:
    measured = {
        "all": {"cases": 90, "auc": 0.9, "auc_interval": [0.85, 0.94], "pathology": True},
        "one_site": {"cases": 9, "auc": 0.7},
    }
    words = flowing(report_of(card=replace(CARD, metrics=measured)), tmp_path)
    assert "all: cases 90, auc 0.900 (95 % 0.850 to 0.940)" in words
    assert "interval" not in words.partition("Measured")[2].partition("Known limit")[0]
    assert "one site" not in words


def test_a_long_banner_is_printed_whole_on_every_page(tmp_path: Path) -> None:
    banner = "Not for diagnosis; " * 30 + "thelastword."
    report = report_of(card=replace(CARD, intended_use=banner))
    assert all("thelastword." in page for page in pages(report, tmp_path))


def test_absent_parts_are_written_out(tmp_path: Path) -> None:
    case = Case("PH-1", (mammogram(spacing=None),))
    bare = report_of(case, prediction=None, explanations=[], card=None)
    words = flowing(bare, tmp_path)
    assert "AI result not assessed" in words
    assert "Explanation maps: not assessed." in words
    assert "No ratings yet." in words
    assert "Model card not available" in words
    assert "Research use only. Not for diagnosis." in words
    thin = prediction(grade=None, regions=(), warnings=())
    words = flowing(report_of(case, prediction=thin), tmp_path)
    assert words.count("not assessed") == 4
    assert "no calibration" in words


def test_a_flat_map_is_words_not_a_picture(tmp_path: Path) -> None:
    case = Case("PH-1", (mammogram(),))
    flat = explanation(case, localised=False, reason="all gradients vanish")
    words = flowing(report_of(case, explanations=[flat]), tmp_path)
    assert "No localised evidence: all gradients vanish" in words
    assert "0.25" not in words
    even = replace(flat.maps[0], values=np.ones((160, 120), np.float32), localised=True)
    words = flowing(report_of(case, explanations=[replace(flat, maps=(even,))]), tmp_path)
    assert "No localised evidence" in words


def test_answers_without_a_number_and_of_other_weights_say_so(tmp_path: Path) -> None:
    mute = rating(status=AnswerStatus.CANNOT_JUDGE, value=None, question="trust", revision=3)
    other = rating(weights_digest="ef" * 32, question="a question of old")
    words = flowing(report_of(None, mute, other), tmp_path)
    for expected in ("cannot judge", "revision 3", "other weights", "a question of old"):
        assert expected in words


SCRIPTS = "乳腺癌 ductal carcinoma, Ωμέγα, Привет, 浸润性导管癌。"


def test_scripts_mix_in_one_line_and_are_searchable(tmp_path: Path) -> None:
    words = flowing(
        report_of(Case("PH-1", (mammogram(),), note=SCRIPTS), rating(SCRIPTS)), tmp_path
    )
    assert words.replace(" ", "").count(SCRIPTS.replace(" ", "")) == 2


def test_long_chinese_text_wraps_within_the_page(tmp_path: Path) -> None:
    comment = "热图与病灶一致边缘略有外溢" * 120
    path = tmp_path / "report.pdf"
    write_pdf(report_of(None, rating(comment)), path)
    shown = subprocess.run(
        [tool("pdftotext"), "-bbox", path, "-"], capture_output=True, check=True
    ).stdout.decode()
    ends = [float(x) for x in re.findall(r'xMax="([\d.]+)"', shown)]
    assert max(ends) < 595.3 - 36
    assert len(re.findall("[一-鿿]", shown)) >= len(comment)


MARKUP = "<b>bold</b> & <img src='http://example.org/x.png'/> <a href=\"file:///e\">x</a> &lt; %s"


def test_user_text_is_printed_literally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    case = Case("PH-1", (mammogram(warnings=(MARKUP,)),), note=MARKUP, warnings=(MARKUP,))
    said = prediction(probabilities={MARKUP: 1.0}, warnings=(MARKUP,))
    shown = replace(explanation(case), target=MARKUP, settings={MARKUP: MARKUP})
    report = report_of(
        case,
        rating(MARKUP, reader=MARKUP, question=MARKUP, target=MARKUP),
        prediction=said,
        explanations=[shown],
        card=replace(CARD, limits=(MARKUP,), title=MARKUP),
    )
    words = flowing(report, tmp_path).replace(" ", "")
    assert words.count(MARKUP.replace(" ", "")) >= 7
    assert b"/URI" not in (tmp_path / "report.pdf").read_bytes()


@pytest.mark.parametrize(
    "strange",
    [
        "smile \U0001f600 \U0001f469\u200d\u2695\ufe0f end",
        "nul \x00 bell \x07 escape \x1b end",
        "turn \u202e evil \u2066 end",
        "half \ud800 pair end",
        "private \ue000 unassigned \u0378 end",
        "עברית العربية end",
        "한국어 हिन्दी ไทย end",
        "\n\n\nlines\r\n\tand tabs\u2028 end",
        "",
        "   ",
        "x" * 3000 + " end",
    ],
)
def test_strange_characters_never_crash(strange: str, tmp_path: Path) -> None:
    case = Case("PH-1", (mammogram(),), note=strange, warnings=(strange,))
    words = flowing(report_of(case, rating(strange)), tmp_path)
    assert words.count("end") >= strange.count("end")
    if any(0xD800 <= ord(c) < 0xF900 or ord(c) < 9 or ord(c) > 0xFFFF for c in strange):
        assert "□" in words


def test_the_same_report_gives_the_same_bytes() -> None:
    first = pdf_bytes(report_of(None, rating(SCRIPTS)))
    assert pdf_bytes(report_of(None, rating(SCRIPTS))) == first
    assert pdf_bytes(report_of(None, rating("Other."))) != first


def test_file_properties(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    digest = write_pdf(report_of(None, rating(SCRIPTS)), path)
    data = path.read_bytes()
    assert digest == hashlib.sha256(data).hexdigest()
    assert re.search(rb"/Lang\s*\(en\)", data)
    for banned in (b"/JavaScript", b"/JS", b"/URI", b"/Launch", b"DCTDecode", b"PH-1", b"/AA "):
        assert banned not in data
    facts = subprocess.run([tool("pdfinfo"), path], capture_output=True, check=True).stdout.decode()
    assert re.search(r"Title:\s+Lightbox report", facts)
    assert "PH-1" not in facts
    assert re.search(r"CreationDate:.*2026", facts)
    listed = subprocess.run([tool("pdffonts"), path], capture_output=True, check=True).stdout
    fonts = listed.decode().splitlines()[2:]
    assert len(fonts) >= 3
    assert all(re.search(r"TrueType\s+\S+\s+yes yes yes", line) for line in fonts)


def test_the_anatomy_is_stored_without_loss(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    from engine.render import window_levels

    image = mammogram(100, 90)
    path = tmp_path / "report.pdf"
    case = Case("PH-1", (image,))
    write_pdf(report_of(case, prediction=None), path)
    subprocess.run([tool("pdfimages"), "-png", path, tmp_path / "p"], check=True)
    pictures = [np.asarray(Pillow.open(file)) for file in sorted(tmp_path.glob("p-*.png"))]
    assert any(np.array_equal(picture, window_levels(image)) for picture in pictures)


@pytest.mark.parametrize(
    ("height", "width"), [(160, 120), (90, 200), (3, 3), (1, 1), (2000, 10), (10, 2000), (64, 64)]
)
def test_images_of_any_shape(height: int, width: int, tmp_path: Path) -> None:
    image = mammogram(height, width, spacing=None)
    mask = np.zeros((height, width), bool)
    mask[height // 3 : height // 3 + max(1, height // 3), : max(1, width // 2)] = True
    region = Region(0, 0, Box(0, 0, max(1, width // 2), max(1, height // 2)), mask, 0.5)
    case = Case("PH-1", (image,))
    words = flowing(report_of(case, prediction=prediction(regions=(region,))), tmp_path)
    assert "Without overlay" in words
    assert words.count("Target: malignant.") == 2
    assert words.count("No localised evidence") == (2 if height * width == 1 else 0)


def test_scale_bars_are_round_and_fit() -> None:
    assert [scale_length(most) for most in (0.07, 3.0, 49.9, 50.0, 1e9)] == [0.05, 2, 20, 50, 5000]


def test_anisotropic_pixels_are_drawn_at_true_aspect() -> None:
    image = mammogram(100, 100, spacing=Spacing(2.0, 1.0))
    wide, tall = plane_of(report_of(Case("PH-1", (image,))), 0, 0, 3).size
    assert tall == pytest.approx(2 * wide)


def test_volumes_show_the_frames_that_were_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((5, 40, 40, 1)).astype(np.float32)
    image = Image(pixels, Modality.MRI, "e2" * 32, Spacing(1.0, 1.0, 4.0))
    heat = HeatMap(0, 3, pixels[3, :, :, 0], (7, 7))
    shown = Explanation("gradcam", "malignant", (heat,), {}, "demo", WEIGHTS)
    said = prediction(regions=(), frames={0: 1})
    words = flowing(
        report_of(Case("PH-1", (image,)), prediction=said, explanations=[shown]), tmp_path
    )
    assert "frame 2 of 5" in words
    assert "frame 4 of 5" in words
    assert "No map on this image: Grad-CAM." in words


def test_lesions_carry_the_numbers_of_the_list() -> None:
    found = (Region(0, 0, Box(1, 1, 9, 9)), Region(1, 0, Box(2, 2, 5, 5)))
    report = report_of(prediction=prediction(regions=found))
    assert [mark.label for mark in plane_of(report, 1, 0, 3).marks] == ["2"]
    (mark,) = plane_of(report_of(), 0, 0, 3).marks
    assert mark.label == ""
    assert np.allclose(mark.outlines[0] * (120, 160), [(40, 60), (80, 60), (80, 90), (40, 90)])


def test_long_text_flows_over_pages(tmp_path: Path) -> None:
    warnings = tuple(f"Warning number {i}: " + "word " * 60 for i in range(60))
    comment = "A very long comment. " * 900 + "finis"
    case = Case("PH-1", (mammogram(),), note=comment, warnings=warnings)
    words = " ".join(pages(report_of(case, rating(comment)), tmp_path))
    assert words.count("finis") == 2
    assert all(f"Warning number {i}:" in words for i in range(60))


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ReportError, match="disk is full") as caught:
        write_pdf(report_of(), path)
    assert str(tmp_path) not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["report.pdf"]
    assert path.read_bytes() == b"before"
    with pytest.raises(ReportError, match="could not be saved"):
        write_pdf(report_of(), tmp_path / "absent" / "report.pdf")
