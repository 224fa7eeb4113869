"""Records of arms compared: differences, tests, models; None where undefined."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArmComparison:
    """Two arms on the same cases, read by the same readers.

    Args:
        question: Id. arm_a, arm_b: Ids. cases: Cases that count.
        mean_difference: Mean over cases of b minus a, scale points; each case counts once.
        low, high: Interval over cases (t).
        p: Wilcoxon's signed-rank test of the case differences, two-sided.
        p_holm: Corrected for all pairs of arms of the question (Holm).
        reason: Why there is no comparison.
    """

    question: str
    arm_a: str
    arm_b: str
    cases: int
    mean_difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    reason: str = ""


@dataclass(frozen=True)
class FriedmanResult:
    """Whether any arm is rated differently: Friedman's test over cases.

    Args:
        question: Id. arms: Ids compared. cases: Cases with a rating in every arm.
        statistic: Chi-square, corrected for ties. df: Degrees of freedom. p: Its p-value.
        kendall_w: Kendall's coefficient of concordance of the cases, 0 to 1.
        reason: Why there is no test.
    """

    question: str
    arms: tuple[str, ...]
    cases: int
    statistic: float | None
    df: int | None
    p: float | None
    kendall_w: float | None
    reason: str = ""


@dataclass(frozen=True)
class ModelTerm:
    """One effect of a model; `name` is "arm:<id>" against the first arm, or a variance."""

    name: str
    estimate: float
    se: float | None
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True)
class ModelResult:
    """A regression of the ratings on the arms.

    Args:
        question: Id.
        kind: "cumulative link with reader effects" or "linear mixed, crossed random effects".
        reference: Arm that the others are compared with.
        observations: Ratings used.
        terms: Effects; log odds in a cumulative link model, scale points in a linear one.
        converged: Whether the fit ended well; terms of a fit that did not are not given.
        reason: Why there is no model.
    """

    question: str
    kind: str
    terms: tuple[ModelTerm, ...]
    converged: bool
    reason: str = ""
    reference: str = ""
    observations: int = 0


@dataclass(frozen=True)
class DecoyContrast:
    """Whether ratings tell explanations from decoys.

    Args:
        question: Id. cases: Cases with both.
        mean_decoy, mean_explanation: Means over these cases.
        difference: Explanation minus decoy, over cases. low, high: Interval over cases (t).
        reason: Why there is none.
    """

    question: str
    cases: int
    mean_decoy: float | None
    mean_explanation: float | None
    difference: float | None
    low: float | None
    high: float | None
    reason: str = ""
