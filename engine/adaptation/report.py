"""What an adaptation did, in plain values that JSON can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.adaptation.buffer import Buffer
from engine.adaptation.feeding import Probabilities
from engine.adaptation.guards import divergence
from engine.adaptation.intervals import paired_shares
from engine.datasets.batch import Batch


def target_part(
    target: Batch,
    names: Sequence[str],
    classes: Sequence[str],
    before: Probabilities,
    after: Probabilities,
    seed: int,
) -> dict[str, Any]:
    """What is known of the target cases: `entropy`, `histogram`, `rows`, `changed`, `accuracy`."""
    first, second = before.argmax(1), after.argmax(1)
    labels = target.label.numpy()
    known = labels >= 0
    accuracy = None
    if known.any():
        accuracy = paired_shares(
            (first == labels)[known],
            (second == labels)[known],
            target.patient.numpy()[known],
            seed=seed,
        )
    rows = [
        {
            "case": name,
            "before": [float(p) for p in old],
            "after": [float(p) for p in new],
            "changed": bool(old.argmax() != new.argmax()),
        }
        for name, old, new in zip(names, before, after, strict=True)
    ]
    return {
        "cases": len(target),
        "classes": list(classes),
        "entropy": {"before": mean_entropy(before), "after": mean_entropy(after)},
        "histogram": {
            "before": counts(before).tolist(),
            "after": counts(after).tolist(),
        },
        "changed": sum(row["changed"] for row in rows),
        "accuracy": accuracy,
        "rows": rows,
    }


def source_part(
    buffer: Buffer | None, before: Probabilities | None, after: Probabilities | None
) -> dict[str, Any] | None:
    """What is known of the source cases; None where there are none.

    `divergence` is the mean KL divergence of the new answers from the old ones, nats.
    """
    if buffer is None or before is None or after is None:
        return None
    apart = (before * (np.log(before + 1e-12) - np.log(after + 1e-12))).sum(1).mean()
    return {
        "cases": len(buffer.cases),
        "positives": buffer.positives,
        "prior": buffer.prior.tolist(),
        "sensitivity": {
            "before": buffer.sensitivity(before),
            "after": buffer.sensitivity(after),
        },
        "accuracy": {"before": buffer.accuracy(before), "after": buffer.accuracy(after)},
        "divergence": max(0.0, float(apart)),
    }


def kl_part(
    before: Probabilities, after: Probabilities, prior: Sequence[float], limit: float
) -> dict[str, float]:
    """Divergence of the classes predicted from the prior, `before` and `after`; and its limit."""
    base = np.asarray(prior, float)
    return {
        "before": divergence(counts(before), base),
        "after": divergence(counts(after), base),
        "limit": limit,
    }


def counts(probabilities: Probabilities) -> np.ndarray:
    """How often each class leads, (K,) int; probabilities (N, K)."""
    return np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])


def mean_entropy(probabilities: Probabilities) -> float:
    """Mean entropy of answers (N, K), nats."""
    return float(-(probabilities * np.log(probabilities + 1e-30)).sum(1).mean())
