"""The check of a manifest: each fault is told in one sentence that names no file and no patient."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from engine.datasets.check import Check, check, checked
from engine.datasets.errors import InvalidManifest, in_rows
from engine.datasets.manifest import Manifest, box_of, grade_of, read_manifest
from engine.datasets.thumbnails import thumbnail
from engine.datasets.writing import PHANTOM_CLASSES, PHANTOM_GRADES, write_phantom_manifest
from engine.errors import Cancelled

Table = list[dict[str, str]]
SECRETS = ("P0", ".png", "/", "Mary", "hidden")
COLUMNS = ("patient", "site", "split", "modality", "path", "class", "grade", "box", "mask")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight phantom patients as files."""
    folder = tmp_path_factory.mktemp("phantoms")
    return write_phantom_manifest(folder, 8, height=128, width=128, tile=128)


@pytest.fixture
def table(written: Path) -> Table:
    """The rows of the phantoms, with absolute paths and a sound split."""
    with written.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for number, row in enumerate(rows):
        row["split"] = ("train", "test")[number // 8]
        row["path"] = str(written.parent / row["path"])
        row["mask"] = str(written.parent / row["mask"]) if row["mask"] else ""
    return rows


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write rows as a manifest, in one format or the other."""

    def write(rows: Table, columns: tuple[str, ...] = COLUMNS, *, parquet: bool = False) -> Path:
        path = tmp_path / "manifest"
        kept = [{name: row.get(name, "") for name in columns} for row in rows]
        if parquet:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(kept), path)
            return path
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(kept)
        return path

    return write


def read(path: Path) -> Manifest:
    return read_manifest(path, PHANTOM_CLASSES, PHANTOM_GRADES)


def discreet(text: str) -> bool:
    """Whether a message is one sentence without files and patients."""
    one = text.endswith(".") and text[0].isupper() and "\n" not in text
    return one and not any(secret in text for secret in SECRETS)


def errors(found: Check) -> list[tuple[str, tuple[int, ...]]]:
    assert all(discreet(p.message) for p in found.problems), [p.message for p in found.problems]
    return [(p.kind, p.rows) for p in found.problems if p.severity == "error"]


def picture(path: Path, pixels: np.ndarray) -> str:
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))
    return str(path)


def test_sound_data_has_no_problem_and_is_counted(
    table: Table, save: Callable[..., Path], written: Path
) -> None:
    found = check(read(save(table)))
    assert found.problems == ()
    assert found.is_usable
    assert found.classes == dict.fromkeys(PHANTOM_CLASSES, 4)
    assert found.sites == {"North": 8, "East": 8}
    assert found.splits == {"train": 8, "test": 8}
    assert found.modalities == {"mammography": 8, "pathology": 8}
    assert (found.patients, found.rows) == (8, 16)
    plain = check(read(written))
    assert plain.is_usable
    assert plain.splits == {"not stated": 16}


def test_csv_and_parquet_say_the_same(table: Table, save: Callable[..., Path]) -> None:
    rows = read(save(table)).rows
    assert read(save(table, parquet=True)).rows == rows
    assert rows[0].number == 2
    assert rows[0].path not in repr(rows[0])
    assert rows[0].patient not in repr(rows[0])


def test_parquet_numbers_and_lists_are_understood(table: Table, tmp_path: Path) -> None:
    cells: list[dict[str, object]] = [dict(row) for row in table[2:4]]
    for row in cells:
        row |= {"grade": 0.0, "box": [1.5, 2.0, 3.0, 4.0], "split": None, "patient": 17}
    path = tmp_path / "m.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(cells), path)
    manifest = read(path)
    row = manifest.rows[0]
    box = box_of(row)
    assert box is not None
    assert (box.x, box.y, box.width, box.height) == (1.5, 2.0, 3.0, 4.0)
    assert grade_of(row, manifest) == 0
    assert (row.split, row.patient) == ("", "17")


def test_spellings_of_known_names_are_understood(table: Table, save: Callable[..., Path]) -> None:
    for row in table:
        row["split"] = {"train": "Training", "test": "VAL"}[row["split"]]
        row["class"] = row["class"].upper()
        row["modality"] = {"mammography": "MG", "pathology": "Histology"}[row["modality"]]
    found = check(read(save(table)), decode=False)
    assert found.problems == ()
    assert found.splits == {"train": 8, "validation": 8}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "The manifest is empty."),
        (b"patient,site,modality,path,class\n", "The manifest has a header but no rows."),
        (b"patient,path\n1,x\n", "The manifest lacks the columns site, modality, class."),
        (b"patient,site,modality,path\n1,x,y,z\n", "The manifest lacks the column class."),
        (b"patient,site,modality,path,class,Class\n1,2,3,4,5,6\n", "two columns of the same name"),
        (b"patient,site,modality,path,class\n1,2,3\n", "Row 2 of the manifest has 3 cells"),
        (b"patient,site,modality,path,class\n,,,,\n1,2,3,4,5\n", "Row 2 of the manifest is empty."),
        (b"patient,site,modality,path,class\n1,2,3,4\0,5\n", r"Row 2 .* character of no text"),
        (b"\xff\xfe\x00", "neither Parquet nor CSV"),
        (b"PAR1 and rubbish", "The manifest is a damaged Parquet file."),
        (b"patient,site\0\n" + b'"' + b"x" * 200_000, "not a sound CSV table"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(
    content: bytes, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "hidden.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidManifest, match=sentence) as refusal:
        read(path)
    assert discreet(str(refusal.value))
    manifest, found = checked(path)
    assert manifest is None
    assert errors(found) == [("table", ())]


def test_an_absent_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match="cannot be opened"):
        read(tmp_path / "hidden.csv")


def _set(row: int, **cells: str) -> Callable[[Table, Path], None]:
    def change(table: Table, folder: Path) -> None:
        table[row - 2] |= cells

    return change


def _file(row: int, cell: str, pixels: np.ndarray | bytes) -> Callable[[Table, Path], None]:
    def change(table: Table, folder: Path) -> None:
        path = folder / "hidden.png"
        if isinstance(pixels, bytes):
            path.write_bytes(pixels)
        else:
            picture(path, pixels)
        table[row - 2][cell] = str(path)

    return change


def _copy(source: int, row: int) -> Callable[[Table, Path], None]:
    """The same pixels in another file, with other bytes."""

    def change(table: Table, folder: Path) -> None:
        pixels = imagecodecs.imread(table[source - 2]["path"])
        path = folder / "hidden-copy.png"
        path.write_bytes(imagecodecs.png_encode(pixels, level=1))
        table[row - 2] |= {"path": str(path), "box": "", "mask": ""}

    return change


def _same(source: int, row: int) -> Callable[[Table, Path], None]:
    """The same file, by a path that is written in another way."""

    def change(table: Table, folder: Path) -> None:
        path = Path(table[source - 2]["path"])
        other = f"{path.parent}/../{path.parent.name}/{path.name}"
        table[row - 2] |= {"path": other, "box": "", "mask": ""}

    return change


NOISE = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
FAULTS = [
    (_set(4, patient=""), "missing", (4,)),
    (_set(4, site=""), "missing", (4,)),
    (_set(5, path=""), "missing", (5,)),
    (_set(4, modality="hidden"), "modality", (4,)),
    (_set(4, **{"class": "Mary"}), "class", (4,)),
    (_set(4, grade="7"), "grade", (4,)),
    (_set(4, grade="Invasive"), "grade", (4,)),
    (_set(2, grade="0"), "grade", (2,)),
    (_set(4, box="1;2;3"), "box", (4,)),
    (_set(4, box="1;2;3;nan"), "box", (4,)),
    (_set(4, box="1;2;0;9"), "box", (4,)),
    (_set(4, box="100;20;40;20"), "box", (4,)),
    (_set(4, box="-1;20;40;20"), "box", (4,)),
    (_set(4, split="hidden"), "split", (4,)),
    (_set(4, split="test"), "patient", (4, 5)),
    (_set(4, path="hidden.png"), "absent", (4,)),
    (_set(4, mask="hidden.png"), "absent", (4,)),
    (_set(4, path="hidden" * 2000), "absent", (4,)),
    (_set(4, path="/dev/zero"), "absent", (4,)),
    (_file(4, "path", b"not a picture at all"), "unreadable", (4,)),
    (_file(4, "mask", b"not a picture at all"), "unreadable", (4,)),
    (_file(4, "path", NOISE), "channels", (4,)),
    (_file(5, "path", NOISE[..., 0]), "channels", (5,)),
    (_file(4, "mask", NOISE[:64, :, 0]), "mask", (4,)),
    (_file(5, "path", NOISE[:8, :8]), "size", (5,)),
    (_copy(2, 16), "leak", (2, 16)),
    (_copy(2, 6), "leak", (2, 6)),
    (_same(2, 6), "leak", (2, 6)),
    (_same(3, 6), "leak", (3, 6)),
    (_set(4, patient="  "), "missing", (4,)),
    (_set(4, box="500;500;20;20"), "box", (4,)),
]


@pytest.mark.parametrize(("change", "kind", "rows"), FAULTS)
def test_each_fault_is_found_with_its_rows(
    change: Callable[[Table, Path], None],
    kind: str,
    rows: tuple[int, ...],
    table: Table,
    save: Callable[..., Path],
    tmp_path: Path,
) -> None:
    change(table, tmp_path)
    found = check(read(save(table)))
    assert (kind, rows) in errors(found)
    assert not found.is_usable


def test_an_empty_class_is_an_error(table: Table, save: Callable[..., Path]) -> None:
    kept = [row for row in table if row["class"] != "Benign"]
    found = check(read(save(kept)), decode=False)
    assert errors(found) == [("empty", ())]
    assert found.problems[0].message == "No image is of the class Benign."
    assert found.classes["Benign"] == 0


def test_a_class_without_mammograms_and_a_split_without_a_class_are_told(
    table: Table, save: Callable[..., Path]
) -> None:
    kept = [r for r in table if not (r["class"] == "Benign" and r["modality"] == "mammography")]
    kept = [r for r in kept if not (r["class"] == "Invasive" and r["split"] == "test")]
    found = check(read(save(kept)), decode=False)
    assert found.is_usable
    assert [p.message for p in found.problems] == [
        "No mammogram is of the class Benign, only pathology.",
        "The split test holds no mammogram of: Invasive.",
    ]
    none = check(read(save([r for r in table if r["modality"] == "pathology"])), decode=False)
    assert ("empty", ()) in errors(none)


def test_a_split_for_some_rows_only_is_an_error(table: Table, save: Callable[..., Path]) -> None:
    table[3]["split"] = ""
    assert ("split", (5,)) in errors(check(read(save(table)), decode=False))


def test_warnings_leave_the_data_usable(
    table: Table, save: Callable[..., Path], tmp_path: Path
) -> None:
    table.append(table[0] | {"box": "1;1;9;9"})  # the same picture of the same patient, marked
    table[1] |= {"box": "1;2;3;4"}  # on pathology
    empty = picture(tmp_path / "hidden.png", np.zeros((128, 128), np.uint8))
    table[2] |= {"mask": empty}
    table[4] |= {"class": "", "grade": "", "path": empty}
    found = check(read(save(table)))
    assert errors(found) == []
    kinds = {(p.kind, p.rows) for p in found.problems}
    expected = {("duplicate", (2, 18)), ("box", (3,)), ("box", (18,)), ("mask", (4,))}
    expected |= {("class", (6,)), ("blank", (6,)), ("empty", ())}
    assert kinds == expected
    assert found.classes["In situ"] == 3
    assert found.classes["not stated"] == 1


def test_a_file_of_two_patients_is_told_once_and_without_decoding(
    table: Table, save: Callable[..., Path]
) -> None:
    table[4] |= {"path": table[0]["path"], "box": "", "mask": ""}
    for decode in (True, False):
        found = check(read(save(table)), decode=decode)
        assert [p.message for p in found.problems if p.kind == "leak"] == [
            "The same file is under two patients: see rows 2 and 6."
        ]
        assert not found.is_usable


def test_pathology_that_tells_the_class_is_a_warning(
    table: Table, save: Callable[..., Path]
) -> None:
    kept = [r for r in table if not (r["class"] == "Normal" and r["modality"] == "pathology")]
    found = check(read(save(kept)), decode=False)
    assert found.is_usable and errors(found) == []
    assert [(p.kind, p.message) for p in found.problems] == [
        (
            "pathology",
            "No mammogram of Normal comes with pathology, so that its presence gives the class "
            "away where images are paired by patient.",
        )
    ]
    none = check(read(save([r for r in table if r["modality"] == "mammography"])), decode=False)
    assert none.problems == ()


def test_pathology_of_another_class_is_a_warning(table: Table, save: Callable[..., Path]) -> None:
    table[3] |= {"class": "Invasive", "grade": "2"}
    found = check(read(save(table)), decode=False)
    assert [(p.kind, p.severity, p.rows) for p in found.problems] == [
        ("pathology", "warning", (4, 5))
    ]


def test_faults_of_one_kind_are_told_together(table: Table, save: Callable[..., Path]) -> None:
    for number, row in enumerate(table[:14:2]):
        row["path"] = f"hidden{number}.png"
    found = check(read(save(table)))
    assert [p.message for p in found.problems] == [
        "The file is absent in rows 2, 4, 6, 8, 10 and 2 more."
    ]
    assert found.problems[0].rows == (2, 4, 6, 8, 10, 12, 14)


def test_row_numbers_are_worded() -> None:
    assert in_rows([4]) == "row 4"
    assert in_rows([9, 4]) == "rows 4 and 9"
    assert in_rows(range(5)) == "rows 0, 1, 2, 3 and 4"


def test_a_check_tells_how_far_it_is_and_stops_when_asked(
    table: Table, save: Callable[..., Path]
) -> None:
    seen: list[tuple[int, int]] = []

    def watch(done: int, expected: int) -> None:
        seen.append((done, expected))
        if done == 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        check(read(save(table)), progress=watch)
    assert seen == [(1, 16), (2, 16), (3, 16)]


def test_classes_are_taken_from_the_table_when_none_are_told(
    table: Table, save: Callable[..., Path]
) -> None:
    manifest = read_manifest(save(table))
    assert manifest.classes == ("Benign", "In situ", "Invasive", "Normal")
    assert manifest.healthy == {"Normal"}
    assert check(manifest, decode=False).is_usable


def test_thumbnails_show_the_image_or_name_the_row(
    table: Table, save: Callable[..., Path], tmp_path: Path
) -> None:
    table[3]["path"] = "hidden.png"
    manifest = read(save(table))
    grey, colour = (thumbnail(manifest, index, 64) for index in (0, 1))
    for small in (grey, colour):
        assert small.shape == (64, 64, 3)
        assert small.dtype == np.uint8
        assert small.std() > 10
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (colour[..., 0] != colour[..., 1]).any()
    with pytest.raises(InvalidManifest, match="Row 5 of the manifest: ") as refusal:
        thumbnail(manifest, 3)
    assert discreet(str(refusal.value))
