"""Several readers, several cases: the analysis of Obuchowski and Rockette with Hillis' freedom.

Letters as in the sources: t tests (arms), r readers; theta_ij the accuracy of reader j in arm i,
with theta_ij = mu + tau_i + R_j + (tau R)_ij + e_ij and error covariances Cov1 (same reader,
other arm), Cov2 (other reader, same arm), Cov3 (both other).

Source: Obuchowski and Rockette, Commun Stat Simul Comput 1995; Hillis, "A comparison of
denominator degrees of freedom methods", Stat Med 2007.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import rankdata

from engine.study.intervals import CONFIDENCE, TINY

ONE_ARM = "There is only one condition, so there is nothing to compare."
NO_SPREAD = "Readers and cases leave no spread, so conditions cannot be compared."


@dataclass(frozen=True)
class Contrast:
    """Difference of two arms, `second` minus `first`; df None for a normal interval."""

    first: int
    second: int
    difference: float
    low: float | None
    high: float | None
    df: float | None
    p: float | None


@dataclass(frozen=True)
class Components:
    """Mean squares of theta, and its error variance and covariances."""

    ms_t: float
    ms_tr: float
    variance: float
    cov1: float
    cov2: float
    cov3: float


@dataclass(frozen=True)
class ArmMean:
    """Mean over readers of one arm, with its interval."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Crossed:
    """The analysis of one measure; `reason` says why there is no test."""

    components: Components
    f: float | None
    df1: int
    df2: float | None
    p: float | None
    contrasts: tuple[Contrast, ...]
    means: tuple[ArmMean, ...]
    reason: str = ""


def jackknife(replicates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance of estimates from their values with one case left out at a time.

    Args:
        replicates: (K cases, n estimates).

    Returns:
        (n, n).
    """
    K = len(replicates)
    deviations = replicates - replicates.mean(axis=0)
    return (K - 1) / K * deviations.T @ deviations


def auc_jackknife(
    scores: NDArray[np.float64], positive: NDArray[np.bool_]
) -> tuple[float, NDArray[np.float64]]:
    """Empirical area under the curve, and without each case in turn.

    Args:
        scores: (K,). positive: (K,), at least two True and two False.

    Returns:
        The area, and (K,) areas.
    """
    plus, minus = scores[positive], scores[~positive]
    n1, n0 = plus.size, minus.size
    ranks = rankdata(np.concatenate([plus, minus]))
    # Negatives below each positive, and positives above each negative; ties count half.
    below = ranks[:n1] - rankdata(plus)
    above = n1 - (ranks[n1:] - rankdata(minus))
    total = float(below.sum())
    left_out = np.empty(scores.size)
    left_out[positive] = (total - below) / ((n1 - 1) * n0)
    left_out[~positive] = (total - above) / (n1 * (n0 - 1))
    return total / (n1 * n0), left_out


def share_jackknife(hits: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64]]:
    """A share of cases (sensitivity among positives), and without each case in turn."""
    total, K = float(hits.sum()), hits.size
    return total / K, (total - hits) / (K - 1)


def obuchowski_rockette(theta: NDArray[np.float64], covariance: NDArray[np.float64]) -> Crossed:
    """Test arms against each other; readers and cases are both samples.

    Args:
        theta: Accuracy of each arm and reader, (t, r).
        covariance: Of theta's entries, (t, r, t, r).

    Returns:
        F test of all arms, every pair, and each arm's mean with its own interval. With one
        reader, only cases are a sample: normal intervals.
    """
    t, r = theta.shape
    components = _components(theta, covariance)
    excess = r * max(components.cov2 - components.cov3, 0.0)
    error = components.ms_tr + excess
    if r == 1:
        error = max(components.variance - components.cov1, 0.0)
    means = tuple(_arm_mean(theta[i], covariance[i, :, i, :]) for i in range(t))
    if t < 2 or error <= TINY:
        reason = NO_SPREAD if t > 1 else ONE_ARM
        contrasts = tuple(
            Contrast(i, j, float(theta[j].mean() - theta[i].mean()), None, None, None, None)
            for i, j in combinations(range(t), 2)
        )
        return Crossed(components, None, t - 1, None, None, contrasts, means, reason)
    freedom = _freedom(error, components.ms_tr, (t - 1) * (r - 1))
    f = components.ms_t / error
    p = float(
        stats.chi2.sf(f * (t - 1), t - 1) if freedom is None else stats.f.sf(f, t - 1, freedom)
    )
    contrasts = tuple(_contrast(theta, i, j, error, freedom) for i, j in combinations(range(t), 2))
    return Crossed(components, float(f), t - 1, freedom, p, contrasts, means)


def _components(theta: NDArray[np.float64], covariance: NDArray[np.float64]) -> Components:
    t, r = theta.shape
    arms, readers = theta.mean(axis=1), theta.mean(axis=0)
    rest = theta - arms[:, None] - readers + theta.mean()
    same_arm, same_reader = np.eye(t, dtype=bool), np.eye(r, dtype=bool)

    # A mean over the entries of the covariance for which both statements hold.
    def mean(arm: NDArray[np.bool_], reader: NDArray[np.bool_]) -> float:
        chosen = covariance[arm[:, None, :, None] & reader[None, :, None, :]]
        return float(chosen.mean()) if chosen.size else 0.0

    return Components(
        ms_t=float(r * ((arms - theta.mean()) ** 2).sum() / max(t - 1, 1)),
        ms_tr=float((rest**2).sum() / max((t - 1) * (r - 1), 1)),
        variance=mean(same_arm, same_reader),
        cov1=mean(~same_arm, same_reader),
        cov2=mean(same_arm, ~same_reader),
        cov3=mean(~same_arm, ~same_reader),
    )


def _freedom(error: float, mean_square: float, divisor: int) -> float | None:
    """Hillis' degrees of freedom; None where they are infinite."""
    if divisor == 0 or mean_square <= TINY:
        return None
    return float(error**2 / (mean_square**2 / divisor))


def _contrast(
    theta: NDArray[np.float64], i: int, j: int, error: float, freedom: float | None
) -> Contrast:
    difference = float(theta[j].mean() - theta[i].mean())
    low, high, p = _around(difference, float(np.sqrt(2 / theta.shape[1] * error)), freedom)
    return Contrast(i, j, difference, low, high, freedom, p)


def _arm_mean(theta: NDArray[np.float64], covariance: NDArray[np.float64]) -> ArmMean:
    """Mean of one arm from its own data; (r,) and (r, r)."""
    r, value = theta.size, float(theta.mean())
    if r == 1:
        low, high, _ = _around(value, float(np.sqrt(max(covariance[0, 0], 0.0))), None)
    else:
        spread = float(theta.var(ddof=1))
        cov2 = float(covariance[~np.eye(r, dtype=bool)].mean())
        error = spread + max(r * cov2, 0.0)
        low, high, _ = _around(value, float(np.sqrt(error / r)), _freedom(error, spread, r - 1))
    if low is None or high is None:
        return ArmMean(value, None, None)
    return ArmMean(value, max(low, 0.0), min(high, 1.0))


def _around(
    centre: float, se: float, freedom: float | None
) -> tuple[float | None, float | None, float | None]:
    """Interval and two-sided p-value (against 0); nothing without a spread."""
    if se <= TINY:
        return None, None, None
    law = stats.norm() if freedom is None else stats.t(freedom)
    margin = float(law.ppf((1 + CONFIDENCE) / 2)) * se
    return centre - margin, centre + margin, float(2 * law.sf(abs(centre / se)))
