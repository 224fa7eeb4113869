"""The analysis of several readers and cases as plain loops, one estimate at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Measure = Callable[[Sequence[float], Sequence[bool]], float]


def area(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Share of pairs of a positive and a negative case in the right order; ties count half."""
    wins, pairs = 0.0, 0
    for score, is_positive in zip(scores, positive, strict=True):
        for other, is_other in zip(scores, positive, strict=True):
            if is_positive and not is_other:
                pairs += 1
                wins += 1.0 if score > other else 0.5 if score == other else 0.0
    return wins / pairs


def without(values: Sequence[float], k: int) -> list[float]:
    """All but the k-th."""
    return [value for i, value in enumerate(values) if i != k]


def analysis(
    ratings: Sequence[Sequence[Sequence[float]]], positive: Sequence[bool]
) -> dict[str, float]:
    """Mean squares, covariances, F and Hillis' degrees of freedom of the area under the curve.

    Args:
        ratings: By arm, reader and case.
    """
    t, r, K = len(ratings), len(ratings[0]), len(positive)
    theta = {(i, j): area(ratings[i][j], positive) for i in range(t) for j in range(r)}
    left = {
        (i, j): [area(without(ratings[i][j], k), without(positive, k)) for k in range(K)]
        for i in range(t)
        for j in range(r)
    }

    def covariance(a: tuple[int, int], b: tuple[int, int]) -> float:
        mean_a, mean_b = sum(left[a]) / K, sum(left[b]) / K
        products = [(x - mean_a) * (y - mean_b) for x, y in zip(left[a], left[b], strict=True)]
        return (K - 1) / K * sum(products)

    sums: dict[tuple[bool, bool], list[float]] = {}
    for a in theta:
        for b in theta:
            sums.setdefault((a[0] == b[0], a[1] == b[1]), []).append(covariance(a, b))
    mean = {key: sum(values) / len(values) for key, values in sums.items()}
    grand = sum(theta.values()) / (t * r)
    arms = [sum(theta[i, j] for j in range(r)) / r for i in range(t)]
    readers = [sum(theta[i, j] for i in range(t)) / t for j in range(r)]
    ms_t = r * sum((arm - grand) ** 2 for arm in arms) / (t - 1)
    ms_tr = sum(
        (theta[i, j] - arms[i] - readers[j] + grand) ** 2 for i in range(t) for j in range(r)
    ) / ((t - 1) * (r - 1))
    error = ms_tr + max(r * (mean[True, False] - mean[False, False]), 0.0)
    return {
        "ms_t": ms_t,
        "ms_tr": ms_tr,
        "variance": mean[True, True],
        "cov1": mean[False, True],
        "cov2": mean[True, False],
        "cov3": mean[False, False],
        "f": ms_t / error,
        "df2": error**2 / (ms_tr**2 / ((t - 1) * (r - 1))),
    }
