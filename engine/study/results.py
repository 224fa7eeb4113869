"""What an analysis of a reader study says: frozen records, plain values, None where undefined.

An interval is always of 95 %. Wherever a number can be undefined, `reason` says why in one
sentence, and is empty where the number stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.metrics.agreement_statistic import Statistic
from engine.study.results_accuracy import (
    AccuracyComparison,
    AccuracyTest,
    ArmAccuracy,
    MrmcResult,
    ReaderAccuracy,
)
from engine.study.results_arms import (
    ArmComparison,
    DecoyContrast,
    FriedmanResult,
    ModelResult,
    ModelTerm,
)

__all__ = [
    "AccuracyComparison",
    "AccuracyTest",
    "Analysis",
    "ArmAccuracy",
    "ArmComparison",
    "ArmTiming",
    "Correlation",
    "DecoyContrast",
    "Flag",
    "FormResult",
    "FriedmanResult",
    "IntraResult",
    "LearningPoint",
    "ModelResult",
    "ModelTerm",
    "MrmcResult",
    "PairResult",
    "QuestionResult",
    "ReaderAccuracy",
    "Sensitivity",
    "TimingResult",
    "TrustSplit",
]


@dataclass(frozen=True)
class PairResult:
    """Two readers compared, on the items that both judged.

    Args:
        reader_a, reader_b: Codes. cases: Items that both judged.
        kappa_quadratic: Cohen's kappa with quadratic weights. low, high: Its interval.
        mean_difference: Mean of a minus b, scale points (Bland and Altman).
        limits_low, limits_high: Limits of agreement, mean ± 1.96 standard deviations.
        points: Mean of the two ratings, their difference a minus b, and how many items have both.
        reason: Why there is no kappa.
    """

    reader_a: str
    reader_b: str
    cases: int
    kappa_quadratic: float | None
    low: float | None
    high: float | None
    mean_difference: float | None
    limits_low: float | None
    limits_high: float | None
    points: tuple[tuple[float, float, int], ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class QuestionResult:
    """Agreement on, and distribution of, the answers to one question.

    Args:
        question: Id. arm: Id of the arm; "" for all arms, each (case, arm) being an item.
        group: Case group; "" for all.
        statistics: The primary agreement statistics; empty for text and marks.
        counts: Score to number of ratings, every declared score named; for a number question the
            values given.
        cannot_judge: Answers "cannot judge". missing: Readings handed in without an answer to
            this question for any reason ("cannot judge" included).
        mean, median, sd: Of all ratings; None for a choice without an order.
        mean_low, mean_high: Interval of the mean, clustered by reader (t, readers - 1 degrees of
            freedom); it speaks of other readers of these cases.
        readers_mean: Reader to mean rating (leniency).
        pairs: Every pair of readers.
        kind: Of the question. scale: Declared scores. labels: Their words, or ().
        cases: Items with a rating. readers: Readers with a rating. ratings: Ratings.
        reason: Why there is no agreement statistic at all.
        notes: What a reader of the numbers must know.
    """

    question: str
    arm: str
    group: str
    statistics: tuple[Statistic, ...]
    counts: dict[float, int]
    cannot_judge: int
    missing: int
    mean: float | None
    median: float | None
    mean_low: float | None
    mean_high: float | None
    sd: float | None
    readers_mean: dict[str, float]
    pairs: tuple[PairResult, ...]
    kind: str = "scale"
    scale: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    cases: int = 0
    readers: int = 0
    ratings: int = 0
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class IntraResult:
    """How far one reader agrees with himself on hidden repeats.

    Args:
        reader: Code; "" for all readers together. question: Id.
        pairs: (case, arm) items judged twice.
        kappa_quadratic: Cohen's kappa of first and second reading. low, high: Its interval.
        icc: ICC(2,1) of first and second reading. within_sd: Within-reader standard deviation,
            scale points: root of half the mean squared difference.
        reasons: Why a number is missing, one sentence each.
    """

    reader: str
    question: str
    pairs: int
    kappa_quadratic: float | None
    icc: float | None
    within_sd: float | None
    reasons: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class TrustSplit:
    """Ratings where the model was right, and where it was wrong.

    Args:
        question: Id. arm: Id; "" for all arms that show a prediction.
        n_right, n_wrong: Ratings. mean_right, mean_wrong: Their means.
        difference: Mean where right minus mean where wrong. low, high: Bootstrap over cases.
        over_reliance: Share of readings with a wrong prediction in which the reader's diagnosis
            is the model's; None without a diagnosis question.
        under_reliance: Share of readings with a right prediction in which it is not the model's.
        n_over, n_under: Readings behind these shares.
        reason: Why there is no difference.
    """

    question: str
    arm: str
    n_right: int
    n_wrong: int
    mean_right: float | None
    mean_wrong: float | None
    difference: float | None
    low: float | None
    high: float | None
    over_reliance: float | None = None
    under_reliance: float | None = None
    n_over: int = 0
    n_under: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Correlation:
    """Whether maps with a better score are rated higher.

    Args:
        question: Id. score: Name of the score of the map, such as "pointing_game".
        rho: Spearman's correlation of the maps' mean ratings with their scores.
        low, high: Percentile bootstrap over cases. n: Maps. reason: Why there is none.
    """

    question: str
    score: str
    rho: float | None
    low: float | None
    high: float | None
    n: int
    reason: str = ""


@dataclass(frozen=True)
class FormResult:
    """Scores of a ready form, such as SUS.

    Args:
        form: Its id. scores: Reader to score; readers with an item missing are left out.
        mean: Over readers. low, high: Interval over readers (t). reason: Why there is none.
    """

    form: str
    scores: dict[str, float]
    mean: float | None
    low: float | None
    high: float | None
    reason: str = ""


@dataclass(frozen=True)
class ArmTiming:
    """Active time of the readings of one arm, seconds: median and quartiles."""

    arm: str
    readings: int
    median_s: float
    q1_s: float
    q3_s: float


@dataclass(frozen=True)
class LearningPoint:
    """Active time of readings at positions `first` to `last` of a session, seconds."""

    first: int
    last: int
    readings: int
    median_s: float


@dataclass(frozen=True)
class TimingResult:
    """How long readings took.

    Args:
        arms: Each arm. learning: By position in the session, in blocks of five.
        reason: Why there is nothing.
    """

    arms: tuple[ArmTiming, ...] = ()
    learning: tuple[LearningPoint, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Flag:
    """A case that should be looked at by an adjudicator.

    Args:
        case: Code. arm: Id. question: Id.
        range: Highest minus lowest rating; None with fewer than two ratings, or without an order.
        missing: Readings without an answer. reason: Why it is flagged, one sentence.
        readers: Readings handed in.
    """

    case: str
    arm: str
    question: str
    range: float | None
    missing: int
    reason: str
    readers: int = 0


@dataclass(frozen=True)
class Sensitivity:
    """The kappa of a question, quadratic weights, on a part of the data.

    Args:
        question: Id.
        kind: "all", "without_reader", "without_decoys" or "ai_wrong".
        left_out: Code of the reader left out; "" otherwise.
        value, low, high: Kappa with its interval. cases: Items used. reason: Why there is none.
    """

    question: str
    kind: str
    left_out: str
    value: float | None
    low: float | None
    high: float | None
    cases: int
    reason: str = ""


@dataclass(frozen=True)
class Analysis:
    """All that a study says; every number can be made again from the export.

    Args:
        code: Of the study. version: Of the study. seed, draws: Of every bootstrap.
        arm, group: What the analysis was limited to; "" for all.
        readers, cases, answers: Readers and cases with an answer; answers with a value.
        questions: One per question for all arms, one per question and arm, and one per question
            and case group.
        intra, comparisons, friedman, model, trust, correlations, decoys, forms, flags,
            sensitivity: As their records say. accuracy: None without a diagnosis question.
        notes: What every reader of the analysis must know.
    """

    code: str
    version: int = 1
    seed: int = 0
    draws: int = 2000
    arm: str = ""
    group: str = ""
    readers: int = 0
    cases: int = 0
    answers: int = 0
    questions: tuple[QuestionResult, ...] = ()
    intra: tuple[IntraResult, ...] = ()
    comparisons: tuple[ArmComparison, ...] = ()
    friedman: tuple[FriedmanResult, ...] = ()
    model: tuple[ModelResult, ...] = ()
    trust: tuple[TrustSplit, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    accuracy: MrmcResult | None = None
    decoys: tuple[DecoyContrast, ...] = ()
    forms: tuple[FormResult, ...] = ()
    timing: TimingResult = field(default_factory=TimingResult)
    flags: tuple[Flag, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()
    notes: tuple[str, ...] = ()
