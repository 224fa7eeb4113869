"""Whether the heat lies on the lesion: against the references, twins, and known answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EmptyMask, EngineError, MissingMetadata, ShapeMismatch
from engine.metrics.localisation import (
    attention_lesion_overlap,
    box_mask,
    energy_pointing_game,
    energy_ratio,
    equal_area_iou,
    pointing_game,
    relevance_rank_accuracy,
    roc_auc,
    topk_intersection,
)
from engine.records import Box, Score, Spacing
from tests.naive import metrics_localisation as naive

Oracle = Callable[[str], dict[str, np.ndarray]]
EVERY = [
    pointing_game,
    energy_pointing_game,
    energy_ratio,
    attention_lesion_overlap,
    equal_area_iou,
    relevance_rank_accuracy,
    topk_intersection,
    roc_auc,
]


def lesion(height: int = 30, width: int = 40) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[10:16, 20:28] = True
    return mask


def number(score: Score) -> float:
    assert score.value is not None, score.note
    return score.value


@pytest.mark.parametrize("tolerance", [15, 5, 1])
def test_pointing_game_matches_the_reference(oracle: Oracle, tolerance: int) -> None:
    stored = oracle("metrics")
    hits = stored[f"pg_hit_tol{tolerance}"]
    for (column, row), expected in zip(stored["pg_points_uv"], hits, strict=True):
        heat = np.zeros(stored["pg_mask"].shape)
        heat[row, column] = 1.0
        score = pointing_game(heat, stored["pg_mask"], tolerance_pixels=tolerance)
        assert score.value == (1.0 if expected == 1 else 0.0)
    assert set(hits.tolist()) == {1, -1}


def test_energy_matches_the_reference(oracle: Oracle) -> None:
    stored = oracle("metrics")
    top, left, bottom, right = (int(v) for v in stored["ebpg_bbox_axis0first"])
    box = Box(x=left, y=top, width=right - left, height=bottom - top)
    for heat, expected in zip(stored["ebpg_map"], stored["f64_ebpg_bbox"], strict=True):
        assert number(energy_pointing_game(heat, box)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("sample", [0, 1])
def test_localisation_matches_the_reference(oracle: Oracle, sample: int) -> None:
    stored = oracle("metrics")
    heat, mask = stored["loc_map"][sample], stored["loc_mask"][sample]
    got = {
        "relevance_mass": energy_pointing_game(heat, mask),
        "relevance_rank": relevance_rank_accuracy(heat, mask),
        "pointing": pointing_game(heat, mask, tolerance_pixels=1),
        "topk_intersection_k100": topk_intersection(heat, mask, 100),
        "auc": roc_auc(heat, mask),
    }
    for name, score in got.items():
        assert number(score) == pytest.approx(stored[f"f64_q_{name}"][sample], rel=1e-5), name


SHAPES = st.tuples(st.integers(3, 8), st.integers(3, 8), st.integers(0, 10_000), st.booleans())


def example(shape: tuple[int, int, int, bool]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A map with ties and values below zero, a lesion that is neither empty nor full."""
    height, width, seed, partly = shape
    draw = np.random.default_rng(seed)
    heat = draw.integers(-3, 9, (height, width)).astype(np.float64)
    mask = draw.random((height, width)) < 0.3
    seen = draw.random((height, width)) < 0.8 if partly else None
    heat[0, :2], mask[0, :2] = (9.0, -3.0), (True, False)
    if seen is not None:
        seen[0, :2] = True
    return heat, mask, seen


@settings(max_examples=40, deadline=None)
@given(SHAPES)
def test_twins_agree(shape: tuple[int, int, int, bool]) -> None:
    heat, mask, seen = example(shape)
    energy = energy_pointing_game(heat, mask, seen=seen)
    expected = naive.energy(heat, mask, seen)
    assert (energy.value, energy.chance) == pytest.approx(expected)
    ratio = energy_ratio(heat, mask, seen=seen)
    assert ratio.value == pytest.approx(expected[0] / expected[1])
    overlap = attention_lesion_overlap(heat, mask, seen=seen)
    assert (overlap.value, overlap.chance) == pytest.approx(naive.overlap(heat, mask, seen))
    area = (equal_area_iou(heat, mask, seen=seen), relevance_rank_accuracy(heat, mask, seen=seen))
    assert tuple(s.value for s in area) == pytest.approx(naive.equal_area(heat, mask, seen))
    auc = roc_auc(heat, mask, seen=seen)
    assert auc.value == pytest.approx(naive.roc_auc(heat, mask, seen))
    top = naive.hottest(heat, seen, 4) & naive.lesion(mask, seen)
    assert topk_intersection(heat, mask, 4, seen=seen).value == pytest.approx(len(top) / 4)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.sampled_from([1.0, 1.5, 2.0, 3.0]), st.booleans())
def test_pointing_game_agrees_with_its_twin(
    shape: tuple[int, int, int, bool], tolerance: float, metric: bool
) -> None:
    heat, mask, seen = example(shape)
    if metric:
        pitch = Spacing(0.5, 1.25)
        score = pointing_game(heat, mask, tolerance_mm=tolerance, spacing=pitch, seen=seen)
        expected = naive.pointing_game(heat, mask, tolerance, (0.5, 1.25), seen)
    else:
        score = pointing_game(heat, mask, tolerance_pixels=tolerance, seen=seen)
        expected = naive.pointing_game(heat, mask, tolerance, None, seen)
    assert score.chance == pytest.approx(expected[1])
    if expected[1] == 1.0:
        assert score.value is None and "no point could miss" in score.note
    else:
        assert score.value == expected[0]


