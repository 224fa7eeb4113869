"""The class activation formulas: feature channels put together by their gradients.

a_k is the activation of channel k and g_k the gradient of the class's logit, (B, K, h, w) each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from engine.errors import IncompatibleExplainer
from engine.explainers.base import Maps
from engine.trace import Trace, enlarged

Formula = Callable[[Tensor, Tensor], Tensor]
"""Activation and gradient, (B, K, h, w), to maps (B, h, w)."""


def gradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """(sum_k w_k a_k)+ with w_k the spatial mean of g_k. Source: Selvaraju et al., ICCV 2017."""
    return _combined(gradient.mean((2, 3)), activation).clamp_min(0)


def gradcam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM with w_k = sum g+ alpha, alpha = g^2 / (2 g^2 + g^3 sum a).

    Source:
        Chattopadhay et al., "Grad-CAM++", WACV 2018, with the powers of the gradient in place of
        the higher derivatives, as its section 3.2 and all implementations have it.
    """
    square = gradient**2
    total = activation.sum((2, 3), keepdim=True)
    alpha = square / (2 * square + square * gradient * total + 1e-6)
    alpha = torch.where(gradient != 0, alpha, torch.zeros_like(alpha))
    return _combined((gradient.clamp_min(0) * alpha).sum((2, 3)), activation).clamp_min(0)


def xgradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM with w_k = sum(g a) / sum a. Source: Fu et al., "Axiom-based Grad-CAM", BMVC 2020.

    The denominator is kept away from zero on its own side by 1e-7.
    """
    total = activation.sum((2, 3)) + 1e-7
    weights = (gradient * activation).sum((2, 3)) / total
    return _combined(weights, activation).clamp_min(0)


def hirescam(activation: Tensor, gradient: Tensor) -> Tensor:
    """(sum_k g_k a_k)+, without averaging. Source: Draelos and Carin, "HiResCAM", 2020."""
    return (gradient * activation).sum(1).clamp_min(0)


def layercam(activation: Tensor, gradient: Tensor) -> Tensor:
    """(sum_k g_k+ a_k)+. Source: Jiang et al., "LayerCAM", IEEE TIP 2021."""
    return (gradient.clamp_min(0) * activation).sum(1).clamp_min(0)


def eigencam(activation: Tensor) -> Tensor:
    """The activations' first principal component over places, blind to the class.

    The sign of a component is arbitrary; here the side on which the activations are stronger is
    positive, and the other side is left out, as in pytorch-grad-cam.

    Source:
        Muhammad and Yeasin, "Eigen-CAM", IJCNN 2020.
    """
    places = activation.flatten(2).transpose(1, 2)
    centred = places - places.mean(1, keepdim=True)
    _, _, axes = torch.linalg.svd(centred.float(), full_matrices=False)
    along = (centred.float() * axes[:, :1]).sum(2)
    strength = places.norm(dim=2).float()
    side = (along * (strength - strength.mean(1, keepdim=True))).sum(1, keepdim=True)
    along = torch.where(side < 0, -along, along)
    return along.clamp_min(0).reshape(len(activation), *activation.shape[2:])


def _combined(weights: Tensor, activation: Tensor) -> Tensor:
    return torch.einsum("bk,bkhw->bhw", weights, activation)


def without_gradients(trace: Trace, layers: Sequence[str] | None) -> Maps:
    """`eigencam` on the feature map of each stream; see `over_layers`."""
    maps: Maps = {}
    for stream in trace.images:
        read = [trace.features(stream, name).values for name in layers or (None,)]
        if not all(bool(values.isfinite().all()) for values in read):
            raise IncompatibleExplainer("The model's features hold values that are not numbers.")
        maps[stream] = _joined([eigencam(values) for values in read], trace.image(stream))
    return maps


def over_layers(trace: Trace, formula: Formula, layers: Sequence[str] | None) -> Maps:
    """A formula on the feature map of each stream; of several layers, the mean of scaled maps.

    Args:
        trace: With features and gradients.
        formula: One of the formulas above.
        layers: Names of the modules; the default layer when None.

    Raises:
        IncompatibleExplainer: No gradient reaches the features, or they are not numbers.
    """
    maps: Maps = {}
    silent = True
    for stream in trace.images:
        found = []
        for name in layers or (None,):
            reading = trace.features(stream, name)
            if reading.gradients is None:
                raise IncompatibleExplainer("This method needs gradients.")
            silent = silent and not bool(reading.gradients.any())
            found.append(formula(reading.values, reading.gradients))
        maps[stream] = _joined(found, trace.image(stream))
    if silent:
        raise IncompatibleExplainer(
            "No gradient reaches any region at this layer. With a class token, what the last "
            "block gives out for the patches is not used; choose the block's first norm."
        )
    if not any(bool(torch.isfinite(grid).all()) for grid in maps.values()):
        raise IncompatibleExplainer("The model's features hold values that are not numbers.")
    return maps


def _joined(maps: Sequence[Tensor], image: Tensor) -> Tensor:
    return maps[0] if len(maps) == 1 else _averaged(maps, image)


def _averaged(maps: Sequence[Tensor], image: Tensor) -> Tensor:
    """Each map scaled to [0, 1], then the mean; maps on different grids are enlarged to pixels."""
    grids = {tuple(grid.shape[-2:]) for grid in maps}
    size = next(iter(grids)) if len(grids) == 1 else tuple(image.shape[-2:])
    scaled = []
    for grid in maps:
        low = grid.amin((1, 2), keepdim=True)
        span = grid.amax((1, 2), keepdim=True) - low + 1e-7
        scaled.append(enlarged((grid - low) / span, (size[0], size[1])))
    return torch.stack(scaled).mean(0)
