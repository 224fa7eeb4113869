"""Agreement where little or nothing can be computed: a value or a sentence, never a NaN."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

from engine.metrics import agreement as ag
from engine.metrics.agreement import Estimate

NAN = float("nan")


def assert_typed(estimate: Estimate) -> None:
    """A value and no reason, or a reason and no value; no NaN; the interval holds the value."""
    numbers = [getattr(estimate, field.name) for field in fields(estimate)]
    assert not any(isinstance(number, float) and not math.isfinite(number) for number in numbers)
    assert (estimate.value is None) == bool(estimate.reason)
    assert (estimate.low is None) == (estimate.high is None)
    if estimate.value is None:
        assert (estimate.low, estimate.se) == (None, None)
    if estimate.low is not None and estimate.high is not None:
        assert estimate.low < estimate.high <= 1
        assert estimate.interval


def by_name(ratings: object) -> dict[tuple[str, str], Estimate]:
    estimates = ag.summarise(ratings)
    for estimate in estimates:
        assert_typed(estimate)
    return {(one.name.split()[0], one.weights): one for one in estimates}


@pytest.mark.parametrize("raters", [2, 3])
def test_every_rating_identical(raters: int) -> None:
    found = by_name(np.full((12, raters), 4.0))
    plain = found.pop(("Percent", "identity"))
    assert plain.value == 1
    assert all(one.value is None for one in found.values())
    assert found["Fleiss", "identity"].reason.startswith("No variation")
    assert all(one.reason for one in found.values())


def test_identical_ratings_of_two_raters_have_a_wilson_interval() -> None:
    plain = ag.percent_agreement(np.full((12, 2), 4.0))
    assert plain.interval == "Wilson"
    assert (plain.low, plain.high) == (pytest.approx(0.757508, abs=1e-5), 1.0)


def test_one_rater_constant_gives_zero_exactly() -> None:
    ratings = np.column_stack([np.full(10, 3.0), np.tile([1.0, 2, 3, 4, 5], 2)])
    found = by_name(ratings)
    assert found["Percent", "identity"].value == pytest.approx(0.2)
    for weights in ("identity", "quadratic"):
        cohen = found["Cohen", weights]
        assert cohen.value == 0
        assert (cohen.low, cohen.interval) == (None, "not estimable")
        assert any("gave the same score" in note for note in cohen.notes)


def test_one_deviating_rating_explains_the_paradox() -> None:
    ratings = np.full((6, 3), 4.0)
    ratings[2, 1] = 5
    found = by_name(ratings)
    assert found["Percent", "identity"].value == pytest.approx(0.8889, abs=5e-5)
    fleiss = found["Fleiss", "identity"]
    assert fleiss.value == pytest.approx(-0.0588, abs=5e-5)
    assert fleiss.interval.startswith("percentile bootstrap")
    assert any("Kappa paradox: raters agree in 89%" in note for note in fleiss.notes)
    assert any("interval very wide" in note for note in fleiss.notes)
    assert any("held no variation" in note for note in fleiss.notes)
    light = found["Light", "identity"]
    assert light.value == 0
    assert any("left out: 1" in note for note in light.notes)


@pytest.mark.parametrize(
    ("ratings", "words"),
    [
        (np.empty((0, 0)), "no ratings yet"),
        (np.empty((4, 0)), "no ratings yet"),
        (np.full((4, 3), NAN), "no ratings yet"),
        (np.array([[1.0], [2.0], [5.0]]), "only one rater"),
        (np.array([[1.0, NAN], [2.0, NAN]]), "only one rater"),
        (np.array([[1.0, NAN], [NAN, 2.0]]), "No case was rated by two"),
        (np.array([[1, NAN, NAN], [NAN, 2, NAN], [NAN, NAN, 2]]), "No case was rated by two"),
    ],
)
def test_nothing_to_compare(ratings: object, words: str) -> None:
    for estimate in by_name(ratings).values():
        assert estimate.value is None
        assert words in estimate.reason


@pytest.mark.parametrize("case", [[4.0, 4.0], [4.0, 2.0], [4.0, 2.0, 4.0]])
def test_one_case(case: list[float]) -> None:
    found = by_name([case])
    pairs = [(a, b) for i, a in enumerate(case) for b in case[:i]]
    plain = found.pop(("Percent", "identity"))
    assert plain.value == pytest.approx(np.mean([a == b for a, b in pairs]))
    assert all(one.value is None and one.reason for one in found.values())


def test_perfect_agreement_is_one_but_not_certain() -> None:
    ratings = np.tile([[1.0], [3.0], [5.0]], (5, 3))
    for estimate in by_name(ratings).values():
        assert estimate.value == pytest.approx(1)
        assert estimate.low is None
        assert any("do not differ enough" in note for note in estimate.notes)


def test_few_cases_are_bootstrapped_and_flagged() -> None:
    ratings = np.array([[1, 1, 2], [3, 3, 3], [5, 4, 5], [2, 2, 2], [4, 5, 5]], dtype=float)
    fleiss = by_name(ratings)["Fleiss", "quadratic"]
    assert fleiss.interval == "percentile bootstrap, 2000 draws, seed 0"
    assert any("Only 5 cases" in note and "interval very wide" in note for note in fleiss.notes)
    assert fleiss.se is not None
    assert fleiss.se > 0


def test_two_raters_are_flagged_even_with_many_cases() -> None:
    ratings = np.random.default_rng(3).integers(1, 6, (60, 2)).astype(float)
    found = by_name(ratings)
    assert found["Cohen", "identity"].interval == "z"
    assert found["Fleiss", "identity"].interval.startswith("percentile bootstrap")
    for key in (("Cohen", "identity"), ("Fleiss", "identity")):
        assert any("Only two raters" in note for note in found[key].notes)


def test_a_seed_is_kept_and_repeats_the_interval() -> None:
    ratings = np.random.default_rng(5).integers(1, 6, (20, 2)).astype(float)
    first, again, other = (ag.cohen_kappa(ratings, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first.interval.endswith("seed 7")
    assert (first.value, first.se) == (other.value, other.se)
    assert first.low != other.low or first.high != other.high


def test_cases_ignored_are_counted() -> None:
    ratings = np.array(
        [[1, 2, NAN], [3, 3, 3], [NAN] * 3, [5, NAN, NAN], [2, 4, 2], [1, 1, 1]], dtype=float
    )
    fleiss = ag.fleiss_kappa(ratings)
    assert (fleiss.cases, fleiss.ratings, fleiss.missing) == (4, 12, 6)
    assert "Cases rated once, counted in the shares of scores only: 1." in fleiss.notes
    assert "Cases without a rating, left out: 1." in fleiss.notes
    assert "Cases not rated by both raters, left out: 2." in ag.cohen_kappa(ratings[:, :2]).notes


def test_agreement_that_rests_on_a_case_rated_once_says_so() -> None:
    ratings = np.array([[3, 3], [3, 3], [3, 3], [5, NAN]], dtype=float)
    fleiss = ag.fleiss_kappa(ratings)
    assert_typed(fleiss)
    assert any("one and the same score" in note for note in fleiss.notes)


def test_missing_ratings_can_push_fleiss_below_minus_one() -> None:
    # p_a = 0 and pi = (2/3, 1/3): (0 - 5/9) / (4/9) = -1.25, as the formula says.
    fleiss = ag.fleiss_kappa([[1, 2], [1, 2], [1, NAN]])
    assert fleiss.value == pytest.approx(-1.25)
    assert_typed(fleiss)
    label = ag.benchmark(-1.25, 1e-3)
    assert label is not None
    assert label.label == "poor"


def test_null_test_needs_complete_varied_tables() -> None:
    missing = ag.fleiss_null_test([[1.0, 2.0], [1.0, NAN]])
    assert missing.kappa is None
    assert "missing" in missing.reason
    assert ag.fleiss_null_test(np.full((5, 3), 2.0)).reason.startswith("No variation")
    each = ag.fleiss_by_category(np.full((5, 3), 2.0))
    assert [one.kappa for one in each] == [None] * 5
    assert each[1].reason.startswith("Everybody")
    assert each[0].reason.startswith("Nobody")
    assert all(one.reason for one in ag.fleiss_by_category([[1.0, NAN], [2.0, 2.0]]))


def test_an_analysed_table_without_variation_has_no_kappa() -> None:
    analysis = ag.analyse_table([[7, 0], [0, 0]])
    assert (analysis.kappa, analysis.se, analysis.z) == (None, None, None)
    assert (analysis.observed, analysis.pabak) == (1, 1)
    binary = ag.binary_indices([[0, 0], [0, 9]])
    assert (binary.positive, binary.negative) == (None, 1)


def test_shares_of_no_ratings_are_empty() -> None:
    assert ag.category_shares(np.full((3, 2), NAN)) == ()
