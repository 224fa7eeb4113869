"""Cases of a manifest: lazily decoded as eagerly, cached, paired, and split by patient."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.datasets.batch import Batch
from engine.datasets.check import check
from engine.datasets.errors import InvalidManifest
from engine.datasets.manifest import Manifest, Row, read_manifest
from engine.datasets.manifest_source import ManifestSource, Pairing, manifest_source
from engine.datasets.splits import Split, make_split, read_split, write_split
from engine.datasets.writing import PHANTOM_CLASSES, PHANTOM_GRADES, write_phantom_manifest
from engine.errors import InvalidRecipe
from engine.io import read_image
from engine.models.crossmodal import mammogram_input, pathology_input
from engine.phantoms.site import SITES
from engine.records import Box, Modality
from tests import real_manifest

SIZES, CELLS = (64, 32), 8


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Sixteen phantom patients of two sites."""
    folder = tmp_path_factory.mktemp("phantoms")
    path = write_phantom_manifest(folder, 16, sites=SITES[:2], height=128, width=128, tile=128)
    return read_manifest(path, PHANTOM_CLASSES, PHANTOM_GRADES)


@pytest.fixture(scope="module")
def everyone(manifest: Manifest) -> Split:
    """All patients in one split."""
    return make_split(manifest, {"train": 1.0}, seed=0)


def source(
    manifest: Manifest,
    split: Split,
    name: str = "train",
    *,
    cache: Path | None = None,
    pairing: Pairing = "patient",
    seed: int = 0,
) -> ManifestSource:
    made = manifest_source(
        manifest, name, split, sizes=SIZES, cells=CELLS, cache=cache, pairing=pairing, seed=seed
    )
    assert isinstance(made, ManifestSource)
    return made


def whole(made: ManifestSource, workers: int = 0) -> Batch:
    return Batch.join(list(made.batches(torch.arange(len(made)), 5, workers=workers)))


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


def changed(manifest: Manifest, position: int, **cells: str) -> Manifest:
    """The manifest with one row altered."""
    rows = list(manifest.rows)
    rows[position] = replace(rows[position], **cells)  # type: ignore[arg-type]
    return replace(manifest, rows=tuple(rows))


def made_up(patients: list[tuple[str, int, int]]) -> Manifest:
    """Rows without files: site, class number and number of images of each patient."""
    rows = [
        Row(0, f"{n}", site, "", "mammography", f"{n}-{k}", PHANTOM_CLASSES[label], "", "", "")
        for n, (site, label, images) in enumerate(patients)
        for k in range(images)
    ]
    numbered = tuple(replace(row, number=n) for n, row in enumerate(rows, 2))
    return Manifest(numbered, Path(), "0", PHANTOM_CLASSES, PHANTOM_GRADES)


def test_lazy_decoding_equals_eager_decoding(
    manifest: Manifest, everyone: Split, tmp_path: Path
) -> None:
    eager = whole(source(manifest, everyone))
    first = whole(source(manifest, everyone, cache=tmp_path), workers=2)
    cached = whole(source(manifest, everyone, cache=tmp_path), workers=2)
    assert same(eager, first)
    assert same(eager, cached)
    rows = [row for row in manifest.rows if row.is_mammogram]
    image = read_image(manifest.file(rows[3]), modality=Modality.MAMMOGRAPHY)
    pixels, placement = mammogram_input(image, 0, SIZES[0])
    assert np.abs(eager.mammo[3].numpy() / 127.5 - 1 - pixels.transpose(2, 0, 1)).max() < 1 / 127
    left, top, width, height = (float(v) for v in rows[3].box.split(";"))
    placed = placement.box_to_canvas(Box(left, top, width, height))
    expected = np.array([placed.x, placed.y, placed.width, placed.height]) / SIZES[0]
    assert np.allclose(eager.box[3], expected, atol=1e-5)
    field = read_image(manifest.file(manifest.rows[7]), modality=Modality.PATHOLOGY)
    colours = pathology_input(field, 0, SIZES[1])[0].transpose(2, 0, 1)
    assert np.abs(eager.patho[3].numpy() / 255 - colours).max() < 1 / 255


