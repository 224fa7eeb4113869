"""Records of diagnostic accuracy: readers, arms, tests; None where undefined."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReaderAccuracy:
    """Diagnostic accuracy of one reader in one arm; None where undefined."""

    reader: str
    positives: int
    negatives: int
    sensitivity: float | None
    specificity: float | None
    auc: float | None


@dataclass(frozen=True)
class ArmAccuracy:
    """Diagnostic accuracy of one arm, averaged over readers.

    Args:
        arm: Id. sensitivity, specificity: Of the diagnosis. auc: Area under the empirical curve
            of diagnosis and confidence. *_low, *_high: Intervals for readers and cases as
            samples (Obuchowski-Rockette with Hillis' degrees of freedom).
        readers: Each reader.
    """

    arm: str
    sensitivity: float | None
    sensitivity_low: float | None
    sensitivity_high: float | None
    specificity: float | None
    specificity_low: float | None
    specificity_high: float | None
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    readers: tuple[ReaderAccuracy, ...] = ()


@dataclass(frozen=True)
class AccuracyComparison:
    """Two arms compared in one measure; b minus a.

    Args:
        measure: "auc", "sensitivity" or "specificity". arm_a, arm_b: Ids.
        difference: Mean over readers, b minus a. low, high: Interval.
        df: Hillis' degrees of freedom; None for a normal interval. p: Two-sided.
        p_holm: Corrected for all pairs of arms. reason: Why there is none.
    """

    measure: str
    arm_a: str
    arm_b: str
    difference: float | None
    low: float | None
    high: float | None
    df: float | None
    p: float | None
    p_holm: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class AccuracyTest:
    """Whether any arm differs in one measure: the F test of Obuchowski, Rockette and Hillis.

    Args:
        measure: "auc", "sensitivity" or "specificity". f: Statistic; df1, df2: its degrees of
            freedom, df2 by Hillis (None: infinite). p: Its p-value.
        ms_t, ms_tr: Mean squares of arm, and of arm by reader.
        variance, cov1, cov2, cov3: Of the estimates, by jackknife over cases.
        reason: Why there is no test.
    """

    measure: str
    f: float | None
    df1: int | None
    df2: float | None
    p: float | None
    ms_t: float | None = None
    ms_tr: float | None = None
    variance: float | None = None
    cov1: float | None = None
    cov2: float | None = None
    cov3: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class MrmcResult:
    """Diagnostic accuracy with and without the model: several readers, several cases.

    Args:
        positive: Diagnosis that counts as positive. arms: Each arm.
        tests: The F test of each measure. comparisons: Every pair of arms in each measure.
        cases: Cases read by all readers in all arms, which the tests use.
        positives, negatives: Of these. readers: Readers compared.
        reason: Why there is no comparison. notes: What to know.
    """

    positive: str
    arms: tuple[ArmAccuracy, ...]
    tests: tuple[AccuracyTest, ...]
    comparisons: tuple[AccuracyComparison, ...]
    cases: int
    positives: int
    negatives: int
    readers: int
    reason: str = ""
    notes: tuple[str, ...] = ()
