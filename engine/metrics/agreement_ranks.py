"""Kendall's coefficient of concordance: how far raters put the cases in the same order.

Source: Kendall and Babington Smith, "The problem of m rankings", Ann Math Stat 1939; with the
correction for ties of Kendall, "Rank Correlation Methods", 1948.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.metrics.agreement_estimate import TINY


def kendall_w(
    codes: NDArray[np.int64], times: NDArray[np.float64], categories: int
) -> NDArray[np.float64]:
    """W of complete rankings, 0 to 1, corrected for ties.

    Args:
        codes: Score of each rater for each pattern of cases, (P, m), 0 to categories - 1.
        times: How many cases look so, (B, P).
        categories: Number of scores (q).

    Returns:
        W, (B,); NaN where every rater ties all cases.
    """
    m = codes.shape[1]
    n = times.sum(axis=1)
    total = np.zeros_like(times)
    ties = np.zeros(len(times))
    for column in codes.T:
        number = times @ np.eye(categories)[column]
        middle = np.cumsum(number, axis=1) - (number - 1) / 2
        total += middle[:, column]
        ties += (number**3 - number).sum(axis=1)
    spread = (times * (total - (m * (n + 1) / 2)[:, None]) ** 2).sum(axis=1)
    most = m**2 * (n**3 - n) - m * ties
    return np.where(most > TINY * n**3, 12 * spread / np.where(most > 0, most, 1), np.nan)
