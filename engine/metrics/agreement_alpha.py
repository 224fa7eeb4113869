"""Krippendorff's alpha: disagreement within cases against disagreement between all ratings.

Source: Krippendorff, "Content Analysis", 2004, chapter 11; the weight form and its standard error:
Gwet, "Handbook of Inter-Rater Reliability", 4th edition, 2014. Only cases with two or more ratings
count. Letters as there: o_ck coincidences, n_c ratings of score c, d2 squared distances.
"""

from __future__ import annotations

import numpy as np

from engine.metrics.agreement_chance import Credit, case_agreement
from engine.metrics.agreement_estimate import TINY
from engine.metrics.agreement_sums import Array, Patterns, Sums

LEVELS: tuple[str, ...] = ("nominal", "ordinal", "interval", "ratio")


def distances(level: str, scores: Array, numbers: Array) -> Array:
    """Squared distance of every two scores, (q, q), or (B, q, q) for the ordinal level.

    Args:
        level: One of `LEVELS`.
        scores: Scores, (q,); not negative for the ratio level.
        numbers: Ratings of each score, (B, q); the ordinal level counts those between two scores.
    """
    if level == "nominal":
        return 1.0 - np.eye(len(scores))
    if level == "interval":
        return np.asarray((scores[:, None] - scores) ** 2)
    if level == "ratio":
        total = scores[:, None] + scores
        return np.asarray(((scores[:, None] - scores) / np.where(total > 0, total, 1)) ** 2)
    middle = np.cumsum(numbers, axis=1) - numbers / 2
    return np.asarray((middle[:, :, None] - middle[:, None, :]) ** 2)


def alpha(s: Sums, level: str, scores: Array) -> Array:
    """Alpha of a level of measurement, (B,); NaN where nothing varies."""
    return _alpha(s, distances(level, scores, s.coincidences.sum(axis=2)))


def alpha_of_weights(s: Sums, c: Credit) -> Array:
    """Alpha with distances 1 - w, (B,); NaN where nothing varies."""
    return _alpha(s, 1 - c.w)


def alpha_terms(p: Patterns, w: Array) -> tuple[Array, float]:
    """What a case of each pattern says of alpha with fixed weights, and their mean.

    Args:
        p: With at least one case of two ratings.
        w: Agreement weights among the scores that occur, (q, q).

    Returns:
        Terms, (P,), meaningless where a case was rated once; and alpha without its term for small
        samples, which they spread around.
    """
    both = p.number >= 2
    times, r = p.times[both], p.number[both]
    n = float(times.sum())
    mean = float(times @ r) / n
    within = case_agreement(p, Credit("", w, len(w), float(w.sum())))[both] * r / mean
    prime = float(times @ within) / n
    ratings = n * mean
    agreement = prime + (1 - prime) / ratings
    pi = times @ p.counts[both] / ratings
    expected = float(pi @ w @ pi)
    value = (prime - expected) / (1 - expected)
    excess = (r - mean) / mean
    by_case = p.counts[both] @ ((w @ pi + pi @ w) / 2) / mean - expected * excess
    k = (within - agreement * excess - expected) / (1 - expected)
    terms = np.zeros(len(p.times))
    terms[both] = k - 2 * (1 - value) * (by_case - expected) / (1 - expected)
    return terms, value


def _alpha(s: Sums, d2: Array) -> Array:
    """1 - (n - 1) sum o d2 / sum n_c n_k d2."""
    numbers = s.coincidences.sum(axis=2)
    n = numbers.sum(axis=1)
    within = (s.coincidences * d2).sum(axis=(1, 2))
    between = (numbers[:, :, None] * numbers[:, None, :] * d2).sum(axis=(1, 2))
    defined = between > TINY * np.maximum(n, 1) ** 2
    return np.where(defined, 1 - (n - 1) * within / np.where(defined, between, 1), np.nan)
