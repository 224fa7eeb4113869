"""The demonstration weights that ship: verified, useful on unseen phantoms, maps on lesions."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from engine.cards import DEFAULT_MODEL, cards_folder, read_card
from engine.datasets.phantoms import SPLITS
from engine.metrics.prediction import box_iou
from engine.models import System
from engine.models.weights import sha256_of
from engine.phantoms import phantom_case
from engine.records import Case
from engine.workflow import Analysis, explain, load_system

FIRST_SEED = 7_000_000
LESIONS = ("Benign", "In situ", "Invasive")


@pytest.fixture(scope="module")
def system() -> System:
    torch.set_num_threads(1)
    return load_system()


@cache
def lesion_cases() -> tuple[Case, ...]:
    """Two dozen phantoms with a lesion, of seeds that no split has."""
    assert max(SPLITS.values()) + 1_000_000 <= FIRST_SEED
    return tuple(phantom_case(FIRST_SEED + n, LESIONS[n % 3]) for n in range(24))


@pytest.fixture(scope="module")
def analyses(system: System) -> list[Analysis]:
    return [
        explain(system, case, target=case.truth.label if case.truth else None)
        for case in lesion_cases()
    ]


def test_weights_are_those_of_the_card_and_small() -> None:
    card = read_card(cards_folder() / f"{DEFAULT_MODEL}.toml")
    path = cards_folder() / card.weights
    assert sha256_of(path) == card.weights_digest
    assert path.stat().st_size <= 15_000_000


def test_the_card_states_data_seed_steps_and_figures() -> None:
    card = read_card(cards_folder() / f"{DEFAULT_MODEL}.toml")
    assert "not for diagnosis" in card.intended_use
    assert {"seed", "steps", "train_cases", "test_cases"} <= set(card.facts)
    for part in ("with_pathology", "mammogram_only"):
        figures = card.metrics[part]
        assert {"accuracy", "macro_auc", "box_iou", "grade_quadratic_kappa"} <= set(figures)


def test_most_classes_are_right(analyses: list[Analysis]) -> None:
    right = [
        analysis.prediction.leading == case.truth.label
        for analysis, case in zip(analyses, lesion_cases(), strict=True)
        if case.truth is not None
    ]
    assert np.mean(right) >= 0.85


def test_boxes_overlap_the_lesion(analyses: list[Analysis]) -> None:
    found = []
    for analysis, case in zip(analyses, lesion_cases(), strict=True):
        assert case.truth is not None and case.truth.box is not None
        boxes = [region.box for region in analysis.prediction.regions if region.box is not None]
        truth = case.truth.box
        rows = [[b.x, b.y, b.width, b.height] for b in (*boxes[:1], truth)]
        found.append(float(box_iou(rows[:1], rows[1:])[0]) if boxes else 0.0)
    assert np.mean(found) >= 0.25


@pytest.mark.parametrize("method", ["relevance", "rollout", "cross_modal", "gradcam"])
def test_heat_gathers_on_the_planted_lesion(analyses: list[Analysis], method: str) -> None:
    """Share of heat within the lesion and 12 pixels around it, over that area's share."""
    ratios = []
    for analysis, case in zip(analyses, lesion_cases(), strict=True):
        assert case.truth is not None and case.truth.mask is not None
        near = binary_dilation(case.truth.mask, iterations=12)
        (explanation,) = [e for e in analysis.explanations if e.method == method]
        heat = explanation.maps[0].values - explanation.maps[0].values.min()
        share = heat[near].sum() / heat.sum() if heat.any() else 0.0
        ratios.append(share / near.mean())
    assert np.mean(ratios) >= 2.0


def test_a_mammogram_alone_is_read_too(system: System) -> None:
    case = lesion_cases()[2]
    analysis = explain(system, Case(case.id, case.images[:1]))
    assert any("without pathology" in warning for warning in analysis.prediction.warnings)
    assert {e.method for e in analysis.explanations} == {
        "rollout", "gradcam", "relevance", "cross_modal"
    }  # fmt: skip
