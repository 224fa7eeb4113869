"""A tiny untrained breast system and a small case, for tests of what is computed around a model."""

from __future__ import annotations

import torch

from engine.models import MODELS, System
from engine.phantoms import phantom_case
from engine.records import Case, ModelCard

CONFIG = {
    "img_size": 64,
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "cross_heads": 3,
    "projection_dim": 8,
    "pathology_size": 48,
}
CLASSES = ("Normal", "Benign", "In situ", "Invasive")


def small_system(seed: int = 3) -> System:
    """The system, whose two images speak to each other."""
    torch.manual_seed(seed)
    network = MODELS["crossmodal"].build(CONFIG)
    with torch.no_grad():
        network.mammo_gate.fill_(0.3)
        network.patho_gate.fill_(0.3)
    card = ModelCard(
        name="tiny", system="crossmodal", version="0", title="Tiny", intended_use="Test only.",
        training_data="none", limits=(), classes=CLASSES, grades=CLASSES[1:], config=CONFIG,
        metrics={}, facts={}, weights="tiny.safetensors", weights_digest="0" * 64,
    )  # fmt: skip
    return MODELS["crossmodal"](card, network, torch.device("cpu"))


def small_case(seed: int = 5) -> Case:
    """A phantom with a lesion, mammogram and pathology."""
    return phantom_case(seed, "Invasive", height=256, width=192, tile=128)
