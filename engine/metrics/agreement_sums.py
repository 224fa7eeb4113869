"""Ratings compressed to distinct patterns, and the sums that every coefficient is made of.

A million ratings of a few raters have few distinct rows. A resample of the cases only changes how
often each row occurs, so all sums of all resamples are one sparse product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from engine.metrics.agreement_ratings import Ratings

Array = NDArray[np.float64]
CELLS = 4_000_000
MOST_KEYS = 2**62


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over cases; every array has B resamples first.

    Args:
        cases: Cases with a rating (n), (B,).
        paired: Cases with two or more (n'), (B,).
        pairs: Share of a case's ordered pairs of ratings in (k, l), summed, (B, q, q).
        coincidences: The same, each case counting as often as it was rated, (B, q, q).
        shares: Share of a case's ratings in k, summed, (B, q).
        margins: Ratings of rater g in k, (B, m, q).
        tables: Cases that the g-th pair of raters put in (k, l), (B, m(m-1)/2, q, q).
    """

    cases: Array
    paired: Array
    pairs: Array
    coincidences: Array
    shares: Array
    margins: Array
    tables: Array


Coefficient = Callable[[Sums], Array]


@dataclass(frozen=True, eq=False)
class Patterns:
    """The distinct rows of a table of ratings.

    Args:
        codes: Positions among the scores that occur, (P, m) int; -1 where missing. Cases without
            a rating and raters without one are left out.
        times: How many cases look so, (P,).
        scores: Scores that occur, (q,) ascending.
        places: Their positions on the declared scale, (q,) int.
        scale: The declared scores, ascending.
    """

    codes: NDArray[np.int64]
    times: Array
    scores: Array
    places: NDArray[np.int64]
    scale: tuple[float, ...]

    @property
    def raters(self) -> int:
        """Raters with a rating (m)."""
        return self.codes.shape[1]

    @cached_property
    def number(self) -> Array:
        """Ratings of each pattern (r_i), (P,)."""
        return (self.codes >= 0).sum(axis=1).astype(np.float64)

    @cached_property
    def counts(self) -> Array:
        """Raters of each pattern who said k (r_ik), (P, q)."""
        counts = np.zeros((len(self.codes), len(self.scores)))
        rows = np.arange(len(self.codes))
        for column in self.codes.T:
            given = column >= 0
            counts[rows[given], column[given]] += 1
        return counts

    @cached_property
    def features(self) -> sparse.csr_array:
        """What one case of each pattern adds to each sum, (P, F)."""
        r = self.number
        within = _within(self.counts, r)
        both = (r >= 2).astype(np.float64)
        blocks = [
            sparse.csr_array(np.column_stack([np.ones_like(r), both])),
            within,
            sparse.csr_array(within.multiply(r[:, None])),
            sparse.csr_array(self.counts / r[:, None]),
            _hits(self.codes, len(self.scores)),
            _pair_hits(self.codes, len(self.scores)),
        ]
        return sparse.csr_array(sparse.hstack(blocks, format="csr"))

    def sums(self, times: Array) -> Sums:
        """Sums with pattern p counted times[:, p] times, (B, P)."""
        flat = np.asarray((self.features.T @ times.T).T, dtype=np.float64)
        return self._named(flat)

    @cached_property
    def whole(self) -> Sums:
        """Sums of the ratings as they are, B = 1."""
        return self.sums(self.times[None])

    def moved(self, step: float) -> Iterator[tuple[slice, Sums]]:
        """Sums after one pattern is counted `step` more, block by block of patterns.

        Margins and tables of raters are left empty.
        """
        q = len(self.scores)
        light = self.features[:, : 2 + 2 * q * q + q]
        base = np.asarray(light.T @ self.times, dtype=np.float64)
        size = max(1, CELLS // base.size)
        for start in range(0, len(self.times), size):
            block = slice(start, start + size)
            yield block, self._named(base + step * light[block].toarray(), raters=0)

    def resampled(self, draws: int, seed: int) -> Iterator[Sums]:
        """Sums of bootstrap resamples of the cases, block by block of draws."""
        for times in self.times_drawn(draws, seed):
            yield self.sums(times)

    def times_drawn(self, draws: int, seed: int) -> Iterator[Array]:
        """How often each pattern occurs in resamples of the cases, (B, P), block by block."""
        rng = np.random.default_rng(seed)
        cases = round(float(self.times.sum()))
        shares = self.times / self.times.sum()
        size = max(1, CELLS // max(len(shares), self.features.shape[1]))
        for start in range(0, draws, size):
            number = min(size, draws - start)
            yield rng.multinomial(cases, shares, size=number).astype(np.float64)

    def _named(self, flat: Array, raters: int | None = None) -> Sums:
        q, B = len(self.scores), len(flat)
        m = self.raters if raters is None else raters
        widths = [1, 1, q * q, q * q, q, m * q, m * (m - 1) // 2 * q * q]
        n, paired, pairs, coincidences, shares, margins, tables = np.split(
            flat, np.cumsum(widths)[:-1], axis=1
        )
        return Sums(
            n[:, 0],
            paired[:, 0],
            pairs.reshape(B, q, q),
            coincidences.reshape(B, q, q),
            shares,
            margins.reshape(B, m, q),
            tables.reshape(B, m * (m - 1) // 2, q, q),
        )


def compress(ratings: Ratings) -> Patterns:
    """The distinct rows of ratings; at least one rating must be there.

    Raters and scores that never occur take no room; the declared scale is kept beside.
    """
    table = ratings.active()
    codes = table.codes[table.given.any(axis=1)]
    occurring = np.zeros(len(ratings.scale), dtype=bool)
    occurring[codes[codes >= 0]] = True
    places = np.flatnonzero(occurring)
    renumbered = np.full(len(ratings.scale) + 1, -1)
    renumbered[places] = np.arange(len(places))
    rows, times = _distinct(renumbered[codes], len(places))
    scores = np.asarray(ratings.scale)[places]
    return Patterns(rows, times.astype(np.float64), scores, places, ratings.scale)


def _distinct(codes: NDArray[np.int64], q: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that differ, ascending, and how often each occurs."""
    m = codes.shape[1]
    if (q + 1) ** m > MOST_KEYS:
        rows, times = np.unique(codes, axis=0, return_counts=True)
        return rows, times
    powers = (q + 1) ** np.arange(m)[::-1]
    keys, times = np.unique((codes + 1) @ powers, return_counts=True)
    return keys[:, None] // powers % (q + 1) - 1, times


def _within(counts: Array, r: Array) -> sparse.csr_array:
    """Share of each case's ordered pairs of ratings in (k, l), (P, q*q)."""
    q = counts.shape[1]
    size = max(1, CELLS // (q * q))
    divisor = np.where(r > 1, r * (r - 1), 1)
    blocks = []
    for start in range(0, len(counts), size):
        some = counts[start : start + size]
        pairs = some[:, :, None] * some[:, None, :]
        pairs[:, np.arange(q), np.arange(q)] -= some
        flat = pairs.reshape(len(some), q * q) / divisor[start : start + size, None]
        blocks.append(sparse.csr_array(flat))
    return sparse.csr_array(sparse.vstack(blocks, format="csr"))


def _hits(codes: NDArray[np.int64], q: int) -> sparse.csr_array:
    """One in column (g, k) where rater g said k, (P, m*q)."""
    P, m = codes.shape
    rows, raters = np.nonzero(codes >= 0)
    columns = raters * q + codes[rows, raters]
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(P, m * q))


def _pair_hits(codes: NDArray[np.int64], q: int) -> sparse.csr_array:
    """One in column (pair, k, l) where the pair of raters said k and l."""
    P, m = codes.shape
    rows, columns = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for number, (g, h) in enumerate(combinations(range(m), 2)):
        both = np.flatnonzero((codes[:, g] >= 0) & (codes[:, h] >= 0))
        rows.append(both)
        columns.append(number * q * q + codes[both, g] * q + codes[both, h])
    row, column = np.concatenate(rows), np.concatenate(columns)
    shape = (P, m * (m - 1) // 2 * q * q)
    return sparse.csr_array((np.ones(len(row)), (row, column)), shape=shape)
