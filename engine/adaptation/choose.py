"""Which tensors adaptation may change: the affine parameters of normalisation layers."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from engine.adaptation.errors import AdaptationRefused

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _BatchNorm, _InstanceNorm)
KEEP_LAST = 3
"""Blocks of a transformer that stay, counted from the end."""

ADAPTERS = ("adapter1", "adapter2")


def choose_tensors(
    network: nn.Module,
    *,
    keep_last: int = KEEP_LAST,
    adapters: bool = False,
    modalities: Collection[str] | None = None,
) -> dict[str, nn.Parameter]:
    """Parameters that adaptation may change, by name, in the order of the network.

    In a transformer: scale and shift of every LayerNorm of blocks 0 to depth - 1 - `keep_last`.
    The last blocks and the final norm stay, since small changes there move the answer most. A
    network with fewer blocks than that still adapts its first one. In any other network: scale and
    shift of every normalisation layer.

    Args:
        network: The network.
        keep_last: Blocks that stay, counted from the end, >= 0.
        adapters: Also the modality adapters of these blocks.
        modalities: Whose adapters; all when None.

    Raises:
        AdaptationRefused: The network has no normalisation layer with parameters.

    Source:
        Niu et al., "Towards Stable Test-Time Adaptation in Dynamic Wild World" (SAR), ICLR 2023.
    """
    found = trunk(network)
    if found is None:
        chosen = dict(_affine(network, ""))
    else:
        name, depth = found
        blocks = network.get_submodule(name)
        chosen = {}
        for index in range(max(1, depth - keep_last)):
            prefix = f"{name}.{index}"
            block = blocks.get_submodule(str(index))
            chosen |= {n: p for n, p in _affine(block, prefix) if not _in_adapter(n, prefix)}
            if adapters:
                chosen |= dict(_adapters(block, prefix, modalities))
    if not chosen:
        raise AdaptationRefused(
            "This model has no normalisation layer that could be adapted to other images."
        )
    return chosen


def trunk(network: nn.Module) -> tuple[str, int] | None:
    """Name and length of the one list of transformer blocks; None where there is none, or many."""
    found = [
        (name, len(list(module.children())))
        for name, module in network.named_modules()
        if name.rpartition(".")[2] == "blocks" and _is_transformer(module)
    ]
    return found[0] if len(found) == 1 else None


def _is_transformer(blocks: nn.Module) -> bool:
    each = list(blocks.children())
    return bool(each) and all(
        any(isinstance(module, nn.LayerNorm) for module in block.children()) for block in each
    )


def _affine(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Parameter]]:
    for name, child in module.named_modules(prefix=prefix):
        if isinstance(child, NORMS):
            for own, parameter in child.named_parameters(recurse=False):
                yield f"{name}.{own}" if name else own, parameter


def _in_adapter(name: str, prefix: str) -> bool:
    return name.removeprefix(f"{prefix}.").split(".")[0] in ADAPTERS


def _adapters(
    block: nn.Module, prefix: str, modalities: Collection[str] | None
) -> Iterator[tuple[str, nn.Parameter]]:
    for part in ADAPTERS:
        sets = getattr(block, part, None)
        if isinstance(sets, nn.ModuleDict):
            for modality, module in sets.items():
                if modalities is None or modality in modalities:
                    for name, parameter in module.named_parameters():
                        yield f"{prefix}.{part}.{modality}.{name}", parameter
