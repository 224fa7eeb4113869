"""Batches: folders, pairs, archives and attacks; one bad file never stops the rest."""

from __future__ import annotations

import json
import stat
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import set_pixel_data
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from engine.errors import EngineError, LimitExceeded, UnreadableFile, UnsupportedImage
from engine.io import Limits, Outcome, gather, read_case
from engine.records import Box, Case, Modality


def grey(value: int = 9) -> bytes:
    """A small grey PNG file; another value makes another picture."""
    picture = np.arange(24 * 30, dtype=np.uint8).reshape(24, 30)
    picture[3, 4] = value
    return imagecodecs.png_encode(picture)


def colour() -> bytes:
    """A small colour PNG file."""
    return imagecodecs.png_encode(np.arange(24 * 30 * 3, dtype=np.uint8).reshape(24, 30, 3))


def dicom(path: Path, patient: str) -> None:
    """A small DICOM file of a patient."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.2", generate_uid()
    made.Modality, made.PatientID, made.StudyInstanceUID = "MG", patient, generate_uid()
    set_pixel_data(made, np.arange(64, dtype=np.uint16).reshape(8, 8), "MONOCHROME2", 16)
    dcmwrite(path, made, enforce_file_format=True)


def files(folder: Path, **contents: bytes) -> Path:
    """A folder with files; a double underscore in a keyword stands for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def only(outcomes: list[Outcome]) -> Case:
    """The case of the one outcome."""
    assert [outcome.problem for outcome in outcomes] == [""]
    assert outcomes[0].case is not None
    return outcomes[0].case


def problems(outcomes: list[Outcome]) -> list[str]:
    """Sentences of those that failed."""
    return [outcome.problem for outcome in outcomes if outcome.case is None]


def test_one_file() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = files(Path(name), Jane_Doe__png=grey())
        outcome = next(iter(gather([folder / "Jane_Doe.png"])))
        case = read_case(folder / "Jane_Doe.png")
    assert outcome.position == 1
    assert outcome.sources == (folder / "Jane_Doe.png",)
    assert outcome.case is not None
    assert outcome.case.id == case.id
    assert outcome.digests == (case.images[0].digest,)


def test_identifier_depends_on_content_alone(tmp_path: Path) -> None:
    files(tmp_path, a__png=grey(), b=grey(), c__png=grey(10))
    first, second, third = (read_case(tmp_path / name).id for name in ("a.png", "b", "c.png"))
    assert first == second != third
    assert first.startswith("LB-")
    assert len(first) == 15
    int(first[3:], 16)


def test_bad_files_do_not_stop_the_batch(tmp_path: Path) -> None:
    files(tmp_path, a=b"", b=grey(), c=b"<html></html>", d=grey()[:-20], e=b"hello")
    outcomes = list(gather([tmp_path / name for name in "abcde"] + [tmp_path / "gone"]))
    assert [outcome.position for outcome in outcomes] == [1, 2, 3, 4, 5, 6]
    assert [outcome.case is not None for outcome in outcomes] == [False, True] + [False] * 4
    said = problems(outcomes)
    assert said[0] == said[1] == said[3] == "This file is not an image Lightbox can read."
    assert said[2] == "This PNG picture is cut short."
    assert said[4] == "This file cannot be opened."
    assert all(text.endswith(".") and str(tmp_path) not in text for text in said)
    assert len(outcomes[2].digests[0]) == 64


def test_clutter_in_a_folder_is_skipped_silently(tmp_path: Path) -> None:
    files(tmp_path, labels__csv=b"a,b", x__json=b"{}", README=b"hello", z__txt=b"x", y__png=grey())
    files(tmp_path / "sub", k__md=b"#", DICOMDIR=b"DICM")
    (tmp_path / ".hidden").write_bytes(grey())
    files(tmp_path / ".secret", a=grey())
    only(list(gather([tmp_path])))
    assert problems(list(gather([tmp_path / "labels.csv"]))) != []


def test_an_image_named_like_a_text_is_read(tmp_path: Path) -> None:
    only(list(gather([files(tmp_path, readme__txt=grey())])))


def test_folders_are_walked_in_order(tmp_path: Path) -> None:
    files(tmp_path / "b", x__png=grey(1))
    files(tmp_path / "a", y__png=grey(2), w__bin=b"no image")
    outcomes = list(gather([tmp_path]))
    names = [outcome.sources[0].name for outcome in outcomes]
    assert names == ["w.bin", "y.png", "x.png"]
    assert [outcome.position for outcome in outcomes] == [1, 2, 3]


def test_empty_folder(tmp_path: Path) -> None:
    assert problems(list(gather([tmp_path]))) == ["There is no image in this folder or archive."]
    with pytest.raises(UnreadableFile, match="no image"):
        read_case(tmp_path)


