"""The analysis of a study against numbers computed from the planted answers by other means."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from engine.metrics import agreement as ag
from engine.study.adjudicate import flagged
from engine.study.analysis import Analysis, QuestionResult, analyse, analysis_to_json
from engine.study.correlate import correlations, spearman
from engine.study.distribution import question_result
from engine.study.records import (
    InvalidProtocol,
    Protocol,
    QuestionKind,
    ReaderFacts,
    ReadStatus,
    StudyAnswer,
    StudyFacts,
    StudyQuestion,
    StudyState,
)
from engine.study.table import by_question, table
from engine.study.timing import timing
from tests.engine.study_answers import READERS, SUS, TRUST, facts, trust_of

DRAWS = 100


@pytest.fixture(scope="module")
def study() -> StudyFacts:
    return facts()


@pytest.fixture(scope="module")
def analysis(study: StudyFacts) -> Analysis:
    return analyse(study, seed=3, draws=DRAWS)


def planted(arm: str, cases: int = 12) -> NDArray[np.float64]:
    """Trust by case and reader, straight from the plan of the answers."""
    return np.array([[trust_of(i, j, arm) for j in range(3)] for i in range(cases)])


def result(analysis: Analysis, question: str, arm: str = "", group: str = "") -> QuestionResult:
    (found,) = [
        q for q in analysis.questions if (q.question, q.arm, q.group) == (question, arm, group)
    ]
    return found


def simple(values: list[list[float | None]], question: StudyQuestion = TRUST) -> StudyFacts:
    """A study of one arm and one question: cases in rows, readers in columns."""
    arm = facts().protocol.arms[1]
    names = [f"C{i + 1:03d}" for i in range(len(values))]
    readers = tuple(f"R{j + 1:02d}" for j in range(len(values[0]) if values else 0))
    answers = tuple(
        StudyAnswer(
            reader, case, arm.id, question.id,
            ReadStatus.CANNOT_JUDGE if value is None else ReadStatus.ANSWERED, value,
        )
        for case, row in zip(names, values, strict=True)
        for reader, value in zip(readers, row, strict=True)
    )  # fmt: skip
    design = Protocol("T", "", tuple(names), readers, (arm,), (question,))
    return StudyFacts(
        "ST-2", 1, StudyState.LOCKED, design, tuple(map(ReaderFacts, readers)), answers,
        unblinded=True,
    )  # fmt: skip


def test_statistics_equal_those_of_the_planted_table(analysis: Analysis) -> None:
    for arm in ("image", "gradcam", "noise"):
        expected = ag.headline(planted(arm), (1, 2, 3, 4, 5), 3, DRAWS)
        assert result(analysis, "trust", arm).statistics == expected
    assert [s.statistic for s in result(analysis, "trust").statistics] == [
        "percent_agreement", "fleiss_kappa", "fleiss_kappa", "gwet_ac", "krippendorff_alpha",
        "icc_2_1",
    ]  # fmt: skip


def test_pooled_arms_are_items_with_a_warning(analysis: Analysis) -> None:
    pooled = result(analysis, "trust")
    assert (pooled.cases, pooled.ratings) == (36, 108)
    assert pooled.notes[0].startswith("All conditions together")
    assert result(analysis, "trust", "noise").notes == ()
    everything = np.concatenate([planted(arm) for arm in ("image", "gradcam", "noise")])
    expected = ag.headline(everything, (1, 2, 3, 4, 5), 0, 50)
    assert [s.value for s in pooled.statistics] == pytest.approx([s.value for s in expected])


def test_distribution(analysis: Analysis) -> None:
    found, values = result(analysis, "trust", "gradcam"), planted("gradcam")
    assert found.mean == pytest.approx(values.mean())
    assert found.sd == pytest.approx(values.std(ddof=1))
    assert found.median == np.median(values)
    assert found.readers_mean == pytest.approx(dict(zip(READERS, values.mean(0), strict=True)))
    assert found.counts == {s: int((values == s).sum()) for s in (1.0, 2.0, 3.0, 4.0, 5.0)}
    interval = stats.ttest_1samp(values.mean(axis=0), 0).confidence_interval()
    assert (found.mean_low, found.mean_high) == pytest.approx((interval.low, interval.high))


def test_groups(analysis: Analysis) -> None:
    large = result(analysis, "trust", group="large")
    assert large.cases == 18
    halves = [planted(arm)[:6] for arm in ("image", "gradcam", "noise")]
    assert large.mean == pytest.approx(np.mean(halves))


def test_pairs_of_readers(analysis: Analysis) -> None:
    pairs = result(analysis, "trust", "image").pairs
    assert [(p.reader_a, p.reader_b) for p in pairs] == [
        ("R01", "R02"), ("R01", "R03"), ("R02", "R03"),
    ]  # fmt: skip
    both = planted("image")[:, [0, 2]]
    difference = both[:, 0] - both[:, 1]
    assert pairs[1].kappa_quadratic == pytest.approx(
        ag.cohen_kappa(both, (1, 2, 3, 4, 5), "quadratic").value
    )
    assert pairs[1].mean_difference == pytest.approx(difference.mean())
    assert pairs[1].limits_high == pytest.approx(difference.mean() + 1.96 * difference.std(ddof=1))
    assert sum(number for _, _, number in pairs[1].points) == pairs[1].cases == 12


def test_repeats_are_never_mixed_in(study: StudyFacts, analysis: Analysis) -> None:
    first_only = replace(study, answers=tuple(a for a in study.answers if a.replicate == 1))
    again = analyse(first_only, seed=3, draws=DRAWS)
    assert again.questions == analysis.questions
    assert again.intra == ()
    own = next(r for r in analysis.intra if (r.reader, r.question) == ("R01", "trust"))
    # The second repeat was planted one point lower.
    assert own.pairs == 2
    assert own.within_sd == pytest.approx(np.sqrt((0 + 1) / 2 / 2))
    together = next(r for r in analysis.intra if (r.reader, r.question) == ("", "trust"))
    assert together.pairs == 6


def test_trust_where_the_model_is_right_and_wrong(analysis: Analysis) -> None:
    split = next(s for s in analysis.trust if (s.question, s.arm) == ("trust", "gradcam"))
    values, right = planted("gradcam"), np.arange(12) % 4 != 3
    assert (split.n_right, split.n_wrong) == (27, 9)
    assert split.mean_right == pytest.approx(values[right].mean())
    assert split.difference == pytest.approx(values[right].mean() - values[~right].mean())
    assert split.low is not None
    assert split.high is not None
    assert split.low < split.difference < split.high


def test_reliance_on_the_model(study: StudyFacts, analysis: Analysis) -> None:
    split = next(s for s in analysis.trust if (s.question, s.arm) == ("diagnosis", ""))
    mine = [
        a for a in study.answers
        if a.question == "diagnosis" and a.replicate == 1 and a.ai_correct is not None
    ]  # fmt: skip
    said = {a: ("Benign", "Malignant")[int(a.value or 0)] for a in map(_hashable, mine)}
    wrong = [a for a in said if not a.ai_correct]
    right = [a for a in said if a.ai_correct]
    assert (split.n_over, split.n_under) == (len(wrong), len(right)) == (18, 54)
    assert split.over_reliance == pytest.approx(
        np.mean([said[a] == a.ai_prediction for a in wrong])
    )
    assert split.under_reliance == pytest.approx(
        np.mean([said[a] != a.ai_prediction for a in right])
    )
    assert split.mean_right is None


def test_a_prediction_that_is_no_choice_says_nothing_of_reliance(study: StudyFacts) -> None:
    """A model that names other classes than the readers could is neither followed nor left."""
    strange = tuple(
        replace(a, ai_prediction="Abnormal") if a.ai_prediction else a for a in study.answers
    )
    found = analyse(replace(study, answers=strange), draws=20)
    splits = [s for s in found.trust if s.question == "diagnosis"]
    assert {(s.over_reliance, s.under_reliance, s.n_over, s.n_under) for s in splits} == {
        (None, None, 0, 0)
    }


def _hashable(answer: StudyAnswer) -> StudyAnswer:
    return replace(answer, marks=None)


def test_a_model_that_is_always_right_leaves_nothing_to_compare(study: StudyFacts) -> None:
    right = tuple(replace(a, ai_correct=a.ai_correct or None) for a in study.answers)
    found = analyse(replace(study, answers=right), draws=20)
    split = next(s for s in found.trust if (s.question, s.arm) == ("trust", ""))
    assert (split.difference, split.mean_wrong) == (None, None)
    assert split.reason.startswith("The model was right in every reading")


def test_correlation_with_scores_of_the_maps(study: StudyFacts, analysis: Analysis) -> None:
    found = next(c for c in analysis.correlations if (c.question, c.score) == ("trust", "mass"))
    scores = [study.map_scores[case, "gradcam"]["mass"] for case in study.protocol.cases]
    expected = stats.spearmanr(planted("gradcam").mean(axis=1), scores).statistic
    assert (found.rho, found.n) == (pytest.approx(expected), 12)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= expected <= found.high


def test_bootstrap_of_ranks_equals_a_plain_one(study: StudyFacts) -> None:
    """The interval made from multiplicities, against resampled rows ranked one by one."""
    rows = table(study, by_question(study)["trust"])
    (fast,) = [c for c in correlations(rows, study, "trust", 9, 400) if c.score == "mass"]
    x = planted("gradcam").mean(axis=1)
    y = np.array([study.map_scores[case, "gradcam"]["mass"] for case in study.protocol.cases])
    rng = np.random.default_rng(9)
    draws = []
    for size in (250, 150):
        for times in rng.multinomial(12, np.full(12, 1 / 12), size=size):
            chosen = np.repeat(np.arange(12), times)
            draws.append(spearman(x[chosen], y[chosen]))
    low, high = np.quantile([d for d in draws if d is not None], [0.025, 0.975])
    assert (fast.low, fast.high) == pytest.approx((low, high))


def test_correlation_needs_maps_that_differ(study: StudyFacts) -> None:
    rows = table(study, by_question(study)["trust"])
    same = replace(study, map_scores={key: {"mass": 0.5} for key in study.map_scores})
    (flat,) = correlations(rows, same, "trust", 0, 20)
    assert (flat.rho, flat.n) == (None, 12)
    assert flat.reason.startswith("The ratings, or the scores, are the same")
    few = replace(study, map_scores=dict(list(study.map_scores.items())[:3]))
    assert {c.reason for c in correlations(rows, few, "trust", 0, 20)} == {
        "Fewer than four maps have both a rating and this score."
    }


def test_forms(analysis: Analysis) -> None:
    (form,) = analysis.forms
    # R01 and R03 said 3, 4, 3, 4, ...: 5 (2 + 1) 2.5; R02 said 4, 3, 4, 3, ...: 5 (3 + 2) 2.5.
    assert form.scores == {"R01": 37.5, "R02": 62.5, "R03": 37.5}
    assert form.mean == pytest.approx(137.5 / 3)


def test_an_unfinished_form_has_no_score(study: StudyFacts) -> None:
    lost = tuple(a for a in study.answers if not (a.question == SUS[3].id and a.reader != "R02"))
    (form,) = analyse(replace(study, answers=lost), draws=20).forms
    assert form.scores == {"R02": 62.5}
    assert (form.low, form.reason[:15]) == (None, "Only one reader")


def test_timing_counts_each_reading_once(analysis: Analysis, study: StudyFacts) -> None:
    seconds = {arm.arm: arm for arm in analysis.timing.arms}
    assert {arm: t.readings for arm, t in seconds.items()} == {
        "image": 36, "gradcam": 42, "noise": 36,
    }  # fmt: skip
    expected = [20 + position for position in range(1, 37, 3)] * 3
    assert seconds["image"].median_s == pytest.approx(np.median(expected))
    first = analysis.timing.learning[0]
    assert (first.first, first.last, first.readings, first.median_s) == (1, 5, 15, 23.0)
    never = tuple(replace(a, timing=replace(a.timing, active_ms=0)) for a in study.answers)
    assert timing(replace(study, answers=never)).reason == "No reading has a measured time."


def test_sensitivity_equals_the_statistic_of_the_part(analysis: Analysis) -> None:
    found = {(s.kind, s.left_out): s for s in analysis.sensitivity if s.question == "trust"}
    everything = np.concatenate([planted(arm) for arm in ("image", "gradcam", "noise")])
    expected = ag.fleiss_kappa(everything, (1, 2, 3, 4, 5), "quadratic").value
    assert found["all", ""].value == pytest.approx(expected)
    headline = result(analysis, "trust").statistics[1]
    assert (headline.weights, headline.value) == ("quadratic", pytest.approx(expected))
    two = ag.cohen_kappa(everything[:, [0, 2]], (1, 2, 3, 4, 5), "quadratic").value
    assert found["without_reader", "R02"].value == pytest.approx(two)
    real = np.concatenate([planted("image"), planted("gradcam")])
    assert found["without_decoys", ""].value == pytest.approx(
        ag.fleiss_kappa(real, (1, 2, 3, 4, 5), "quadratic").value
    )
    assert found["ai_wrong", ""].cases == 6


def test_limited_to_an_arm_or_a_group(study: StudyFacts, analysis: Analysis) -> None:
    one = analyse(study, seed=3, draws=DRAWS, arm="gradcam")
    assert (one.arm, one.comparisons, one.friedman) == ("gradcam", (), ())
    whole = result(analysis, "trust", "gradcam")
    assert result(one, "trust", "gradcam") == whole
    small = analyse(study, seed=3, draws=DRAWS, group="small")
    assert small.cases == 6
    assert {q.group for q in small.questions} == {"", "small"}
    with pytest.raises(InvalidProtocol, match="no condition of this name"):
        analyse(study, arm="nothing")
    with pytest.raises(InvalidProtocol, match="no case group"):
        analyse(study, group="nothing")


def test_same_seed_same_numbers(study: StudyFacts, analysis: Analysis) -> None:
    assert analyse(study, seed=3, draws=DRAWS) == analysis


def test_json_is_plain_and_complete(analysis: Analysis) -> None:
    content = analysis_to_json(analysis)
    again = json.loads(json.dumps(content, allow_nan=False))
    assert again == content
    assert set(content) == set(Analysis.__dataclass_fields__)
    assert set(content["questions"][0]["counts"]) == {"1", "2", "3", "4", "5"}
    assert content["accuracy"]["arms"][0]["readers"][0]["reader"] == "R01"


def test_cannot_judge_is_missing_and_no_score() -> None:
    study = simple([[1, 2, None], [None, None, 3], [4, 4, 5], [2, 2, 2]])
    found = analyse(study, draws=20)
    only = result(found, "trust", "gradcam")
    assert (only.cannot_judge, only.missing, only.ratings, only.cases) == (3, 3, 9, 4)
    assert only.mean == pytest.approx(25 / 9)
    flags = {flag.case: flag for flag in found.flags}
    assert set(flags) == {"C002"}
    assert flags["C002"].reason == "Most readers could not, or did not, answer."
    assert (flags["C002"].missing, flags["C002"].readers) == (2, 3)


def test_not_applicable_is_neither_asked_nor_missing() -> None:
    study = simple([[1, 2], [3, 3]])
    answers = tuple(
        replace(a, status=ReadStatus.NOT_APPLICABLE, value=None) if a.case == "C002" else a
        for a in study.answers
    )
    only = result(analyse(replace(study, answers=answers), draws=20), "trust", "gradcam")
    assert (only.cases, only.missing, only.ratings) == (1, 0, 2)
    assert flagged(replace(study, answers=answers)) == ()


def test_flags_of_scales_and_choices() -> None:
    far = flagged(simple([[1, 3, 2], [1, 2, 2], [5, 1, 5]]))
    assert [(f.case, f.range) for f in far] == [("C001", 2.0), ("C003", 4.0)]
    assert far[0].reason == "Answers lie 2 points apart."
    choice = StudyQuestion(
        "kind", "Which?", QuestionKind.CHOICE, choices=("a", "b", "c"), ordered=False
    )
    split = flagged(simple([[0, 1, 2], [0, 0, 2], [1, 1, 1]], choice))
    assert [(f.case, f.range, f.reason) for f in split] == [
        ("C001", None, "No answer has a majority.")
    ]


def test_identical_ratings_say_why() -> None:
    only = result(analyse(simple([[3, 3, 3]] * 5), draws=20), "trust", "gradcam")
    by_name = {(s.statistic, s.weights): s for s in only.statistics}
    assert by_name["percent_agreement", "identity"].value == 1
    assert by_name["fleiss_kappa", "quadratic"].value is None
    assert by_name["fleiss_kappa", "quadratic"].reason.startswith("No variation")
    assert (only.mean, only.mean_low) == (3.0, None)
    assert only.pairs[0].kappa_quadratic is None


@pytest.mark.parametrize("values", [[[3.0, 4.0]], [[3.0], [4.0]], [[None, None]], []])
def test_hardly_any_rating_still_gives_an_analysis(values: list[list[float | None]]) -> None:
    found = analyse(simple(values), draws=20)
    assert all(s.value is None or np.isfinite(s.value) for q in found.questions
               for s in q.statistics)  # fmt: skip
    assert json.dumps(analysis_to_json(found), allow_nan=False)
    assert all(s.value is not None or s.reason for q in found.questions for s in q.statistics)


def test_readers_without_a_common_case() -> None:
    found = analyse(simple([[1, None], [None, 2], [3, None], [None, 4]]), draws=20)
    (pair,) = result(found, "trust").pairs
    assert (pair.cases, pair.kappa_quadratic, pair.mean_difference) == (0, None, None)
    assert pair.reason


def test_numbers_have_icc_and_no_kappa() -> None:
    size = StudyQuestion("size", "How large?", QuestionKind.NUMBER, low=0, high=90, unit="mm")
    values = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    only = result(
        analyse(simple([list(map(float, row)) for row in values], size), draws=20), "size"
    )
    (icc,) = only.statistics
    # Shrout and Fleiss 1979.
    assert (icc.value, icc.low, icc.high) == pytest.approx((0.289764, 0.018787, 0.761084), abs=5e-5)
    assert only.pairs[0].kappa_quadratic is None
    assert only.pairs[0].mean_difference == pytest.approx(
        np.mean([row[0] - row[1] for row in values])
    )


def test_choices_without_order_have_no_mean() -> None:
    choice = StudyQuestion(
        "kind", "Which?", QuestionKind.CHOICE, choices=("a", "b", "c"), ordered=False
    )
    study = simple([[0, 0, 1], [1, 1, 1], [2, 2, 0], [0, 0, 0], [1, 1, 2]], choice)
    only = question_result(table(study, study.answers), choice, "gradcam", "", 0, 20)
    assert (only.mean, only.readers_mean) == (None, {})
    assert [(s.statistic, s.weights, s.level) for s in only.statistics] == [
        ("percent_agreement", "identity", None),
        ("fleiss_kappa", "identity", None),
        ("gwet_ac", "identity", None),
        ("krippendorff_alpha", None, "nominal"),
    ]
    assert only.pairs[0].mean_difference is None


def test_notes_say_what_is_not_final(study: StudyFacts) -> None:
    withdrawn = (replace(study.readers[0], withdrawn=True), *study.readers[1:])
    early = replace(study, state=StudyState.OPEN, unblinded=False, readers=withdrawn)
    notes = " ".join(analyse(early, draws=20).notes)
    for told in (
        "not locked",
        "until the study is unblinded",
        "withdrew",
        "R01",
        "not correctness",
    ):
        assert told in notes


def test_order_of_answers_cases_and_readers_does_not_matter(
    study: StudyFacts, analysis: Analysis
) -> None:
    rng = np.random.default_rng(2)
    design = replace(
        study.protocol,
        cases=tuple(str(case) for case in rng.permutation(study.protocol.cases)),
    )
    again = analyse(
        replace(
            study,
            protocol=design,
            readers=tuple(reversed(study.readers)),
            answers=tuple(study.answers[i] for i in rng.permutation(len(study.answers))),
        ),
        seed=3,
        draws=20,
    )
    for old in analysis.questions:
        new = result(again, old.question, old.arm, old.group)
        assert [s.value for s in new.statistics] == pytest.approx([s.value for s in old.statistics])
        assert (new.counts, new.missing) == (old.counts, old.missing)
        assert (new.mean, new.mean_low) == pytest.approx((old.mean, old.mean_low))
    assert [c.p for c in again.comparisons] == pytest.approx([c.p for c in analysis.comparisons])
    assert [f.statistic for f in again.friedman] == pytest.approx(
        [f.statistic for f in analysis.friedman]
    )
    assert again.accuracy is not None
    assert analysis.accuracy is not None
    assert [t.f for t in again.accuracy.tests] == pytest.approx(
        [t.f for t in analysis.accuracy.tests]
    )
    assert [(f.case, f.arm) for f in sorted(again.flags, key=str)] == [
        (f.case, f.arm) for f in sorted(analysis.flags, key=str)
    ]