def test_truth_of_the_cases(manifest: Manifest, everyone: Split) -> None:
    made = source(manifest, everyone)
    batch = whole(made)
    assert batch.label.tolist() == [0, 1, 2, 3] * 4
    assert batch.grade.tolist() == [-1, 0, 1, 2] * 4
    assert made.site_names == ("East", "North")
    assert made.sites.tolist() == batch.site.tolist() == [1] * 4 + [0] * 4 + [1] * 4 + [0] * 4
    assert len(set(made.patients.tolist())) == 16
    assert batch.has_patho.all()
    assert batch.has_mask.all()
    lesion = batch.label > 0
    assert batch.has_box.equal(lesion)
    assert batch.mask.flatten(1).any(1).equal(lesion)


def test_a_mask_gives_a_box_and_no_mask_leaves_the_extent_unknown(
    manifest: Manifest, everyone: Split
) -> None:
    stated = whole(source(manifest, everyone))
    drawn = whole(source(changed(manifest, 6, box=""), everyone))
    assert torch.allclose(drawn.box[3], stated.box[3], atol=0.03)
    boxed = whole(source(changed(manifest, 6, mask=""), everyone))
    assert torch.equal(boxed.box[3], stated.box[3])
    assert not boxed.has_mask[3]
    neither = whole(source(changed(manifest, 6, mask="", box=""), everyone))
    assert not neither.has_mask[3]
    assert not neither.has_box[3]
    unlabelled = source(changed(manifest, 6, label="", grade=""), everyone)
    assert unlabelled.labels[3] == -1


