"""A million ratings: the kappa family with every interval bootstrapped, in time linear in N."""

from __future__ import annotations

import time

import numpy as np

from engine.metrics.agreement import statistics
from tests.bench.common import Row

RATERS = 5
RATINGS = (10_000, 100_000, 1_000_000)
KAPPAS = (
    "percent_agreement",
    "fleiss_kappa",
    "conger_kappa",
    "light_kappa",
    "gwet_ac",
    "brennan_prediger",
    "krippendorff_alpha",
    "krippendorff_alpha_gwet",
)
SLOWEST = 60.0
LINEAR = 1.0


def measure() -> list[Row]:
    """Seconds for growing numbers of ratings; growth of the time against growth of the ratings."""
    rows, before = [], 0.0
    for number in RATINGS:
        seconds = _seconds(number // RATERS)
        what = f"{number:,} ratings of {RATERS} readers, kappa family, 2000 resamples"
        rows.append(Row(what, f"{seconds:.1f} s", "", seconds, SLOWEST, " s"))
        if before:
            growth = seconds / before / 10
            rows.append(
                Row("… growth of time over growth of ratings", "", "linear", growth, LINEAR)
            )
        before = seconds
    return rows


def _seconds(cases: int) -> float:
    """Processor time of one analysis of five scores with one rating in twenty missing."""
    rng = np.random.default_rng(cases)
    severity = rng.normal(size=(cases, 1))
    scores = np.digitize(severity + rng.normal(0, 0.6, (cases, RATERS)), (-1.0, -0.3, 0.3, 1.0))
    ratings = np.where(rng.random(scores.shape) < 0.05, np.nan, scores + 1.0)
    started = time.process_time()
    found = statistics(ratings, (1, 2, 3, 4, 5), bootstrap=True, only=KAPPAS)
    spent = time.process_time() - started
    if any(one.low is None for one in found):
        raise RuntimeError("an interval is missing")
    return spent
