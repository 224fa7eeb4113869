"""Several readers, several cases: against published results, and against plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.study.accuracy import accuracy, same_class
from engine.study.mrmc import (
    Crossed,
    auc_jackknife,
    jackknife,
    obuchowski_rockette,
    share_jackknife,
)
from engine.study.records import StudyFacts
from tests.engine.study_answers import facts
from tests.engine.van_dyke import ILL, positive, ratings
from tests.naive import mrmc as naive


def areas(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> Crossed:
    """The analysis of the area under the curve, (arms, readers, cases)."""
    t, r, K = scores.shape
    theta, left = np.empty((t, r)), np.empty((K, t, r))
    for i in range(t):
        for j in range(r):
            theta[i, j], left[:, i, j] = auc_jackknife(scores[i, j], truth)
    return obuchowski_rockette(theta, jackknife(left.reshape(K, -1)).reshape(t, r, t, r))


def test_areas_of_a_published_study() -> None:
    """Van Dyke's data: values printed by MRMCaov and RJafroc (empirical area, jackknife)."""
    found = areas(ratings(), positive())
    c = found.components
    near = pytest.approx
    assert (c.ms_t, c.ms_tr) == (near(0.004796171, abs=5e-10), near(0.0005510306, abs=5e-11))
    assert c.variance == near(0.0008022883, abs=5e-11)
    assert c.cov1 == near(0.0003466137, abs=5e-11)
    assert c.cov2 == near(0.0003440748, abs=5e-11)
    assert c.cov3 == near(0.0002390284, abs=5e-11)
    assert (found.f, found.df2, found.p) == (
        near(4.456319, abs=5e-7), near(15.25967, abs=5e-6), near(0.0516657, abs=5e-8),
    )  # fmt: skip
    (pair,) = found.contrasts
    assert pair.difference == near(0.04380032, abs=5e-9)
    assert [mean.value for mean in found.means] == [near(0.8970370, abs=5e-8), near(0.9408374)]


def test_area_of_each_reader_of_a_published_study() -> None:
    printed = [0.9196457, 0.8587762, 0.9038647, 0.9731079, 0.8297907]
    found = [auc_jackknife(scores, positive())[0] for scores in ratings()[0]]
    assert found == pytest.approx(printed, abs=5e-8)


