"""Bad input through the services: one clear sentence each, and nothing stored is lost."""

from __future__ import annotations

import errno
import importlib.util
import io
import sqlite3
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import imagecodecs
import nibabel
import numpy as np
import pytest
import tifffile
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import set_pixel_data
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from app.errors import NewerDatabase, StorageFailed
from app.services import Services
from engine.metrics.protocol import QUESTIONS


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kit = _load("small_model")
ANN = kit.ANN
MG = "1.2.840.10008.5.1.4.1.1.1.2"
MARKER = "ZQXV"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def services(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    kit.use(monkeypatch, model)
    made = kit.open_services(tmp_path / "ws")
    yield made
    made.close()


def plane(seed: int = 0, kind: str = "u1") -> np.ndarray:
    """A bright disc on dark noise."""
    drawn = np.random.default_rng(seed).integers(0, 30, (96, 80))
    drawn[30:60, 20:50] += 120
    return drawn.astype(kind)


def png(seed: int = 0) -> bytes:
    return bytes(imagecodecs.png_encode(plane(seed)))


def dicom(seed: int = 0, **elements: Any) -> bytes:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = MG, generate_uid()
    made.Modality, made.PatientID = "MG", f"{MARKER}{seed}"
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    set_pixel_data(made, plane(seed, "u2"), "MONOCHROME2", 16)
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    buffer = io.BytesIO()
    dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


def tiff(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric="minisblack")
    return buffer.getvalue()


def huge_png() -> bytes:
    """A header that states 100000 by 100000 pixels."""
    body = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return _chunked(b"IHDR", body)


def _chunked(name: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + body))
    chunk = struct.pack(">I", len(body)) + name + body + check
    data = png()
    return data[:8] + chunk + data[33:]


def bomb() -> bytes:
    return zipped({"a.png": b"\0" * 3_000_000})


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def not_finite() -> bytes:
    values = plane().astype(np.float32)
    values[3, 3] = np.nan
    return tiff(values)


