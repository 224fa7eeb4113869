"""A tiny untrained model, so that no test depends on the weights that ship with Lightbox."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from argon2 import PasswordHasher

from app.auth import Accounts, Passwords, Role, User
from app.services import Services
from app.services.context import Context
from app.services.models import Models
from app.settings import Settings
from app.store import Store
from engine.models import MODELS
from engine.models.weights import save_weights
from engine.phantoms import phantom_case
from engine.records import Case
from engine.training.card import card_text
from engine.training.recipes import DataRecipe, OptimiserRecipe, Recipe

torch.set_num_threads(1)  # nets this small only lose by sharing the processor

NAME = "crossmodal-demo"
CLASSES = ("Normal", "Benign", "In situ", "Invasive")
METHODS = ("rollout", "gradcam", "relevance", "cross_modal")
CONFIG = {
    "img_size": 64,
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "adapter_dim": 8,
    "projection_dim": 8,
    "pathology_size": 48,
}
ANN = User("ann", "Ann", Role.READER)
BOB = User("bob", "Bob", Role.READER)
CHIEF = User("chief", "Chief", Role.ADMINISTRATOR)


def recipe(**changes: object) -> Recipe:
    """A recipe that trains within seconds."""
    small = Recipe(
        name=NAME,
        title="Small model",
        system="crossmodal",
        version="0",
        network=CONFIG,
        intended_use="Test model, not for diagnosis.",
        training_data="Nothing.",
        limits=("It knows nothing.",),
        seed=5,
        data=DataRecipe(train_cases=8, validation_cases=8, test_cases=8, workers=0),
        optimiser=OptimiserRecipe(epochs=2, batch_size=4, precision="32"),
    )
    return replace(small, **changes)


def write_model(folder: Path, leading: str = "Benign") -> Path:
    """Put a card with its weights into a folder; the model always says `leading`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(3)
    network = MODELS["crossmodal"].build(CONFIG)
    bias = torch.tensor([5.0 if name == leading else 0.0 for name in CLASSES])
    with torch.no_grad():
        network.mammo_gate.fill_(0.3)
        network.patho_gate.fill_(0.3)
        network.classification.layers[-1].bias.copy_(bias)
    digest = save_weights(network, folder / f"{NAME}.safetensors")
    card = folder / f"{NAME}.toml"
    card.write_text(card_text(recipe(), {}, {"untrained": {"cases": 0}}, digest), "utf-8")
    return folder


def use(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let everything look for model cards in `folder`."""
    for name in ("engine.cards", "engine.workflow", "app.services.models"):
        if hasattr(importlib.import_module(name), "cards_folder"):
            monkeypatch.setattr(f"{name}.cards_folder", lambda: folder)


def open_services(workspace: Path, *, demonstration: bool = False, **settings: object) -> Services:
    """Services over a workspace, impatient with locks and quick with passwords."""
    chosen = Settings.load({"workspace": workspace, "device": "cpu", **settings}, environ={})
    store = Store(chosen.workspace, chosen.database, busy_ms=50)
    light = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    accounts = Accounts(store, passwords=light)
    return Services(Context(chosen, store, accounts, Models("cpu"), demonstration))


def small_case(seed: int = 5, label: str = "Invasive") -> Case:
    """A phantom of a size that is quick to explain."""
    return phantom_case(seed, label, height=160, width=128, tile=128)
