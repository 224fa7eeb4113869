"""Regressions of the ratings on the arms: cumulative link, and linear with random effects."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from engine.study.intervals import CONFIDENCE
from engine.study.records import Protocol, StudyQuestion
from engine.study.results import ModelResult, ModelTerm
from engine.study.table import Table

CUMULATIVE = "cumulative link with reader effects"
CROSSED = "linear mixed, crossed random effects"
NESTED = "linear mixed, random cases and reader effects"
CROSSED_MOST = 1000
MOST = 50_000
SCORES_MOST = 12
ONE_ARM = "Ratings of one condition only, so there is nothing to compare."
CONSTANT = "Every rating is the same, so no model can be fitted."
FEW = "Too few ratings for a model: it needs more than conditions, readers and scores together."
MANY = "Too many ratings to fit this model here."
UNSETTLED = "The fit did not settle; ratings may separate conditions or readers completely."
STEEP = 25.0
# Powell first: steps along a gradient can meet a singular covariance at a variance of 0.
STEPS = ["powell", "lbfgs"]


@dataclass(frozen=True, eq=False)
class Long:
    """One row per rating: values, and numbers of arm, case and reader, (n,) each."""

    values: NDArray[np.float64]
    arm: NDArray[np.int64]
    case: NDArray[np.int64]
    reader: NDArray[np.int64]
    arms: tuple[str, ...]


def models(rows: Table, protocol: Protocol, asked: StudyQuestion) -> tuple[ModelResult, ...]:
    """A cumulative link and a linear mixed model of one question on an ordered scale.

    A number without declared scores has the linear model only.

    The cumulative link model has logits, thresholds of its own, readers as fixed effects, and
    standard errors clustered by case. The linear one has cases and readers as crossed random
    effects (REML); with more than a thousand ratings, random cases and fixed readers.

    Source:
        McCullagh 1980; Baayen, Davidson and Bates 2008, for crossed effects.
    """
    data, question = _long(rows, protocol), asked.id
    kinds = (CUMULATIVE,) if 1 < len(asked.scale) <= SCORES_MOST else ()
    linear = CROSSED if data.values.size <= CROSSED_MOST else NESTED
    reason = _refusal(data, is_scale=bool(kinds))
    if reason:
        return tuple(
            ModelResult(question, kind, (), False, reason, "", data.values.size)
            for kind in (*kinds, linear)
        )
    first = tuple(_cumulative(data, question) for _ in kinds)
    return (*first, _mixed(data, question, linear))


def _long(rows: Table, protocol: Protocol) -> Long:
    present = {arm for _, arm in rows.items}
    arms = tuple(arm.id for arm in protocol.arms if arm.id in present)
    arm_at = {arm: i for i, arm in enumerate(arms)}
    cases: dict[str, int] = {}
    case = np.array([cases.setdefault(c, len(cases)) for c in rows.cases], dtype=np.int64)
    arm = np.array([arm_at.get(a, -1) for _, a in rows.items], dtype=np.int64)
    row, column = np.nonzero(rows.given & (arm >= 0)[:, None])
    return Long(rows.values[row, column], arm[row], case[row], column, arms)


def _refusal(data: Long, *, is_scale: bool) -> str:
    if len(np.unique(data.arm)) < 2:
        return ONE_ARM
    if len(np.unique(data.values)) < 2:
        return CONSTANT
    scores = data.values if is_scale else data.arm
    taken = sum(len(np.unique(v)) for v in (data.arm, data.reader, scores))
    if data.values.size <= taken:
        return FEW
    return MANY if data.values.size > MOST else ""


def _cumulative(data: Long, question: str) -> ModelResult:
    n = data.values.size
    scores = np.unique(data.values, return_inverse=True)[1]
    design = np.column_stack([_dummies(data.arm), _dummies(data.reader)])
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            fit = _ordered()(scores, design, distr="logit").fit(
                method="bfgs",
                disp=False,
                maxiter=300,
                cov_type="cluster",
                cov_kwds={"groups": data.case},
            )
            estimates, errors = np.asarray(fit.params), np.asarray(fit.bse)
            is_settled = bool(fit.mle_retvals["converged"])
    except (np.linalg.LinAlgError, ValueError):
        return ModelResult(question, CUMULATIVE, (), False, UNSETTLED, data.arms[0], n)
    k = len(data.arms) - 1
    if not is_settled or not _is_sane(estimates, errors[:k]):
        return ModelResult(question, CUMULATIVE, (), False, UNSETTLED, data.arms[0], n)
    terms = _arm_terms(data, estimates[:k], errors[:k])
    return ModelResult(question, CUMULATIVE, terms, True, "", data.arms[0], n)


@cache
def _ordered() -> Any:
    """The cumulative link model of statsmodels; logits without the checks of scipy.stats."""
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    class Logits(OrderedModel):
        """The same with a quick distribution function."""

        def cdf(self, x: Any) -> Any:
            """The logistic distribution function."""
            return expit(x)

    return Logits


def _mixed(data: Long, question: str, kind: str) -> ModelResult:
    n = data.values.size
    refused = ModelResult(question, kind, (), False, UNSETTLED, data.arms[0], n)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            fit = _crossed(data) if kind == CROSSED else _nested(data)
            k = len(data.arms)
            estimates = np.asarray(fit.fe_params)[:k]
            errors = np.asarray(fit.bse_fe)[:k]
            spread = fit.vcomp if kind == CROSSED else np.diag(np.asarray(fit.cov_re))
            is_settled, residual = bool(fit.converged), float(fit.scale)
    except (np.linalg.LinAlgError, ValueError):
        return refused
    if not is_settled or not np.isfinite([*estimates, *errors, residual]).all():
        return refused
    intercept = _term("mean of the first condition", float(estimates[0]), float(errors[0]))
    names = ("variance of cases", "variance of readers") if kind == CROSSED else (
        "variance of cases",
    )  # fmt: skip
    variances = tuple(
        ModelTerm(name, max(float(value), 0.0), None, None, None, None)
        for name, value in zip(names, spread, strict=True)
    )
    rest = ModelTerm("variance left", residual, None, None, None, None)
    terms = (intercept, *_arm_terms(data, estimates[1:], errors[1:]), *variances, rest)
    return ModelResult(question, kind, terms, True, "", data.arms[0], n)


def _crossed(data: Long) -> Any:
    """Cases and readers as variance components of one single group."""
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

    case, reader = _indicators(data.case), _indicators(data.reader)
    names = [[str(i) for i in range(part.shape[1])] for part in (case, reader)]
    components = VCSpec(["case", "reader"], [[names[0]], [names[1]]], [[case], [reader]])
    one = np.ones((data.values.size, 1))
    design = np.column_stack([one, _dummies(data.arm)])
    group = np.zeros(data.values.size, dtype=np.int64)
    return MixedLM(data.values, design, groups=group, exog_vc=components).fit(
        reml=True, method=STEPS
    )


def _nested(data: Long) -> Any:
    """A random intercept for each case; readers as fixed effects around their mean."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    one = np.ones((data.values.size, 1))
    readers = _indicators(data.reader)
    around = readers[:, 1:] - readers[:, :1]
    design = np.column_stack([one, _dummies(data.arm), around])
    return MixedLM(data.values, design, groups=data.case).fit(reml=True, method=STEPS)


