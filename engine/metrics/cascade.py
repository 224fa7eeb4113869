"""The learnt parts of a network, ordered from its answer back to its input, and their undoing."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from engine.errors import UnknownName

STATISTICS = {"running_mean": 0.0, "running_var": 1.0}


@dataclass(frozen=True)
class Stage:
    """A part of a network: dotted name of a module or of a parameter, and whether it repeats."""

    name: str
    is_block: bool


def stages(network: nn.Module) -> tuple[Stage, ...]:
    """Parts that together hold every parameter, the last registered first.

    Stacks of like blocks are taken apart, at any depth, and everything else is one part per
    child; a parameter that a taken-apart module owns itself (class token, positions) is a part
    of its own. Networks register from input to output, so that heads come first and the stem
    last. Wrappers of one child (DistributedDataParallel, compiled networks) are seen through.
    """
    return tuple(reversed(list(_parts(network, "", False))))


def cascade(network: nn.Module) -> tuple[str, ...]:
    """Names of the parts in the order in which they are randomised; see `stages`."""
    return tuple(stage.name for stage in stages(network))


def heads(network: nn.Module) -> frozenset[str]:
    """Parts after the last block; only the very last where no block repeats."""
    ordered = stages(network)
    first = next((i for i, stage in enumerate(ordered) if stage.is_block), 1)
    return frozenset(stage.name for stage in ordered[:first])


def _parts(module: nn.Module, prefix: str, inside: bool) -> Iterator[Stage]:
    for name, _ in module.named_parameters(recurse=False):
        yield Stage(prefix + name, inside)
    for name, child in module.named_children():
        if next(child.parameters(), None) is None:
            continue
        whole = prefix + name
        if _is_stack(child):
            yield from _parts(child, f"{whole}.", True)
        elif _holds_stack(child) or _is_wrapper(module):
            yield from _parts(child, f"{whole}.", inside)
        else:
            yield Stage(whole, inside)


def _is_stack(module: nn.Module) -> bool:
    """A list or sequence, at least half of composite modules, one kind of which occurs twice."""
    if not isinstance(module, nn.ModuleList | nn.Sequential):
        return False
    learnt = [child for child in module if next(child.parameters(), None) is not None]
    kinds = Counter(type(child) for child in learnt if next(child.children(), None) is not None)
    return max(kinds.values(), default=0) > 1 and 2 * kinds.total() >= len(learnt)


def _holds_stack(module: nn.Module) -> bool:
    return any(_is_stack(part) for part in module.modules())


def _is_wrapper(module: nn.Module) -> bool:
    children = list(module.children())
    own = next(module.parameters(recurse=False), None)
    return len(children) == 1 and own is None


@contextmanager
def randomised(network: nn.Module, layers: Sequence[str], seed: int = 0) -> Iterator[None]:
    """Destroy what the named parts have learnt; on leaving, every bit is as before.

    Each tensor gets a draw of its own, decided by the seed and its name alone, the same on every
    device: matrices, kernels, tokens and positions from N(0, s) with s the standard deviation of
    the trained tensor, vectors (biases, scales of norms, LayerScale) from N(m, s) with its mean
    too, since a scale near zero would silence the network. Running statistics of batch norms
    return to 0 and 1. Tensors that are constant hold nothing learnt and stay. No copy of the
    network is made: nobody else may use it meanwhile.

    Args:
        network: Changed in place.
        layers: Names of modules or of parameters.
        seed: Seed.

    Raises:
        UnknownName: The network has no part of a name.
    """
    chosen = _tensors(network, layers)
    kept = {name: tensor.detach().clone() for name, tensor in chosen.items()}
    try:
        with torch.no_grad():
            for name, tensor in chosen.items():
                tensor.copy_(_drawn(name, tensor, seed))
        yield
    finally:
        with torch.no_grad():
            for name, tensor in chosen.items():
                tensor.copy_(kept[name])


def _tensors(network: nn.Module, layers: Sequence[str]) -> dict[str, Tensor]:
    """Parameters and running statistics under the names, each once."""
    everything: dict[str, Tensor] = dict(network.named_parameters())
    for name, buffer in network.named_buffers():
        if name.rpartition(".")[2] in STATISTICS:
            everything[name] = buffer
    found: dict[str, Tensor] = {}
    for layer in layers:
        part = {n: t for n, t in everything.items() if n == layer or n.startswith(f"{layer}.")}
        if not part:
            raise UnknownName(f"The network has no part named {layer!r} that it has learnt.")
        found |= part
    return found


def _drawn(name: str, tensor: Tensor, seed: int) -> Tensor:
    fixed = STATISTICS.get(name.rpartition(".")[2])
    if fixed is not None:
        return torch.full_like(tensor, fixed)
    trained = tensor.detach().double().cpu()
    spread = trained.std(correction=0) if trained.numel() > 1 else trained.abs().max()
    if not tensor.is_floating_point() or float(spread) == 0.0:
        return tensor
    state = np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)
    generator = torch.Generator().manual_seed(int(state[0]))
    draw = torch.randn(trained.shape, generator=generator, dtype=torch.float64) * spread
    return (draw if trained.ndim > 1 else draw + trained.mean()).to(tensor)
