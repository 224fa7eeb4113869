"""What a clinician reads where the model may find several lesions."""

from __future__ import annotations

import torch

from engine.models import MODELS
from engine.models.crossmodal import CrossModal
from engine.records import ModelCard
from engine.workflow import explain, predict
from tests.engine.small_system import CLASSES, CONFIG, small_case

OPTIONS = {
    "lesions": 3, "permute_mlp": True, "pathology_size": 64, "ordinal": "coral", "mixstyle": 0.5,
    "queue": 8,
}  # fmt: skip


def system() -> CrossModal:
    config = CONFIG | OPTIONS
    torch.manual_seed(3)
    network = MODELS["crossmodal"].build(config)
    with torch.no_grad():
        network.mammo_gate.fill_(0.3)
        network.patho_gate.fill_(0.3)
        network.classification.layers[-1].bias[3] = 5.0
        for block in network.encoder.blocks:
            torch.nn.init.normal_(block.permute.proj.weight, std=0.1)
    card = ModelCard(
        name="tiny", system="crossmodal", version="0", title="Tiny", intended_use="Test only.",
        training_data="none", limits=(), classes=CLASSES, grades=CLASSES[1:], config=config,
        metrics={}, facts={}, weights="tiny.safetensors", weights_digest="0" * 64,
    )  # fmt: skip
    return CrossModal(card, network, torch.device("cpu"))


def test_lesions_more_likely_than_not_become_regions_the_most_believed_first():
    found = system()
    with torch.no_grad():
        found.network.localization.score.bias.fill_(8.0)
    regions = predict(found, small_case()).regions
    assert len(regions) == 3
    assert regions[1].score is not None and regions[2].score is not None
    assert regions[1].score >= regions[2].score > 0.5
    assert regions[1].mask is None and regions[1].box is not None
    with torch.no_grad():
        found.network.localization.score.bias.fill_(-20.0)
    assert len(predict(found, small_case()).regions) == 1


def test_explanations_read_a_network_with_every_option():
    methods = ("rollout", "relevance", "gradcam", "cross_modal", "lrp")
    found = explain(system(), small_case(), methods)
    assert not found.refused
    assert len(found.explanations) == len(methods)
    for explanation in found.explanations:
        assert any(heat.values.any() for heat in explanation.maps)
