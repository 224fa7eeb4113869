"""When adaptation has gone wrong: each guard watches the steps and may ask for the source back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2
from torch import Tensor

from engine.adaptation.objectives import MOMENTUM, collapse_level

HISTOGRAM_LIMIT = 0.25
"""Divergence of predicted classes from the source prior that is borne, nats."""

SENSITIVITY_LIMIT = 0.01
"""Drop of sensitivity on source cases that is borne: one point."""

WINDOW, LEAST = 128, 64
"""Predictions that the moving histogram holds, and those it needs before it is believed: of 64
cases drawn from four even classes, fewer than one sample in 10 000 diverges by 0.25 by chance."""

PATIENCE = 5
"""Steps in a row without a finite number that are borne."""

SMALLEST_SHARE = 1e-3


@dataclass(frozen=True)
class Step:
    """What one step of adaptation did.

    Args:
        loss: Scalar of objective and constraint. entropy: Mean over all cases of the batch before
            the step, nats. predicted: (B,) leading classes before the step.
        classes: Number of classes C. kept: Cases that were learnt from.
        skipped: Whether no step was taken, since a number was not finite.
    """

    loss: float
    entropy: float
    predicted: NDArray[np.int64]
    classes: int
    kept: int
    skipped: bool = False


class Guard(ABC):
    """Watches every step; what it measures last is `value`, and what it bears is `limit`."""

    name = ""
    value: float | None = None
    limit: float | None = None

    @abstractmethod
    def watch(self, step: Step) -> str:
        """Why the source weights must come back, in one sentence; empty when all is well."""

    def forget(self) -> None:
        """Drop what was remembered of earlier steps."""
        self.value = None

    def facts(self) -> dict[str, Any]:
        """Name, last value and limit."""
        return {"name": self.name, "value": self.value, "limit": self.limit}


class EntropyFloor(Guard):
    """The moving mean entropy must not fall under e_m = 0.2 ln C / ln 1000.

    A model whose answers are as sure as that before any step is held to half its own start.

    Args:
        level: Nats, instead of e_m.

    Source:
        SAR's recovery (Niu et al., ICLR 2023), scaled to the number of classes.
    """

    name = "entropy"

    def __init__(self, level: float | None = None) -> None:
        self._level = level

    def watch(self, step: Step) -> str:
        """See `Guard.watch`."""
        if not math.isfinite(step.entropy):
            return ""
        if self.value is None:
            level = collapse_level(step.classes) if self._level is None else self._level
            self.limit = min(level, step.entropy / 2)
        past = step.entropy if self.value is None else self.value
        self.value = MOMENTUM * past + (1 - MOMENTUM) * step.entropy
        if self.limit is None or self.value >= self.limit:
            return ""
        return (
            f"The answers became too sure: their mean entropy fell to {self.value:.3f}, "
            f"under {self.limit:.3f}, as it does when a model collapses."
        )


class HistogramDrift(Guard):
    """The classes predicted must not diverge from those of the source.

    Args:
        prior: Share of each class in the source, (C,). names: Of the classes, for the reason.
        limit: KL divergence of the predicted shares from the prior, nats; few cases are borne
            more, see `chance_divergence`.
        pool: Different cases that there are; as many as were predicted when None.
        window: Predictions that count. least: Those needed before it is believed.
    """

    name = "classes"

    def __init__(
        self,
        prior: Sequence[float] | NDArray[np.floating],
        names: Sequence[str] = (),
        limit: float = HISTOGRAM_LIMIT,
        window: int = WINDOW,
        least: int = LEAST,
        pool: int | None = None,
    ) -> None:
        self.prior = np.asarray(prior, float)
        self.limit = self._limit = limit
        self._pool = pool
        self._names, self._least = tuple(names), least
        self._recent: deque[int] = deque(maxlen=max(window, least))

    def watch(self, step: Step) -> str:
        """See `Guard.watch`."""
        self._recent.extend(int(each) for each in step.predicted)
        if len(self._recent) < self._least:
            return ""
        return self.judge(np.bincount(list(self._recent), minlength=len(self.prior)))

    def judge(self, counts: NDArray[np.integer]) -> str:
        """The same of given predictions; counts (C,)."""
        self.value = divergence(counts, self.prior)
        total = int(counts.sum())
        cases = total if self._pool is None else min(total, self._pool)
        self.limit = max(self._limit, chance_divergence(len(self.prior), cases))
        if self.value <= self.limit:
            return ""
        top = int(np.argmax(counts))
        name = self._names[top] if self._names else f"class {top}"
        return (
            f"The classes predicted diverge from those of the source by {self.value:.2f}, more "
            f"than {self.limit:.2f}: {counts[top] / counts.sum():.0%} of the cases are called "
            f"{name}."
        )

    def forget(self) -> None:
        """See `Guard.forget`."""
        super().forget()
        self._recent.clear()


class SourceSensitivity(Guard):
    """Known source cases must be recognised as before.

    Args:
        measure: Sensitivity of the network as it is now, 0 to 1. before: That of the source.
        limit: Drop that is borne. every: Steps between two measurements.
    """

    name = "sensitivity"

    def __init__(
        self,
        measure: Callable[[], float],
        before: float,
        limit: float = SENSITIVITY_LIMIT,
        every: int = 10,
    ) -> None:
        self._measure, self.before, self._every = measure, before, every
        self.limit = before - limit
        self._allowed = limit
        self._steps = 0

    def watch(self, step: Step) -> str:
        """See `Guard.watch`."""
        self._steps += 1
        return "" if self._steps % self._every else self.judge()

    def judge(self, sensitivity: float | None = None) -> str:
        """The same now, by a sensitivity that is known, or measured."""
        self.value = self._measure() if sensitivity is None else sensitivity
        drop = self.before - self.value
        if drop <= self._allowed + 1e-9:
            return ""
        return (
            f"On known source cases the sensitivity fell by {100 * drop:.1f} points to "
            f"{self.value:.3f}; at most {100 * self._allowed:.1f} are borne."
        )

    def forget(self) -> None:
        """See `Guard.forget`."""
        super().forget()
        self._steps = 0


class Finite(Guard):
    """Steps must give finite numbers.

    Args:
        patience: Steps in a row that may be skipped.
    """

    name = "finite"

    def __init__(self, patience: int = PATIENCE) -> None:
        self.limit = float(patience)
        self.value = 0.0

    def watch(self, step: Step) -> str:
        """See `Guard.watch`."""
        self.value = (self.value or 0.0) + 1 if step.skipped else 0.0
        if self.limit is None or self.value < self.limit:
            return ""
        return f"{int(self.value)} steps in a row gave no finite number."


def divergence(counts: NDArray[np.integer], prior: NDArray[np.floating]) -> float:
    """KL divergence of class shares from a prior, nats; classes of the prior hold at least 0.1 %.

    Args:
        counts: (C,), at least one case. prior: (C,), non-negative.
    """
    shares = counts / max(1, int(counts.sum()))
    base = np.maximum(np.asarray(prior, float), SMALLEST_SHARE)
    base = base / base.sum()
    seen = shares > 0
    return float((shares[seen] * np.log(shares[seen] / base[seen])).sum())


def chance_divergence(classes: int, cases: int) -> float:
    """Divergence that one in a thousand samples of so many cases exceeds by chance, nats.

    Twice the cases times the divergence of their shares from the truth follows chi-squared with
    C - 1 degrees of freedom (G-test).
    """
    return float(chi2.ppf(0.999, classes - 1)) / (2 * max(1, cases))


def leading(logits: Tensor) -> NDArray[np.int64]:
    """Leading classes of logits (B, C), as (B,)."""
    found: NDArray[np.int64] = logits.argmax(1).cpu().numpy()
    return found
