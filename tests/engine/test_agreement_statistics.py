"""Every agreement statistic against the oracles of product.md, section D.9 (O1 to O7), to 5e-5."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import ShapeMismatch
from engine.metrics import agreement as ag
from engine.metrics.agreement import STATISTICS, Statistic, headline, statistics
from engine.metrics.agreement_chance import credit
from engine.metrics.agreement_icc import mean_squares
from engine.metrics.agreement_ratings import read_ratings
from engine.metrics.agreement_several import COEFFICIENTS
from engine.metrics.agreement_sums import compress

CLOSE = 5e-5
COHEN = [[88, 10, 2], [14, 40, 6], [18, 10, 12]]
FLEISS = (
    "444444 222555 233335 555555 222444 113333 333355 113334 114444 555555 "
    "144444 124444 222333 144444 224445 333335 111455 111112 224444 133555 "
    "555555 244444 224555 114444 144445 222224 111155 224444 133333 555555"
)
SHROUT = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
GWET = "11.1 2232 3333 3333 2222 1234 4444 1121 2222 .555 ..11 ..3."
WEIGHTS = ("identity", "linear", "quadratic", "ordinal")
Key = tuple[str, str | None, str | None]


def strings(text: str) -> NDArray[np.float64]:
    """Cases as words, raters as characters, a dot for a missing rating."""
    return np.array([[np.nan if c == "." else float(c) for c in word] for word in text.split()])


def expand(table: list[list[int]]) -> NDArray[np.float64]:
    """A contingency table as one row of two ratings per case."""
    cells = [((i + 1, j + 1), count) for i, row in enumerate(table) for j, count in enumerate(row)]
    return np.array([pair for pair, count in cells for _ in range(count)], dtype=float)


def found(ratings: object, scale: tuple[float, ...], **options: object) -> dict[Key, Statistic]:
    """The statistics of a table that are not of one pair among several raters."""
    several = statistics(ratings, scale, draws=200, **options)  # type: ignore[arg-type]
    return {(s.statistic, s.weights, s.level): s for s in several if s.raters_named is None}


def near(value: float) -> object:
    return pytest.approx(value, abs=CLOSE)


def test_o1_cohen_1960() -> None:
    all_of = found(expand(COHEN), (1, 2, 3))
    kappa = all_of["cohen_kappa", "identity", None]
    assert (kappa.value, kappa.se) == (near(0.491525), near(0.051002))
    assert (kappa.low, kappa.high, kappa.interval) == (near(0.391564), near(0.591487), "z")
    values = {
        ("percent_agreement", "identity", None): 0.70,
        ("cohen_kappa", "linear", None): 0.473684,
        ("cohen_kappa", "quadratic", None): 0.454545,
        ("light_kappa", "quadratic", None): 0.454545,
        ("kappa_max", "identity", None): 0.830508,
        ("scott_pi", "identity", None): 0.487179,
        ("fleiss_kappa", "identity", None): 0.487179,
        ("conger_kappa", "identity", None): 0.491525,
        ("gwet_ac", "identity", None): 0.575972,
        ("brennan_prediger", "identity", None): 0.55,
        ("krippendorff_alpha", None, "nominal"): 0.488462,
        ("krippendorff_alpha_gwet", "identity", None): 0.488462,
    }
    assert {key: all_of[key].value for key in values} == {
        key: near(value) for key, value in values.items()
    }
    assert all_of["cohen_kappa", "linear", None].se == near(0.054432)
    assert all_of["cohen_kappa", "quadratic", None].se == near(0.066454)
    assert all_of["gwet_ac", "identity", None].se == near(0.048121)


def test_o1_own_weights() -> None:
    own = 1 - np.array([[0, 1, 3], [1, 0, 6], [3, 6, 0]]) / 6
    several = statistics(expand(COHEN), (1, 2, 3), weights=(own,), draws=50)
    kappa = next(one for one in several if one.statistic == "cohen_kappa")
    assert (kappa.value, kappa.se, kappa.weights) == (near(0.347826), near(0.075504), "own")
    with pytest.raises(ShapeMismatch):
        statistics(expand(COHEN), (1, 2, 3), weights=(np.eye(4),), draws=50)


def test_o2_fleiss_1971() -> None:
    all_of = found(strings(FLEISS), (1, 2, 3, 4, 5))
    expected = {
        "percent_agreement": (0.555556, None, None, None),
        "fleiss_kappa": (0.430245, 0.054199, 0.319395, 0.541094),
        "conger_kappa": (0.441809, 0.050794, None, None),
        "light_kappa": (0.459412, None, None, None),
        "gwet_ac": (0.447885, 0.055662, 0.334043, 0.561726),
        "brennan_prediger": (0.444444, 0.055123, 0.331706, 0.557183),
        "krippendorff_alpha_gwet": (0.433410, 0.054199, None, None),
    }
    for name, numbers in expected.items():
        one = all_of[name, "identity", None]
        got = (one.value, one.se, one.low, one.high)
        for ours, theirs in zip(got, numbers, strict=True):
            assert theirs is None or ours == near(theirs)
    nominal = all_of["krippendorff_alpha", None, "nominal"]
    assert (nominal.value, nominal.se) == (near(0.433410), near(0.054199))
    assert all_of["fleiss_kappa", "identity", None].interval == "t, 29 df"


def test_o3_shrout_fleiss_1979() -> None:
    squares = mean_squares(np.array(SHROUT, dtype=float))
    means = (squares.bms, squares.jms, squares.wms, squares.ems)
    assert means == pytest.approx((11.241667, 32.486111, 6.263889, 1.019444), abs=CLOSE)
    all_of = found(SHROUT, tuple(range(1, 11)))
    expected = {
        "icc_1_1": (0.165742, -0.132932, 0.722560),
        "icc_2_1": (0.289764, 0.018787, 0.761084),
        "icc_3_1": (0.714841, 0.342465, 0.945858),
        "icc_1_k": (0.442797, -0.884442, 0.912415),
        "icc_2_k": (0.620051, 0.071137, 0.927232),
        "icc_3_k": (0.909316, 0.675675, 0.985892),
    }
    for name, numbers in expected.items():
        one = all_of[name, None, None]
        assert (one.value, one.low, one.high) == pytest.approx(numbers, abs=CLOSE)
        assert (one.interval, one.cases, one.raters) == ("F", 6, 4)


def test_o4_gwet_with_missing_ratings() -> None:
    all_of = found(strings(GWET), (1, 2, 3, 4, 5))
    rows = {
        "percent_agreement": ((0.818182, 0.939394, 0.975379, 0.968182), None),
        "gwet_ac": (
            (0.775444, 0.858739, 0.914001, 0.898940),
            (0.142950, 0.117329, 0.103962, 0.106904),
        ),
        "fleiss_kappa": (
            (0.761169, 0.817945, 0.864935, 0.850206),
            (0.153019, 0.148504, 0.146034, 0.147036),
        ),
        "conger_kappa": (
            (0.762817, 0.813776, 0.857711, 0.843660),
            (0.149168, 0.145085, 0.143671, 0.144100),
        ),
        "brennan_prediger": (
            (0.772727, 0.848485, 0.901515, 0.886364),
            (0.144717, 0.123356, 0.110894, 0.113906),
        ),
        "krippendorff_alpha_gwet": (
            (0.743421, 0.800384, 0.849107, 0.833638),
            (0.145574, 0.135478, 0.129130, 0.131073),
        ),
    }
    for name, (values, errors) in rows.items():
        several = [all_of[name, weights, None] for weights in WEIGHTS]
        assert [one.value for one in several] == pytest.approx(values, abs=CLOSE)
        if errors:
            assert [one.se for one in several] == pytest.approx(errors, abs=CLOSE)
    ac = [all_of["gwet_ac", weights, None] for weights in WEIGHTS]
    lower = (0.460813, 0.600500, 0.685181, 0.663647)
    assert [one.low for one in ac] == pytest.approx(lower, abs=CLOSE)
    assert {(one.high, one.interval) for one in ac} == {(1.0, "t, 11 df")}
    light = all_of["light_kappa", "identity", None]
    assert light.value == near(0.700163)
    assert (light.cases, light.raters, light.ratings, light.missing) == (11, 4, 41, 7)
    icc = all_of["icc_2_1", None, None]
    assert icc.cases == 8
    assert "Cases not rated by every rater, left out: 4." in icc.notes


def test_o5_krippendorff() -> None:
    all_of = found(strings(GWET), (1, 2, 3, 4, 5))
    expected = {"nominal": 0.743421, "ordinal": 0.815388, "interval": 0.849107, "ratio": 0.797403}
    for level, value in expected.items():
        assert all_of["krippendorff_alpha", None, level].value == near(value)


@pytest.mark.parametrize(
    ("table", "kappa", "se", "others", "indices"),
    [
        (
            [[40, 9], [6, 45]],
            0.699519,
            0.071394,
            (0.85, 0.699248, 0.700748, 0.70, 0.700752),
            (-0.05, 0.03, 0.842105, 0.857143),
        ),
        (
            [[80, 10], [5, 5]],
            0.318182,
            0.133457,
            (0.85, 0.314286, 0.808000, 0.70, 0.317714),
            (0.75, 0.05, 0.914286, 0.4),
        ),
        (
            [[45, 15], [25, 15]],
            0.130435,
            0.098662,
            (0.60, 0.120879, 0.266055, 0.20, 0.125275),
            (0.30, -0.10, 0.692308, 0.428571),
        ),
        (
            [[25, 35], [5, 35]],
            0.259259,
            0.077160,
            (0.60, 0.191919, 0.207921, 0.20, 0.195960),
            (-0.10, 0.30, 0.555556, 0.636364),
        ),
    ],
)
def test_o6_paradoxes(
    table: list[list[int]],
    kappa: float,
    se: float,
    others: tuple[float, ...],
    indices: tuple[float, ...],
) -> None:
    all_of = found(expand(table), (1, 2))
    cohen = all_of["cohen_kappa", "identity", None]
    assert (cohen.value, cohen.se) == (near(kappa), near(se))
    assert any("paradox" in note for note in cohen.notes) == (table == [[80, 10], [5, 5]])
    names = ("percent_agreement", "scott_pi", "gwet_ac", "brennan_prediger")
    got = [all_of[name, "identity", None].value for name in names]
    got.append(all_of["krippendorff_alpha", None, "nominal"].value)
    assert got == pytest.approx(others, abs=CLOSE)
    four = [all_of[name, None, None] for name in ("prevalence_index", "bias_index")]
    four += [all_of[name, None, None] for name in ("p_pos", "p_neg")]
    assert [one.value for one in four] == pytest.approx(indices, abs=CLOSE)
    for one in four:
        assert one.low is not None and one.high is not None and one.value is not None
        assert one.low < one.value < one.high
    swapped = found(expand(table), (1, 2), level_of_interest=2)
    assert swapped["p_pos", None, None].value == near(indices[3])
    assert swapped["prevalence_index", None, None].value == near(-indices[0])


@pytest.mark.parametrize(
    ("table", "kappas", "errors", "others"),
    [
        (
            [[38, 33, 10, 3], [5, 11, 14, 7], [0, 3, 5, 3], [1, 0, 6, 10]],
            (0.207942, 0.379731, 0.524576),
            (0.050455, 0.051667, 0.060055),
            (0.178238, 0.257780, 0.239374, 0.180995),
        ),
        (
            [[5, 3, 2, 1], [3, 11, 13, 2], [0, 4, 3, 4], [0, 0, 4, 14]],
            (0.296517, 0.477273, 0.625581),
            (0.078504, 0.073031, 0.078732),
            (0.283324, 0.311084, 0.304348, 0.288517),
        ),
    ],
)
def test_o7_landis_koch(
    table: list[list[int]],
    kappas: tuple[float, ...],
    errors: tuple[float, ...],
    others: tuple[float, ...],
) -> None:
    all_of = found(expand(table), (1, 2, 3, 4))
    cohen = [all_of["cohen_kappa", weights, None] for weights in WEIGHTS[:3]]
    assert [one.value for one in cohen] == pytest.approx(kappas, abs=CLOSE)
    assert [one.se for one in cohen] == pytest.approx(errors, abs=CLOSE)
    names = ("scott_pi", "gwet_ac", "brennan_prediger")
    got = [all_of[name, "identity", None].value for name in names]
    got.append(all_of["krippendorff_alpha", None, "nominal"].value)
    assert got == pytest.approx(others, abs=CLOSE)


def test_kendall_w_is_known_for_small_rankings() -> None:
    same = found(np.tile([[1.0], [2], [3], [4]], (1, 3)), (1, 2, 3, 4))["kendall_w", None, None]
    assert same.value == pytest.approx(1)
    opposite = found(np.array([[1.0, 4], [2, 3], [3, 2], [4, 1]]), (1, 2, 3, 4))
    assert opposite["kendall_w", None, None].value == pytest.approx(0)
    # Ranks 1.5 1.5 3 4 and 1 2 3 4: S = 18.5, (12 * 18.5) / (4 * 60 - 2 * 6) = 222 / 228.
    tied = found(np.array([[1.0, 1], [1, 2], [2, 3], [3, 4]]), (1, 2, 3, 4))
    assert tied["kendall_w", None, None].value == pytest.approx(222 / 228)


def test_every_statistic_is_there_in_order() -> None:
    several = statistics(expand(COHEN), (1, 2, 3), draws=50)
    names = list(dict.fromkeys(one.statistic for one in several))
    assert names == list(STATISTICS)
    binary = {"prevalence_index", "bias_index", "p_pos", "p_neg"}
    assert {one.statistic for one in several if "two scores" in one.reason} == binary
    weighted = {one.weights for one in several if one.statistic == "conger_kappa"}
    assert weighted == set(WEIGHTS)


def test_two_rater_statistics_of_three_raters_are_per_pair() -> None:
    ratings = strings(GWET)[:, 1:]
    several = statistics(ratings, (1, 2, 3, 4, 5), draws=50)
    cohen = [s for s in several if s.statistic == "cohen_kappa" and s.weights == "identity"]
    assert [one.raters_named for one in cohen] == [(0, 1), (0, 2), (1, 2)]
    alone = found(ratings[:, [0, 2]], (1, 2, 3, 4, 5))["cohen_kappa", "identity", None]
    assert (alone.value, alone.cases) == (cohen[1].value, cohen[1].cases)
    plain = cohen[1].as_json("q", ["a", "b", "c"])
    assert list(plain) == [
        "question_id", "statistic", "weights", "level", "value", "se", "ci", "reason", "raters",
    ]  # fmt: skip
    assert plain["raters"] == ["a", "c"]
    assert "raters" not in several[0].as_json("q", ["a", "b", "c"])


def test_headline_is_the_primary_set() -> None:
    keys = [(one.statistic, one.weights, one.level) for one in headline(strings(GWET))]
    assert keys == [
        ("percent_agreement", "identity", None),
        ("fleiss_kappa", "quadratic", None),
        ("fleiss_kappa", "identity", None),
        ("gwet_ac", "quadratic", None),
        ("krippendorff_alpha", None, "ordinal"),
        ("icc_2_1", None, None),
    ]
    two = headline(expand(COHEN), (1, 2, 3))
    assert [one.statistic for one in two][1:3] == ["cohen_kappa", "cohen_kappa"]
    whole = found(expand(COHEN), (1, 2, 3))
    assert two[1] == whole["cohen_kappa", "quadratic", None]


def test_a_second_computation_that_differs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from statsmodels.stats import inter_rater

    honest = found(expand(COHEN), (1, 2, 3))["cohen_kappa", "identity", None]
    assert not any("statsmodels" in note for note in honest.notes)
    real = inter_rater.cohens_kappa

    def crooked(*args: object, **options: object) -> object:
        result = real(*args, **options)
        result.kappa += 1e-5
        return result

    monkeypatch.setattr(inter_rater, "cohens_kappa", crooked)
    kappa = found(expand(COHEN), (1, 2, 3))["cohen_kappa", "identity", None]
    assert any("statsmodels differs" in note for note in kappa.notes)
    assert kappa.value == honest.value


def test_a_score_of_interest_must_be_on_the_scale() -> None:
    with pytest.raises(ag.OutOfScale, match="score of interest"):
        statistics([[1, 2], [2, 2]], (1, 2), level_of_interest=3)


@pytest.mark.parametrize("data", [FLEISS, "112 223 333 345 455 111 212 544 334 222 155 141"])
def test_standard_errors_are_those_of_small_changes(data: str) -> None:
    """A twin of the closed forms: how each value moves when a case counts a little more."""
    patterns = compress(read_ratings(strings(data)))
    times, n = patterns.times, float(patterns.times.sum())
    all_of = found(strings(data), (1, 2, 3, 4, 5))
    for name, (coefficient, _) in COEFFICIENTS.items():
        for weights in WEIGHTS:
            c = credit(weights, patterns)
            more = coefficient(patterns.sums(times + 1e-4 * np.eye(len(times))), c)
            less = coefficient(patterns.sums(times - 1e-4 * np.eye(len(times))), c)
            influence = n * (more - less) / 2e-4
            se = np.sqrt((times * influence**2).sum() / (n * (n - 1)))
            assert all_of[name, weights, None].se == pytest.approx(se, rel=1e-5)
