"""Arms compared on the same cases: differences, Friedman's test, explanations against decoys."""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import rankdata

from engine.study.intervals import TINY, holm, student
from engine.study.records import ArmKind, Protocol
from engine.study.results import ArmComparison, DecoyContrast, FriedmanResult
from engine.study.table import Table

FEW = "Fewer than two cases were rated in both conditions by the same reader."
EQUAL = "No case was rated differently in the two conditions."
ALIKE = "Every case differs by the same amount, so there is no interval."
UNTESTED = "Fewer than two cases were rated in every condition."
CONSTANT = "Every case was rated the same in every condition."


def compare(rows: Table, protocol: Protocol, question: str) -> tuple[ArmComparison, ...]:
    """Every pair of arms; each case counts once, by the mean over readers of their difference."""
    cubes = cube(rows, protocol)
    results = []
    for a, b in combinations([arm.id for arm in protocol.arms], 2):
        if a in cubes and b in cubes:
            results.append(_compare(cubes[b] - cubes[a], question, a, b))
    corrected = holm([result.p for result in results])
    return tuple(
        ArmComparison(**{**vars(result), "p_holm": p})
        for result, p in zip(results, corrected, strict=True)
    )


def friedman(rows: Table, protocol: Protocol, question: str) -> FriedmanResult | None:
    """Friedman's test of all arms over cases (means over the readers who read every arm).

    Returns:
        None with fewer than two arms.

    Source:
        Friedman 1937, with correction for ties; Kendall's W = chi2 / (N (k - 1)).
    """
    cubes = cube(rows, protocol)
    arms = tuple(cubes)
    if len(arms) < 2:
        return None
    means = case_means(np.stack([cubes[arm] for arm in arms]))
    N, k = means.shape
    if N < 2:
        return FriedmanResult(question, arms, N, None, None, None, None, UNTESTED)
    ranks = rankdata(means.round(12), axis=1)
    ties = sum(_ties(row) for row in ranks)
    room = 1 - ties / (N * (k**3 - k))
    if room <= TINY:
        return FriedmanResult(question, arms, N, None, None, None, None, CONSTANT)
    squares = float((ranks.sum(axis=0) ** 2).sum())
    chi2 = (12 / (N * k * (k + 1)) * squares - 3 * N * (k + 1)) / room
    chi2 = max(float(chi2), 0.0)
    p = float(stats.chi2.sf(chi2, k - 1))
    return FriedmanResult(question, arms, N, chi2, k - 1, p, chi2 / (N * (k - 1)))


def decoy_contrast(rows: Table, protocol: Protocol, question: str) -> DecoyContrast | None:
    """Explanations against decoys, case by case; None where the study has not both."""
    kinds = {arm.id: arm.kind for arm in protocol.arms}
    cubes = cube(rows, protocol)
    real = [v for arm, v in cubes.items() if kinds[arm] is ArmKind.EXPLANATION]
    false = [v for arm, v in cubes.items() if kinds[arm] is ArmKind.DECOY]
    if not real or not false:
        return None
    explained, decoyed = _mean(np.stack(real), 0), _mean(np.stack(false), 0)
    both = ~np.isnan(explained) & ~np.isnan(decoyed)
    kept = both.any(axis=1)
    first = _mean(np.where(both, decoyed, np.nan)[kept], 1)
    second = _mean(np.where(both, explained, np.nan)[kept], 1)
    if not kept.any():
        return DecoyContrast(question, 0, None, None, None, None, None, FEW)
    low, high = student(second - first)
    reason = "" if kept.sum() > 1 else FEW
    return DecoyContrast(
        question,
        int(kept.sum()),
        float(first.mean()),
        float(second.mean()),
        float((second - first).mean()),
        low,
        high,
        reason,
    )


def cube(rows: Table, protocol: Protocol) -> dict[str, NDArray[np.float64]]:
    """Arm to its ratings, (cases, readers), all with the same cases in the same order."""
    cases = list(dict.fromkeys(rows.cases))
    at = {case: i for i, case in enumerate(cases)}
    present = {arm for _, arm in rows.items}
    cubes = {
        arm.id: np.full((len(cases), len(rows.readers)), np.nan)
        for arm in protocol.arms
        if arm.id in present
    }
    for (case, arm), values in zip(rows.items, rows.values, strict=True):
        if arm in cubes:
            cubes[arm][at[case]] = values
    return cubes


def case_means(stacked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the readers who rated a case in every arm; (k, N, m) to (cases kept, k)."""
    complete = np.asarray(np.isfinite(stacked).all(axis=0), dtype=bool)
    kept = complete.any(axis=1)
    return _mean(np.where(complete, stacked, np.nan)[:, kept], 2).T


def _compare(differences: NDArray[np.float64], question: str, a: str, b: str) -> ArmComparison:
    """One pair of arms, from the differences (cases, readers)."""
    kept = ~np.isnan(differences).all(axis=1)
    cases = int(kept.sum())
    if cases == 0:
        return ArmComparison(question, a, b, 0, None, None, None, None, None, FEW)
    by_case = _mean(differences[kept], 1)
    mean = float(by_case.mean())
    if cases < 2:
        return ArmComparison(question, a, b, cases, mean, None, None, None, None, FEW)
    if np.abs(by_case).max() <= TINY:
        return ArmComparison(question, a, b, cases, mean, None, None, None, None, EQUAL)
    low, high = student(by_case)
    p = _signed_rank(by_case)
    reason = ALIKE if low is None else ""
    return ArmComparison(question, a, b, cases, mean, low, high, p, None, reason)


def _signed_rank(differences: NDArray[np.float64]) -> float:
    """Wilcoxon's test; exact for up to 50 cases without ties and zeros, else normal."""
    size = np.abs(differences[np.abs(differences) > TINY]).round(12)
    is_exact = size.size == differences.size == np.unique(size).size and size.size <= 50
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = stats.wilcoxon(
            differences.round(12),
            zero_method="wilcox",
            correction=not is_exact,
            method="exact" if is_exact else "asymptotic",
        )
    return float(result.pvalue)


def _ties(ranks: NDArray[np.float64]) -> float:
    number = np.unique(ranks, return_counts=True)[1]
    return float((number**3 - number).sum())


def _mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean of what is there; NaN where nothing is."""
    number = (~np.isnan(values)).sum(axis=axis)
    total: NDArray[np.float64] = np.nansum(values, axis=axis)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