@pytest.mark.parametrize(
    ("first", "second"),
    [("mammography.png", "pathology.png"), ("MG_left.png", "histology-01.png"),
     ("mammogram", "patho")],
)  # fmt: skip
def test_pair(tmp_path: Path, first: str, second: str) -> None:
    (tmp_path / first).write_bytes(grey())
    (tmp_path / second).write_bytes(colour())
    case = only(list(gather([tmp_path])))
    kinds = [image.modality for image in case.images]
    assert kinds == [Modality.MAMMOGRAPHY, Modality.PATHOLOGY]
    assert all(image.warnings == () for image in case.images)
    assert read_case(tmp_path).id == case.id


def test_mammogram_alone_in_a_folder(tmp_path: Path) -> None:
    case = read_case(files(tmp_path, mammography__png=grey()))
    assert len(case.images) == 1


def test_folder_of_many_mammograms_stays_a_batch(tmp_path: Path) -> None:
    files(tmp_path, mg_1__png=grey(1), mg_2__png=grey(2), histology__png=colour())
    assert len(list(gather([tmp_path]))) == 3
    with pytest.raises(UnsupportedImage, match="3 cases"):
        read_case(tmp_path)


def test_pair_with_an_unreadable_half_is_refused(tmp_path: Path) -> None:
    files(tmp_path, mammography__png=grey(), pathology__png=b"")
    files(tmp_path / "other", mammography__png=grey())
    outcomes = list(gather([tmp_path]))
    assert [outcome.case is None for outcome in outcomes] == [True, False]
    with pytest.raises(UnreadableFile):
        read_case(files(tmp_path / "one", mammography__png=grey()[:99], pathology__png=colour()))


def test_patients_are_not_mixed(tmp_path: Path) -> None:
    for name, second, refused in (("same", "A", False), ("mixed", "B", True)):
        folder = tmp_path / name
        folder.mkdir()
        dicom(folder / "mammography.dcm", "A")
        dicom(folder / "pathology.dcm", second)
        said = problems(list(gather([folder])))
        wanted = ["This case mixes files of different patients, so it was not read."]
        assert said == (wanted if refused else [])


def test_truth(tmp_path: Path) -> None:
    mask = np.zeros((24, 30), np.uint8)
    mask[5:9, 10:20] = 255
    stated = {"label": "malignant", "grade": 2, "box": [1, 2, 3, 4], "source": "generator"}
    files(
        tmp_path, mammography__png=grey(), lesion__png=imagecodecs.png_encode(mask),
        truth__json=json.dumps(stated).encode(),
    )  # fmt: skip
    case = read_case(tmp_path)
    assert case.warnings == ()
    assert case.truth is not None
    assert (case.truth.label, case.truth.grade, case.truth.source) == ("malignant", 2, "generator")
    assert case.truth.box == Box(1, 2, 3, 4)
    assert np.array_equal(case.truth.mask, mask > 0)
    (tmp_path / "truth.json").unlink()
    truth = read_case(tmp_path).truth
    assert truth is not None
    assert truth.box == Box(10, 5, 10, 4)
    assert len(list(gather([tmp_path]))) == 1


@pytest.mark.parametrize(
    "stated",
    [b"{", b"[]", b'{"grade": 1}', b'{"label": 3}', b'{"label": "a", "grade": 1.5}',
     b'{"label": "a", "grade": "x"}', b'{"label": "a", "box": [0, 0, 99, 1]}',
     b'{"label": "a", "box": [0, 0, NaN, 1]}', b"\xff", b'{"label": "' + b"x" * 100 + b'"}'],
)  # fmt: skip
def test_bad_truth_is_left_out(tmp_path: Path, stated: bytes) -> None:
    case = read_case(files(tmp_path, mammography__png=grey(), truth__json=stated))
    assert case.truth is None
    assert "truth file" in case.warnings[0]


@pytest.mark.parametrize("shape", [(9, 9), (24, 30)])
def test_mask_that_does_not_fit(tmp_path: Path, shape: tuple[int, int]) -> None:
    mask = imagecodecs.png_encode(np.zeros(shape, np.uint8))
    case = read_case(files(tmp_path, mammography__png=grey(), lesion__png=mask))
    assert case.truth is None
    assert "lesion mask" in case.warnings[0]