def _indicators(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    return (numbers[:, None] == np.unique(numbers)).astype(np.float64)


def _dummies(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Indicators of all but the first."""
    return _indicators(numbers)[:, 1:]


def _is_sane(estimates: NDArray[np.float64], errors: NDArray[np.float64]) -> bool:
    """Whether no effect ran away: log odds beyond 25 mean that scores separate completely."""
    finite = np.isfinite(estimates).all() and np.isfinite(errors).all()
    return bool(finite and np.abs(estimates[: errors.size]).max() < STEEP and errors.max() < STEEP)


def _arm_terms(
    data: Long, estimates: NDArray[np.float64], errors: NDArray[np.float64]
) -> tuple[ModelTerm, ...]:
    present = [data.arms[number] for number in np.unique(data.arm)][1:]
    return tuple(
        _term(f"arm:{arm}", float(estimate), float(error))
        for arm, estimate, error in zip(present, estimates, errors, strict=True)
    )


def _term(name: str, estimate: float, se: float) -> ModelTerm:
    """An effect with its normal interval and Wald test."""
    if not se > 0:
        return ModelTerm(name, estimate, None, None, None, None)
    margin = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * se
    p = float(2 * stats.norm.sf(abs(estimate / se)))
    return ModelTerm(name, estimate, se, estimate - margin, estimate + margin, p)
