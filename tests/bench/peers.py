"""What the benchmarks of explanations are held against.

grad-cam, captum and Quantus are packages and are run as they are. vit-explain, the Chefer
repositories, ViT-CX and RISE are scripts: what stands for them here is the same work through the
public interface of torch and timm, one method at a time, written for this comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import InputXGradient, IntegratedGradients, Occlusion
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor, nn

from engine.explainers.masks import random_cells, random_masks

Work = Callable[[], object]


def known_as(package: str) -> str:
    """Name and version of an installed package, for the table; empty where it is absent."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def gradcam(network: Any, x: Tensor) -> Work | None:
    """Grad-CAM of grad-cam at the last block's first norm; None where it is not installed."""
    if find_spec("pytorch_grad_cam") is None:
        return None
    package = import_module("pytorch_grad_cam")
    target = import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget(0)

    def as_map(tokens: Tensor) -> Tensor:
        side = round((tokens.shape[1] - 1) ** 0.5)
        return tokens[:, 1:].reshape(len(tokens), side, side, -1).permute(0, 3, 1, 2)

    def work() -> object:
        network.zero_grad()
        with package.GradCAM(
            network, [network.blocks[-1].norm1], reshape_transform=as_map
        ) as method:
            return method(x, [target] * len(x))

    return work


def input_x_gradient(network: nn.Module, x: Tensor) -> Work:
    """Input x gradient of captum."""
    return lambda: InputXGradient(network).attribute(x.clone().requires_grad_(), target=0)


def rollout(network: Any, x: Tensor) -> Tensor:
    """Attention rollout in a forward pass of its own, as vit-explain does it; (B, N - 1)."""
    layers, _ = _attended(network, x, backward=False)
    total = torch.eye(layers[0].shape[-1])
    for layer in layers:
        fused = layer.mean(1) + torch.eye(layer.shape[-1])
        total = fused / fused.sum(-1, keepdim=True) @ total
    return total[:, 0, 1:]