def test_the_cache_is_used_and_a_damaged_file_is_made_again(
    manifest: Manifest, everyone: Split, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = whole(source(manifest, everyone, cache=tmp_path))
    stored = sorted(tmp_path.rglob("*.u8"))
    assert len(stored) == 16 + 16 + 12
    times = [path.stat().st_mtime_ns for path in stored]
    whole(source(manifest, everyone, cache=tmp_path))
    assert [path.stat().st_mtime_ns for path in stored] == times
    body = bytearray(stored[0].read_bytes())
    body[-5] ^= 255
    stored[0].write_bytes(body)
    stored[1].write_bytes(b"")
    stored[2].write_bytes(stored[2].read_bytes()[:-9])
    assert same(whole(source(manifest, everyone, cache=tmp_path)), expected)
    assert caplog.text.count("damaged") == 3
    assert str(tmp_path) not in caplog.text
    caplog.clear()
    assert same(whole(source(manifest, everyone, cache=tmp_path)), expected)
    assert caplog.text == ""


def test_a_cached_picture_is_what_is_read(
    manifest: Manifest, everyone: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = whole(source(manifest, everyone, cache=tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("engine.datasets.decode.read_image", refuse)
    assert same(whole(source(manifest, everyone, cache=tmp_path)), expected)


def test_a_disk_that_cannot_be_written_costs_speed_only(
    manifest: Manifest, everyone: Split, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    made = source(manifest, everyone, cache=blocked / "cache")
    assert same(whole(made), whole(source(manifest, everyone)))
    assert caplog.text.count("cannot be stored") == 1


def test_the_digest_follows_files_split_and_settings(tmp_path: Path) -> None:
    path = write_phantom_manifest(tmp_path / "data", 4, height=128, width=128, tile=128)
    manifest = read_manifest(path, PHANTOM_CLASSES, PHANTOM_GRADES)
    split = make_split(manifest, {"train": 1.0}, seed=0)
    digest = source(manifest, split).digest
    cached = tmp_path / "cache"
    assert source(manifest, split, cache=cached).digest == digest
    assert source(manifest, split, pairing="none").digest != digest
    file = manifest.file(manifest.rows[0])
    file.write_bytes(manifest.file(manifest.rows[2]).read_bytes())
    os.utime(file, ns=(1, 1))
    assert source(manifest, split, cache=cached).digest != digest


def test_an_unreadable_file_names_its_row_only(manifest: Manifest, everyone: Split) -> None:
    made = source(changed(manifest, 2, path="hidden.png"), everyone)
    with pytest.raises(InvalidManifest) as refusal:
        made.take(torch.tensor([1]))
    assert str(refusal.value) == "Row 4 of the manifest: This file cannot be opened."


def test_a_device_is_no_file(manifest: Manifest, everyone: Split) -> None:
    made = source(changed(manifest, 2, path="/dev/zero"), everyone)
    with pytest.raises(InvalidManifest, match="Row 4 of the manifest: This file cannot be opened"):
        made.take(torch.tensor([1]))


def test_tiff_and_jpeg_are_read_as_png(manifest: Manifest, everyone: Split, tmp_path: Path) -> None:
    pixels = imagecodecs.imread(manifest.file(manifest.rows[2]))
    film, slide = tmp_path / "film", tmp_path / "slide"
    tifffile.imwrite(film, pixels)
    colours = imagecodecs.imread(manifest.file(manifest.rows[3]))
    slide.write_bytes(imagecodecs.jpeg_encode(colours, level=98))
    given = changed(changed(manifest, 2, path=str(film)), 3, path=str(slide))
    ours, theirs = (source(m, everyone).take(torch.tensor([1])) for m in (given, manifest))
    assert torch.equal(ours.mammo, theirs.mammo)
    assert (ours.patho.float() - theirs.patho.float()).abs().mean() < 4


def test_a_mask_of_another_size_is_refused(
    manifest: Manifest, everyone: Split, tmp_path: Path
) -> None:
    path = write_phantom_manifest(tmp_path, 2, height=160, width=128, tile=128)
    other = path.parent / "P0001" / "lesion.png"
    made = source(changed(manifest, 2, mask=str(other)), everyone)
    with pytest.raises(InvalidManifest, match=r"Row 4 of the manifest: .*another size"):
        made.take(torch.tensor([1]))


@pytest.mark.parametrize("cells", [{"label": "Odd"}, {"grade": "9"}, {"box": "1;2"}])
def test_impossible_cells_are_refused_before_anything_is_decoded(
    manifest: Manifest, everyone: Split, cells: dict[str, str]
) -> None:
    with pytest.raises(InvalidManifest, match="in row 4"):
        source(changed(manifest, 2, **cells), everyone)


def test_pairs_of_one_patient_by_class_and_none(manifest: Manifest, everyone: Split) -> None:
    for case in source(manifest, everyone).cases:
        assert case.pathology is not None
        assert case.pathology.patient == case.mammogram.patient
    mixed = source(manifest, everyone, pairing="label", seed=3)
    partners = [case.pathology for case in mixed.cases]
    assert all(
        partner is not None and partner.label == case.mammogram.label
        for partner, case in zip(partners, mixed.cases, strict=True)
    )
    crossed = [p for p, c in zip(partners, mixed.cases, strict=True) if p.key != c.mammogram.key]
    assert crossed
    assert source(manifest, everyone, pairing="label", seed=3).cases == mixed.cases
    assert source(manifest, everyone, pairing="label", seed=4).cases != mixed.cases
    alone = source(manifest, everyone, pairing="none")
    batch = alone.take(torch.arange(3))
    assert not batch.has_patho.any()
    assert (batch.patho == 255).all()


@pytest.mark.parametrize("label", PHANTOM_CLASSES)
def test_the_class_of_a_mammogram_does_not_choose_its_pathology(
    manifest: Manifest, everyone: Split, label: str
) -> None:
    second = replace(manifest.rows[3], number=90, label="Invasive", grade="2")
    given = replace(manifest, rows=(*manifest.rows, second))
    made = source(changed(given, 2, label=label, grade="", box="", mask=""), everyone)
    assert made.cases[1].pathology == manifest.rows[3]
    assert made.take(torch.tensor([0, 1])).has_patho.tolist() == [True, True]


def test_pairs_by_class_that_would_give_the_class_away_are_refused(
    manifest: Manifest, everyone: Split
) -> None:
    rows = tuple(r for r in manifest.rows if r.is_mammogram or r.label != "Normal")
    with pytest.raises(InvalidManifest, match="no pathology image of: Normal"):
        source(replace(manifest, rows=rows), everyone, pairing="label")
    none = replace(manifest, rows=tuple(r for r in manifest.rows if r.is_mammogram))
    assert not source(none, everyone, pairing="label").take(torch.arange(2)).has_patho.any()


def test_pairs_by_class_stay_within_their_split(manifest: Manifest) -> None:
    split = make_split(manifest, {"train": 0.5, "test": 0.5}, seed=1)
    for name in ("train", "test"):
        cases = source(manifest, split, name, pairing="label").cases
        assert {split.of(c.pathology) for c in cases if c.pathology is not None} == {name}


def test_a_split_without_mammograms_is_refused(manifest: Manifest, everyone: Split) -> None:
    with pytest.raises(InvalidManifest, match="no mammogram in the split test"):
        source(manifest, everyone, "test")


patients = st.lists(
    st.tuples(st.sampled_from("ABC"), st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=80
)


@given(patients, st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_splits_are_disjoint_complete_and_stratified(
    drawn: list[tuple[str, int, int]], seed: int
) -> None:
    manifest = made_up(drawn)
    split = make_split(manifest, seed=seed)
    assert set(split.assignment) == {row.key for row in manifest.rows}
    names: dict[str, set[str]] = {}
    for row in manifest.rows:
        names.setdefault(row.key, set()).add(split.of(row))
    assert all(len(found) == 1 for found in names.values())
    for label in range(4):
        keys = {row.key for row in manifest.rows if row.label == PHANTOM_CLASSES[label]}
        counts = Counter(split.assignment[key] for key in keys)
        assert all(
            abs(counts[name] - share * len(keys)) <= 1.5
            for name, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15))
        )
    assert make_split(manifest, seed=seed).digest == split.digest


def test_sites_are_stratified_too() -> None:
    manifest = made_up([(site, label, 1) for site in "ABC" for label in range(4)] * 20)
    split = make_split(manifest, seed=5)
    counts = Counter((row.site, row.label, split.of(row)) for row in manifest.rows)
    for site in "ABC":
        for label in PHANTOM_CLASSES:
            assert 13 <= counts[site, label, "train"] <= 15
            assert 2 <= counts[site, label, "test"] <= 4


def test_held_out_sites_are_external() -> None:
    manifest = made_up([(site, label, 2) for site in "ABC" for label in range(4)] * 3)
    split = make_split(manifest, seed=5, hold_out_sites=["B"])
    assert {split.of(row) for row in manifest.rows if row.site == "B"} == {"external"}
    assert "external" not in {split.of(row) for row in manifest.rows if row.site != "B"}
    with pytest.raises(InvalidManifest, match="no site of a name"):
        make_split(manifest, seed=5, hold_out_sites=["Z"])
    with pytest.raises(InvalidRecipe, match="sum to 1"):
        make_split(manifest, {"train": 0.5}, seed=5)


def test_a_stated_split_is_kept_and_refused_where_it_contradicts_itself() -> None:
    manifest = made_up([("A", label, 2) for label in range(4)])
    names = ["train", "train", "test", "test", "validation", "validation", "train", "train"]
    rows = tuple(replace(r, split=n) for r, n in zip(manifest.rows, names, strict=True))
    split = make_split(replace(manifest, rows=rows), seed=0)
    assert [split.of(row) for row in rows] == names
    for position, name, sentence in (
        (1, "test", "patient of row 3 is in two splits"),
        (1, "", "not for row 3"),
        (1, "odd", "split in row 3 is not one of"),
    ):
        with pytest.raises(InvalidManifest, match=sentence):
            make_split(changed(replace(manifest, rows=rows), position, split=name), seed=0)


def test_a_stored_split_returns_and_an_altered_one_is_refused(tmp_path: Path) -> None:
    manifest = made_up([("A", label, 1) for label in range(4)] * 3)
    split, path = make_split(manifest, seed=2), tmp_path / "split.json"
    write_split(split, path)
    again = read_split(path)
    assert (again.digest, again.seed) == (split.digest, split.seed)
    assert [again.of(row) for row in manifest.rows] == [split.of(row) for row in manifest.rows]
    text = path.read_text("utf-8")
    assert '"A"' not in text
    stored = json.loads(text)
    key = next(k for k, name in stored["assignment"].items() if name == "train")
    altered = stored | {"assignment": stored["assignment"] | {key: "test"}}
    reused = stored | {"salt": "0"}
    wrong = (altered, reused, {k: v for k, v in stored.items() if k != "salt"})
    for content in (*map(json.dumps, wrong), text[:50], "[]", "{}", '{"assignment": 3, "seed": 1}'):
        path.write_text(content, "utf-8")
        with pytest.raises(InvalidManifest, match="altered, or is damaged"):
            read_split(path)
    with pytest.raises(InvalidManifest, match="cannot be opened"):
        read_split(tmp_path / "absent.json")
    with pytest.raises(InvalidManifest, match="patient of row 2 is not in the stored split"):
        split.of(replace(manifest.rows[0], patient="new"))


def test_stored_splits_hold_no_key_that_another_file_or_a_table_has(tmp_path: Path) -> None:
    manifest = made_up([("A", label, 1) for label in range(4)] * 3)
    split = make_split(manifest, seed=2)
    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    for path in paths:
        write_split(split, path)
        assert read_split(path).find(manifest.rows[0]) == split.of(manifest.rows[0])
        assert read_split(path).find(replace(manifest.rows[0], patient="new")) is None
    keys = [set(json.loads(path.read_text("utf-8"))["assignment"]) for path in paths]
    assert keys[0].isdisjoint(keys[1]) and keys[0].isdisjoint(split.assignment)
    write_split(read_split(paths[0]), paths[1])
    assert read_split(paths[1]) == read_split(paths[0])


def test_a_stored_split_of_old_is_still_read(tmp_path: Path) -> None:
    manifest = made_up([("A", label, 1) for label in range(4)] * 3)
    split, path = make_split(manifest, seed=2), tmp_path / "split.json"
    old = {"assignment": dict(split.assignment), "digest": split.digest, "seed": 2}
    path.write_text(json.dumps(old), "utf-8")
    assert read_split(path) == split


@pytest.mark.real_data
def test_real_images_are_sound_and_become_cases(real_data: Path, tmp_path: Path) -> None:
    path = real_manifest.write(tmp_path / "manifest")
    manifest = read_manifest(path, real_manifest.CLASSES, real_manifest.GRADES)
    found = check(manifest, decode=False)
    assert found.problems == ()
    assert found.modalities["mammography"] == 300
    split = make_split(manifest, seed=1)
    women: dict[str, set[str]] = {}
    for name in ("train", "validation", "test"):
        made = source(manifest, split, name, cache=tmp_path / "cache", pairing="label")
        women[name] = {case.mammogram.patient for case in made.cases}
        chosen = torch.linspace(0, len(made) - 1, 6).long()
        batch = made.take(chosen)
        assert batch.has_patho.all()
        assert batch.mammo.float().std() > 20
        assert set(made.labels.tolist()) == {0, 1, 2}
    assert not women["train"] & women["test"]
    assert not women["train"] & women["validation"]
    assert not women["validation"] & women["test"]


@pytest.mark.real_data
def test_real_dicom_mammograms_become_cases(real_data: Path, tmp_path: Path) -> None:
    files = sorted((real_data / "dicom").glob("mg_cbis_*.dcm"))
    lines = ["patient,site,modality,path,class"]
    lines += [f"one,CBIS,MG,{file},Malignant" for file in files]
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(lines), "utf-8")
    manifest = read_manifest(path, ("Normal", "Malignant"))
    found = check(manifest)
    assert [problem.kind for problem in found.problems] == ["empty"]
    batch = whole(source(manifest, make_split(manifest, {"train": 1.0}, seed=0)))
    assert len(batch) == len(files) >= 3
    corners = batch.mammo[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]].float().min(1).values
    assert (corners < 64).all()  # also of the inverted one: air is black
    assert (batch.mammo.float().flatten(1).std(1) > 20).all()
    assert not batch.has_mask.any()


@pytest.mark.real_data
def test_real_manifest_copies_nothing(real_data: Path, tmp_path: Path) -> None:
    path = real_manifest.write(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["manifest.csv"]
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert all(Path(row["path"]).is_file() for row in rows)
    boxes = [row["box"] for row in rows if row["class"] != "Normal" and row["site"] == "mini-MIAS"]
    assert len([box for box in boxes if box]) >= 90