BAD: dict[str, bytes] = {
    "truncated DICOM": dicom()[:900],
    "truncated PNG": png()[: len(png()) // 2],
    "empty": b"",
    "no image": b"this is a letter about Mrs. " + MARKER.encode() * 300,
    "encrypted": b"Salted__" + bytes(range(256)),
    "encrypted DICOM": b"\x30\x82\x01\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03" + bytes(99),
    "huge": huge_png(),
    "huge DICOM": dicom(Rows=60_000, Columns=60_000),
    "NaN": not_finite(),
    "bomb": bomb(),
    "escape": zipped({"../../evil.png": png()}),
    "pickle": b"\x80\x04\x95" + MARKER.encode() * 99,
    "html": b"<!doctype html><script>alert(1)</script>",
}


def sent(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def is_sentence(text: str) -> bool:
    return text.endswith(".") and "\n" not in text and len(text) < 200 and MARKER not in text


def test_each_bad_file_gets_a_sentence_and_the_rest_goes_on(
    services: Services, tmp_path: Path
) -> None:
    files = {f"f{n:02d}_{MARKER}": data for n, data in enumerate(BAD.values())}
    files |= {f"{MARKER}_good": png(7), f"a_{MARKER}": dicom(8)}
    entries = services.intake.receive(ANN, sent(tmp_path / "up", **files))
    problems = [entry["problem"] for entry in entries if entry["problem"]]
    assert len(problems) == len(BAD)
    assert all(is_sentence(problem) for problem in problems), problems
    assert not any(str(tmp_path) in problem for problem in problems)
    kept = [entry["case"] for entry in entries if entry["case"]]
    assert len(kept) == 2 == len(services.cases.worklist(ANN))
    for case in kept:
        review = services.review.open(ANN, case)
        assert review.target == "Benign" and review.viewer["layers"]
    assert sorted(p.name for p in (tmp_path / "ws" / "cases").iterdir()) == sorted(kept)


@pytest.mark.parametrize("name", BAD)
def test_one_bad_file_alone(services: Services, tmp_path: Path, name: str) -> None:
    (entry,) = services.intake.receive(ANN, sent(tmp_path / "up", file=BAD[name]))
    assert entry["case"] is None and is_sentence(entry["problem"])
    assert services.cases.worklist(ANN) == []


def test_odd_but_readable_files_are_shown_with_warnings(services: Services, tmp_path: Path) -> None:
    values = plane().astype(np.float32)
    extreme = values * np.float32(1e36)
    files = {
        "zero_spacing": dicom(1, PixelSpacing=[0, 0]),
        "negative_spacing": dicom(2, ImagerPixelSpacing=[-1, 2]),
        "wrong_side": dicom(3, ImageLaterality="X", Laterality="Q"),
        "extreme": tiff(extreme - extreme.max() / 2),
        "tiny_values": tiff(values * np.float32(1e-38)),
        "flat": bytes(imagecodecs.png_encode(np.full((64, 64), 9, np.uint8))),
        "small": bytes(imagecodecs.png_encode(plane()[:8, :8])),
    }
    for name, data in files.items():
        (entry,) = services.intake.receive(ANN, sent(tmp_path / name, file=data))
        assert entry["problem"] == "" and entry["case"], name
        review = services.review.open(ANN, entry["case"])
        image = review.viewer["images"][0]
        assert image["spacing"] is None and image["laterality"] is None
        codes = services.cases.layer(ANN, entry["case"], 0, 0).data
        assert len(codes) == 2 * image["width"] * image["height"]
        if name in ("extreme", "flat", "small"):
            assert services.reports.case_pdf(ANN, entry["case"]).data.startswith(b"%PDF")
        if name == "small":
            assert "at least 16" in review.findings["warnings"][0]
        else:
            assert review.viewer["layers"], name


def test_mixed_patients_in_one_folder_are_refused(services: Services, tmp_path: Path) -> None:
    folder = sent(tmp_path / "up" / "inner", mammography=dicom(1), pathology=dicom(2))
    (entry,) = services.intake.receive(ANN, folder.parent)
    assert entry["case"] is None and "different patients" in entry["problem"]


def test_a_missing_modality_is_said_and_the_case_is_shown(
    services: Services, tmp_path: Path
) -> None:
    colour = np.repeat(plane()[..., None], 3, axis=2)
    colour[..., 0] //= 2
    slide = bytes(imagecodecs.png_encode(colour))
    volume = nibabel.Nifti1Image(np.stack([plane(n) for n in range(3)], 2), np.eye(4)).to_bytes()
    for name, data, kind in (("slide", slide, "a pathology image"), ("volume", volume, "unstated")):
        (entry,) = services.intake.receive(ANN, sent(tmp_path / name, file=data))
        review = services.review.open(ANN, entry["case"])
        assert "needs a mammogram" in review.findings["warnings"][0]
        assert kind in review.findings["warnings"][0]
        assert review.viewer["images"] and not review.viewer["layers"]
        assert services.reports.case_pdf(ANN, entry["case"]).data.startswith(b"%PDF")
        form = services.ratings.form(ANN, entry["case"], method="", target="")
        assert form["methods"] == []


def test_weights_with_a_wrong_digest_leave_the_case_on_screen(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = kit.write_model(tmp_path / "model", "Invasive")
    weights = folder / f"{kit.NAME}.safetensors"
    sound = weights.read_bytes()
    kit.use(monkeypatch, folder)
    case = services.intake.keep(ANN, kit.small_case(), source="upload")
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    review = services.review.open(ANN, case)
    assert "not the ones its card describes" in review.findings["warnings"][0]
    assert len(review.viewer["images"]) == 2 and not review.viewer["layers"]
    assert services.cases.layer(ANN, case, 0, 0).data
    assert services.reports.case_pdf(ANN, case).data.startswith(b"%PDF")
    weights.unlink()
    assert "not installed" in services.review.open(ANN, case).findings["warnings"][0]
    (folder / f"{kit.NAME}.toml").rename(folder / "away.toml")
    assert "no model card" in services.review.open(ANN, case).findings["warnings"][0]
    assert "no model card" in services.notice()
    (folder / "away.toml").rename(folder / f"{kit.NAME}.toml")
    weights.write_bytes(sound)
    assert services.review.open(ANN, case).target == "Invasive"


def test_a_full_disk_loses_nothing(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kept,) = services.intake.receive(ANN, sent(tmp_path / "a", file=png(1)))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    with monkeypatch.context() as patch:
        patch.setattr("app.store.arrays.np.lib.format.write_array", full)
        entries = services.intake.receive(ANN, sent(tmp_path / "b", one=png(2), two=png(3)))
        with pytest.raises(StorageFailed, match="disk is full"):
            services.review.open(ANN, kept["case"])
        assert services.cases.layer(ANN, kept["case"], 0, 0).data
    assert [entry["case"] for entry in entries] == [None, None]
    assert all("disk is full" in entry["problem"] for entry in entries)
    assert [row["id"] for row in services.cases.worklist(ANN)] == [kept["case"]]
    again = services.intake.receive(ANN, tmp_path / "b")
    assert all(entry["case"] for entry in again)
    assert services.review.open(ANN, kept["case"]).target == "Benign"


def test_a_locked_database_gets_a_sentence_and_loses_nothing(
    services: Services, tmp_path: Path
) -> None:
    case = services.intake.keep(ANN, kit.small_case(), source="upload")
    services.review.open(ANN, case)
    answer = {
        "case": case, "question": QUESTIONS[0].id, "method": "relevance", "target": "Benign",
        "status": "answered", "value": 4, "comment": "", "revision": 0,
    }  # fmt: skip
    other = sqlite3.connect(tmp_path / "ws" / "lightbox.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageFailed, match="busy"):
        services.ratings.rate(ANN, **answer)
    (entry,) = services.intake.receive(ANN, sent(tmp_path / "up", file=png(3)))
    assert entry["case"] is None and "busy" in entry["problem"]
    assert len(services.cases.worklist(ANN)) == 1
    form = services.ratings.form(ANN, case, method="relevance", target="Benign")
    assert form["answers"] == {}
    other.execute("ROLLBACK")
    other.close()
    assert services.ratings.rate(ANN, **answer).revision == 1
    (entry,) = services.intake.receive(ANN, tmp_path / "up")
    assert entry["case"]


def test_a_newer_database_is_refused_and_left_alone(services: Services, tmp_path: Path) -> None:
    services.intake.keep(ANN, kit.small_case(), source="upload")
    services.close()
    path = tmp_path / "ws" / "lightbox.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(NewerDatabase, match="newer version"):
        kit.open_services(tmp_path / "ws")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM cases").fetchone() == (1,)
    connection.close()


def test_a_damaged_array_is_said_and_other_cases_open(services: Services, tmp_path: Path) -> None:
    first = services.intake.keep(ANN, kit.small_case(5), source="upload")
    second = services.intake.keep(ANN, kit.small_case(6), source="upload")
    array = tmp_path / "ws" / "cases" / first / "0.npy"
    array.write_bytes(array.read_bytes()[:-9])
    for call in (services.review.open, services.reports.case_pdf):
        with pytest.raises(StorageFailed, match="damaged"):
            call(ANN, first)
    assert services.review.open(ANN, second).target == "Benign"
    assert len(services.cases.worklist(ANN)) == 2


def test_an_archive_with_good_and_bad_members(services: Services, tmp_path: Path) -> None:
    data = zipped({"x/good.png": png(4), "x/bad.png": png(5)[:50], "y.txt": b"a note"})
    entries = services.intake.receive(ANN, sent(tmp_path / "up", archive=data))
    assert sorted(bool(entry["case"]) for entry in entries) == [False, True]
    assert all(is_sentence(entry["problem"]) for entry in entries if entry["problem"])
