"""Whatever the bytes, reading ends in an image or in one clear sentence."""

from __future__ import annotations

import gzip
import io
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import set_pixel_data
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from engine.errors import EngineError, LimitExceeded, UnreadableFile
from engine.io import Limits, read_image
from engine.io.readers import decode
from engine.io.seam import DECODER_ERRORS, decoding
from engine.io.source import Format, Source, sniff
from engine.records import Image

LIMITS = Limits(max_bytes=1 << 24, max_pixels=1 << 20, max_side=4000)


def dicom(syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A small DICOM file."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.2", "1.2.3"
    made.Modality, made.PatientName = "MG", "A"
    made.WindowCenter, made.WindowWidth, made.PixelSpacing = "9", "9", [1, 1]
    set_pixel_data(made, np.arange(4096, dtype=np.uint16).reshape(64, 64), "MONOCHROME2", 12)
    if syntax == DeflatedExplicitVRLittleEndian:
        made.file_meta.TransferSyntaxUID = syntax
    elif syntax != ExplicitVRLittleEndian:
        made.compress(syntax, generate_instance_uid=False)
    buffer = io.BytesIO()
    dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


def tiff(**options: object) -> bytes:
    """A small TIFF file."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.arange(900, dtype=np.uint16).reshape(30, 30), **options)
    return buffer.getvalue()


def volume() -> bytes:
    """A small NIfTI file."""
    data = np.arange(900, dtype=np.int16).reshape(10, 15, 6)
    return nibabel.Nifti1Image(data, np.eye(4)).to_bytes()


MAKERS: dict[str, Callable[[], bytes]] = {
    "dicom": dicom,
    "bare dicom": lambda: dicom()[132:],
    "rle": lambda: dicom(RLELossless),
    "jpeg 2000": lambda: dicom(JPEG2000Lossless),
    "jpeg-ls": lambda: dicom(JPEGLSLossless),
    "deflated": lambda: dicom(DeflatedExplicitVRLittleEndian),
    "png": lambda: imagecodecs.png_encode(np.arange(900, dtype=np.uint16).reshape(30, 30)),
    "jpeg": lambda: imagecodecs.jpeg_encode(np.arange(2700, dtype=np.uint8).reshape(30, 30, 3)),
    "tiff": tiff,
    "zlib tiff": lambda: tiff(compression="zlib", predictor=True),
    "nifti": volume,
    "nii.gz": lambda: gzip.compress(volume()),
    "mha": lambda: (
        b"ObjectType = Image\nNDims = 2\nDimSize = 30 30\nElementSpacing = 1 1\n"
        b"ElementType = MET_UCHAR\nElementDataFile = LOCAL\n" + bytes(900)
    ),
    "nrrd": lambda: (
        b"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 30 30\nencoding: gzip\n"
        b"spacings: 1 1\n\n" + gzip.compress(bytes(900))
    ),
}


@cache
def sound(name: str) -> bytes:
    """A sound file, made once."""
    return MAKERS[name]()


def outcome(data: bytes) -> Image | str:
    """An image, or the sentence; anything else is a failure of the test."""
    try:
        return decode(Source(data, "0" * 64), limits=LIMITS)
    except EngineError as error:
        assert error.__suppress_context__ or error.__context__ is None
        return str(error)


@pytest.mark.parametrize("name", MAKERS)
def test_sound_files_are_read(name: str) -> None:
    assert isinstance(outcome(sound(name)), Image)


@pytest.mark.parametrize("name", MAKERS)
@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=st.data())
def test_truncated_files(name: str, data: st.DataObject) -> None:
    whole = sound(name)
    length = data.draw(st.integers(0, len(whole) - 1))
    found = outcome(whole[:length])
    if isinstance(found, Image):  # only what is beyond the pixels may be missing
        assert np.array_equal(found.pixels, decode(Source(whole, ""), limits=LIMITS).pixels)
    else:
        assert found.endswith(".")


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=80, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_files(name: str, data: st.DataObject) -> None:
    damaged = bytearray(sound(name))
    reach = min(len(damaged), data.draw(st.sampled_from([64, 400, 1 << 20]))) - 1
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, reach))
        damaged[place] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    found = outcome(bytes(damaged))
    assert isinstance(found, Image) or found.endswith(".")


HEADS = [
    b"", bytes(128) + b"DICM", b"\x08\x00\x05\x00CS\n\x00", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff",
    b"II*\x00", b"MM\x00+", b"NRRD0004\n", b"NDims = 3\n", b"\x1f\x8b\x08", b"\x5c\x01\x00\x00",
]  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(start=st.sampled_from(HEADS), rest=st.binary(max_size=600))
def test_random_bytes(start: bytes, rest: bytes) -> None:
    found = outcome(start + rest)
    assert isinstance(found, Image) or found.endswith(".")


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"hello", b"<!doctype html><html></html>", b"%PDF-1.7", b"GIF89a", bytes(5000)],
)
def test_what_is_no_image(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "mammogram.dcm").write_bytes(data)
    with pytest.raises(UnreadableFile, match="not an image Lightbox can read"):
        read_image(tmp_path / "mammogram.dcm")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"Salted__" + bytes(50), "encrypted"),
        (b"\x30\x82\x01\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03" + bytes(9), "encrypted"),
        (b"PK\x03\x04" + bytes(50), "zip archive"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(50), "archive"),
        (gzip.compress(b"hello"), "archive"),
    ],
)
def test_what_is_kept_shut(data: bytes, sentence: str) -> None:
    found = outcome(data)
    assert isinstance(found, str)
    assert sentence in found


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    for name in MAKERS:
        path = tmp_path / f"{name}.txt"
        path.write_bytes(sound(name))
        assert isinstance(read_image(path), Image)


def test_a_dicom_file_that_is_also_a_tiff_is_dicom() -> None:
    data = b"II*\x00" + sound("dicom")[4:]
    assert sniff(data) is Format.DICOM


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="cannot be opened"):
        read_image(tmp_path / "absent")


@pytest.mark.parametrize("error", [*DECODER_ERRORS, RecursionError, ZeroDivisionError, KeyError])
def test_seam_hides_the_text_of_libraries(error: type[Exception]) -> None:
    with pytest.raises(UnreadableFile) as caught, decoding():
        raise error("Jane Doe")
    assert "Jane" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_seam_tells_memory_apart_and_lets_faults_through() -> None:
    with pytest.raises(LimitExceeded, match="memory"), decoding():
        raise MemoryError
    with pytest.raises(KeyboardInterrupt), decoding():
        raise KeyboardInterrupt


def test_seam_is_silent_and_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    level = logging.getLogger("pydicom").level
    filters = list(warnings.filters)
    with decoding():
        warnings.warn("Jane Doe", stacklevel=1)
        logging.getLogger("pydicom.pixels").error("Jane Doe")
    assert caplog.text == ""
    assert logging.getLogger("pydicom").level == level
    assert list(warnings.filters) == filters


def test_readers_work_side_by_side() -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(outcome, [sound(name) for name in MAKERS] * 3))
    assert all(isinstance(each, Image) for each in found)


def test_libraries_are_imported_when_needed() -> None:
    code = (
        "import sys, engine.io; "
        "print(sorted({'pydicom', 'nibabel', 'tifffile', 'imagecodecs'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2], text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
