"""How alike maps are, how concentrated, and how the metrics are described."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError, ShapeMismatch, UnknownName
from engine.metrics.base import METRICS, scored
from engine.metrics.complexity import effective_complexity, entropy, sparseness
from engine.metrics.edges import edge_histogram
from engine.metrics.similarity import (
    agreement_matrix,
    consensus,
    hog_spearman,
    iou_of_top,
    pair_scores,
    scaled,
    spearman,
    ssim,
)
from tests.naive import metrics_similarity as naive

Oracle = Callable[[str], dict[str, np.ndarray]]


def drawn(seed: int, height: int = 20, width: int = 26) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(height, width))


def test_likeness_matches_the_references(oracle: Oracle) -> None:
    stored = oracle("metrics")
    a, b = stored["sim_a"], stored["sim_b"]
    got = {
        "spearman": spearman(a, b),
        "ssim_gauss_n01_datarange1": ssim(a, b),
        "ssim_gauss_n01_datarange2": ssim(a, b, data_range=2.0),
        "hog_spearman": hog_spearman(a, b),
    }
    for name, value in got.items():
        assert value == pytest.approx(float(stored[f"f64_sim_{name}"]), rel=1e-5), name


@pytest.mark.parametrize("sample", [0, 1])
def test_complexity_matches_the_reference(oracle: Oracle, sample: int) -> None:
    stored = oracle("metrics")
    heat = stored["loc_map"][sample]
    got = {
        "sparseness": sparseness(heat),
        "complexity_entropy": entropy(heat),
        "effective_complexity_eps0.1": effective_complexity(heat, 0.1),
    }
    for name, score in got.items():
        assert score.value == pytest.approx(stored[f"f64_q_{name}"][sample], rel=1e-5), name


@settings(max_examples=6, deadline=None)
@given(st.integers(12, 14), st.integers(12, 14), st.integers(0, 999))
def test_twins_agree(height: int, width: int, seed: int) -> None:
    a, b = drawn(seed, height, width).round(1), drawn(seed + 1, height, width).round(1)
    assert spearman(a, b) == pytest.approx(naive.spearman(a, b), abs=1e-12)
    assert ssim(a, b, 1.0) == pytest.approx(naive.ssim(a, b, 1.0), abs=1e-10)
    assert iou_of_top(a, b, 0.1) == pytest.approx(naive.iou_of_top(a, b, 0.1))
    np.testing.assert_allclose(edge_histogram(a, 4), naive.edge_histogram(a, 4), atol=1e-12)
    assert sparseness(a).value == pytest.approx(naive.gini(a), abs=1e-9)
    assert entropy(a).value == pytest.approx(naive.entropy(a), abs=1e-9)


def test_a_map_is_like_itself_and_its_own_monotone_forms() -> None:
    heat = drawn(0)
    assert spearman(heat, np.exp(heat)) == pytest.approx(1.0)
    assert spearman(heat, -heat) == pytest.approx(-1.0)
    assert spearman(heat, -heat, magnitude=True) == pytest.approx(1.0)
    assert iou_of_top(heat, np.exp(heat)) == 1.0
    assert ssim(heat, 3 * heat + 2) == pytest.approx(1.0)
    large = drawn(0, 48, 70)
    assert hog_spearman(large, 3 * large + 2) == pytest.approx(1.0)


def test_maps_without_relation_have_chance_scores() -> None:
    pairs = [pair_scores(drawn(2 * i), drawn(2 * i + 1)) for i in range(60)]
    correlation = np.mean([p[0].value for p in pairs])
    overlap = np.mean([p[1].value for p in pairs])
    assert abs(correlation) < 0.03
    assert overlap == pytest.approx(pairs[0][1].chance, abs=0.015)
    assert pairs[0][0].chance == 0.0 and pairs[0][1].chance == pytest.approx(0.1 / 1.9)


def test_flat_maps_have_no_likeness() -> None:
    heat, flat = drawn(0), np.ones((20, 26))
    assert np.isnan(spearman(heat, flat)) and np.isnan(iou_of_top(flat, heat))
    assert [score.value for score in pair_scores(heat, flat)] == [None] * 4
    assert scaled(flat).max() == 0.0


def test_scores_of_a_pair_are_the_single_likenesses() -> None:
    a, b = drawn(0, 20, 48), drawn(1, 20, 48) + drawn(0, 20, 48)
    values = [score.value for score in pair_scores(a, b)]
    assert values == [spearman(a, b), iou_of_top(a, b), ssim(a, b), hog_spearman(a, b)]
    small = pair_scores(a[:8], b[:8])
    assert [score.value is None for score in small] == [False, False, True, True]
    assert "too small" in small[2].note


def test_agreement_of_a_set_is_that_of_its_pairs() -> None:
    maps = {"a": drawn(0), "b": drawn(1) + drawn(0), "flat": np.zeros((20, 26))}
    found = agreement_matrix(maps)
    assert found.names == ("a", "b", "flat") and found.n == 520
    assert found.correlation[0, 1] == found.correlation[1, 0]
    assert found.correlation[0, 1] == pytest.approx(spearman(maps["a"], maps["b"]))
    assert found.overlap[0, 1] == pytest.approx(iou_of_top(maps["a"], maps["b"]))
    assert found.correlation[0, 0] == pytest.approx(1.0) and found.overlap[1, 1] == 1.0
    assert np.isnan(found.correlation[2]).all() and np.isnan(found.overlap[:, 2]).all()


def test_consensus_is_the_mean_of_ranks_and_ignores_flat_maps() -> None:
    heat = drawn(0)
    alone = consensus({"a": heat})
    assert (alone.min(), alone.max()) == (0.0, 1.0) and alone.dtype == np.float32
    assert spearman(alone, heat) == pytest.approx(1.0)
    with_flat = consensus({"a": 100 * heat, "flat": np.full(heat.shape, 7.0)})
    assert np.array_equal(with_flat, alone)
    both = consensus({"a": heat, "b": drawn(1)})
    np.testing.assert_allclose(both, (alone + consensus({"b": drawn(1)})) / 2, atol=1e-6)
    assert consensus({"flat": np.ones((4, 4))}).max() == 0.0


def test_concentration_at_its_ends() -> None:
    even, point = np.ones((10, 12)), np.zeros((10, 12))
    point[3, 4] = -2.0
    assert sparseness(even).value == pytest.approx(0.0, abs=1e-12)
    assert sparseness(point).value == pytest.approx(119 / 120, abs=1e-4)
    assert entropy(even).value == pytest.approx(np.log(120))
    assert entropy(point).value == 0.0
    assert effective_complexity(point).value == 1.0
    assert sparseness(0 * even).value is None and entropy(0 * even).value is None
    assert "10 x 12 pixels" in sparseness(even).note


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match="differ in size"):
        spearman(drawn(0), drawn(0)[:-1])
    with pytest.raises(ShapeMismatch, match="there is none"):
        consensus({})
    with pytest.raises(ShapeMismatch, match="too small for their structure"):
        ssim(drawn(0, 9, 30), drawn(1, 9, 30))
    with pytest.raises(ShapeMismatch, match="too small for their edges"):
        hog_spearman(drawn(0, 9, 30), drawn(1, 9, 30))
    with pytest.raises(EngineError, match="not numbers"):
        sparseness(np.full((3, 3), np.inf))


def test_every_metric_is_described_for_people() -> None:
    families = {metric.family for metric in METRICS.values()}
    assert families == {"faithfulness", "localisation", "stability", "complexity", "agreement"}
    for name, metric in METRICS.items():
        assert metric.name == name and metric.unit
        assert metric.better in ("higher", "lower", "neither")
        for sentence in (metric.summary, metric.limits):
            assert sentence.endswith(".") and sentence[0].isupper()
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)


def test_a_score_takes_unit_and_direction_from_its_metric() -> None:
    score = scored("deletion", np.float32(0.5), 3, chance=np.float64(0.25), note="x")
    assert type(score.value) is float and type(score.chance) is float
    assert (score.unit, score.better) == ("mean probability along the curve", "lower")
    with pytest.raises(UnknownName, match="no metric named"):
        scored("beauty", 1.0, 1)
