"""The logistic regression beside which a trained network is judged."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import InvalidRecipe
from engine.training.baseline import _folds, fitted

RNG = np.random.default_rng(3)
LABELS = np.arange(30) % 3
ROWS = (np.eye(3)[LABELS] * 4 + RNG.normal(size=(30, 3))).astype(np.float32)


def test_probabilities_find_the_classes_and_keep_absent_ones() -> None:
    found = fitted(ROWS[:24], LABELS[:24], ROWS[24:], classes=5)
    assert found.shape == (6, 5) and np.allclose(found.sum(1), 1, atol=1e-5)
    assert not found[:, 3:].any()
    assert (found.argmax(1) == LABELS[24:]).all()


def test_rows_without_a_label_are_left_out() -> None:
    labels = LABELS.copy()
    labels[:6] = -1
    found = fitted(ROWS, labels, ROWS[:4])
    assert np.array_equal(found, fitted(ROWS[6:], LABELS[6:], ROWS[:4]))


@pytest.mark.parametrize(
    ("labels", "patients", "sentence"),
    [
        ([1] * 30, None, "two classes"),
        ([-1] * 29 + [0], None, "two classes"),
        ([0] * 29 + [1], None, "two patients of each class"),
        ([0] * 15 + [1] * 15, [*range(15), *[15] * 15], "two patients of each class"),
    ],
)
def test_too_little_to_learn_from_is_said_in_one_sentence(
    labels: list[int], patients: list[int] | None, sentence: str
) -> None:
    groups = None if patients is None else np.array(patients)
    with pytest.raises(InvalidRecipe, match=sentence):
        fitted(ROWS, np.array(labels), ROWS, patients=groups)


def test_no_patient_is_on_both_sides_of_a_fold() -> None:
    groups = np.arange(30) % 10  # each patient has a case of every class
    folds = _folds(LABELS, groups)
    assert len(folds) == 5
    for kept, held in folds:
        assert not set(groups[kept]) & set(groups[held])
        assert len(kept) + len(held) == 30
    alone = _folds(LABELS, np.arange(30))
    assert any(set(groups[kept]) & set(groups[held]) for kept, held in alone)
