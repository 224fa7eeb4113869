"""No name, identifier or file name of an upload is kept or shown anywhere."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import imagecodecs
import nibabel
import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import set_pixel_data
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from app import cli
from app.ui.clinic import _Page
from engine.metrics.protocol import QUESTIONS


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kit = _load("small_model")
ANN, CHIEF = kit.ANN, kit.CHIEF
MARKER = "ZQXVJW"
UID = "1.2.826.0.99887766554433"
BIRTH = "19410203"
MARKS = [MARKER, UID, BIRTH]
TEXT = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
KEPT = {"Modality", "PhotometricInterpretation", "SpecificCharacterSet"}


def plane() -> np.ndarray:
    drawn = np.random.default_rng(1).integers(0, 30, (96, 80)).astype(np.uint8)
    drawn[30:60, 20:50] += 120
    return drawn


def _mark(dataset: Dataset) -> None:
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        group = Tag(tag).group
        if retired or not keyword or keyword in KEPT or group < 8 or group in (0x5400, 0x7FE0):
            continue
        if vr in TEXT:
            dataset.add_new(tag, vr, f"{MARKER}_{keyword}".upper()[:16])
        elif vr == "UI":
            dataset.add_new(tag, vr, UID)
        elif vr in ("DA", "DT"):
            dataset.add_new(tag, vr, BIRTH)
    block = dataset.private_block(0x0011, f"{MARKER} CREATOR", create=True)
    block.add_new(0x01, "LO", f"{MARKER} PRIVATE")


def dicom(path: Path) -> None:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    made.file_meta.MediaStorageSOPInstanceUID = UID
    made.file_meta.SourceApplicationEntityTitle = MARKER
    made.preamble = MARKER.encode().ljust(128, b"\0")
    _mark(made)
    inner = Dataset()
    _mark(inner)
    made.RequestAttributesSequence = Sequence([inner])
    made.Modality = "MG"
    made.WindowCenter, made.WindowWidth = "100", "200"
    made.WindowCenterWidthExplanation = MARKER
    set_pixel_data(made, plane(), "MONOCHROME2", 8)
    dcmwrite(path, made, enforce_file_format=True)


def png(path: Path) -> None:
    data = imagecodecs.png_encode(plane()[:, ::-1].copy())
    chunks = b""
    for name in (b"tEXt", b"eXIf"):
        body = b"Comment\0" + MARKER.encode() + UID.encode()
        chunks += struct.pack(">I", len(body)) + name + body
        chunks += struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(data[:33] + chunks + data[33:])


def nifti(path: Path) -> None:
    made = nibabel.Nifti1Image(plane().T[::-1].copy()[..., None], np.eye(4))
    for key in ("descrip", "aux_file", "intent_name", "db_name"):
        made.header[key] = MARKER.encode()
    made.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", MARKER.encode()))
    path.write_bytes(made.to_bytes())


def marked(folder: Path) -> Path:
    """Three good and three bad files, and a truth file, marked all over."""
    folder.mkdir(parents=True)
    dicom(folder / f"{MARKER}.dcm")
    png(folder / f"{MARKER}_1.png")
    nifti(folder / f"{MARKER}.nii")
    (folder / f"{MARKER}_cut.dcm").write_bytes((folder / f"{MARKER}.dcm").read_bytes()[:3000])
    (folder / f"{MARKER}_cut.png").write_bytes((folder / f"{MARKER}_1.png").read_bytes()[:200])
    (folder / f"{MARKER}_letter").write_bytes(f"{MARKER} born {BIRTH}".encode() * 50)
    return folder


def found_in(data: bytes) -> list[str]:
    """Marks in some bytes, as written by common encodings, in any letter case."""
    lowered = data.lower()
    encodings = ("utf-8", "utf-16-le", "utf-16-be")
    return [m for m in MARKS if any(m.lower().encode(e) in lowered for e in encodings)]


def assert_clean(folder: Path) -> int:
    """No mark in any name or content below a folder; the number of files looked at."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in folder.rglob("*"):
        assert not found_in(str(path.relative_to(folder)).encode()), path.name
    for path in files:
        assert not found_in(path.read_bytes()), path.name
    return len(files)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.write_model(tmp_path_factory.mktemp("model"))


def test_the_marks_are_in_the_files(tmp_path: Path) -> None:
    folder = marked(tmp_path / "in")
    assert found_in((folder / f"{MARKER}.dcm").read_bytes()) == MARKS
    assert found_in((folder / f"{MARKER}.nii").read_bytes()) == [MARKER]
    assert found_in((folder / f"{MARKER}_1.png").read_bytes()) == [MARKER, UID]
    with pytest.raises(AssertionError):
        assert_clean(tmp_path)


def test_nothing_of_an_upload_survives_in_the_application(
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    kit.use(monkeypatch, model)
    caplog.set_level(logging.DEBUG)
    services = kit.open_services(tmp_path / "ws")
    entries = services.intake.receive(ANN, marked(tmp_path / "in"))
    cases = [entry["case"] for entry in entries if entry["case"]]
    assert len(cases) == 3 and len(entries) == 6
    seen = [json.dumps(entries), json.dumps(_Page(services).list(ANN))]
    for case in cases:
        review = services.review.open(ANN, case)
        assert review.target == "Benign"
        services.ratings.rate(
            ANN, case=case, question=QUESTIONS[0].id, method="relevance", target="Benign",
            status="answered", value=3, comment="fine", revision=0,
        )  # fmt: skip
        seen.append(json.dumps([review.viewer, review.findings]))
        seen.append(json.dumps(services.ratings.form(ANN, case, method="x", target="y")))
        seen.append(repr(services.store.case(case)))
        pdf = services.reports.case_pdf(ANN, case).data
        assert not found_in(pdf)
        (tmp_path / "report.pdf").write_bytes(pdf)
        seen.append(_text(tmp_path / "report.pdf"))
        assert case in seen[-1] or shutil.which("pdftotext") is None
        thumbnail = services.cases.thumbnail(ANN, case).data
        assert not found_in(thumbnail)
    seen.append(services.ratings.export_csv(CHIEF).data.decode())
    seen.append(repr(services.administration.audit(CHIEF)))
    services.close()
    assert assert_clean(tmp_path / "ws") >= 10
    out, err = capfd.readouterr()
    for text in (*seen, caplog.text, out, err):
        assert not found_in(text.encode())
    assert not found_in(repr([record.__dict__ for record in caplog.records]).encode())
    assert str(tmp_path) not in caplog.text + out + err


def _text(pdf: Path) -> str:
    """What a reader of the PDF reads; empty where pdftotext is absent."""
    if shutil.which("pdftotext") is None:
        return ""
    made = subprocess.run(["pdftotext", str(pdf), "-"], capture_output=True, check=True, timeout=60)
    return made.stdout.decode()


def test_nothing_of_a_file_survives_on_the_command_line(
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    kit.use(monkeypatch, model)
    caplog.set_level(logging.DEBUG)
    folder = marked(tmp_path / "in")
    words = ["lightbox", "explain", str(folder), "--out", str(tmp_path / "out"), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert assert_clean(tmp_path / "out") == 3 * (4 * 3 + 2)  # three files a method, sheet, facts
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 3 and len(err.splitlines()) == 3
    for text in (out, err, caplog.text):
        assert not found_in(text.encode()) and str(tmp_path) not in text
