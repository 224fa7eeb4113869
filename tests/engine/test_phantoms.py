"""Phantoms: the same seed gives the same bits, and the stated truth is exactly what was drawn."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest

from engine.errors import LimitExceeded, MissingMetadata, UnknownName
from engine.phantoms import (
    GRADES,
    LABELS,
    SITES,
    Mammogram,
    Site,
    histology,
    mammogram,
    phantom_case,
    write_case,
)
from engine.phantoms.breast import breast
from engine.phantoms.lesions import add_lesion
from engine.phantoms.parenchyma import parenchyma
from engine.phantoms.shapes import tight_box
from engine.records import Box, Case, Image, Laterality, Modality, Truth

LESIONS = LABELS[1:]


def drawn(label: str, seed: int, **sides: int) -> Mammogram:
    return mammogram(np.random.default_rng(seed), label, **sides)


def digests(case: Case) -> list[str]:
    return [image.digest for image in case.images]


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {label: phantom_case(40 + i, label) for i, label in enumerate(LABELS)}


def test_classes_and_grades_are_in_the_order_of_the_logits() -> None:
    assert LABELS == ("Normal", "Benign", "In situ", "Invasive")
    assert [GRADES[label] for label in LABELS] == [None, 0, 1, 2]


@pytest.mark.parametrize("label", LABELS)
def test_the_same_seed_gives_the_same_bits(label: str, cases: dict[str, Case]) -> None:
    first = cases[label]
    again = phantom_case(int(first.id.removeprefix("PH-")), label)
    for left, right in zip(first.images, again.images, strict=True):
        assert left.pixels.tobytes() == right.pixels.tobytes()
    assert first.truth is not None and again.truth is not None
    assert first.truth.box == again.truth.box
    assert digests(phantom_case(9876, label)) != digests(first)


def test_another_process_draws_the_same_bits(cases: dict[str, Case]) -> None:
    script = (
        "from engine.phantoms import phantom_case\n"
        "print(*[image.digest for image in phantom_case(43, 'Invasive').images])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == digests(cases["Invasive"])


def test_the_mammogram_and_the_slide_draw_from_streams_of_their_own() -> None:
    small, large = phantom_case(5, height=256, width=192), phantom_case(5, height=384, width=256)
    assert digests(small)[0] != digests(large)[0]
    assert digests(small)[1] == digests(large)[1]


def test_a_drawn_label_gives_the_case_that_naming_it_gives() -> None:
    free = phantom_case(11, height=128, width=128, tile=128)
    assert free.truth is not None
    named = phantom_case(11, free.truth.label, height=128, width=128, tile=128)
    assert digests(free) == digests(named)


def test_labels_are_drawn_evenly() -> None:
    seen = Counter(
        truth.label
        for seed in range(160)
        if (truth := phantom_case(seed, height=128, width=128, tile=128).truth)
    )
    assert set(seen) == set(LABELS)
    assert min(seen.values()) >= 24 and max(seen.values()) <= 60


@pytest.mark.parametrize("draw", [mammogram, histology])
def test_an_unknown_label_is_refused_in_a_sentence(draw: object) -> None:
    assert callable(draw)
    with pytest.raises(UnknownName) as caught:
        draw(np.random.default_rng(0), "malignant")
    expected = "There is no phantom class of that name: choose Normal, Benign, In situ or Invasive."
    assert str(caught.value) == expected
    with pytest.raises(UnknownName):
        phantom_case(1, "malignant")


@pytest.mark.parametrize("sides", [{"height": 127}, {"width": 4097}, {"tile": 0}])
def test_sides_out_of_range_are_refused(sides: dict[str, int]) -> None:
    with pytest.raises(LimitExceeded, match="128 to 4096 pixels"):
        phantom_case(1, **sides)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(LimitExceeded, match="zero or larger"):
        phantom_case(-1)


@pytest.mark.parametrize("label", LABELS)
def test_a_case_states_all_that_a_reader_of_files_would(label: str, cases: dict[str, Case]) -> None:
    case = cases[label]
    seed = 40 + LABELS.index(label)
    assert case.id == f"PH-{seed:08d}"
    assert [image.modality for image in case.images] == [Modality.MAMMOGRAPHY, Modality.PATHOLOGY]
    breast_image, slide = case.images
    assert breast_image.pixels.shape == (1, 512, 384, 1) and breast_image.bits == 12
    assert slide.pixels.shape == (1, 256, 256, 3) and slide.bits == 8
    assert breast_image.spacing is not None and slide.spacing is not None
    assert breast_image.spacing.row_mm == breast_image.spacing.column_mm == pytest.approx(220 / 512)
    assert (slide.spacing.row_mm, slide.spacing.source) == (0.0005, "phantom generator")
    assert breast_image.laterality in set(Laterality) and breast_image.view in {"CC", "MLO"}
    assert case.truth is not None
    assert case.truth.source == f"phantom generator, seed {seed}"
    assert (case.truth.label, case.truth.grade) == (label, GRADES[label])
    for image in case.images:
        assert image.digest == hashlib.sha256(image.pixels.tobytes()).hexdigest()


def test_normal_has_no_lesion_and_the_others_have_one(cases: dict[str, Case]) -> None:
    for label, case in cases.items():
        truth = case.truth
        assert truth is not None
        assert (truth.box is None, truth.mask is None) == (label == "Normal",) * 2
    assert not drawn("Normal", 3).mask.any()


@pytest.mark.parametrize("label", LABELS)
def test_pixels_are_whole_numbers_in_range(label: str, cases: dict[str, Case]) -> None:
    for image, top in zip(cases[label].images, (4095, 255), strict=True):
        pixels = image.pixels
        assert pixels.dtype == np.float32
        assert np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= top
        assert np.array_equal(pixels, np.rint(pixels))
        assert pixels.std() > 0.05 * top


@pytest.mark.parametrize("sides", [(512, 384), (129, 384), (512, 131), (200, 150)])
@pytest.mark.parametrize("label", LESIONS)
def test_the_box_is_tight_on_one_connected_mask(label: str, sides: tuple[int, int]) -> None:
    for seed in range(6):
        seen = drawn(label, seed, height=sides[0], width=sides[1])
        box = seen.box
        assert box is not None and seen.mask.shape == sides
        top, left = int(box.y), int(box.x)
        inner = seen.mask[top : top + int(box.height), left : left + int(box.width)]
        assert inner.sum() == seen.mask.sum()
        assert all(side.any() for side in (inner[0], inner[-1], inner[:, 0], inner[:, -1]))
        assert cv2.connectedComponents(seen.mask.astype(np.uint8))[0] == 2


@pytest.mark.parametrize("label", LESIONS)
def test_lesions_measure_what_lesions_measure(label: str) -> None:
    boxes = [box for seed in range(25) if (box := drawn(label, seed).box)]
    longest = np.array([max(box.width, box.height) for box in boxes])
    assert len(boxes) == 25
    assert longest.min() >= 20 and longest.max() <= 100
    assert longest.std() > 4


@pytest.mark.parametrize("view", ["CC", "MLO"])
@pytest.mark.parametrize("label", LESIONS)
def test_lesions_lie_in_the_breast_and_never_over_the_muscle(label: str, view: str) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        parts = breast(rng, view, 512, 384)
        _, mask = add_lesion(rng, label, parenchyma(rng, parts), parts)
        assert mask.any()
        assert not (mask & ~parts.inside).any()
        assert not (mask & parts.muscle).any()
        assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


@pytest.mark.parametrize("label", LESIONS)
def test_the_lesion_is_all_that_changes_and_it_is_brighter(label: str) -> None:
    rises = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        parts = breast(rng, "CC", 512, 384)
        healthy = parenchyma(rng, parts)
        kept = healthy.copy()
        tissue, mask = add_lesion(rng, label, healthy, parts)
        assert np.array_equal(healthy, kept)
        change = tissue - healthy
        assert np.abs(change[mask]).mean() > 20 * np.abs(change[~mask]).mean()
        rises.append(float(change[mask].mean()))
    assert min(rises) > 0.02


def test_a_cluster_survives_being_made_smaller() -> None:
    for seed in range(10):
        seen = drawn("In situ", seed, height=512, width=384)
        small = cv2.resize(seen.pixels, (168, 224), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(seen.mask.astype(np.float32), (168, 224), interpolation=cv2.INTER_AREA)
        inside = small[mask > 0.5]
        assert np.percentile(inside, 98) - np.median(inside) > 0.05 * 4095


def test_air_is_dark_and_the_chest_wall_is_on_the_side_of_the_body() -> None:
    sides = set()
    for seed in range(12):
        seen = drawn("Normal", seed)
        sides.add((seen.laterality, seen.view))
        wall = 0 if seen.laterality is Laterality.LEFT else -1
        assert seen.inside[:, wall].sum() > 200
        assert not seen.inside[:, -1 - wall].any()
        assert np.percentile(seen.pixels[~seen.inside], 95) < 200
        assert np.median(seen.pixels[seen.inside]) > 600
    assert sides == {(side, view) for side in Laterality for view in ("CC", "MLO")}


def test_the_window_is_that_of_the_breast_not_of_the_air(cases: dict[str, Case]) -> None:
    for case in cases.values():
        (window,) = case.images[0].windows
        assert window.centre - window.width / 2 > 200
        assert window.centre + window.width / 2 <= 4095
        assert case.images[1].windows == ()


def test_brightness_of_the_mammogram_does_not_give_the_class_away() -> None:
    means = {
        label: [m.pixels[m.inside].mean() for m in (drawn(label, 50 * i + s) for s in range(16))]
        for i, label in enumerate(LABELS)
    }
    spread = np.mean([np.std(values) for values in means.values()])
    middle = [np.mean(values) for values in means.values()]
    assert max(middle) - min(middle) < 1.5 * spread


def test_mean_colour_does_not_give_the_class_away() -> None:
    """Nearest class mean (Mahalanobis, half the fields learnt, half tested): chance is 25 %."""
    fields = 30
    colours = np.array(
        [
            [histology(np.random.default_rng([i, s]), label).mean((0, 1)) for s in range(fields)]
            for i, label in enumerate(LABELS)
        ]
    )
    learnt, tested = colours[:, ::2], colours[:, 1::2]
    middle = learnt.mean(1)
    inverse = np.linalg.inv(np.mean([np.cov(group.T) for group in learnt], axis=0))
    away = tested[:, :, None] - middle
    nearest = np.einsum("ktci,ij,ktcj->ktc", away, inverse, away).argmin(-1)
    assert (nearest == np.arange(4)[:, None]).mean() <= 0.55


def test_a_slide_is_pink_and_blue_in_every_class() -> None:
    for label in LABELS:
        for site in SITES:
            field = histology(np.random.default_rng(8), label, size=192, site=site)
            red, green, blue = (field[..., i] for i in range(3))
            assert red.mean() > green.mean() + 15 and blue.mean() > green.mean() + 5
            nuclei = blue > red + 10
            assert 0.005 < nuclei.mean() < 0.5


def test_a_site_changes_the_look_and_not_the_truth() -> None:
    looks = [phantom_case(77, "Invasive", site=site) for site in SITES]
    assert len(SITES) == 4 and len({site.name for site in SITES}) == 4
    assert len({case.images[0].digest for case in looks}) == 4
    assert len({case.images[1].digest for case in looks}) == 4
    masks = [case.truth.mask for case in looks if case.truth is not None]
    assert all(np.array_equal(masks[0], mask) for mask in masks[1:])
    assert looks[1].images[0].facts["site"] == SITES[1].name


def test_a_jittered_site_is_near_and_keeps_its_name() -> None:
    site = Site("Here", gamma=1.2)
    other = site.jittered(np.random.default_rng(1))
    assert other != site and other.name == "Here"
    assert abs(other.gamma / site.gamma - 1) <= 0.05
    assert other == site.jittered(np.random.default_rng(1))


@pytest.mark.parametrize("label", LABELS)
def test_what_is_written_reads_back_exactly(
    label: str, cases: dict[str, Case], tmp_path: Path
) -> None:
    case, folder = cases[label], tmp_path / "deep" / "er"
    write_case(case, folder)
    truth = case.truth
    assert truth is not None
    grey = imagecodecs.png_decode((folder / "mammography.png").read_bytes())
    colour = imagecodecs.png_decode((folder / "pathology.png").read_bytes())
    assert grey.dtype == np.uint16 and np.array_equal(grey, case.images[0].pixels[0, :, :, 0])
    assert colour.dtype == np.uint8 and np.array_equal(colour, case.images[1].pixels[0])
    stated = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    assert set(stated) == {"label", "grade", "box", "source"}
    assert (stated["label"], stated["grade"]) == (label, GRADES[label])
    assert stated["source"] == truth.source
    assert (folder / "lesion.png").exists() == (label != "Normal")
    if truth.mask is None:
        assert stated["box"] is None
        return
    lesion = imagecodecs.png_decode((folder / "lesion.png").read_bytes())
    assert lesion.dtype == np.uint8 and set(np.unique(lesion)) == {0, 255}
    assert np.array_equal(lesion == 255, truth.mask)
    assert tight_box(lesion == 255) == Box(*stated["box"]) == truth.box


def test_writing_twice_gives_the_same_bytes_and_leaves_no_old_lesion(
    cases: dict[str, Case], tmp_path: Path
) -> None:
    write_case(cases["Benign"], tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_case(cases["Benign"], tmp_path)
    assert first == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_case(cases["Normal"], tmp_path)
    assert not (tmp_path / "lesion.png").exists()


def test_a_case_without_truth_or_without_a_picture_is_not_written(
    cases: dict[str, Case], tmp_path: Path
) -> None:
    whole = cases["Benign"]
    with pytest.raises(MissingMetadata, match="states no truth"):
        write_case(Case("PH-1", whole.images), tmp_path / "a")
    slide: tuple[Image, ...] = (whole.images[1],)
    with pytest.raises(MissingMetadata, match="no mammography image"):
        write_case(Case("PH-1", slide, truth=Truth("Normal")), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_box_of_nothing_is_none() -> None:
    assert tight_box(np.zeros((4, 5), np.bool_)) is None
    mask = np.zeros((4, 5), np.bool_)
    mask[2, 1:4] = True
    assert tight_box(mask) == Box(1, 2, 3, 1)
