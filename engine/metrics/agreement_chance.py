"""Coefficients of any number of raters, from sums: observed agreement against chance.

They differ in what they call chance. Missing ratings stay missing.

Source: Gwet, "Handbook of Inter-Rater Reliability", 4th edition, 2014; Fleiss 1971; Conger,
"Integration and generalization of kappas for multiple raters", Psychol Bull 1980; Brennan and
Prediger, "Coefficient kappa", Educ Psychol Meas 1981; Light 1971; Scott 1955 (Fleiss' kappa of
two raters).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from engine.metrics.agreement_estimate import TINY
from engine.metrics.agreement_sums import Array, Patterns, Sums
from engine.metrics.agreement_two import kappas
from engine.metrics.agreement_weights import Weights, weight_matrix, weights_name

Bound = Callable[[Sums], Array]


@dataclass(frozen=True, eq=False)
class Credit:
    """Agreement weights on the scores that occur, with what the declared scale adds.

    Args:
        name: Of the weights.
        w: (q', q') among the q' scores that occur.
        declared: Scores of the declared scale (q).
        total: Sum of the weights on the declared scale (T_w).
    """

    name: str
    w: Array
    declared: int
    total: float


def credit(weights: Weights, patterns: Patterns) -> Credit:
    """Weights on the declared scale, cut to the scores that occur."""
    whole = weight_matrix(weights, patterns.scale)
    cut = whole[np.ix_(patterns.places, patterns.places)]
    return Credit(weights_name(weights), cut, len(whole), float(whole.sum()))


def observed(s: Sums, c: Credit) -> Array:
    """Mean agreement within cases of two or more ratings (p_a), (B,); NaN without such cases."""
    credited = np.einsum("bkl,kl->b", s.pairs, c.w)
    return np.where(s.paired > 0, credited / np.where(s.paired > 0, s.paired, 1), np.nan)


def fleiss(s: Sums, c: Credit) -> Array:
    """Chance: two ratings drawn from the shares of all raters together."""
    return _corrected(observed(s, c), _pooled(s, c))


def gwet_ac(s: Sums, c: Credit) -> Array:
    """Chance: ratings of cases that are hard to judge, AC1 and (weighted) AC2."""
    pi = s.shares / s.cases[:, None]
    room = c.total / (c.declared * (c.declared - 1))
    return _corrected(observed(s, c), room * (pi * (1 - pi)).sum(axis=1))


def brennan_prediger(s: Sums, c: Credit) -> Array:
    """Chance: every score of the declared scale equally likely."""
    return _corrected(observed(s, c), np.full(len(s.cases), c.total / c.declared**2))


def conger(s: Sums, c: Credit) -> Array:
    """Chance: two different raters, each with the shares of their own."""
    given = s.margins.sum(axis=2)
    p = s.margins / np.where(given > 0, given, 1)[:, :, None]
    m = (given > 0).sum(axis=1)
    both = np.einsum("bgk,kl,bgl->b", p, c.w, p)
    summed = p.sum(axis=1)
    crossed = np.einsum("bk,kl,bl->b", summed, c.w, summed)
    pairs = np.where(m > 1, m * (m - 1), 1)
    return _corrected(observed(s, c), np.where(m > 1, (crossed - both) / pairs, 1.0))


def pair_kappas(s: Sums, c: Credit) -> Array:
    """Cohen's kappa of each pair of raters, (B, pairs); NaN where undefined."""
    shape = s.tables.shape
    flat = kappas(s.tables.reshape(-1, *shape[2:]), c.w).reshape(shape[:2])
    return np.where(s.tables.sum(axis=(2, 3)) > 1, flat, np.nan)


def light(s: Sums, c: Credit) -> Array:
    """Mean of the kappas of the pairs of raters that have one."""
    each = pair_kappas(s, c)
    defined = np.isfinite(each)
    number = defined.sum(axis=1)
    total = np.where(defined, each, 0).sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def observed_terms(p: Patterns, c: Credit) -> Array:
    """Agreement within each case, (P,); the mean where rated once, which then does not count."""
    mean = float(observed(p.whole, c)[0])
    n, paired = float(p.whole.cases[0]), float(p.whole.paired[0])
    scale = np.sqrt(n * (n - 1) / (paired * (paired - 1))) if paired > 1 else 1.0
    moved = scale * (case_agreement(p, c) - mean)
    return np.where(p.number >= 2, mean + moved, mean)


def fleiss_terms(p: Patterns, c: Credit) -> Array:
    """What a case of each pattern says of Fleiss' kappa (k_i*), (P,)."""
    pi = p.whole.shares[0] / p.whole.cases[0]
    by_case = p.counts / p.number[:, None] @ (c.w @ pi + pi @ c.w) / 2
    return _linearised(p, c, float(_pooled(p.whole, c)[0]), by_case)


def gwet_ac_terms(p: Patterns, c: Credit) -> Array:
    """What a case of each pattern says of AC1 or AC2, (P,)."""
    pi = p.whole.shares[0] / p.whole.cases[0]
    room = c.total / (c.declared * (c.declared - 1))
    by_case = room * (p.counts / p.number[:, None] @ (1 - pi))
    return _linearised(p, c, room * float((pi * (1 - pi)).sum()), by_case)


def brennan_prediger_terms(p: Patterns, c: Credit) -> Array:
    """What a case of each pattern says of Brennan and Prediger's coefficient, (P,)."""
    expected = c.total / c.declared**2
    return _linearised(p, c, expected, np.full(len(p.times), expected))


