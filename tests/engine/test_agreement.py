"""Agreement coefficients against published and recomputed values (product.md, section D.9)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import ShapeMismatch, UnknownName
from engine.metrics import agreement as ag
from engine.metrics.agreement_many import frame
from engine.metrics.agreement_ratings import read_ratings

CLOSE = 5e-5
COHEN = [[88, 10, 2], [14, 40, 6], [18, 10, 12]]
FLEISS = (
    "444444 222555 233335 555555 222444 113333 333355 113334 114444 555555 "
    "144444 124444 222333 144444 224445 333335 111455 111112 224444 133555 "
    "555555 244444 224555 114444 144445 222224 111155 224444 133333 555555"
)
GWET = "11.1 2232 3333 3333 2222 1234 4444 1121 2222 .555 ..11 ..3."
SCLEROSIS = {
    149: [[38, 33, 10, 3], [5, 11, 14, 7], [0, 3, 5, 3], [1, 0, 6, 10]],
    69: [[5, 3, 2, 1], [3, 11, 13, 2], [0, 4, 3, 4], [0, 0, 4, 14]],
}


def strings(text: str) -> NDArray[np.float64]:
    """Cases as words, raters as characters, a dot for a missing rating."""
    return np.array([[np.nan if c == "." else float(c) for c in word] for word in text.split()])


def expand(table: list[list[int]]) -> NDArray[np.float64]:
    """A contingency table as one row of two ratings per case."""
    cells = [((i + 1, j + 1), count) for i, row in enumerate(table) for j, count in enumerate(row)]
    return np.array([pair for pair, count in cells for _ in range(count)], dtype=float)


def near(value: float) -> object:
    return pytest.approx(value, abs=CLOSE)


@pytest.mark.parametrize(
    ("weights", "kappa", "se", "null_se"),
    [
        ("identity", 0.491525, 0.051002, 0.051979),
        ("linear", 0.473684, 0.054432, 0.054696),
        ("quadratic", 0.454545, 0.066454, 0.067359),
    ],
)
def test_cohen_1960(weights: str, kappa: float, se: float, null_se: float) -> None:
    analysis = ag.analyse_table(COHEN, weights)
    assert (analysis.kappa, analysis.se, analysis.null_se) == (near(kappa), near(se), near(null_se))
    estimate = ag.cohen_kappa(expand(COHEN), (1, 2, 3), weights)
    assert (estimate.value, estimate.se, estimate.cases) == (near(kappa), near(se), 200)
    assert estimate.interval == "z"


def test_cohen_1960_details() -> None:
    analysis = ag.analyse_table(COHEN)
    assert (analysis.observed, analysis.expected) == (near(0.70), near(0.41))
    assert analysis.z == near(9.4562)
    assert analysis.p_value is not None
    assert analysis.p_value < 1e-15
    assert analysis.maximum == near(0.830508)
    assert analysis.pabak == near(0.55)
    estimate = ag.cohen_kappa(expand(COHEN), (1, 2, 3))
    assert (estimate.low, estimate.high) == (near(0.391564), near(0.591487))
    assert ag.fleiss_kappa(expand(COHEN), (1, 2, 3)).value == near(0.487179)
    assert ag.analyse_table(COHEN, "linear").maximum is None


def test_cohen_1968_own_weights() -> None:
    weights = 1 - np.array([[0, 1, 3], [1, 0, 6], [3, 6, 0]]) / 6
    analysis = ag.analyse_table(COHEN, weights)
    assert analysis.kappa == near(0.347826)
    assert (analysis.se, analysis.null_se) == (near(0.075504), near(0.059720))
    assert ag.cohen_kappa(expand(COHEN), (1, 2, 3), weights).weights == "own"


def test_fleiss_1971() -> None:
    ratings = strings(FLEISS)
    estimate = ag.fleiss_kappa(ratings)
    assert (estimate.value, estimate.se) == (near(0.430245), near(0.054199))
    assert (estimate.low, estimate.high) == (near(0.319395), near(0.541094))
    assert estimate.interval == "t, 29 df"
    assert (estimate.cases, estimate.raters, estimate.ratings) == (30, 6, 180)
    assert (estimate.missing, estimate.notes) == (0, ())
    shares = (0.144444, 0.144444, 0.166667, 0.305556, 0.238889)
    assert ag.category_shares(ratings) == pytest.approx(shares, abs=CLOSE)
    plain = ag.percent_agreement(ratings)
    # Brennan-Prediger is this agreement on another scale: (p - 1/5) / (4/5), SE 0.055123.
    assert (plain.value, plain.se) == (near(0.555556), near(0.055123 * 0.8))
    assert (plain.low, plain.high) == (near(0.331706 * 0.8 + 0.2), near(0.557183 * 0.8 + 0.2))
    assert ag.light_kappa(ratings).value == near(0.459412)


def test_fleiss_1971_null_test() -> None:
    test = ag.fleiss_null_test(strings(FLEISS))
    assert (test.kappa, test.se, test.z) == (near(0.430245), near(0.024374), near(17.6518))
    each = ag.fleiss_by_category(strings(FLEISS))
    kappas = (0.244755, 0.244755, 0.520000, 0.471127, 0.566118)
    assert [one.kappa for one in each] == pytest.approx(kappas, abs=CLOSE)
    assert [one.se for one in each] == pytest.approx([0.047140] * 5, abs=CLOSE)
    assert [one.z for one in each] == pytest.approx([5.192, 5.192, 11.031, 9.994, 12.009], abs=5e-4)


@pytest.mark.parametrize(
    ("weights", "observed", "fleiss", "se"),
    [
        ("identity", 0.818182, 0.761169, 0.153019),
        ("linear", 0.939394, 0.817945, 0.148504),
        ("quadratic", 0.975379, 0.864935, 0.146034),
        ("ordinal", 0.968182, 0.850206, 0.147036),
    ],
)
def test_gwet_with_missing_ratings(weights: str, observed: float, fleiss: float, se: float) -> None:
    ratings = strings(GWET)
    estimate = ag.fleiss_kappa(ratings, weights=weights)
    assert (estimate.value, estimate.se) == (near(fleiss), near(se))
    assert (estimate.high, estimate.interval) == (1.0, "t, 11 df")
    assert (estimate.cases, estimate.raters) == (11, 4)
    assert (estimate.ratings, estimate.missing) == (41, 7)
    assert any("rated once" in note for note in estimate.notes)
    assert ag.percent_agreement(ratings, weights=weights).value == near(observed)


def test_light_with_missing_ratings_uses_complete_pairs() -> None:
    ratings = strings(GWET)
    light = ag.light_kappa(ratings)
    assert light.value == near(0.700163)
    assert light.interval == "percentile bootstrap, 2000 draws, seed 0"
    matrix = ag.pairwise_kappas(ratings)
    cells = [matrix[i][j] for i in range(4) for j in range(i)]
    values = [cell.value for cell in cells if cell is not None and cell.value is not None]
    assert len(values) == 6
    assert np.mean(values) == near(0.700163)
    assert [cell.cases for cell in cells if cell is not None] == [9, 8, 9, 9, 10, 10]
    assert matrix[1][3] is matrix[3][1]
    assert all(matrix[i][i] is None for i in range(4))


@pytest.mark.parametrize(
    ("table", "values", "indices"),
    [
        (
            [[40, 9], [6, 45]],
            (0.85, 0.699519, 0.071394, 0.699248, 0.70),
            (-0.05, 0.03, 0.842105, 0.857143),
        ),
        (
            [[80, 10], [5, 5]],
            (0.85, 0.318182, 0.133457, 0.314286, 0.70),
            (0.75, 0.05, 0.914286, 0.4),
        ),
        (
            [[45, 15], [25, 15]],
            (0.60, 0.130435, 0.098662, 0.120879, 0.20),
            (0.30, -0.10, 0.692308, 0.428571),
        ),
        (
            [[25, 35], [5, 35]],
            (0.60, 0.259259, 0.077160, 0.191919, 0.20),
            (-0.10, 0.30, 0.555556, 0.636364),
        ),
    ],
)
def test_kappa_paradoxes(
    table: list[list[int]], values: tuple[float, ...], indices: tuple[float, ...]
) -> None:
    analysis = ag.analyse_table(table)
    pi = ag.fleiss_kappa(expand(table), (1, 2)).value
    got = (analysis.observed, analysis.kappa, analysis.se, pi, analysis.pabak)
    assert got == pytest.approx(values, abs=CLOSE)
    binary = ag.binary_indices(table)
    got = (binary.prevalence, binary.bias, binary.positive, binary.negative)
    assert got == pytest.approx(indices, abs=CLOSE)
    notes = ag.cohen_kappa(expand(table), (1, 2)).notes
    assert any("paradox" in note for note in notes) == (table == [[80, 10], [5, 5]])


@pytest.mark.parametrize(
    ("cases", "values", "errors", "pi", "brennan"),
    [
        (
            149,
            (0.207942, 0.379731, 0.524576),
            (0.050455, 0.051667, 0.060055),
            0.178238,
            0.239374,
        ),
        (69, (0.296517, 0.477273, 0.625581), (0.078504, 0.073031, 0.078732), 0.283324, 0.304348),
    ],
)
def test_landis_koch_1977(
    cases: int,
    values: tuple[float, ...],
    errors: tuple[float, ...],
    pi: float,
    brennan: float,
) -> None:
    ratings = expand(SCLEROSIS[cases])
    scale = (1, 2, 3, 4)
    estimates = [ag.cohen_kappa(ratings, scale, w) for w in ("identity", "linear", "quadratic")]
    assert {estimate.cases for estimate in estimates} == {cases}
    assert [estimate.value for estimate in estimates] == pytest.approx(values, abs=CLOSE)
    assert [estimate.se for estimate in estimates] == pytest.approx(errors, abs=CLOSE)
    assert ag.fleiss_kappa(ratings, scale).value == near(pi)
    assert ag.analyse_table(SCLEROSIS[cases]).pabak == near(brennan)


def test_weights_follow_the_declared_scale() -> None:
    ratings = np.array([[1, 1], [1, 1], [5, 5], [5, 1], [2, 2]], dtype=float)
    assert ag.cohen_kappa(ratings, (1, 2, 3, 4, 5), "linear").value == near(0.5652)
    assert ag.cohen_kappa(np.where(ratings == 5, 3, ratings), (1, 2, 3), "linear").value == near(
        0.5833
    )


def test_weight_matrices() -> None:
    first = {name: ag.weight_matrix(name, (1, 2, 3, 4, 5))[0] for name in ag.WEIGHTS}
    assert first["identity"] == pytest.approx([1, 0, 0, 0, 0])
    assert first["linear"] == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert first["quadratic"] == pytest.approx([1, 15 / 16, 0.75, 7 / 16, 0])
    assert first["ordinal"] == pytest.approx([1, 0.9, 0.7, 0.4, 0])
    with pytest.raises(UnknownName, match="cubic"):
        ag.weight_matrix("cubic", (1, 2))
    with pytest.raises(ShapeMismatch):
        ag.weight_matrix(np.eye(3), (1, 2))


def test_frame_averages_within_cases() -> None:
    g = frame(read_ratings(strings("12 2. ..")), "identity")
    assert g.categories[:2] == pytest.approx([0.25, 0.75])
    assert g.paired.tolist() == [True, False]


@pytest.mark.parametrize(
    ("value", "se", "scale", "cumulative", "label"),
    [
        (0.67, 0.15, "altman", (0.18168, 0.67511, 0.96356, 0.99912, 1), "moderate"),
        (0.67, 0.15, "fleiss", (0.28699, 0.96356, 1), "intermediate to good"),
        (0.775444, 0.142950, "altman", (0.39675, 0.88337, 0.99542), "moderate"),
    ],
)
def test_benchmark(
    value: float, se: float, scale: str, cumulative: tuple[float, ...], label: str
) -> None:
    result = ag.benchmark(value, se, scale)
    assert result is not None
    got = [share for _, share in result.cumulative][: len(cumulative)]
    assert got == pytest.approx(cumulative, abs=CLOSE)
    assert (result.label, result.scale) == (label, scale)


def test_benchmark_without_uncertainty_gives_no_label() -> None:
    assert ag.benchmark(None, None) is None
    assert ag.benchmark(1.0, 0.0) is None
    landis = ag.benchmark(0.9, 0.01)
    assert landis is not None
    assert landis.label == "almost perfect"
    with pytest.raises(UnknownName):
        ag.benchmark(0.5, 0.1, "nobody")


def test_summary_names_what_it_holds() -> None:
    several = ag.summarise(strings(FLEISS))
    assert [(one.name, one.weights) for one in several] == [
        ("Percent agreement", "identity"),
        ("Light kappa", "identity"),
        ("Light weighted kappa", "quadratic"),
        ("Fleiss kappa", "identity"),
        ("Fleiss weighted kappa", "quadratic"),
    ]
    two = ag.summarise(strings("11. 22. 31. 45."))
    assert [one.name for one in two][1:3] == ["Cohen kappa", "Cohen weighted kappa"]
    assert {one.cases for one in two} == {4}


@pytest.mark.parametrize("ratings", [[[6.0, 1.0]], [[1.5, 1.0]], [[np.inf, 1.0]]])
def test_a_rating_off_the_scale_is_refused(ratings: list[list[float]]) -> None:
    with pytest.raises(ag.OutOfScale, match="not on the scale from 1 to 5"):
        ag.summarise(ratings)


def test_malformed_input_is_refused() -> None:
    with pytest.raises(ShapeMismatch):
        ag.fleiss_kappa([1.0, 2.0])
    with pytest.raises(ShapeMismatch):
        ag.cohen_kappa([[1.0, 2.0, 3.0]])
    with pytest.raises(ShapeMismatch):
        ag.analyse_table([[1, 2, 3]])
    with pytest.raises(ShapeMismatch):
        ag.analyse_table([[0, 0], [0, 0]])
    with pytest.raises(ShapeMismatch):
        ag.analyse_table([[1, 2], [3, 4]], "linear", (1, 2, 3))
    with pytest.raises(ShapeMismatch):
        ag.binary_indices(np.eye(3))
    with pytest.raises(ag.OutOfScale):
        ag.fleiss_kappa([[1.0, 2.0]], (2, 1))
