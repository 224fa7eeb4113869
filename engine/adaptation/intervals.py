"""Accuracy before and after on the same cases, with intervals by bootstrap over patients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000


def paired_shares(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    patients: NDArray[np.integer],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Share of right answers before and after, and their difference, each with its interval.

    The 95 % intervals are percentiles of a bootstrap over patients (Efron and Tibshirani 1993), in
    which both answers of a case are drawn together.

    Args:
        before, after: (N,) bool, answers that are right; at least one. patients: (N,) int.
        draws: Resamples. seed: Of the draws.

    Returns:
        `before`, `after`, `difference`, each with `value`, `low`, `high`; and `cases`.
    """
    _, group = np.unique(patients, return_inverse=True)
    count = int(group.max()) + 1
    sums = np.stack(
        [np.bincount(group, weights, count) for weights in (before, after, np.ones(len(group)))], 1
    )
    chosen = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    drawn = chosen @ sums
    first, second = drawn[:, 0] / drawn[:, 2], drawn[:, 1] / drawn[:, 2]
    values = (
        ("before", float(before.mean()), first),
        ("after", float(after.mean()), second),
        ("difference", float(after.mean() - before.mean()), second - first),
    )
    found: dict[str, Any] = {"cases": len(before)}
    for name, value, samples in values:
        low, high = (float(each) for each in np.percentile(samples, (2.5, 97.5)))
        found[name] = {"value": value, "low": low, "high": high}
    return found
