"""A second opinion on Cohen's kappa: the same table through statsmodels, at run time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.metrics.agreement_two import TwoRaterAnalysis

CLOSE = 1e-6


def second_opinion(
    table: NDArray[np.float64], w: NDArray[np.float64], ours: TwoRaterAnalysis
) -> tuple[str, ...]:
    """Compare kappa and its standard error with those of statsmodels.

    Args:
        table: Cases by score of the first and of the second rater, (q, q).
        w: Agreement weights, (q, q), symmetric.
        ours: What this package made of the table.

    Returns:
        One sentence where the two differ by more than 1e-6; nothing where they agree, or where
        statsmodels cannot tell (no variation, or an error of zero).
    """
    if ours.kappa is None or not ours.se or not ours.null_se or w.min() >= 1:
        return ()
    from statsmodels.stats.inter_rater import cohens_kappa

    theirs = cohens_kappa(table, weights=1 - w)
    kappa, se = float(theirs.kappa), float(theirs.std_kappa)
    if max(abs(ours.kappa - kappa), abs(ours.se - se)) <= CLOSE:
        return ()
    return (
        f"A second computation by statsmodels differs: kappa {kappa:.6f}, standard error {se:.6f}.",
    )
