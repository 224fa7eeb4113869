"""Ratings on a declared scale: read once, with missing answers kept missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import EngineError, ShapeMismatch

FIVE_POINTS: tuple[float, ...] = (1, 2, 3, 4, 5)


class OutOfScale(EngineError):
    """A rating, or the scale itself, cannot be used."""


@dataclass(frozen=True, eq=False)
class Ratings:
    """A table of ratings, as positions on the scale.

    Args:
        codes: (N, m) int, 0 to q - 1; -1 where a rater gave no answer.
        scale: The q declared scores, ascending; a score nobody gave still counts.
    """

    codes: NDArray[np.int64]
    scale: tuple[float, ...]

    @property
    def given(self) -> NDArray[np.bool_]:
        """Whether there is an answer, (N, m)."""
        return self.codes >= 0

    @property
    def raters(self) -> int:
        """Raters with at least one answer."""
        return int(self.given.any(axis=0).sum())

    @property
    def number(self) -> int:
        """Answers given."""
        return int(self.given.sum())

    @property
    def missing(self) -> int:
        """Cells of the table without an answer."""
        return int(self.codes.size - self.number)

    @property
    def shared(self) -> int:
        """Cases with two or more answers (n' in Gwet's notation)."""
        return int((self.given.sum(axis=1) >= 2).sum())

    @property
    def counts(self) -> NDArray[np.float64]:
        """Raters who put case i in category k, (N, q)."""
        categories = np.arange(len(self.scale))
        return (self.codes[:, :, None] == categories).sum(axis=1).astype(np.float64)

    def columns(self, *raters: int) -> Ratings:
        """The same cases, seen by some of the raters."""
        return Ratings(self.codes[:, list(raters)], self.scale)

    def active(self) -> Ratings:
        """The same cases, without the raters who answered nothing."""
        return Ratings(self.codes[:, self.given.any(axis=0)], self.scale)


def read_ratings(ratings: ArrayLike, scale: Sequence[float] = FIVE_POINTS) -> Ratings:
    """Check ratings against their scale.

    Args:
        ratings: Scores, (N cases, m raters); NaN where a rater did not or could not judge.
        scale: Declared scores, ascending, at least two.

    Raises:
        ShapeMismatch: the ratings are not a table of cases by raters.
        OutOfScale: a rating is not on the scale, or the scale is not ascending.
    """
    scores = tuple(float(score) for score in scale)
    if len(scores) < 2 or not all(np.diff(scores) > 0):
        raise OutOfScale("A rating scale needs at least two scores in ascending order.")
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise ShapeMismatch("Ratings must be a table with one row per case, one column per rater.")
    matches = table[:, :, None] == np.asarray(scores)
    stray = table[~matches.any(axis=2) & ~np.isnan(table)]
    if stray.size:
        raise OutOfScale(
            f"A rating of {stray[0]:g} is not on the scale from {scores[0]:g} to {scores[-1]:g}."
        )
    return Ratings(np.where(np.isnan(table), -1, matches.argmax(axis=2)), scores)