def conger_terms(p: Patterns, c: Credit) -> Array:
    """What a case of each pattern says of Conger's kappa, (P,)."""
    m, n = p.raters, float(p.times.sum())
    margins = p.whole.margins[0]
    given = margins.sum(axis=1)
    shares = margins / given[:, None]
    others = (shares.sum(axis=0) - shares) @ ((c.w + c.w.T) / 2)
    means = (shares * others).sum(axis=1)
    by_case = np.full(len(p.times), means.sum())
    for g in range(m):
        codes = p.codes[:, g]
        said = codes >= 0
        by_case[said] += n / given[g] * (others[g, codes[said]] - means[g])
    pairs = m * (m - 1)
    return _linearised(p, c, float(means.sum()) / pairs, by_case / pairs)


def light_terms(p: Patterns, c: Credit) -> Array:
    """What a case of each pattern says of Light's kappa, (P,).

    The kappa and its mean over pairs of the influence on Cohen's (Fleiss, Cohen, Everitt 1969).
    """
    each = pair_kappas(p.whole, c)[0]
    total = np.zeros(len(p.times))
    for number, (g, h) in enumerate(combinations(range(p.raters), 2)):
        if not np.isfinite(each[number]):
            continue
        table = p.whole.tables[0, number]
        n = table.sum()
        rows, columns = table.sum(axis=1) / n, table.sum(axis=0) / n
        expected = rows @ c.w @ columns
        S = (c.w @ columns)[:, None] + rows @ c.w
        cells = c.w - S * (1 - each[number])
        cells = (cells - (cells * table).sum() / n) / (1 - expected)
        both = (p.codes[:, g] >= 0) & (p.codes[:, h] >= 0)
        total[both] += p.times.sum() / n * cells[p.codes[both, g], p.codes[both, h]]
    number = max(int(np.isfinite(each).sum()), 1)
    return np.asarray(float(light(p.whole, c)[0]) + total / number)


def drawn_errors(p: Patterns, c: Credit, kind: str, times: Array) -> tuple[Array, Array]:
    """A coefficient of fixed or nearly fixed chance and its standard error in resamples.

    Args:
        p: The patterns. c: Agreement weights.
        kind: "gwet_ac", "brennan_prediger" or "percent_agreement".
        times: How often each pattern occurs, (B, P).

    Returns:
        Values and standard errors, (B,) each; NaN where no case has two ratings.
    """
    both = (p.number >= 2).astype(np.float64)
    n, paired = times.sum(axis=1), times @ both
    pi = times @ (p.counts / p.number[:, None]) / n[:, None]
    share = n / np.where(paired > 0, paired, np.nan)
    agreement = case_agreement(p, c)
    room = c.total / (c.declared * (c.declared - 1))
    by_case = room * ((1 - pi) @ (p.counts / p.number[:, None]).T)
    expected = room * (pi * (1 - pi)).sum(axis=1)
    if kind != "gwet_ac":
        fixed = c.total / c.declared**2 if kind == "brennan_prediger" else 0.0
        expected, by_case = np.full(len(n), fixed), np.full_like(by_case, fixed)
    left = (1 - expected)[:, None]
    value = (times @ agreement / paired.clip(1) - expected) / left[:, 0]
    k = share[:, None] * (agreement - expected[:, None] * both) / left
    k = k - 2 * (1 - value)[:, None] * (by_case - expected[:, None]) / left - value[:, None]
    squares = (times * k**2).sum(axis=1)
    return np.where(paired > 0, value, np.nan), np.sqrt(squares / (n * (n - 1)))


def case_agreement(p: Patterns, c: Credit) -> Array:
    """Agreement within a case of each pattern (p_a,i), (P,); 0 where rated once."""
    q = len(p.scores)
    return np.asarray(p.features[:, 2 : 2 + q * q] @ c.w.ravel())


def error_of(terms: Array, value: float, times: NDArray[np.float64]) -> float | None:
    """Standard error of a mean of terms over cases; None for one case."""
    n = float(times.sum())
    if n < 2:
        return None
    squares = float((times * (terms - value) ** 2).sum())
    return float(np.sqrt(squares / (n * (n - 1)))) if squares > TINY else 0.0


def _linearised(p: Patterns, c: Credit, expected: float, by_case: Array) -> Array:
    """Gwet's terms: agreement of the case, less its effect on chance."""
    n, paired = float(p.whole.cases[0]), float(p.whole.paired[0])
    both = (p.number >= 2).astype(np.float64)
    value = (float(observed(p.whole, c)[0]) - expected) / (1 - expected)
    k = n / paired * (case_agreement(p, c) - expected * both) / (1 - expected)
    return np.asarray(k - 2 * (1 - value) * (by_case - expected) / (1 - expected))


def _pooled(s: Sums, c: Credit) -> Array:
    pi = s.shares / s.cases[:, None]
    return np.asarray(np.einsum("bk,kl,bl->b", pi, c.w, pi))


def _corrected(agreement: Array, chance: Array) -> Array:
    """(p_a - p_e) / (1 - p_e); NaN where chance alone is certain to agree."""
    room = 1 - chance
    defined = room > TINY
    value = 1 - (1 - agreement) / np.where(defined, room, 1)
    return np.where(defined, np.where(np.abs(value) > TINY, value, 0.0), np.nan)
