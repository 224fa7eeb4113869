"""From the scores of cases to one number each: means, 95 % intervals, and comparison with chance.

The case is the unit: intervals are percentile bootstraps over cases (Efron and Tibshirani 1993),
Wilson's for hits and misses, and speak for new cases of the same kind with the same model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from engine.benchmark.records import Against, Cell
from engine.metrics.catalogue import METRICS, MOOT

RESAMPLES = 2000
ENOUGH = 8
"""Cases below which nothing is said about chance, whatever the interval: it would be too narrow."""
HITS = frozenset({"pointing_game"})
"""Metrics whose values are 0 or 1."""
COMPARED = frozenset({"faithfulness", "localisation"})
"""Families whose chance level is one to beat; elsewhere it is only a mark to read the number by."""
UNMEASURED = "Not measured."

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One score of one case.

    Args:
        value: None where undefined. chance: None where there is none. note: As in `Score`.
        right: Whether the model answered the case right.
    """

    value: float | None
    chance: float | None = None
    note: str = ""
    right: bool = False


def cell(metric: str, image: str, samples: Sequence[Sample], seed: int) -> Cell:
    """The samples of one metric of one method on one kind of image.

    Args:
        metric: Registry name. image: Modality. samples: One a case. seed: Seed of the bootstrap.
    """
    known = [sample for sample in samples if sample.value is not None]
    right = [sample for sample in known if sample.right]
    values, chances = _values(known), _chances(known)
    low, high = _interval(metric, values, seed)
    return Cell(
        metric=metric,
        image=image,
        value=float(values.mean()) if len(values) else None,
        low=low,
        high=high,
        median=float(np.median(values)) if len(values) else None,
        chance=None if chances is None else float(chances.mean()),
        against_chance=_against(metric, values, chances, seed),
        n=len(known),
        undefined=len(samples) - len(known),
        reason=_most_common(sample.note for sample in samples if sample.value is None),
        right=float(_values(right).mean()) if right else None,
        n_right=len(right),
        moot=sum(MOOT in sample.note for sample in samples),
    )


def ratio_cell(image: str, shares: Sequence[Sample], ratios: Sequence[Sample], seed: int) -> Cell:
    """How many times more heat the lesions hold than chance, over all cases.

    The mean share of the heat divided by the mean share of the area, so that one small lesion
    does not outweigh the rest; the median is that of the ratios of the cases.

    Args:
        image: Modality. shares: Samples of `energy_pointing_game`. ratios: Of `energy_ratio`.
        seed: Seed of the bootstrap.
    """
    plain = cell("energy_ratio", image, ratios, seed)
    known = [each for each in shares if each.value is not None and each.chance]
    if not known:
        return plain
    right = [each for each in known if each.right]
    values, chances = _values(known), np.array([each.chance for each in known])
    low, high = None, None
    if len(known) > 1:
        picks = _picks(len(known), seed)
        low, high = _bounds(values[picks].mean(1) / chances[picks].mean(1))
    return replace(
        plain,
        value=float(values.mean() / chances.mean()),
        low=low,
        high=high,
        chance=1.0,
        against_chance=_side("energy_ratio", low, high, 1.0, len(known)),
        right=_ratio(right),
        n_right=len(right),
    )


def _ratio(samples: Sequence[Sample]) -> float | None:
    if not samples:
        return None
    return float(_values(samples).mean() / np.mean([each.chance for each in samples]))


def _values(samples: Sequence[Sample]) -> Values:
    return np.array([sample.value for sample in samples], dtype=np.float64)


def _chances(samples: Sequence[Sample]) -> Values | None:
    """Chance level of each sample; None unless all have one."""
    if not samples or any(sample.chance is None for sample in samples):
        return None
    return np.array([sample.chance for sample in samples], dtype=np.float64)


def _picks(n: int, seed: int) -> NDArray[np.int64]:
    """Cases drawn again, (RESAMPLES, n); alike for all metrics of as many cases."""
    return np.random.default_rng([seed, n]).integers(n, size=(RESAMPLES, n))


def _bounds(means: Values) -> tuple[float, float]:
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def _interval(metric: str, values: Values, seed: int) -> tuple[float | None, float | None]:
    """95 % interval of the mean; (None, None) with fewer than two values."""
    if len(values) < 2:
        return None, None
    if metric in HITS:
        return wilson(float(values.mean()), len(values))
    return _bounds(values[_picks(len(values), seed)].mean(1))


def wilson(share: float, n: int) -> tuple[float, float]:
    """Score interval, 95 %, of a share of n cases (Wilson 1927)."""
    z = 1.959964
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _against(metric: str, values: Values, chances: Values | None, seed: int) -> Against:
    if chances is None or METRICS[metric].family not in COMPARED:
        return "unknown"
    if metric in HITS:
        low, high = _interval(metric, values, seed)
        return _side(metric, low, high, float(chances.mean()), len(values))
    low, high = _interval("", values - chances, seed)
    return _side(metric, low, high, 0.0, len(values))


def _side(metric: str, low: float | None, high: float | None, chance: float, n: int) -> Against:
    """On which side of chance an interval lies."""
    better = METRICS[metric].better
    if low is None or high is None or better == "neither" or n < ENOUGH:
        return "unknown"
    if low <= chance <= high:
        return "alike"
    return "better" if (low > chance) == (better == "higher") else "worse"


def _most_common(notes: Iterable[str]) -> str:
    counted = Counter(note or UNMEASURED for note in notes)
    return counted.most_common(1)[0][0] if counted else ""
