"""Batches, sources, phantoms and augmentation: order, identity, and labels that follow pictures."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.datasets import augment
from engine.datasets.augment import Augmentation, Examples, augmented, plain
from engine.datasets.batch import Batch
from engine.datasets.phantoms import phantom_source
from engine.datasets.prefetch import ahead
from engine.datasets.source import ArraySource
from engine.errors import UnknownName
from engine.phantoms import LABELS, phantom_case
from engine.phantoms.site import NEW_HOSPITAL, SITES, named_site

SIDE, FIELD = 48, 24
STILL = Augmentation(False, 0.0, 0.0, 0.0, 0.0, 0.0, False)


def random_batch(count: int, seed: int = 0, cells: int = 12) -> Batch:
    """Cases of random pixels, each with a box."""
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=g) * 0.5
    return Batch(
        mammo=torch.randint(0, 256, (count, 1, SIDE, SIDE), generator=g, dtype=torch.uint8),
        patho=torch.randint(0, 256, (count, 3, FIELD, FIELD), generator=g, dtype=torch.uint8),
        has_patho=torch.ones(count, dtype=torch.bool),
        label=torch.arange(count) % 4,
        grade=torch.arange(count) % 4 - 1,
        box=torch.cat((corner, torch.rand(count, 2, generator=g) * 0.3 + 0.1), 1),
        mask=torch.randint(0, 256, (count, cells, cells), generator=g, dtype=torch.uint8),
        has_mask=torch.ones(count, dtype=torch.bool),
        site=torch.arange(count) % 2,
        patient=torch.arange(count) // 2,
        index=torch.arange(count),
    )


def marked_batch(top: int, left: int, height: int, width: int) -> Batch:
    """One case whose picture, mask and box all show the same rectangle, in pixels."""
    batch = random_batch(1, cells=SIDE)
    picture = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8)
    picture[..., top : top + height, left : left + width] = 255
    box = torch.tensor([[left, top, width, height]]) / SIDE
    values = {f.name: getattr(batch, f.name) for f in fields(Batch)}
    return Batch(**{**values, "mammo": picture, "mask": picture[:, 0], "box": box})


def same(a: Batch | Examples, b: Batch | Examples) -> bool:
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


def test_batches_join_and_take_what_they_hold() -> None:
    batch = random_batch(5)
    parts = [batch.take(torch.tensor([0, 1])), batch.take(torch.tensor([2, 3, 4]))]
    assert same(Batch.join(parts), batch)
    assert batch.take(torch.tensor([4, 0])).index.tolist() == [4, 0]
    assert len(batch) == 5
    assert batch.has_box.all()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_source_gives_batches_in_the_order_asked_for(workers: int) -> None:
    source = ArraySource(random_batch(7), ("A", "B"), LABELS)
    order = torch.tensor([6, 0, 3, 3, 5, 1, 2])
    batches = list(source.batches(order, 3, workers=workers))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert torch.cat([batch.index for batch in batches]).tolist() == order.tolist()
    assert list(source.batches(torch.arange(0), 3, workers=workers)) == []


def test_a_subset_counts_for_itself_and_has_a_digest_of_its_own() -> None:
    source = ArraySource(random_batch(6), ("A", "B"), LABELS)
    part = source.subset(torch.tensor([5, 2, 4]))
    taken = part.take(torch.tensor([1, 2]))
    assert taken.index.tolist() == [1, 2]
    assert taken.patient.tolist() == [1, 2]
    assert part.labels.tolist() == [1, 2, 0]
    assert part.digest != source.digest
    assert part.digest == source.subset(torch.tensor([5, 2, 4])).digest


def test_work_ahead_keeps_order_raises_in_turn_and_stays_near() -> None:
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        if item == 6:
            raise ValueError("six")
        return item * item

    def items() -> Iterator[int]:
        yield from range(100)

    found = ahead(work, items(), 2)
    assert [next(found) for _ in range(6)] == [0, 1, 4, 9, 16, 25]
    with pytest.raises(ValueError, match="six"):
        next(found)
    assert max(started) < 20
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5), st.data())
@settings(max_examples=25, deadline=None)
def test_augmentation_of_a_sample_does_not_depend_on_its_batch(
    seeds: list[int], data: st.DataObject
) -> None:
    batch = random_batch(len(seeds), seed=seeds[0] % 1000)
    whole = augmented(batch, seeds)
    place = data.draw(st.integers(0, len(seeds) - 1))
    alone = augmented(batch.take(torch.tensor([place])), [seeds[place]])
    for field in fields(Examples):
        part, one = getattr(whole, field.name)[place], getattr(alone, field.name)[0]
        assert torch.equal(part, one), field.name


@given(
    st.integers(0, 2**63 - 1),
    st.tuples(st.integers(12, 20), st.integers(12, 20), st.integers(6, 14), st.integers(6, 14)),
)
@settings(max_examples=40, deadline=None)
def test_box_and_mask_follow_the_picture(seed: int, at: tuple[int, int, int, int]) -> None:
    moved = augmented(marked_batch(*at), [seed], Augmentation(gamma=0.0, noise=0.0))
    picture = (moved.mammo[0, 0] + 1) / 2
    assert torch.allclose(picture, moved.mask[0], atol=1e-5)
    lit = picture > 0.5
    rows, columns = torch.where(lit.any(1))[0], torch.where(lit.any(0))[0]
    left, top, width, height = (moved.box[0] * SIDE).tolist()
    assert abs(left - float(columns[0])) <= 1
    assert abs(top - float(rows[0])) <= 1
    assert abs(left + width - float(columns[-1]) - 1) <= 1
    assert abs(top + height - float(rows[-1]) - 1) <= 1
    assert moved.has_box.all()


def test_each_setting_changes_what_it_names_and_nothing_else() -> None:
    batch, seeds = random_batch(8), range(8)
    base = plain(batch)
    still = augmented(batch, seeds, STILL)
    assert torch.allclose(still.mammo, base.mammo, atol=1e-4)
    assert torch.equal(still.patho, base.patho)
    assert torch.allclose(still.box, base.box, atol=1e-6)
    grey = augmented(batch, seeds, Augmentation(False, 0.0, 0.0, 0.18, 0.02, 0.0, False))
    assert not torch.allclose(grey.mammo, base.mammo, atol=1e-2)
    assert torch.equal(grey.patho, base.patho)
    stained = augmented(batch, seeds, Augmentation(False, 0.0, 0.0, 0.0, 0.0, 0.2, False))
    assert torch.equal(stained.mammo, still.mammo)
    assert not torch.allclose(stained.patho, base.patho, atol=1e-2)
    turned = augmented(batch, seeds, Augmentation(False, 0.0, 0.0, 0.0, 0.0, 0.0, True))
    assert torch.equal(turned.patho.flatten(1).sort(1).values, base.patho.flatten(1).sort(1).values)
    assert not torch.equal(turned.patho, base.patho)


def test_augmented_tensors_stay_in_range_and_lost_boxes_are_no_boxes() -> None:
    strong = Augmentation(scale=0.5, shift=1.5, gamma=2.0, noise=0.5, stain=0.9)
    moved = augmented(random_batch(32), range(32), strong)
    assert float(moved.mammo.min()) >= -1
    assert float(moved.mammo.max()) <= 1
    assert float(moved.patho.min()) >= 0
    assert float(moved.patho.max()) <= 1
    lost = (moved.box[:, 2] <= 0.01) | (moved.box[:, 3] <= 0.01)
    assert lost.any()
    assert not moved.has_box[lost].any()
    assert moved.has_box[~lost].all()


def test_stain_variation_moves_along_the_stain_and_keeps_its_hue() -> None:
    """Pure haematoxylin, of which only the amount changes, stays on its line in density."""
    batch = random_batch(1)
    colour = torch.exp(-torch.tensor([0.650, 0.704, 0.286]) * 0.8) * 255
    pure = colour.round().to(torch.uint8).view(1, 3, 1, 1).expand(1, 3, FIELD, FIELD)
    values = {f.name: getattr(batch, f.name) for f in fields(Batch)}
    examples = plain(Batch(**{**values, "patho": pure}))
    draws = torch.full((1, 6), 0.5)
    draws[0, 0] = 0.9  # haematoxylin alone is scaled, by 1 + 0.8 * 0.2
    stained = augment._stained(examples.patho, draws, Augmentation())
    before, after = (-torch.log(p[0, :, 0, 0]) for p in (examples.patho, stained))
    assert torch.allclose(after / before, torch.full((3,), 1.16), atol=0.01)


def test_phantoms_are_balanced_cached_and_remade_when_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def make(first: int = 500, sites: tuple[str, ...] = ("North", "New hospital")) -> ArraySource:
        places = [named_site(name) for name in sites]
        return phantom_source(
            first, 8, LABELS, (64, 32), 8, sites=places, cache=tmp_path, workers=0
        )

    source = make()
    assert source.site_names == ("North", "New hospital")
    pairs = set(zip(source.labels.tolist(), source.sites.tolist(), strict=True))
    assert len(pairs) == 8
    assert sorted(source.patients.tolist()) == list(range(500, 508))
    stored = next(tmp_path.glob("*.npz"))
    times = stored.stat().st_mtime_ns
    again = make()
    assert stored.stat().st_mtime_ns == times
    assert same(again.batch, source.batch)
    assert again.digest == source.digest
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 255
    stored.write_bytes(data)
    assert make().digest == source.digest
    assert "damaged" in caplog.text
    assert str(tmp_path) not in caplog.text
    assert make(sites=("South",)).digest != source.digest
    assert len(list(tmp_path.glob("*.npz"))) == 2


def test_phantom_arrays_are_the_case_prepared_as_the_product_does() -> None:
    source = phantom_source(1_000_005, 2, LABELS, (96, 48), 12, workers=0)
    case = phantom_case(1_000_005, LABELS[1_000_005 % 4])
    assert case.truth is not None
    assert case.truth.box is not None
    one = source.take(torch.tensor([0]))
    assert LABELS[int(one.label)] == case.truth.label
    assert source.site_names[int(one.site)] == case.images[0].facts["site"]
    left, top, width, height = one.box[0].tolist()
    rows, columns = np.nonzero(one.mask[0].numpy() >= 64)
    centre = (left + width / 2) * 12, (top + height / 2) * 12
    assert abs(columns.mean() + 0.5 - centre[0]) < 1
    assert abs(rows.mean() + 0.5 - centre[1]) < 1
    assert one.has_mask.all()


def test_normal_phantoms_have_a_known_empty_extent() -> None:
    source = phantom_source(1_000_000, 1, LABELS, (64, 32), 8, workers=0)
    one = source.take(torch.tensor([0]))
    assert LABELS[int(one.label)] == "Normal"
    assert one.has_mask.all()
    assert not one.has_box.any()
    assert not one.mask.any()
    assert int(one.grade) == -1


def test_sites_are_found_by_name() -> None:
    assert named_site("East") is SITES[1]
    assert named_site("New hospital") is NEW_HOSPITAL
    assert NEW_HOSPITAL not in SITES
    with pytest.raises(UnknownName, match="North, East, South, West, New hospital"):
        named_site("Nowhere")


def test_phantoms_that_cannot_be_stored_are_still_given(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    source = phantom_source(3, 2, LABELS, (64, 32), 8, cache=blocked / "phantoms", workers=0)
    assert len(source) == 2