def test_sensitivity_of_a_published_study() -> None:
    """Rating 3 or more called positive: every number that MRMCaov prints."""
    called = ratings()[:, :, positive()] >= 3
    theta, left = np.empty((2, 5)), np.empty((ILL, 2, 5))
    for i in range(2):
        for j in range(5):
            theta[i, j], left[:, i, j] = share_jackknife(called[i, j])
    found = obuchowski_rockette(theta, jackknife(left.reshape(ILL, -1)).reshape(2, 5, 2, 5))
    near = pytest.approx
    c = found.components
    assert (c.ms_t, c.ms_tr) == (near(0.02390123, abs=5e-9), near(0.001802469, abs=5e-10))
    assert (c.cov1, c.cov2, c.cov3, c.variance) == (
        near(0.0009943883, abs=5e-11), near(0.00101459, abs=5e-9),
        near(0.0006604938, abs=5e-11), near(0.0023681257, abs=5e-11),
    )  # fmt: skip
    assert (found.f, found.df2, found.p) == (
        near(6.689493, abs=5e-7), near(15.71732, abs=5e-6), near(0.02008822, abs=5e-9),
    )  # fmt: skip
    (pair,) = found.contrasts
    assert (pair.low, pair.high) == (near(0.0175185, abs=5e-8), near(0.1780371, abs=5e-8))
    first, second = found.means
    assert (first.low, first.high) == (near(0.6961876, abs=5e-8), near(0.9482568, abs=5e-8))
    assert (second.low, second.high) == (near(0.8328691, abs=5e-8), 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_against_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.arange(14) >= 7
    scores = rng.integers(1, 6, size=(3, 4, 14)) + 2.0 * truth
    found, expected = areas(scores, truth), naive.analysis(scores.tolist(), truth.tolist())
    c = found.components
    for name in ("ms_t", "ms_tr", "variance", "cov1", "cov2", "cov3"):
        assert getattr(c, name) == pytest.approx(expected[name], abs=1e-12), name
    assert found.f == pytest.approx(expected["f"], rel=1e-9)
    assert found.df2 == pytest.approx(expected["df2"], rel=1e-9)


def test_order_of_readers_and_cases_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    cases, readers = rng.permutation(114), rng.permutation(5)
    found = areas(ratings()[:, readers][:, :, cases], positive()[cases])
    first = areas(ratings(), positive())
    assert (found.f, found.df2) == (pytest.approx(first.f), pytest.approx(first.df2))


def test_perfect_readers_cannot_be_tested() -> None:
    truth = np.arange(10) >= 5
    found = areas(np.broadcast_to(truth.astype(float), (2, 3, 10)), truth)
    assert found.f is None
    assert found.reason.startswith("Readers and cases leave no spread")
    assert [mean.value for mean in found.means] == [1.0, 1.0]
    assert found.means[0].low is None


def test_one_reader_has_normal_intervals() -> None:
    """MRMCaov's comparison of the first reader alone: fixed readers, jackknife."""
    found = areas(ratings()[:, :1], positive())
    (pair,) = found.contrasts
    assert pair.difference == pytest.approx(0.02818035, abs=5e-9)
    assert (pair.low, pair.high) == pytest.approx((-0.021822507, 0.078183215), abs=5e-9)
    assert pair.p == pytest.approx(0.26933885, abs=5e-9)
    assert pair.df is None


def test_accuracy_of_a_study() -> None:
    result = accuracy(facts())
    assert result is not None
    assert (result.positive, result.cases, result.positives, result.readers) == (
        "Malignant", 12, 6, 3,
    )  # fmt: skip
    assert [arm.arm for arm in result.arms] == ["image", "gradcam", "noise"]
    answers = [a for a in facts().answers if a.question == "diagnosis" and a.replicate == 1]
    for arm in result.arms:
        for reader in arm.readers:
            mine = [a for a in answers if a.reader == reader.reader and a.arm == arm.arm]
            ill = [a.value for a in mine if a.truth == "Malignant"]
            assert reader.sensitivity == pytest.approx(np.mean(ill))
        assert arm.sensitivity == pytest.approx(np.mean([r.sensitivity for r in arm.readers]))
        assert arm.auc == pytest.approx(np.mean([r.auc for r in arm.readers]))
    assert len(result.tests) == 3
    assert len(result.comparisons) == 9
    assert all(c.p_holm is None or c.p_holm >= (c.p or 0) for c in result.comparisons)


def test_cases_not_read_by_all_are_left_out_and_told() -> None:
    study = facts()
    lost = [a for a in study.answers if not (a.case == "C001" and a.reader == "R02")]
    result = accuracy(replace(study, answers=tuple(lost)))
    assert result is not None
    assert result.cases == 11
    assert "left out of the tests: 1." in result.notes[0]


def test_accuracy_needs_truth_and_two_of_each() -> None:
    study = facts()
    unknown = tuple(replace(a, truth=None) for a in study.answers)
    result = accuracy(replace(study, answers=unknown))
    assert result is not None
    assert result.reason.startswith("The truth of no case is known")
    few = accuracy(_only(study, {"C001", "C002", "C003"}))
    assert few is not None
    assert few.tests == ()
    assert few.reason.startswith("Conditions are tested on cases that every reader read")
    assert few.arms[0].readers[0].positives == 1
    without = replace(study.protocol, questions=study.protocol.questions[:1])
    assert accuracy(replace(study, protocol=without)) is None


def test_names_of_classes_are_compared_loosely() -> None:
    assert same_class("Ductal_carcinoma", "ductal  carcinoma")
    assert not same_class("benign", "malignant")


def _only(study: StudyFacts, cases: set[str]) -> StudyFacts:
    return replace(study, answers=tuple(a for a in study.answers if a.case in cases))
