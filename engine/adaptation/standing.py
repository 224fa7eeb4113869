"""A network laid down for adaptation, and put back as it was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

STATISTICS = ("running_mean", "running_var")


@contextmanager
def laid_down(
    network: nn.Module, tensors: Mapping[str, nn.Parameter], *, batch_statistics: bool = False
) -> Iterator[None]:
    """Evaluation mode, so that dropout and MixStyle are off; only `tensors` require a gradient.

    On leaving, mode, `requires_grad` and gradients of every part are as before.

    Args:
        network: The network. tensors: What may change.
        batch_statistics: Batch normalisation uses the batch at hand, as TENT does; its running
            statistics are neither read nor changed.
    """
    training = [module for module in network.modules() if module.training]
    learning = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    grads = [(tensor, tensor.grad) for tensor in tensors.values()]
    hidden = _hide_statistics(network) if batch_statistics else []
    chosen = {id(tensor) for tensor in tensors.values()}
    try:
        for module in training:
            module.training = False
        for parameter, _ in learning:
            parameter.requires_grad_(id(parameter) in chosen)
        for tensor, _ in grads:
            tensor.grad = None
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for owner, name, buffer in hidden:
            setattr(owner, name, buffer)
        for tensor, grad in grads:
            tensor.grad = grad
        for parameter, wanted in learning:
            parameter.requires_grad_(wanted)
        for module in training:
            module.training = True


def _hide_statistics(network: nn.Module) -> list[tuple[nn.Module, str, torch.Tensor | None]]:
    """Without running statistics, batch normalisation takes those of the batch, in either mode."""
    hidden: list[tuple[nn.Module, str, torch.Tensor | None]] = []
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            for name in STATISTICS:
                hidden.append((module, name, getattr(module, name)))
                setattr(module, name, None)
    return hidden
