"""Real files: each becomes a case or one clear sentence, with the shape and values known for it."""

from __future__ import annotations

import csv
import logging
import os
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file, get_testdata_files

from engine.errors import EngineError
from engine.io import Outcome, gather, read_case, read_image
from engine.records import Laterality, Modality

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("LIGHTBOX_REAL_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(autouse=True)
def real_data(request: pytest.FixtureRequest) -> None:
    """Skip tests that need real images where there are none."""
    if request.node.get_closest_marker("real_data") is None or DATA.is_dir():
        return
    if "real_data" in os.environ.get("LIGHTBOX_REQUIRE", ""):
        pytest.fail("LIGHTBOX_REAL_DATA names no folder, but real images are required")
    pytest.skip("LIGHTBOX_REAL_DATA names no folder with real images")


@cache
def table() -> list[dict[str, str]]:
    """Rows of dicom/files.csv; empty where there are no real images."""
    path = DATA / "dicom" / "files.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def outcome(path: Path) -> Outcome:
    """The one outcome of a file."""
    outcomes = list(gather([path]))
    assert len(outcomes) == 1
    return outcomes[0]


def check(found: Outcome) -> None:
    """A case, or one sentence without names."""
    assert (found.case is None) is bool(found.problem)
    if found.case is None:
        assert found.problem.endswith(".")
        assert found.problem.count(". ") == 0
        assert found.sources[0].stem not in found.problem
        return
    for image in found.case.images:
        assert np.isfinite(image.pixels).all()
        assert bool(image.windows) is not image.is_colour


@pytest.mark.real_data
def test_dicom_files_have_the_shape_and_values_known_for_them() -> None:
    read = 0
    for row in table():
        path = DATA / "dicom" / row["file"]
        found = outcome(path)
        check(found)
        readable = row["decodes"].startswith("yes")
        assert (found.case is not None) is readable, row["file"]
        if found.case is None:
            continue
        read += 1
        image = found.case.images[0]
        shape = (int(row["frames"] or 1), int(row["rows"]), int(row["columns"]))
        assert image.pixels.shape[:3] == shape, row["file"]
        if row["photometric"] == "PALETTE COLOR":
            assert image.is_colour
            continue
        low, high = (float(text) for text in row["value_range"].split(".."))
        header = pydicom.dcmread(path, stop_before_pixels=True)
        slope = float(header.get("RescaleSlope", 1))
        intercept = float(header.get("RescaleIntercept", 0))
        ends = [float(image.pixels.min()), float(image.pixels.max())]
        wanted = [low * slope + intercept, high * slope + intercept]
        assert ends == pytest.approx(wanted, abs=2), row["file"]
    assert read == sum(row["decodes"].startswith("yes") for row in table()) > 20


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "inverted", "side", "view"),
    [
        ("mg_cbis_P00820_R-MLO_half.dcm", False, Laterality.RIGHT, "MLO"),
        ("mg_cbis_P00820_R-CC_quarter_mono1.dcm", True, Laterality.RIGHT, "CC"),
        ("mg_cbis_P00820_L-CC_quarter_rle.dcm", False, Laterality.LEFT, "CC"),
    ],
)
def test_real_mammograms(name: str, inverted: bool, side: Laterality, view: str) -> None:
    image = read_image(DATA / "dicom" / name)
    assert image.modality is Modality.MAMMOGRAPHY
    assert (image.inverted, image.laterality, image.view) == (inverted, side, view)
    window = image.windows[0]
    breast = window.centre + (-1 if inverted else 1) * window.width / 2
    air = image.pixels.max() if inverted else image.pixels.min()
    assert abs(float(air) - breast) > window.width / 2  # the window reaches into the breast


@pytest.mark.real_data
def test_every_volume_is_read() -> None:
    paths = sorted((DATA / "brain_mri").rglob("*.nii.gz"))
    assert paths
    for path in paths:
        image = read_case(path).images[0]
        assert image.spacing is not None
        assert image.frames in (1, 16, 24, 77)


@pytest.mark.real_data
def test_histology_and_mammograms_are_told_apart() -> None:
    slides = sorted((DATA / "histology").glob("*.[jp][pn]g"))[::5]
    films = sorted((DATA / "mammography").glob("*/*.png"))[::6]
    assert slides
    assert films
    assert {read_image(path).modality for path in slides} == {Modality.PATHOLOGY}
    assert {read_image(path).modality for path in films} == {Modality.MAMMOGRAPHY}


@cache
def pydicom_files() -> tuple[Path, ...]:
    """Files of the pydicom package and its companion that are on this machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = [Path(name) for name in get_testdata_files()]
    return tuple(path for path in paths if path.is_file())


def test_every_pydicom_file_gives_a_case_or_a_sentence(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    cases = 0
    for path in pydicom_files():
        if path.parent.parent.name.startswith(("ST", "CT", "98892003")) and path.name[-1] != "0":
            continue  # one slice of each long series is enough
        found = outcome(path)
        check(found)
        cases += found.case is not None
    assert cases > 80
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("plain", "other"),
    [
        ("MR_small.dcm", "MR_small_RLE.dcm"),
        ("MR_small.dcm", "MR_small_jp2klossless.dcm"),
        ("MR_small.dcm", "MR_small_jpeg_ls_lossless.dcm"),
        ("MR_small.dcm", "MR_small_bigendian.dcm"),
        ("MR_small.dcm", "MR_small_implicit.dcm"),
        ("emri_small.dcm", "emri_small_RLE.dcm"),
        ("emri_small.dcm", "emri_small_big_endian.dcm"),
        ("emri_small.dcm", "emri_small_jpeg_ls_lossless.dcm"),
        ("SC_rgb.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb.dcm", "SC_rgb_expb.dcm"),
        ("SC_rgb.dcm", "SC_rgb_16bit.dcm"),
        ("SC_rgb.dcm", "SC_rgb_rle_32bit.dcm"),
        ("OBXXXX1A.dcm", "OBXXXX1A_rle.dcm"),
        ("OBXXXX1A.dcm", "OBXXXX1A_expb.dcm"),
        ("gdcm-US-ALOKA-16.dcm", "gdcm-US-ALOKA-16_big.dcm"),
        ("liver.dcm", "liver_expb.dcm"),
        ("693_UNCR.dcm", "693_J2KR.dcm"),
        ("MR2_UNCR.dcm", "MR2_J2KR.dcm"),
        ("RG3_UNCR.dcm", "RG3_J2KR.dcm"),
        ("US1_UNCR.dcm", "US1_J2KR.dcm"),
    ],
)
def test_one_picture_in_two_codings(plain: str, other: str) -> None:
    paths = [get_testdata_file(name, download=False) for name in (plain, other)]
    if None in paths:
        pytest.skip("the companion package of pydicom with larger test files is not installed")
    first, second = (read_image(Path(str(path))) for path in paths)
    assert np.allclose(first.pixels, second.pixels, atol=0.01)
    assert first.windows == second.windows
    assert first.digest != second.digest


def test_table_of_contents_has_no_picture() -> None:
    path = next(path for path in pydicom_files() if path.name == "DICOMDIR")
    with pytest.raises(EngineError, match="table of contents"):
        read_image(path)
