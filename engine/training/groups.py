"""Parameter groups: who decays, and who learns at which rate; by module, never by name."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn import Parameter

from engine.models.breast import BreastCancerDiagnosisModel
from engine.models.layers.encoder import TransformerBlock
from engine.training.recipes import OptimiserRecipe


def trunk_depths(network: BreastCancerDiagnosisModel) -> dict[int, int]:
    """Blocks that lie above each trunk parameter, by its identity; adapters are no trunk."""
    encoder = network.encoder
    blocks = list(encoder.blocks)
    found = {id(p): len(blocks) for p in encoder.parameters()}
    for index, block in enumerate(blocks):
        found |= {id(p): len(blocks) - 1 - index for p in block.parameters()}
    found |= {id(p): 0 for p in encoder.norm.parameters()}
    for block in blocks:
        assert isinstance(block, TransformerBlock)
        for part in (block.adapter1, block.adapter2):
            for p in part.parameters():
                found.pop(id(p), None)
    return found


def decayed_weights(network: nn.Module) -> set[int]:
    """Identities of the matrices of linear and convolution layers."""
    return {
        id(module.weight)
        for module in network.modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


def parameter_groups(
    network: BreastCancerDiagnosisModel, settings: OptimiserRecipe
) -> list[dict[str, Any]]:
    """Groups for AdamW: by learning rate (trunk by depth, heads and adapters, task weights) and
    weight decay (matrices of linear and convolution layers only)."""
    depths, decayed = trunk_depths(network), decayed_weights(network)
    tasks = {id(p) for p in network.task_weights.parameters()}
    groups: dict[tuple[float, float], list[Parameter]] = {}
    for p in network.parameters():
        rate = settings.learning_rate
        if id(p) in tasks:
            rate *= settings.task_rate
        elif id(p) in depths:
            rate *= settings.trunk_rate * settings.layer_decay ** depths[id(p)]
        decay = settings.weight_decay if id(p) in decayed else 0.0
        groups.setdefault((rate, decay), []).append(p)
    return [
        {"params": found, "lr": rate, "weight_decay": decay}
        for (rate, decay), found in groups.items()
    ]
