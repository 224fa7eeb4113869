"""One agreement statistic of a question, by the names that the command line and exports use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

STATISTICS: tuple[str, ...] = (
    "percent_agreement",
    "cohen_kappa",
    "kappa_max",
    "scott_pi",
    "fleiss_kappa",
    "conger_kappa",
    "light_kappa",
    "gwet_ac",
    "brennan_prediger",
    "krippendorff_alpha",
    "krippendorff_alpha_gwet",
    "icc_1_1",
    "icc_2_1",
    "icc_3_1",
    "icc_1_k",
    "icc_2_k",
    "icc_3_k",
    "kendall_w",
    "prevalence_index",
    "bias_index",
    "p_pos",
    "p_neg",
)


@dataclass(frozen=True)
class Statistic:
    """A statistic with its interval, or why there is none.

    Args:
        statistic: One of `STATISTICS`.
        weights: Agreement weights, such as "quadratic"; "own" for an own matrix; None where the
            statistic has none.
        level: Level of measurement of Krippendorff's alpha; None elsewhere.
        value: The statistic; None where it is undefined.
        se: Standard error; None where it is undefined or not used.
        low: Lower end of the 95 % interval; None where there is none.
        high: Upper end.
        reason: Why there is no value, in one sentence; empty otherwise.
        notes: What a reader of the value must know, one sentence each.
        interval: How the interval was made, with the seed where one was drawn.
        cases: Cases that the value rests on.
        raters: Raters with at least one rating.
        ratings: Ratings given.
        missing: Cells of the table of cases by raters without a rating.
        raters_named: The two columns of the table, for a statistic of one pair among several
            raters; None elsewhere.
        benchmark: Label of the Landis and Koch scale that is reached with probability 0.95; empty
            where the scale does not apply.
    """

    statistic: str
    weights: str | None
    level: str | None
    value: float | None
    se: float | None
    low: float | None
    high: float | None
    reason: str = ""
    notes: tuple[str, ...] = ()
    interval: str = ""
    cases: int = 0
    raters: int = 0
    ratings: int = 0
    missing: int = 0
    raters_named: tuple[int, int] | None = None
    benchmark: str = ""

    def as_json(self, question_id: str, readers: Sequence[str] | None = None) -> dict[str, Any]:
        """The plain form of exports and of `lightbox agreement --json`.

        Args:
            question_id: Question that the ratings answer.
            readers: Identifiers in the order of the columns; the numbers of the columns if None.

        Returns:
            question_id, statistic, weights, level, value, se, ci, reason; and raters, two
            identifiers, for one pair among several raters. What there is not is None.
        """
        known = self.low is not None and self.high is not None
        plain: dict[str, Any] = {
            "question_id": question_id,
            "statistic": self.statistic,
            "weights": self.weights,
            "level": self.level,
            "value": self.value,
            "se": self.se,
            "ci": [self.low, self.high] if known else None,
            "reason": self.reason or None,
        }
        if self.raters_named is not None:
            names = [readers[i] if readers else str(i) for i in self.raters_named]
            plain["raters"] = names
        return plain
