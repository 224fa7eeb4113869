"""Expected widths of intervals of agreement, by simulation, before a study starts.

The table is printed by `python -m engine.study.widths`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from engine.metrics import agreement as ag

COMMAND = "python -m engine.study.widths"
KAPPA = 0.6
LATENT = 0.657
RUNS = 300
CASES = (10, 20, 50, 100, 200)
RATERS = (2, 3, 5, 8, 12, 20)


@dataclass(frozen=True)
class Setting:
    """What is simulated: the statistic's name, its weights and the number of categories."""

    title: str
    weights: str
    categories: int


SETTINGS = (
    Setting("Kappa, two categories", "identity", 2),
    Setting("Kappa with quadratic weights, five points", "quadratic", 5),
    Setting("Kappa without weights, five points", "identity", 5),
)

TABLE: dict[str, dict[int, tuple[float, ...]]] = {
    "Kappa, two categories": {
        2: (0.542, 0.359, 0.224, 0.155, 0.111),
        3: (0.422, 0.291, 0.176, 0.123, 0.086),
        5: (0.336, 0.217, 0.131, 0.091, 0.064),
        8: (0.274, 0.173, 0.103, 0.071, 0.050),
        12: (0.235, 0.144, 0.084, 0.058, 0.040),
        20: (0.198, 0.118, 0.066, 0.045, 0.031),
    },
    "Kappa with quadratic weights, five points": {
        2: (0.441, 0.296, 0.184, 0.130, 0.092),
        3: (0.357, 0.244, 0.146, 0.103, 0.072),
        5: (0.308, 0.204, 0.122, 0.085, 0.060),
        8: (0.279, 0.184, 0.110, 0.077, 0.054),
        12: (0.263, 0.177, 0.106, 0.073, 0.051),
        20: (0.250, 0.168, 0.101, 0.070, 0.049),
    },
    "Kappa without weights, five points": {
        2: (0.385, 0.264, 0.163, 0.115, 0.081),
        3: (0.330, 0.217, 0.130, 0.090, 0.063),
        5: (0.249, 0.164, 0.098, 0.068, 0.048),
        8: (0.191, 0.126, 0.077, 0.053, 0.037),
        12: (0.162, 0.103, 0.062, 0.043, 0.030),
        20: (0.127, 0.081, 0.048, 0.034, 0.023),
    },
}
"""Setting to raters to the half-widths for `CASES`."""


def half_width(setting: Setting, cases: int, raters: int) -> float:
    """Expected half-width of the 95 % interval of Fleiss' kappa, true value 0.6.

    The table is interpolated in 1 / root of the cases and in 1 / raters; beyond its ends the
    nearest end is taken, and scaled by the root of the cases.

    Args:
        setting: One of `SETTINGS`.
        cases: Cases rated by at least two raters, from 2.
        raters: Raters of a case, from 2.
    """
    rows = [_at_cases(TABLE[setting.title][m], cases) for m in RATERS]
    inverse = [1 / m for m in RATERS]
    return float(np.interp(1 / max(raters, 2), inverse[::-1], rows[::-1]))


def _at_cases(widths: Sequence[float], cases: int) -> float:
    """One row of the table, interpolated."""
    nearest = min(max(cases, CASES[0]), CASES[-1])
    inverse = [1 / sqrt(n) for n in CASES]
    width = float(np.interp(1 / sqrt(nearest), inverse[::-1], list(widths)[::-1]))
    return width * sqrt(nearest / max(cases, 2))


def ratings(
    rng: np.random.Generator, setting: Setting, cases: int, raters: int
) -> NDArray[np.float64]:
    """Simulated ratings, (cases, raters), of equally frequent categories with kappa 0.6.

    Without weights, a rater names the true category with probability root of 0.6, and any
    category at random otherwise. With quadratic weights, a rating is a normal latent value cut
    into classes of equal size; two raters' latent values correlate by 0.657, which gives a kappa
    with quadratic weights of 0.6 after the cut.
    """
    if setting.weights == "quadratic":
        shared = rng.normal(size=(cases, 1)) * sqrt(LATENT)
        own = rng.normal(size=(cases, raters)) * sqrt(1 - LATENT)
        cuts = norm.ppf(np.arange(1, setting.categories) / setting.categories)
        return np.digitize(shared + own, cuts).astype(float)
    truth = rng.integers(setting.categories, size=(cases, 1))
    sure = rng.random((cases, raters)) < sqrt(KAPPA)
    chance = rng.integers(setting.categories, size=(cases, raters))
    return np.where(sure, truth, chance).astype(float)


def simulated(setting: Setting, cases: int, raters: int, runs: int = RUNS, seed: int = 0) -> float:
    """Mean half-width over simulated studies whose kappa has an interval."""
    rng = np.random.default_rng([seed, cases, raters, setting.categories])
    scale = tuple(range(setting.categories))
    found = []
    for _ in range(runs):
        one = ag.fleiss_kappa(ratings(rng, setting, cases, raters), scale, setting.weights)
        if one.low is not None and one.high is not None:
            found.append((one.high - one.low) / 2)
    return float(np.mean(found))


def main() -> None:
    """Print the table as it stands in this module."""
    for setting in SETTINGS:
        sys.stdout.write(f'    "{setting.title}": {{\n')
        for raters in RATERS:
            row = ", ".join(f"{simulated(setting, n, raters):.3f}" for n in CASES)
            sys.stdout.write(f"        {raters}: ({row}),\n")
        sys.stdout.write("    },\n")


if __name__ == "__main__":
    main()
