"""What must hold of every statistic for any ratings (product.md, O8)."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from engine.metrics import agreement as ag
from engine.metrics.agreement import statistics

SCALE = (1, 2, 3, 4, 5)
LIGHT = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
Table = NDArray[np.float64]
Values = dict[tuple[str, str | None, str | None], float | None]
POOLED = (
    "percent_agreement", "fleiss_kappa", "conger_kappa", "light_kappa", "gwet_ac",
    "brennan_prediger", "krippendorff_alpha", "krippendorff_alpha_gwet", "kendall_w",
    "icc_1_1", "icc_2_1", "icc_3_1", "icc_1_k", "icc_2_k", "icc_3_k",
)  # fmt: skip
ONE_RATER = ("krippendorff_alpha", "krippendorff_alpha_gwet")


@st.composite
def tables(draw: st.DrawFn, raters: int | None = None, complete: bool = False) -> Table:
    """Ratings of 2 to 12 cases by 2 to 4 raters, some of them missing."""
    m = raters or draw(st.integers(2, 4))
    shape = (draw(st.integers(2, 12)), m)
    scores = draw(hnp.arrays(np.int64, shape, elements=st.integers(int(complete), 5)))
    return np.where(scores == 0, np.nan, scores.astype(float))


def values(ratings: Table, scale: tuple[float, ...] = SCALE, only: object = POOLED) -> Values:
    found = statistics(ratings, scale, draws=4, only=only)  # type: ignore[arg-type]
    return {(one.statistic, one.weights, one.level): one.value for one in found}


def assert_same(left: Values, right: Values, slack: float = 1e-9) -> None:
    assert left.keys() == right.keys()
    for key, value in left.items():
        assert (value is None) == (right[key] is None), key
        assert value is None or value == pytest.approx(right[key], abs=slack), key


@LIGHT
@given(tables(), st.randoms(use_true_random=False))
def test_order_of_raters_and_cases_is_irrelevant(ratings: Table, random: Random) -> None:
    rows, columns = list(range(len(ratings))), list(range(ratings.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    assert_same(values(ratings), values(ratings[rows][:, columns]))


@LIGHT
@given(tables(), st.permutations(SCALE))
def test_nominal_labels_are_irrelevant(ratings: Table, labels: list[int]) -> None:
    renamed = np.array([np.nan, *labels])[np.nan_to_num(ratings).astype(int)]

    def nominal(table: Table) -> Values:
        return {k: v for k, v in values(table).items() if "identity" in k or "nominal" in k}

    assert_same(nominal(ratings), nominal(renamed))


@LIGHT
@given(tables(raters=2, complete=True))
def test_two_complete_raters(ratings: Table) -> None:
    found = values(ratings, only=(*POOLED, "cohen_kappa", "scott_pi"))
    for weights in ag.WEIGHTS:
        cohen, conger = (found[n, weights, None] for n in ("cohen_kappa", "conger_kappa"))
        scott, fleiss = (found[n, weights, None] for n in ("scott_pi", "fleiss_kappa"))
        assert cohen == (None if conger is None else pytest.approx(conger, abs=1e-9))
        assert scott == (None if fleiss is None else pytest.approx(fleiss, abs=1e-9))


@LIGHT
@given(hnp.arrays(np.int64, (9, 2), elements=st.integers(1, 2)))
def test_two_scores_make_brennan_prediger_pabak(ratings: NDArray[np.int64]) -> None:
    found = values(ratings.astype(float), (1, 2))
    agreement = float((ratings[:, 0] == ratings[:, 1]).mean())
    assert found["brennan_prediger", "identity", None] == pytest.approx(2 * agreement - 1)


@LIGHT
@given(tables(complete=True), st.sampled_from([-7.0, 0.5, 40.0]))
def test_adding_a_constant_changes_nothing_but_ratios(ratings: Table, constant: float) -> None:
    def moved(table: Table, scale: tuple[float, ...]) -> Values:
        return {key: v for key, v in values(table, scale).items() if key[2] != "ratio"}

    shifted = tuple(score + constant for score in SCALE)
    assert_same(moved(ratings, SCALE), moved(ratings + constant, shifted), 1e-7)


@LIGHT
@given(tables())
def test_a_case_rated_once_leaves_alpha_unchanged(ratings: Table) -> None:
    once = np.full((1, ratings.shape[1]), np.nan)
    once[0, 0] = 2
    assume((np.isfinite(ratings).sum(axis=1) >= 2).any())
    assume(np.isfinite(ratings).any(axis=0).all())
    more = np.vstack([ratings, once])
    assert_same(values(ratings, only=ONE_RATER), values(more, only=ONE_RATER))


@LIGHT
@given(tables(), st.integers(2, 4))
def test_duplicated_cases_keep_what_has_no_small_sample_term(ratings: Table, times: int) -> None:
    names = POOLED[:6]
    assume((np.isfinite(ratings).sum(axis=1) >= 2).sum() >= 2)
    plain, more = values(ratings, only=names), values(np.tile(ratings, (times, 1)), only=names)
    pairs = np.isfinite(ratings[:, :, None]) & np.isfinite(ratings[:, None, :])
    if pairs.sum(axis=0).min() < 2:  # a pair sharing one case has no kappa until it is doubled
        plain = {k: v for k, v in plain.items() if k[0] != "light_kappa"}
        more = {k: v for k, v in more.items() if k[0] != "light_kappa"}
    assert_same(plain, more)


@LIGHT
@given(tables(complete=True))
def test_complete_tables_tie_alpha_to_fleiss(ratings: Table) -> None:
    found = values(ratings)
    fleiss = found["fleiss_kappa", "identity", None]
    assume(fleiss is not None)
    alpha = 1 - (1 - fleiss) * (1 - 1 / ratings.size)
    assert found["krippendorff_alpha", None, "nominal"] == pytest.approx(alpha, abs=1e-9)
    quadratic = found["krippendorff_alpha_gwet", "quadratic", None]
    assert found["krippendorff_alpha", None, "interval"] == pytest.approx(quadratic, abs=1e-9)


@LIGHT
@given(hnp.arrays(np.int64, st.integers(2, 12), elements=st.integers(1, 5)), st.integers(2, 4))
def test_perfect_agreement_is_one(truth: NDArray[np.int64], raters: int) -> None:
    assume(len(np.unique(truth)) > 1)
    found = values(np.tile(truth[:, None].astype(float), (1, raters)))
    assert all(value == pytest.approx(1) for value in found.values())


@LIGHT
@given(tables())
def test_the_older_functions_give_the_same_values(ratings: Table) -> None:
    found = values(ratings)
    for weights in ag.WEIGHTS:
        for name, older in (
            ("percent_agreement", ag.percent_agreement),
            ("fleiss_kappa", ag.fleiss_kappa),
            ("light_kappa", ag.light_kappa),
        ):
            other = older(ratings, SCALE, weights).value
            ours = found[name, weights, None]
            assert (ours is None) == (other is None)
            assert ours is None or ours == pytest.approx(other, abs=1e-9)


@LIGHT
@given(tables())
def test_standard_errors_do_not_depend_on_the_order(ratings: Table) -> None:
    errors = [
        [one.se for one in statistics(table, SCALE, draws=4, only=POOLED)]
        for table in (ratings, ratings[::-1, ::-1])
    ]
    for one, other in zip(*errors, strict=True):
        assert one == (None if other is None else pytest.approx(other, abs=1e-9))
