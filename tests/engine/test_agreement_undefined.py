"""Every statistic where little or nothing can be computed: a value or a reason, never a NaN."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.metrics.agreement import STATISTICS, Statistic, statistics

NAN = float("nan")
FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)
CHANCE = ("cohen_kappa", "scott_pi", "fleiss_kappa", "conger_kappa", "light_kappa")
Key = tuple[str, str | None, str | None]


def typed(ratings: object, scale: tuple[float, ...] = FIVE) -> dict[Key, Statistic]:
    """All statistics that are not of one pair among several raters, each checked to be typed."""
    several = statistics(np.asarray(ratings, dtype=float), scale, draws=200)
    for one in several:
        plain = one.as_json("q")
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain
        assert (one.value is None) == bool(one.reason)
        assert (one.low is None) == (one.high is None)
        assert one.value is not None or (one.se, one.low) == (None, None)
        if one.low is not None and one.high is not None:
            assert one.low < one.high <= 1
            assert one.interval
    return {(s.statistic, s.weights, s.level): s for s in several if s.raters_named is None}


@pytest.mark.parametrize("raters", [2, 3])
def test_every_rating_identical(raters: int) -> None:
    found = typed(np.full((12, raters), 4.0))
    for (name, _, _), one in found.items():
        if name in ("percent_agreement", "gwet_ac", "brennan_prediger"):
            assert (one.value, one.se) == (pytest.approx(1), 0)
            assert one.benchmark == ""
        else:
            assert one.value is None
    assert found["fleiss_kappa", "identity", None].reason.startswith("No variation")
    assert found["krippendorff_alpha", None, "ordinal"].reason.startswith("No variation")
    assert found["icc_2_1", None, None].reason.startswith("No variation")
    assert "no order" in found["kendall_w", None, None].reason


def test_one_of_two_scores_never_given() -> None:
    found = typed(np.full((9, 2), 1.0), (1, 2))
    assert found["p_pos", None, None].value == 1
    assert "Neither rater" in found["p_neg", None, None].reason
    assert found["prevalence_index", None, None].value == 1
    assert found["kappa_max", "identity", None].reason.startswith("No variation")


def test_one_rater_constant_gives_cohen_zero_exactly() -> None:
    found = typed(np.column_stack([np.full(10, 3.0), np.tile(FIVE, 2)]))
    for weights in ("identity", "linear", "quadratic", "ordinal"):
        cohen = found["cohen_kappa", weights, None]
        assert cohen.value == 0
        assert any("gave the same score" in note for note in cohen.notes)
    assert found["gwet_ac", "identity", None].value is not None
    assert found["percent_agreement", "identity", None].value == pytest.approx(0.2)


def test_one_deviating_rating() -> None:
    ratings = np.full((6, 3), 4.0)
    ratings[2, 1] = 5
    found = typed(ratings)
    expected = {
        "percent_agreement": 0.8889,
        "gwet_ac": 0.8859,
        "brennan_prediger": 0.8611,
        "fleiss_kappa": -0.0588,
        "conger_kappa": 0,
    }
    for name, value in expected.items():
        assert found[name, "identity", None].value == pytest.approx(value, abs=5e-5)
    alpha = found["krippendorff_alpha", None, "nominal"]
    assert alpha.value == pytest.approx(0)
    for one in (found["fleiss_kappa", "identity", None], alpha):
        assert any("Kappa paradox" in note for note in one.notes)
        assert any("interval very wide" in note for note in one.notes)
        assert "bootstrap" in one.interval or one.interval == "not estimable"
    assert not any("paradox" in note for note in found["gwet_ac", "identity", None].notes)


@pytest.mark.parametrize(
    ("ratings", "words"),
    [
        (np.empty((0, 0)), "no ratings yet"),
        (np.empty((4, 0)), "no ratings yet"),
        (np.full((4, 3), NAN), "no ratings yet"),
        ([[1.0], [2.0], [5.0]], "only one rater"),
        ([[1.0, NAN], [2.0, NAN]], "only one rater"),
        ([[1.0, NAN], [NAN, 2.0]], "No case was rated by two"),
        ([[1, NAN, NAN], [NAN, 2, NAN], [NAN, NAN, 2]], "No case was rated by two"),
    ],
)
def test_nothing_to_compare(ratings: object, words: str) -> None:
    found = typed(ratings)
    assert {name for name, _, _ in found} >= {"percent_agreement", "icc_2_1", "kendall_w"}
    for one in found.values():
        assert one.value is None
        assert words in one.reason


@pytest.mark.parametrize("case", [[4.0, 4.0], [4.0, 2.0], [4.0, 2.0, 4.0]])
def test_one_case(case: list[float]) -> None:
    found = typed([case])
    for name in ("percent_agreement", "gwet_ac", "brennan_prediger"):
        one = found[name, "identity", None]
        assert one.value is not None
        assert name == "percent_agreement" or (one.se, one.low) == (None, None)
    for (name, _, _), one in found.items():
        if name in CHANCE or name.startswith(("krippendorff", "icc")):
            assert one.value is None
            assert "one case" in one.reason


def test_perfect_agreement_is_one() -> None:
    found = typed(np.tile([[1.0], [3.0], [5.0]], (5, 3)))
    for one in found.values():
        assert one.value == pytest.approx(1)
    assert found["icc_2_1", None, None].low is None


def test_raters_that_tie_every_case_but_differ() -> None:
    found = typed(np.tile([[1.0, 5.0]], (12, 1)))
    assert found["icc_3_1", None, None].value is None
    assert found["icc_2_1", None, None].value == pytest.approx(0)
    assert found["cohen_kappa", "identity", None].value == 0


def test_no_complete_case_leaves_icc_out() -> None:
    ratings = [[1, 2, NAN], [NAN, 2, 3], [3, NAN, 3], [4, 4, NAN], [5, NAN, 4]]
    found = typed(ratings)
    assert "every rater" in found["icc_2_1", None, None].reason
    assert "every rater" in found["kendall_w", None, None].reason
    assert found["krippendorff_alpha", None, "ordinal"].value is not None


def test_negative_scores_have_no_ratio() -> None:
    found = typed([[-1, 0], [0, 0], [1, 1], [-1, -1]], (-1, 0, 1))
    assert "ratio level" in found["krippendorff_alpha", None, "ratio"].reason
    assert found["krippendorff_alpha", None, "interval"].value is not None


def test_a_scale_of_labels_has_no_distances() -> None:
    several = statistics([[1, 2], [2, 2], [3, 3]], (1, 2, 3), draws=50, numeric=False)
    without = {s.statistic for s in several if "labels, not numbers" in s.reason}
    assert without == {"krippendorff_alpha", *(n for n in STATISTICS if n.startswith("icc"))}
    levels = {s.level: s.value for s in several if s.statistic == "krippendorff_alpha"}
    assert [level for level, value in levels.items() if value is not None] == ["nominal", "ordinal"]


def test_cases_ignored_are_counted() -> None:
    ratings = [[1, 2, NAN], [3, 3, 3], [NAN] * 3, [5, NAN, NAN], [2, 4, 2], [1, 1, 1]]
    found = typed(ratings)
    fleiss = found["fleiss_kappa", "identity", None]
    assert (fleiss.cases, fleiss.raters, fleiss.ratings, fleiss.missing) == (4, 3, 12, 6)
    assert "Cases rated once, counted in the shares of scores only: 1." in fleiss.notes
    alpha = found["krippendorff_alpha", None, "nominal"]
    assert "Cases with fewer than two ratings, left out: 2." in alpha.notes


def test_intervals_repeat_with_their_seed() -> None:
    ratings = np.random.default_rng(5).integers(1, 6, (20, 3)).astype(float)
    first, again, other = (
        statistics(ratings, FIVE, seed=seed, draws=100, only=("light_kappa",)) for seed in (7, 7, 8)
    )
    assert first == again
    assert [one.value for one in first] == [one.value for one in other]
    assert [one.low for one in first] != [one.low for one in other]
    assert all(one.interval.endswith("100 draws, seed 7") for one in first)


def test_every_interval_can_be_bootstrapped() -> None:
    ratings = np.random.default_rng(6).integers(1, 6, (600, 3)).astype(float)
    names = ("gwet_ac", "fleiss_kappa", "krippendorff_alpha", "light_kappa")
    closed = statistics(ratings, FIVE, draws=300, only=names)
    drawn = statistics(ratings, FIVE, draws=300, only=names, bootstrap=True)
    assert {one.interval for one in closed} == {"t, 599 df"}
    for one, other in zip(closed, drawn, strict=True):
        assert other.interval.startswith("BCa bootstrap")
        assert one.low == pytest.approx(other.low, abs=0.03)
        assert one.high == pytest.approx(other.high, abs=0.03)


def test_one_deviating_rating_has_no_one_sided_interval() -> None:
    """Resamples without the deviating case are undefined, so none lies above the value."""
    found = typed([[5, 5, 5]] * 5 + [[5, 5, 4]])
    fleiss, conger = (
        found["fleiss_kappa", "identity", None],
        found["conger_kappa", "identity", None],
    )
    assert fleiss.value == pytest.approx(-1 / 17)
    assert conger.value == 0
    for one in (fleiss, conger, found["krippendorff_alpha", None, "ordinal"]):
        assert (one.low, one.high) == (None, None)
        assert any("do not differ enough" in note for note in one.notes)


def test_one_shared_case_has_values_and_no_standard_error() -> None:
    found = typed([[5, 4], [5, NAN], [NAN, 2], [3, NAN]])
    for name in ("percent_agreement", "gwet_ac", "brennan_prediger"):
        assert found[name, "identity", None].value is not None
        assert found[name, "identity", None].se is None
    assert found["gwet_ac", "identity", None].low is None
    assert any("Only 1 case with" in note for note in found["gwet_ac", "linear", None].notes)


def test_icc_of_few_cases_says_how_wide_its_interval_is() -> None:
    rng = np.random.default_rng(5)
    few, many = (rng.integers(1, 6, size=(n, 3)) for n in (9, 10))
    assert any("interval very wide" in n for n in typed(few)["icc_2_1", None, None].notes)
    assert not any("interval very wide" in n for n in typed(many)["icc_2_1", None, None].notes)


def test_agreement_on_a_score_that_is_nowhere_shared_lies_in_its_interval() -> None:
    found = typed([[1, 2]] * 5 + [[2, 1]] * 2, (1, 2))
    for name in ("p_pos", "p_neg"):
        one = found[name, None, None]
        assert one.value is not None and one.low is not None
        assert one.low <= one.value


@pytest.mark.parametrize(
    ("table", "single"),
    [
        ([[5, 3, 1], [1, 5, 1]], -0.5),  # an end of -1 / (m - 1) has no stepped-up form
        ([[5, 3, 1], [5, 1, 4]], None),  # the approximate interval leaves the value out
        ([[1, 2, 5], [5, 1, 2], [4, 1, 4]], None),  # too few degrees of freedom for an end
    ],
)
def test_an_icc_lies_in_its_interval_or_has_none(
    table: list[list[int]], single: float | None
) -> None:
    found = typed(table)
    one, mean = found["icc_2_1", None, None], found["icc_2_k", None, None]
    assert one.value is not None and mean.value is not None
    assert one.low == (None if single is None else pytest.approx(single))
    assert (mean.low, mean.high, mean.interval) == (None, None, "not estimable")
