"""The straight line from a case to its explanations, on a small network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.cards import known_cards, read_card
from engine.errors import ModelUnavailable, UnknownName, UnsupportedImage
from engine.explainers import EXPLAINERS
from engine.models import MODELS, System
from engine.models.weights import load_weights, save_weights
from engine.records import Case, Modality
from engine.workflow import DEFAULT_METHODS, choose_device, class_index, explain, predict
from tests.engine.small_system import CLASSES, CONFIG, small_case, small_system


@pytest.fixture(scope="module")
def system() -> System:
    found = small_system()
    with torch.no_grad():
        found.network.classification.layers[-1].bias.copy_(torch.tensor([-5.0, 5.0, 0.0, 0.0]))
    return found


@pytest.fixture(scope="module")
def case() -> Case:
    return small_case()


def test_maps_lie_in_source_pixels(system, case):
    analysis = explain(system, case)
    assert [e.method for e in analysis.explanations] == list(DEFAULT_METHODS)
    assert not analysis.refused
    for explanation in analysis.explanations:
        assert explanation.target == "Benign"
        for heat in explanation.maps:
            image = case.images[heat.image]
            assert heat.values.shape == (image.height, image.width)
            assert heat.values.dtype == np.float32
            assert np.isfinite(heat.values).all()
            assert heat.grid == ((8, 8) if heat.image == 0 else (6, 6))


def test_prediction_is_the_same_with_and_without_explanations(system, case):
    alone, together = predict(system, case), explain(system, case).prediction
    for name in CLASSES:
        assert alone.probabilities[name] == pytest.approx(together.probabilities[name], abs=1e-5)
    assert alone.leading == "Benign"
    assert alone.grade is not None and alone.grade.names == CLASSES[1:]
    assert len(alone.patches) == 5
    assert sum(alone.probabilities.values()) == pytest.approx(1, abs=1e-5)
    box = alone.regions[0].box
    assert box is not None
    assert 0 <= box.x <= box.x + box.width <= case.images[0].width + 1e-3


def test_the_target_changes_class_maps_but_not_rollout(system, case):
    first = {e.method: e for e in explain(system, case, target="Normal").explanations}
    second = {e.method: e for e in explain(system, case, target="3").explanations}
    assert second["relevance"].target == "Invasive"
    for method, same in (("rollout", True), ("relevance", False), ("gradcam", False)):
        left, right = first[method].maps[0].values, second[method].maps[0].values
        assert np.array_equal(left, right) is same


def test_one_shared_pass_equals_separate_passes(system, case):
    together = {e.method: e for e in explain(system, case).explanations}
    for method in DEFAULT_METHODS:
        alone = explain(system, case, [method]).explanations[0]
        for one, other in zip(alone.maps, together[method].maps, strict=True):
            assert np.abs(one.values - other.values).max() <= 1e-3 * np.abs(other.values).max()


def test_without_pathology_the_cross_modal_map_says_so(system, case):
    alone = Case(case.id, case.images[:1])
    analysis = explain(system, alone)
    assert any("without pathology" in warning for warning in analysis.prediction.warnings)
    maps = {e.method: e.maps for e in analysis.explanations}
    (cross,) = maps["cross_modal"]
    assert not cross.localised and "second image" in cross.reason
    assert not cross.values.any()
    assert maps["relevance"][0].localised


def test_a_case_without_a_mammogram_is_refused(system, case):
    with pytest.raises(UnsupportedImage, match=r"needs a mammogram.*pathology image"):
        explain(system, Case(case.id, case.images[1:]))


def test_unknown_names_are_refused_with_the_known_ones(system, case):
    with pytest.raises(UnknownName, match="gradcam"):
        explain(system, case, ["magic"])
    with pytest.raises(UnknownName, match="Invasive"):
        class_index(system.card, "Metastatic")
    with pytest.raises(UnknownName, match="auto, cpu or cuda"):
        choose_device("abacus")


def test_a_flat_map_is_flagged(system, case):
    blank = case.images[0].pixels * 0 + 7
    images = (type(case.images[0])(blank, Modality.MAMMOGRAPHY, "0" * 64),)
    for explanation in explain(system, Case("flat", images), ["gradcam", "relevance"]).explanations:
        heat = explanation.maps[0]
        assert np.isfinite(heat.values).all()
        assert heat.localised or not heat.values.any()


def test_every_method_declares_itself():
    for name, method in EXPLAINERS.items():
        assert name == method.name and method.title and method.summary.endswith(".")
        assert method.needs


def test_weights_are_verified(tmp_path, system):
    path = tmp_path / "tiny.safetensors"
    digest = save_weights(system.network, path)
    fresh = MODELS["crossmodal"].build(CONFIG)
    load_weights(fresh, path, digest)
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, system.network.state_dict()[name])
    with pytest.raises(ModelUnavailable, match="not the ones its card describes"):
        load_weights(fresh, path, "f" * 64)
    with pytest.raises(ModelUnavailable, match="not installed"):
        load_weights(fresh, tmp_path / "absent.safetensors", digest)
    path.write_bytes(b"not weights at all")
    from engine.models.weights import sha256_of

    with pytest.raises(ModelUnavailable, match="do not fit"):
        load_weights(fresh, path, sha256_of(path))


def test_cards_with_unknown_fields_are_refused(tmp_path):
    path = tmp_path / "odd.toml"
    path.write_text('title = "x"\nmagic = 1\n')
    with pytest.raises(ModelUnavailable, match="magic"):
        read_card(path)
    with pytest.raises(ModelUnavailable, match="no model card"):
        read_card(tmp_path / "none.toml")
    assert "odd" in known_cards(tmp_path)