def test_an_even_map_gets_exactly_chance() -> None:
    even, mask = np.full((30, 40), 0.7), lesion()
    assert number(energy_ratio(even, mask)) == pytest.approx(1.0)
    energy = energy_pointing_game(even, mask)
    assert number(energy) == pytest.approx(energy.chance)
    assert energy.chance == pytest.approx(48 / 1200)


def test_a_perfect_map_is_perfect() -> None:
    mask = lesion()
    heat = mask.astype(np.float32)
    for metric in (pointing_game, energy_pointing_game, attention_lesion_overlap, equal_area_iou):
        assert metric(heat, mask).value == 1.0
    assert relevance_rank_accuracy(heat, mask).value == roc_auc(heat, mask).value == 1.0
    assert number(energy_ratio(heat, mask)) == pytest.approx(25.0)
    assert "At most 25" in energy_ratio(heat, mask).note
    assert roc_auc(-heat, mask).value == 0.0


def test_random_maps_get_chance_on_average() -> None:
    mask, draw = lesion(), np.random.default_rng(0)
    maps = [draw.random((30, 40)) for _ in range(150)]
    for metric in (energy_pointing_game, relevance_rank_accuracy, roc_auc, equal_area_iou):
        scores = [metric(heat, mask) for heat in maps]
        values = np.array([number(score) for score in scores])
        error = values.std() / np.sqrt(len(values))
        assert scores[0].chance is not None
        assert abs(values.mean() - scores[0].chance) < 4 * error + 1e-3


def test_the_order_of_the_pixels_does_not_matter() -> None:
    draw = np.random.default_rng(3)
    heat, mask = draw.random((30, 40)), lesion()
    turned = (heat[::-1, ::-1].T, mask[::-1, ::-1].T)
    for metric in EVERY:
        assert metric(*turned).value == pytest.approx(metric(heat, mask).value)


def test_what_was_not_seen_counts_nowhere() -> None:
    draw = np.random.default_rng(5)
    heat, mask = draw.random((30, 40)), lesion()
    seen = np.zeros_like(mask)
    seen[5:25, 10:30] = True
    other = np.where(seen, heat, 99.0)
    for metric in (partial(pointing_game, tolerance_pixels=3), *EVERY[1:]):
        inside = metric(heat, mask, seen=seen)
        assert inside.value is not None
        assert metric(other, mask, seen=seen) == inside
    assert energy_pointing_game(heat, mask, seen=seen).chance == pytest.approx(48 / 400)


def test_the_first_of_equal_maxima_counts() -> None:
    mask = lesion()
    heat = np.zeros(mask.shape)
    heat[12, 22] = heat[25, 2] = 1.0
    assert pointing_game(heat, mask, tolerance_pixels=1).value == 1.0
    assert pointing_game(heat[::-1], mask[::-1], tolerance_pixels=1).value == 0.0


def test_millimetres_follow_the_pitch_of_each_axis() -> None:
    mask, pitch = lesion(), Spacing(row_mm=2.0, column_mm=0.5)
    below, beside = np.zeros(mask.shape), np.zeros(mask.shape)
    below[18, 22], beside[12, 32] = 1.0, 1.0
    assert pointing_game(below, mask, tolerance_mm=3.0, spacing=pitch).value == 0.0
    assert pointing_game(beside, mask, tolerance_mm=3.0, spacing=pitch).value == 1.0
    edge = pointing_game(beside, mask, tolerance_mm=2.5, spacing=pitch)
    assert edge.value == 1.0 and "2.5 mm" in edge.note
    with pytest.raises(MissingMetadata, match="pixel size"):
        pointing_game(beside, mask, tolerance_mm=2.5)


def test_a_box_is_the_pixels_whose_centre_it_holds() -> None:
    mask = box_mask(Box(x=1.5, y=0.6, width=2.0, height=1.0), (4, 5))
    assert np.argwhere(mask).tolist() == [[1, 1], [1, 2]]
    heat = np.random.default_rng(0).random((30, 40))
    box = Box(x=20, y=10, width=8, height=6)
    assert energy_pointing_game(heat, box) == energy_pointing_game(heat, lesion())


@pytest.mark.parametrize("metric", EVERY)
def test_an_empty_annotation_is_refused(metric: Callable[..., Score]) -> None:
    heat = np.random.default_rng(0).random((6, 6))
    with pytest.raises(EmptyMask, match="no pixel"):
        metric(heat, np.zeros((6, 6), dtype=bool))
    corner = np.eye(6, dtype=bool)
    with pytest.raises(EmptyMask, match="saw no part"):
        metric(heat, corner, seen=~corner)
    with pytest.raises(ShapeMismatch):
        metric(heat, np.ones((5, 6), dtype=bool))
    with pytest.raises(ShapeMismatch):
        metric(heat[0], np.ones(6, dtype=bool))
    with pytest.raises(EngineError, match="not numbers"):
        metric(np.full((6, 6), np.nan), corner)


@pytest.mark.parametrize("metric", EVERY)
def test_no_number_is_invented(metric: Callable[..., Score]) -> None:
    heat, mask = np.random.default_rng(0).random((30, 40)), lesion()
    for score in (metric(np.zeros_like(heat), mask), metric(heat, np.ones_like(mask))):
        assert score.value is None
        assert score.note.endswith(".")


def test_heat_below_zero_counts_as_none() -> None:
    mask = lesion()
    heat = np.where(mask, 1.0, -5.0)
    score = energy_pointing_game(heat, mask)
    assert score.value == 1.0 and "below zero" in score.note
    assert energy_pointing_game(-np.ones(mask.shape), mask).value is None