def gradient_rollout(network: Any, x: Tensor) -> Tensor:
    """Gradient rollout in a pass of its own, as vit-explain does it; (B, N - 1)."""
    total = torch.eye((x.shape[-1] // 16) ** 2 + 1)
    for layer, slope in zip(*_attended(network, x, backward=True), strict=True):
        fused = (layer * slope).mean(1).clamp_min(0) + torch.eye(layer.shape[-1])
        total = fused / fused.sum(-1, keepdim=True) @ total
    return total[:, 0, 1:]


def relevance(network: Any, x: Tensor) -> Tensor:
    """Relevance of Chefer et al., ICCV 2021, in a pass of its own; (B, N - 1)."""
    total = torch.eye((x.shape[-1] // 16) ** 2 + 1)
    for layer, slope in zip(*_attended(network, x, backward=True), strict=True):
        total = total + (layer * slope).clamp_min(0).mean(1) @ total
    return total[:, 0, 1:]


def attention_gradcam(network: Any, x: Tensor) -> Tensor:
    """Grad-CAM on the last attention, as Chefer et al. compare with, in a pass of its own."""
    layers, slopes = _attended(network, x, backward=True)
    row, slope = layers[-1][:, :, 0, 1:], slopes[-1][:, :, 0, 1:]
    return (slope.mean(2, keepdim=True) * row).mean(1).clamp_min(0)


def _attended(network: Any, x: Tensor, *, backward: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Attention and its gradients: fused attention off, hooks, gradients for all parameters."""
    layers: list[Tensor] = []
    attentions = [block.attn for block in network.blocks]

    def hear(module: nn.Module, arguments: Any, values: Tensor) -> None:
        if backward:
            values.retain_grad()
        layers.append(values)

    handles = [attention.attn_drop.register_forward_hook(hear) for attention in attentions]
    fused = [attention.fused_attn for attention in attentions]
    try:
        for attention in attentions:
            attention.fused_attn = False
        network.zero_grad()
        with torch.set_grad_enabled(backward):
            logits = network(x)
        if backward:
            logits[:, 0].sum().backward()
    finally:
        for attention, was, handle in zip(attentions, fused, handles, strict=True):
            attention.fused_attn = was
            handle.remove()
    slopes = [layer.grad for layer in layers if layer.grad is not None] if backward else []
    return [layer.detach() for layer in layers], slopes


def occlusion(network: nn.Module, x: Tensor, side: int) -> NDArray[Any]:
    """captum's occlusion with its default of one window a forward; (H, W)."""
    windows = (x.shape[1], side, side)
    found = Occlusion(network).attribute(x, windows, strides=windows, target=0, baselines=0)
    return np.asarray(found[0, 0].detach())


def integrated_gradients(network: nn.Module, x: Tensor, steps: int) -> NDArray[Any]:
    """captum's integrated gradients with its default of all steps at once; (H, W)."""
    found = IntegratedGradients(network).attribute(x, target=0, n_steps=steps)
    return np.asarray(found.sum(1)[0].detach())


@torch.no_grad()
def rise(network: nn.Module, x: Tensor, count: int, cells: int, keep: float) -> NDArray[Any]:
    """RISE: all masks and all masked images are made first, and answered in one batch; (H, W)."""
    masks = random_masks(*random_cells(count, cells, keep, 0), (x.shape[2], x.shape[3]))
    scores = network(masks[:, None] * x).softmax(1)[:, 0]
    return np.asarray((scores @ masks.flatten(1) / (count * keep)).reshape(masks.shape[1:]))


@torch.no_grad()
def pixel_curve(
    network: nn.Module, x: Tensor, end: Tensor, heat: Tensor, steps: int
) -> list[float]:
    """Deletion or insertion as RISE's script runs it on one image: a forward for every step."""
    order = heat.flatten().argsort(descending=True)
    now, goal, scores = x.clone().flatten(2), end.flatten(2), []
    for part in (None, *order.chunk(steps)):
        if part is not None:
            now[..., part] = goal[..., part]
        scores.append(float(network(now.reshape(x.shape)).softmax(1)[0, 0]))
    return scores


def pixel_flipping(network: nn.Module, x: Tensor, heat: Tensor, steps: int) -> Work | None:
    """PixelFlipping of Quantus, which flips channels apart; None where it is not installed.

    Pixels must be a multiple of what each step flips, so that few numbers of steps will do.
    """
    if find_spec("quantus") is None:
        return None
    metric = import_module("quantus").PixelFlipping(
        features_in_step=x[0].numel() // steps, perturb_baseline="mean", disable_warnings=True
    )
    return lambda: metric(
        model=network,
        x_batch=x.numpy(),
        y_batch=np.zeros(1, dtype=int),
        a_batch=heat.expand_as(x).numpy(),
        device="cpu",
    )


def vit_cx(
    network: Any, x: Tensor, threshold: float, noise: float, batch: int = 50
) -> NDArray[Any]:
    """ViT-CX as its script runs it: an unused backward pass, masks compared at image size; (H, W).

    The noise is seeded as ours is, so that the maps can be compared.
    """
    features = _features(network, x)
    grids = features[0, 1:].T.reshape(-1, x.shape[2] // 16, x.shape[3] // 16)
    masks = _scaled(F.interpolate(grids[:, None], x.shape[2:], mode="bilinear")[:, 0])
    unit = F.normalize(masks.flatten(1))
    apart = (1 - unit @ unit.T).clamp_min(0).fill_diagonal_(0).double().numpy()
    labels = fcluster(linkage(squareform(apart, checks=False), "complete"), threshold, "distance")
    members = [masks[torch.from_numpy(labels == name)].sum(0) for name in dict.fromkeys(labels)]
    groups = _scaled(torch.stack(members))
    generator = torch.Generator().manual_seed(0)
    drawn = [noise * torch.randn(x.shape[1:], generator=generator) for _ in groups]
    added = torch.stack(drawn) * (1 - groups[:, None])
    with torch.no_grad():
        images = torch.cat([x * groups[:, None] + added, x + added])
        answers = [network(some).softmax(1)[:, 0] for some in images.split(batch)]
        masked, whole = torch.cat(answers).chunk(2)
        scores = masked - whole + network(x).softmax(1)[0, 0]
    heat = torch.einsum("k,khw->hw", scores, groups / groups.sum(0)) / len(groups)
    return np.asarray(heat)


def _features(network: Any, x: Tensor) -> Tensor:
    """The last block's first norm, in a pass with gradients for all parameters."""
    found: list[Tensor] = []
    norm: nn.Module = network.blocks[-1].norm1
    handle = norm.register_forward_hook(lambda module, given, values: found.append(values))
    try:
        network.zero_grad()
        network(x)[:, 0].sum().backward()
    finally:
        handle.remove()
    return found[0].detach()


def _scaled(masks: Tensor) -> Tensor:
    low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
    return (masks - low) / (high - low)


def one_by_one(works: Sequence[Work]) -> Work:
    """Several pieces of work, one after the other."""

    def work() -> None:
        for one in works:
            one()

    return work
