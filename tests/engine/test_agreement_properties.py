"""What must hold for any ratings (product.md, O8), and statsmodels as a second opinion."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from statsmodels.stats import inter_rater

from engine.metrics import agreement as ag

SCALE = (1, 2, 3, 4, 5)
WEIGHTS = st.sampled_from(ag.WEIGHTS)
LIGHT = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
Table = NDArray[np.float64]


@st.composite
def tables(draw: st.DrawFn, raters: int | None = None, complete: bool = False) -> Table:
    """Ratings of 2 to 12 cases by 2 to 4 raters, some of them missing."""
    m = raters or draw(st.integers(2, 4))
    shape = (draw(st.integers(2, 12)), m)
    lowest = 1 if complete else 0
    scores = draw(hnp.arrays(np.int64, shape, elements=st.integers(lowest, 5)))
    return np.where(scores == 0, np.nan, scores.astype(float))


def values(ratings: Table, weights: str = "identity") -> list[float | None]:
    return [
        ag.percent_agreement(ratings, SCALE, weights).value,
        ag.fleiss_kappa(ratings, SCALE, weights).value,
        ag.light_kappa(ratings, SCALE, weights).value,
    ]


def same(left: list[float | None], right: list[float | None]) -> bool:
    return all(
        (a is None) == (b is None) and (a is None or a == pytest.approx(b, abs=1e-9))
        for a, b in zip(left, right, strict=True)
    )


@LIGHT
@given(tables(), WEIGHTS, st.randoms(use_true_random=False))
def test_order_of_raters_and_cases_is_irrelevant(
    ratings: Table, weights: str, random: Random
) -> None:
    rows, columns = list(range(len(ratings))), list(range(ratings.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    assert same(values(ratings, weights), values(ratings[rows][:, columns], weights))


@LIGHT
@given(tables(), st.permutations(SCALE))
def test_nominal_labels_are_irrelevant(ratings: Table, labels: list[int]) -> None:
    renamed = np.where(
        np.isnan(ratings), np.nan, np.array([0, *labels])[np.nan_to_num(ratings).astype(int)]
    )
    assert same(values(ratings), values(renamed))


@LIGHT
@given(tables(), WEIGHTS)
def test_reversing_the_scale_changes_nothing(ratings: Table, weights: str) -> None:
    assert same(values(ratings, weights), values(6 - ratings, weights))


@LIGHT
@given(tables(raters=2, complete=True), WEIGHTS)
def test_exchanging_two_raters_keeps_kappa_and_errors(ratings: Table, weights: str) -> None:
    index = ratings.astype(int) - 1
    table = np.zeros((5, 5))
    np.add.at(table, (index[:, 0], index[:, 1]), 1)
    left, right = ag.analyse_table(table, weights), ag.analyse_table(table.T, weights)
    assert same([left.kappa, left.se, left.null_se], [right.kappa, right.se, right.null_se])


@LIGHT
@given(tables(raters=2, complete=True), WEIGHTS)
def test_two_complete_raters_give_scott_and_cohen(ratings: Table, weights: str) -> None:
    w = ag.weight_matrix(weights, SCALE)
    index = ratings.astype(int) - 1
    pooled = np.bincount(index.ravel(), minlength=5) / index.size
    room = 1 - pooled @ w @ pooled
    assume(room > 1e-9)
    scott = 1 - (1 - w[index[:, 0], index[:, 1]].mean()) / room
    assert ag.fleiss_kappa(ratings, SCALE, weights).value == pytest.approx(scott, abs=1e-9)
    cohen = ag.cohen_kappa(ratings, SCALE, weights).value
    assert ag.light_kappa(ratings, SCALE, weights).value == pytest.approx(cohen, abs=1e-9)


@LIGHT
@given(tables(), WEIGHTS, st.integers(2, 4))
def test_repeating_every_case_keeps_the_values(ratings: Table, weights: str, times: int) -> None:
    # One shared case is refused by design, and so are the pairs that share only one.
    given_ = ~np.isnan(ratings)
    shared = given_.T.astype(int) @ given_.astype(int)
    assume((shared != 1).all() and (given_.sum(axis=1) >= 2).sum() != 1)
    assert same(values(ratings, weights), values(np.repeat(ratings, times, axis=0), weights))


@LIGHT
@given(hnp.arrays(np.int64, st.integers(2, 12), elements=st.integers(1, 5)), WEIGHTS)
def test_perfect_agreement_over_two_scores_is_one(scores: NDArray[np.int64], weights: str) -> None:
    assume(len(set(scores.tolist())) > 1)
    ratings = np.repeat(scores[:, None].astype(float), 3, axis=1)
    assert values(ratings, weights) == pytest.approx([1, 1, 1])


@LIGHT
@given(tables(), st.integers(0, 3))
def test_every_summary_is_typed(ratings: Table, seed: int) -> None:
    for estimate in ag.summarise(ratings, SCALE, seed):
        numbers = (estimate.value, estimate.low, estimate.high, estimate.se)
        assert all(number is None or np.isfinite(number) for number in numbers)
        assert (estimate.value is None) == bool(estimate.reason)
        if estimate.value is not None:
            assert estimate.value <= 1 + 1e-9
        if estimate.low is not None and estimate.high is not None:
            assert estimate.low < estimate.high <= 1


@LIGHT
@given(
    hnp.arrays(np.int64, (4, 4), elements=st.integers(0, 20)),
    st.sampled_from(["identity", "linear", "quadratic"]),
)
def test_statsmodels_agrees_on_cohen(table: NDArray[np.int64], weights: str) -> None:
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    assume((rows > 0).sum() > 1 and (columns > 0).sum() > 1)
    ours = ag.analyse_table(table, weights)
    assume(ours.se and ours.null_se)  # statsmodels divides by both
    theirs = inter_rater.cohens_kappa(table, wt=None if weights == "identity" else weights)
    assert ours.kappa == pytest.approx(float(theirs.kappa), abs=1e-9)
    assert ours.se == pytest.approx(float(theirs.std_kappa), abs=1e-9)
    assert ours.null_se == pytest.approx(float(theirs.std_kappa0), abs=1e-9)
    if weights == "identity":
        assert ours.maximum == pytest.approx(float(theirs.kappa_max), abs=1e-9)


@LIGHT
@given(tables(raters=3, complete=True))
def test_statsmodels_agrees_on_fleiss(ratings: Table) -> None:
    assume(len(np.unique(ratings)) > 1)
    counts, _ = inter_rater.aggregate_raters(ratings.astype(int))
    theirs = float(inter_rater.fleiss_kappa(counts))
    assert ag.fleiss_kappa(ratings).value == pytest.approx(theirs, abs=1e-9)
    assert ag.fleiss_null_test(ratings).kappa == pytest.approx(theirs, abs=1e-9)


def test_bootstrap_interval_is_near_the_normal_one() -> None:
    """A twin without the multinomial shortcut: resample the cases one by one."""
    rng = np.random.default_rng(11)
    first = rng.integers(1, 6, 48)
    second = np.where(rng.random(48) < 0.6, first, rng.integers(1, 6, 48))
    ratings = np.column_stack([first, second]).astype(float)
    estimate = ag.cohen_kappa(ratings, SCALE, "quadratic")
    naive = []
    for _ in range(400):
        drawn = ratings[rng.integers(0, 48, 48)].astype(int) - 1
        table = np.zeros((5, 5))
        np.add.at(table, (drawn[:, 0], drawn[:, 1]), 1)
        naive.append(ag.analyse_table(table, "quadratic").kappa)
    expected = np.quantile(np.array(naive, dtype=float), [0.025, 0.975])
    assert [estimate.low, estimate.high] == pytest.approx(expected, abs=0.08)
