"""Perturbation methods written out once more, in float64, loop by loop, without batching."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from torch import Tensor

Score = Callable[[Tensor], Tensor]
"""From one image (C, H, W) float64 to a number."""


def gradient(score: Score, image: Tensor) -> Tensor:
    leaf = image.clone().requires_grad_()
    return torch.autograd.grad(score(leaf), leaf)[0]


def integrated_gradients(score: Score, image: Tensor, start: Tensor, steps: int) -> Tensor:
    """Gauss-Legendre on [0, 1]; (C, H, W)."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(image)
    for node, weight in zip(nodes, weights, strict=True):
        total += weight / 2 * gradient(score, start + (node + 1) / 2 * (image - start))
    return (image - start) * total


def mean_gradient(score: Score, image: Tensor, draws: Sequence[Tensor], noise: float) -> Tensor:
    spread = noise * (image.max() - image.min())
    return sum(gradient(score, image + spread * draw) for draw in draws) / len(draws)


def occlusion(
    score: Score, image: Tensor, cover: Tensor, window: tuple[int, int], stride: tuple[int, int]
) -> Tensor:
    """Mean logit drop of the windows over each pixel, (H, W)."""
    _, height, width = image.shape
    drops = torch.zeros(height, width, dtype=torch.float64)
    hits = torch.zeros_like(drops)
    whole = score(image)
    top = 0
    while True:
        left = 0
        while True:
            rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
            hidden = image.clone()
            hidden[:, rows, columns] = cover[:, rows, columns]
            drops[rows, columns] += (whole - score(hidden)).detach()
            hits[rows, columns] += 1
            if left + window[1] >= width:
                break
            left += stride[1]
        if top + window[0] >= height:
            break
        top += stride[0]
    return drops / hits


def rise(share: Score, image: Tensor, masks: Tensor, keep: float) -> Tensor:
    total = sum(share(image * mask) * mask for mask in masks)
    return total / (len(masks) * keep)


def rise_mask(grid: Tensor, shift: Tensor, size: tuple[int, int]) -> Tensor:
    """One mask of RISE: enlarge, then cut out."""
    cells = len(grid)
    cell = [-(-side // cells) for side in size]
    whole = F.interpolate(
        grid[None, None].double(), [(cells + 1) * side for side in cell], mode="bilinear"
    )[0, 0]
    top, left = (int(share * side) for share, side in zip(shift, cell, strict=True))
    return whole[top : top + size[0], left : left + size[1]]


def minmax(masks: Tensor) -> Tensor:
    low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
    return (masks - low) / (high - low)


def feature_masks(features: Tensor, size: tuple[int, int]) -> Tensor:
    return minmax(F.interpolate(features[None].double(), size, mode="bilinear")[0])


def cosine_distances(masks: Tensor) -> np.ndarray:
    flat = F.normalize(masks.flatten(1), dim=1)
    return (1 - flat @ flat.T).numpy()


def complete_linkage(distances: np.ndarray, threshold: float) -> list[list[int]]:
    """Merge the two nearest groups until the nearest are not below the threshold."""
    groups = [[i] for i in range(len(distances))]

    def apart(a: list[int], b: list[int]) -> float:
        return float(distances[np.ix_(a, b)].max())

    while len(groups) > 1:
        pairs = [
            (apart(a, b), i, j) for i, a in enumerate(groups) for j, b in enumerate(groups[:i])
        ]
        nearest, i, j = min(pairs)
        if nearest >= threshold:
            break
        groups[j] += groups.pop(i)
    return sorted((sorted(group) for group in groups), key=lambda group: group[0])


def vit_cx(
    share: Score,
    image: Tensor,
    features: Tensor,
    threshold: float,
    noise: Sequence[Tensor] | None = None,
) -> Tensor:
    """(H, W); groups in the order of their first channels, uncovered pixels 0."""
    masks = feature_masks(features, tuple(image.shape[1:]))
    groups = complete_linkage(cosine_distances(masks), threshold)
    merged = minmax(torch.stack([masks[group].sum(0) for group in groups]))
    heat = torch.zeros_like(merged[0])
    for k, mask in enumerate(merged):
        added = torch.zeros_like(image) if noise is None else noise[k] * (1 - mask)
        heat += mask * (share(image * mask + added) - share(image + added) + share(image))
    cover = merged.sum(0)
    return torch.where(cover > 0, heat / cover, 0) / len(merged)


def order_of_the_reference(distances: np.ndarray, count: int) -> list[int]:
    """First channel of each group, in the order in which scikit-learn numbers `count` groups.

    It cuts the tree from the root, always at the node made last, kept in a heap.
    """
    leaves = len(distances)
    children = linkage(squareform(distances, checks=False), "complete")[:, :2].astype(int)
    nodes = [-(int(children[-1].max()) + 1)]
    for _ in range(count - 1):
        left, right = children[-nodes[0] - leaves]
        heapq.heappush(nodes, -int(left))
        heapq.heappushpop(nodes, -int(right))

    def members(node: int) -> list[int]:
        if node < leaves:
            return [node]
        return [leaf for child in children[node - leaves] for leaf in members(int(child))]

    return [min(members(-node)) for node in nodes]
