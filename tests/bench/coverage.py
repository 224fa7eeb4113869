"""`python -m tests.bench coverage [--into docs/agreement.md]`: how often default intervals hold.

Tables of ratings are drawn from populations whose coefficients are known exactly, by summing over
all patterns of answers. Two populations of five scores: raters who see the truth and otherwise
guess evenly (kappa 0.6), and raters who put a latent severity into classes, with error (skewed).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from engine.metrics.agreement import Statistic, headline, statistics

Array = NDArray[np.float64]
SCALE = (1.0, 2.0, 3.0, 4.0, 5.0)
SIZES = (20, 50, 100)
TABLES = 4000
DRAWS = 500
MANY = 400_000
CUTS = (-1.2, -0.5, 0.3, 1.0)
ERROR = 0.6
MARKS = ("<!-- coverage -->", "<!-- /coverage -->")


def guessing(raters: int, kappa: float = 0.6) -> tuple[Array, Array]:
    """Patterns and their probabilities: the truth with probability sqrt(kappa), else a guess."""
    patterns = np.array(list(product(range(5), repeat=raters)))
    share = np.sqrt(kappa)
    says = share * np.eye(5) + (1 - share) / 5
    return patterns, np.mean([says[truth][patterns].prod(axis=1) for truth in range(5)], axis=0)


def latent(raters: int) -> tuple[Array, Array]:
    """Patterns and their probabilities: a normal severity, read with a normal error."""
    patterns = np.array(list(product(range(5), repeat=raters)))
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    ends = np.array([-np.inf, *CUTS, np.inf])
    says = np.diff(stats.norm.cdf((ends - nodes[:, None]) / ERROR), axis=1)
    each = says[:, patterns].prod(axis=2)
    return patterns, weights @ each / weights.sum()


MODELS = {"guessing": guessing, "latent": latent}


def rows(tables: int = TABLES, sizes: Sequence[int] = SIZES) -> Iterator[str]:
    """Lines of the Markdown table, one a population and statistic."""
    yield (
        "| Population | Statistic | Interval | "
        + " | ".join(f"N = {size}" for size in sizes)
        + " |"
    )
    yield "|---|---|---|" + "---|" * len(sizes)
    kinds = [(title, raters, tables, tuple(sizes)) for title in MODELS for raters in (2, 3)]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for lines in pool.map(_population, kinds):
            yield from lines


def _population(kind: tuple[str, int, int, tuple[int, ...]]) -> list[str]:
    """Lines of one population: its name, raters, number of tables, sizes."""
    title, raters, tables, sizes = kind
    patterns, chances = MODELS[title](raters)
    truth = {_key(s): s.value for s in _all(_expected(patterns, chances), seed=0)}
    found = [_covered(patterns, chances, size, tables, truth) for size in sizes]
    lines = []
    for key in truth:
        shares = " | ".join(f"{100 * cover[key][0]:.1f} %" for cover in found)
        made = ", ".join(dict.fromkeys(cover[key][1] for cover in found))
        lines.append(f"| {title}, {raters} raters | {key} | {made} | {shares} |")
    return lines


def _expected(patterns: Array, chances: Array) -> Array:
    """A table so large that its coefficients are those of the population, to 1e-4."""
    return np.repeat(patterns, np.round(chances * MANY).astype(int), axis=0) + 1.0


def _covered(
    patterns: Array, chances: Array, size: int, tables: int, truth: dict[str, float | None]
) -> dict[str, tuple[float, str]]:
    """Share of tables whose interval holds the truth, and how the interval is made."""
    rng = np.random.default_rng(size)
    hits: dict[str, list[bool]] = {key: [] for key in truth}
    made = dict.fromkeys(truth, "")
    for number in range(tables):
        drawn = patterns[rng.choice(len(patterns), size, p=chances)] + 1.0
        for one in _all(drawn, number):
            low, high, value = one.low, one.high, truth[_key(one)]
            hits[_key(one)].append(low is not None and low <= value <= high)
            made[_key(one)] = one.interval.split(",")[0]
    return {key: (float(np.mean(several)), made[key]) for key, several in hits.items()}


def _all(ratings: Array, seed: int) -> list[Statistic]:
    """The primary statistics, and those with which they are compared."""
    return [*headline(ratings, SCALE, seed, DRAWS), *_others(ratings, seed)]


def _others(ratings: Array, seed: int) -> list[Statistic]:
    names = ("gwet_ac", "brennan_prediger", "conger_kappa", "light_kappa")
    return list(
        statistics(ratings, SCALE, seed=seed, draws=DRAWS, weights=("identity",), only=names)
    )


def _key(one: Statistic) -> str:
    return " ".join(word for word in (one.statistic, one.weights, one.level) if word)


def main(words: list[str]) -> int:
    """Print the table, or put it between its marks in a Markdown file."""
    if words[:1] != ["--into"]:
        for line in rows(int(words[0]) if words else TABLES):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        return 0
    page = Path(words[1])
    text = page.read_text("utf-8")
    before, after = text.split(MARKS[0])[0], text.split(MARKS[1])[1]
    table = "\n".join(rows())
    page.write_text(f"{before}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{after}", "utf-8")
    return 0