def zipped(path: Path, members: dict[str, bytes], **options: Any) -> Path:
    """A zip archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_archive(tmp_path: Path) -> None:
    members = {
        "one/mammography.png": grey(1), "one/pathology.png": colour(), "two/a.png": grey(2),
        "two/bad.bin": b"no", "__MACOSX/x": b"no", "readme.txt": b"hello", "two/": b"",
    }  # fmt: skip
    path = zipped(tmp_path / "batch", members)
    outcomes = list(gather([path, path.parent / "absent"]))
    assert [outcome.position for outcome in outcomes] == [1, 3, 4, 5]
    assert [outcome.case is not None for outcome in outcomes] == [True, True, False, False]
    assert outcomes[0].case is not None
    assert len(outcomes[0].case.images) == 2
    assert all(outcome.sources == (path,) for outcome in outcomes[:3])


def test_private_folder_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspaces = tmp_path / "temporary"
    workspaces.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(workspaces))
    path = zipped(tmp_path / "batch", {"a.png": grey(1), "b.png": grey(2)})
    outcomes = gather([path])
    next(outcomes)
    inside = list(workspaces.iterdir())
    assert [stat.S_IMODE(each.stat().st_mode) for each in inside] == [0o700]
    outcomes.close()
    assert list(workspaces.iterdir()) == []
    assert len(list(gather([path]))) == 2
    assert list(workspaces.iterdir()) == []


def linked(path: Path) -> Path:
    """An archive with a symbolic link."""
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return path


def encrypted(path: Path) -> Path:
    """An archive whose member claims to be encrypted."""
    zipped(path, {"a.png": grey()})
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    for start in (6, directory + 8):
        data[start : start + 2] = struct.pack("<H", 1)
    path.write_bytes(bytes(data))
    return path


def lying(path: Path) -> Path:
    """An archive whose directory understates the size of a member."""
    zipped(path, {"a.png": b"\0" * 100_000})
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<I", 100)
    data[22:26] = struct.pack("<I", 100)
    path.write_bytes(bytes(data))
    return path


ATTACKS = {
    "climbs": (lambda path: zipped(path, {"../evil.png": grey()}), "outside its own folder"),
    "deep": (lambda path: zipped(path, {"a/b/../../../x.png": grey()}), "outside its own folder"),
    "absolute": (lambda path: zipped(path, {"/tmp/evil.png": grey()}), "outside its own folder"),
    "windows": (lambda path: zipped(path, {"C:\\evil.png": grey()}), "outside its own folder"),
    "backslash": (lambda path: zipped(path, {"..\\evil.png": grey()}), "outside its own folder"),
    "link": (linked, "holds links"),
    "encrypted": (encrypted, "encrypted"),
    "bomb": (lambda path: zipped(path, {"a.png": b"\0" * 2_000_000}), "far more than its own"),
    "lying": (lying, "damaged"),
    "nested": (
        lambda path: zipped(path, {"a.zip": zipped(path.parent / "n", {"a": grey()}).read_bytes()}),
        "another archive",
    ),
    "cut": (
        lambda path: path.write_bytes(zipped(path, {"a.png": grey()}).read_bytes()[:-40]) and path,
        "damaged",
    ),
    "twice": (
        lambda path: (
            path.write_bytes(
                zipped(path, {"a.png": grey(), "b.png": grey()})
                .read_bytes()
                .replace(b"b.png", b"a.png")
            )
            and path
        ),
        "damaged",
    ),
    "empty": (lambda path: zipped(path, {}), "no image"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_by_archive(tmp_path: Path, name: str) -> None:
    make, words = ATTACKS[name]
    (tmp_path / "inner").mkdir()
    path = make(tmp_path / "inner" / "attack")
    good = files(tmp_path / "good", a__png=grey())
    outcomes = list(gather([path, good / "a.png"]))
    assert [outcome.case is not None for outcome in outcomes] == [False, True]
    assert words in outcomes[0].problem
    assert "evil" not in outcomes[0].problem
    assert not list(tmp_path.rglob("evil*"))
    with pytest.raises(EngineError, match=words):
        read_case(path)


def test_too_many_files_in_an_archive(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a", {str(number): grey() for number in range(5)})
    said = problems(list(gather([path], limits=Limits(max_files=4))))
    assert said == ["This zip archive holds more than 4 files."]
    said = problems(list(gather([path], limits=Limits(max_total_bytes=100))))
    assert "unpacks to more than" in said[0]


def test_batch_beyond_the_limits_ends_with_a_sentence(tmp_path: Path) -> None:
    folder = files(tmp_path, a__png=grey(1), b__png=grey(2), c__png=grey(3), d__png=grey(4))
    outcomes = list(gather([folder], limits=Limits(max_files=2)))
    assert [outcome.case is not None for outcome in outcomes] == [True, True, False]
    assert "more than 2 files" in outcomes[2].problem
    size = (folder / "a.png").stat().st_size
    outcomes = list(gather([folder], limits=Limits(max_total_bytes=int(size * 1.5))))
    assert [outcome.case is not None for outcome in outcomes] == [True, False]


def test_archive_inside_a_folder(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", {"x.png": grey()})
    only(list(gather([tmp_path])))


def test_total_memory_of_a_stack_is_limited(tmp_path: Path) -> None:
    path = files(tmp_path, a__png=grey()) / "a.png"
    with pytest.raises(LimitExceeded, match="million"):
        read_case(path, limits=Limits(max_pixels=100))
