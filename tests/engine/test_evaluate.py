"""Figures of a split: by hand, by the agreement module, and their intervals by patient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.metrics.agreement import cohen_kappa
from engine.training.evaluate import (
    Outputs,
    compare,
    figures,
    intervals,
    measure,
    outputs_of,
    resampled,
)
from engine.training.run import built
from tests.engine.training_world import CPU, small_splits, tiny


def said(seed: int, count: int = 60, skill: float = 1.0) -> Outputs:
    """A network of some skill on cases of which every two are one patient's."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 4, count)
    own = np.random.default_rng(seed)
    scores = np.exp(own.normal(size=(count, 4)) + skill * np.eye(4)[labels])
    grades = np.exp(own.normal(size=(count, 3)) + skill * np.eye(3)[np.maximum(labels - 1, 0)])
    return Outputs(
        classes=(scores / scores.sum(1, keepdims=True)).astype(np.float32),
        grades=(grades / grades.sum(1, keepdims=True)).astype(np.float32),
        boxes=np.zeros((count, 4), np.float32),
        labels=labels,
        grade=labels - 1,
        patients=np.arange(count) // 2,
        overlap=np.where(labels > 0, own.random(count), np.nan),
        dice=np.where(labels > 0, own.random(count), 1.0),
        lesion=labels > 0,
    )


def test_figures_by_hand() -> None:
    out = said(1)
    found = figures(out)
    graded = out.grade >= 0
    pairs = np.stack((out.grade[graded], out.grades[graded].argmax(1)), 1).astype(float)
    kappa = cohen_kappa(pairs, (0, 1, 2), weights="quadratic").value
    assert found["grade_quadratic_kappa"] == pytest.approx(kappa, abs=1e-12)
    assert found["accuracy"] == (out.classes.argmax(1) == out.labels).mean()
    assert found["box_iou"] == pytest.approx(float(np.nanmean(out.overlap)))
    assert found["lesion_dice"] == pytest.approx(float(out.dice[out.lesion].mean()))
    assert found["dice_with_normals"] == pytest.approx(float(out.dice.mean()))
    assert found["dice_with_normals"] > found["lesion_dice"]


def test_a_patient_is_drawn_with_all_rows() -> None:
    rows = resampled(np.array([5, 5, 9, 9, 9, 2]), 50)
    for drawn in rows:
        counts = np.bincount(drawn, minlength=6)
        assert counts[0] == counts[1] and counts[2] == counts[3] == counts[4]
        assert counts[0] + counts[2] + counts[5] == 3


def test_intervals_hold_the_figure_and_are_wider_by_patient() -> None:
    out = said(1)
    found, bounds = figures(out), intervals(out, 400)
    for name, (low, high) in bounds.items():
        assert low < found[name] < high
    twins = Outputs(**{k: np.repeat(v, 2, 0) for k, v in vars(out).items()})
    width = {True: 0.0, False: 0.0}
    for by_patient in width:
        patients = twins.patients if by_patient else np.arange(len(twins.labels))
        low, high = intervals(Outputs(**{**vars(twins), "patients": patients}), 400)["accuracy"]
        width[by_patient] = high - low
    assert width[True] > 1.2 * width[False]


def test_two_networks_on_the_same_cases() -> None:
    weak, strong = said(1, 200, 0.5), said(2, 200, 3.0)
    found = compare(weak, strong, resamples=300)
    assert found["accuracy"]["difference"] == pytest.approx(
        found["accuracy"]["b"] - found["accuracy"]["a"]
    )
    assert found["accuracy"]["low"] > 0
    alike = compare(weak, weak, resamples=300)["accuracy"]
    assert alike["difference"] == alike["low"] == alike["high"] == 0


def test_a_network_is_measured_with_and_without_pathology() -> None:
    recipe = tiny()
    source, network = small_splits(recipe)["test"], built(recipe)
    both = outputs_of(network, source, CPU)
    alone = outputs_of(network, source, CPU, pathology=False)
    assert not np.allclose(both.classes, alone.classes)
    assert np.allclose(alone.classes.sum(1), 1, atol=1e-5)
    assert np.isnan(both.overlap).sum() == (source.labels == 0).sum()
    found = measure(network, source, CPU, resamples=50)
    assert found["cases"] == found["patients"] == 8 and found["pathology"]
    assert found["accuracy_interval"][0] <= found["accuracy"] <= found["accuracy_interval"][1]
    again = outputs_of(network, source.subset(torch.tensor([3, 1])), CPU)
    assert np.allclose(again.classes, both.classes[[3, 1]], atol=1e-6)
