"""Overlap and surface distance: MONAI's numbers, and what holds of empty masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from engine.errors import EmptyMask, ShapeMismatch
from engine.metrics.segmentation import dice, hausdorff, jaccard

Oracle = Callable[[str], dict[str, np.ndarray]]


def test_monai_agrees(oracle: Oracle) -> None:
    known = oracle("models/losses_seg")
    pairs = list(zip(known["met_pred"], known["met_gt"], strict=True))
    for n, (guess, truth) in enumerate(pairs):
        assert dice(guess, truth) == pytest.approx(float(known["met_dice"][n, 0]), rel=2e-5)
        assert jaccard(guess, truth) == pytest.approx(float(known["met_iou"][n, 0]), rel=2e-5)
        for name, spacing in (("1x1", (1.0, 1.0)), ("0.8x1.5", (0.8, 1.5))):
            for kind, percentile in (("hd", 100.0), ("hd95", 95.0)):
                found = hausdorff(guess, truth, spacing, percentile)
                assert found == pytest.approx(float(known[f"met_{kind}_{name}"][n, 0]), rel=2e-5)


def test_empty_masks() -> None:
    """Acceptance check 19: right about nothing is 1, a false alarm or a miss is 0."""
    empty, full = np.zeros((4, 4), bool), np.eye(4, dtype=bool)
    assert dice(empty, empty) == jaccard(empty, empty) == 1
    assert dice(full, empty) == dice(empty, full) == jaccard(full, empty) == 0
    for pair in ((empty, empty), (full, empty), (empty, full)):
        with pytest.raises(EmptyMask):
            hausdorff(*pair, (1.0, 1.0))
    with pytest.raises(ShapeMismatch):
        dice(empty, full[:2])
