"""Arms compared: tests against scipy, models against planted effects, and undefined results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from engine.study.arm_models import CROSSED, CUMULATIVE, NESTED, models
from engine.study.arms import compare, decoy_contrast, friedman
from engine.study.intervals import clustered, holm, percentiles, student
from engine.study.records import Protocol, StudyQuestion
from engine.study.table import Table, by_question, table
from tests.engine.study_answers import EFFECT, TRUST, facts, protocol

NAN = float("nan")


def made(values: NDArray[np.float64]) -> tuple[Table, Protocol]:
    """A table from (arms, cases, readers) of the three arms of the small study."""
    k, N, m = values.shape
    design = protocol(N)
    items = tuple((case, arm.id) for case in design.cases for arm in design.arms[:k])
    flat = values.transpose(1, 0, 2).reshape(N * k, m)
    given = ~np.isnan(flat)
    readers = tuple(f"R{j + 1:02d}" for j in range(m))
    return Table(flat, items, readers, given, np.zeros_like(given)), design


def drawn(seed: int = 0, cases: int = 15) -> NDArray[np.float64]:
    return np.random.default_rng(seed).integers(1, 6, size=(3, cases, 4)).astype(float)


def test_friedman_equals_scipy() -> None:
    values = drawn()
    rows, design = made(values)
    result = friedman(rows, design, "trust")
    expected = stats.friedmanchisquare(*values.mean(axis=2))
    assert result is not None
    assert result.statistic == pytest.approx(expected.statistic)
    assert result.p == pytest.approx(expected.pvalue)
    assert result.kendall_w == pytest.approx(expected.statistic / (15 * 2))
    assert (result.df, result.cases) == (2, 15)


def test_friedman_uses_only_readers_of_every_arm() -> None:
    values = drawn(1)
    values[2, 0, 1] = NAN
    values[:, 3] = NAN
    rows, design = made(values)
    result = friedman(rows, design, "trust")
    kept = np.delete(values, 3, axis=1)
    means = kept.mean(axis=2)
    means[:, 0] = np.delete(kept[:, 0], 1, axis=1).mean(axis=1)
    assert result is not None
    assert result.cases == 14
    assert result.statistic == pytest.approx(stats.friedmanchisquare(*means).statistic)


def test_friedman_that_cannot_be() -> None:
    rows, design = made(np.full((3, 5, 2), 4.0))
    constant = friedman(rows, design, "trust")
    assert constant is not None
    assert (constant.statistic, constant.reason) == (
        None, "Every case was rated the same in every condition.",
    )  # fmt: skip
    rows, design = made(drawn(cases=1))
    single = friedman(rows, design, "trust")
    assert single is not None
    assert single.reason == "Fewer than two cases were rated in every condition."
    rows, design = made(drawn()[:1])
    assert friedman(rows, design, "trust") is None


def test_differences_of_arms() -> None:
    values = drawn(2)
    rows, design = made(values)
    results = compare(rows, design, "trust")
    assert [(r.arm_a, r.arm_b) for r in results] == [
        ("image", "gradcam"), ("image", "noise"), ("gradcam", "noise"),
    ]  # fmt: skip
    by_case = (values[1] - values[0]).mean(axis=1)
    assert results[0].mean_difference == pytest.approx(by_case.mean())
    interval = stats.ttest_1samp(by_case, 0).confidence_interval()
    assert (results[0].low, results[0].high) == pytest.approx((interval.low, interval.high))
    expected = stats.wilcoxon(by_case.round(12), correction=True, method="asymptotic").pvalue
    assert results[0].p == pytest.approx(expected)
    assert [r.p_holm for r in results] == list(holm([r.p for r in results]))


def test_difference_counts_pairs_only() -> None:
    """A reader who saw a case in one arm only does not move the difference."""
    values = np.full((2, 6, 2), 3.0)
    values[1, :, 0] = [4, 4, 5, 3, 4, 5]
    values[1, :, 1] = NAN
    rows, design = made(values)
    (result,) = compare(rows, design, "trust")
    assert result.mean_difference == pytest.approx(7 / 6)
    assert result.cases == 6


@pytest.mark.parametrize(
    ("values", "reason", "difference"),
    [
        (np.full((2, 4, 2), 3.0), "No case was rated differently in the two conditions.", 0.0),
        (
            np.stack([np.full((4, 2), 3.0), np.full((4, 2), 4.0)]),
            "Every case differs by the same amount, so there is no interval.",
            1.0,
        ),
        (
            np.stack([np.full((1, 2), 3.0), np.full((1, 2), 4.0)]),
            "Fewer than two cases were rated in both conditions by the same reader.",
            1.0,
        ),
        (
            np.stack([np.full((4, 2), 3.0), np.full((4, 2), NAN)]),
            "Fewer than two cases were rated in both conditions by the same reader.",
            None,
        ),
    ],
)
def test_differences_that_cannot_be_tested(
    values: NDArray[np.float64], reason: str, difference: float | None
) -> None:
    rows, design = made(values)
    (result,) = compare(rows, design, "trust")
    assert (result.mean_difference, result.low, result.reason) == (difference, None, reason)


def test_holm_by_hand() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == (0.03, None, 0.06, 0.06)
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([None]) == (None,)


def test_intervals_that_cannot_be() -> None:
    assert student([3.0]) == (None, None)
    assert student([3.0, 3.0]) == (None, None)
    assert clustered(np.array([1.0, 2.0]), np.array([0, 0])) == (None, None)
    assert percentiles(np.array([NAN, NAN, 1.0])) == (None, None)
    low, high = percentiles(np.arange(1001.0))
    assert (low, high) == pytest.approx((25.0, 975.0))


def test_equal_clusters_are_their_means() -> None:
    values = np.random.default_rng(0).normal(size=(4, 10))
    low, high = clustered(values.ravel(), np.repeat(np.arange(4), 10))
    expected = stats.ttest_1samp(values.mean(axis=1), 0).confidence_interval()
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_decoys() -> None:
    values = drawn(3)
    values[2] = values[1] - 1
    rows, design = made(values)
    result = decoy_contrast(rows, design, "trust")
    assert result is not None
    assert result.difference == pytest.approx(1.0)
    assert result.mean_decoy == pytest.approx(values[2].mean())
    rows, design = made(values[:2])
    assert decoy_contrast(rows, design, "trust") is None


def test_models_find_the_planted_effect() -> None:
    study = facts()
    rows = table(study, by_question(study)["trust"])
    ordinal, linear = models(rows, study.protocol, TRUST)
    assert (ordinal.kind, linear.kind) == (CUMULATIVE, CROSSED)
    assert (ordinal.converged, linear.converged) == (True, True)
    assert (ordinal.reference, ordinal.observations) == ("image", 108)
    effects = {term.name: term for term in linear.terms}
    means = {
        arm: np.mean([a.value for a in study.answers
                      if a.question == "trust" and a.arm == arm and a.replicate == 1])
        for arm in EFFECT
    }  # fmt: skip
    for arm in ("gradcam", "noise"):
        term = effects[f"arm:{arm}"]
        assert term.estimate == pytest.approx(means[arm] - means["image"], abs=1e-6)
        assert term.low is not None
        assert term.high is not None
        assert term.low < term.estimate < term.high
    signs = {term.name: np.sign(term.estimate) for term in ordinal.terms}
    assert signs == {"arm:gradcam": 1.0, "arm:noise": -1.0}


def test_linear_model_of_balanced_ratings_has_its_known_error() -> None:
    """Balanced, crossed: the error of a difference of arms is sqrt(2 s2 / (N m)), s2 by ANOVA."""
    rng = np.random.default_rng(4)
    case, reader = rng.normal(0, 2, (1, 20, 1)), rng.normal(0, 1, (1, 1, 4))
    values = 3 + case + reader + rng.normal(0, 1, (3, 20, 4)) + np.array([0, 0.5, 1])[:, None, None]
    rows, design = made(values)
    (result,) = models(rows, design, StudyQuestion("x", "x", kind=TRUST.kind, low=0, high=100))
    terms = {term.name: term for term in result.terms}
    means = [values.mean(axis=axis, keepdims=True) for axis in ((1, 2), (0, 2), (0, 1))]
    rest = values - sum(means) + 2 * values.mean()
    s2 = (rest**2).sum() / (values.size - 1 - 2 - 19 - 3)
    assert terms["variance left"].estimate == pytest.approx(s2, rel=1e-3)
    assert terms["arm:gradcam"].se == pytest.approx(np.sqrt(2 * s2 / 80), rel=1e-3)


def test_many_ratings_take_the_nested_model() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(50, 10, (3, 90, 4)) + rng.normal(0, 5, (1, 90, 1))
    values[1] += 4
    rows, design = made(values)
    (result,) = models(rows, design, StudyQuestion("x", "x", kind=TRUST.kind, low=0, high=100))
    assert (result.kind, result.observations, result.converged) == (NESTED, 1080, True)
    term = next(t for t in result.terms if t.name == "arm:gradcam")
    assert term.estimate == pytest.approx((values[1] - values[0]).mean(), abs=1e-6)
    assert [t.name for t in result.terms][-2:] == ["variance of cases", "variance left"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((2, 9, 3), 3.0), "Every rating is the same"),
        (drawn()[:1], "Ratings of one condition only"),
        (drawn()[:2, :2, :2], "Too few ratings"),
    ],
)
def test_models_that_cannot_be_fitted(values: NDArray[np.float64], reason: str) -> None:
    rows, design = made(values)
    results = models(rows, design, TRUST)
    assert [r.kind for r in results] == [CUMULATIVE, CROSSED]
    for result in results:
        assert (result.terms, result.converged) == ((), False)
        assert result.reason.startswith(reason)


def test_arms_that_separate_completely_have_no_cumulative_model() -> None:
    values = np.stack([np.full((8, 3), 1.0), np.full((8, 3), 5.0)])
    values[0, :4] = 2.0
    values[1, :4] = 4.0
    rows, design = made(values)
    ordinal = models(rows, replace(design), TRUST)[0]
    assert not ordinal.converged
    assert ordinal.reason.startswith("The fit did not settle")
