"""ViT-CX: what the model still says when only what one group of its features marks is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from engine.explainers.base import Maps, explainer
from engine.explainers.masks import enlarged, enlarging, evaluated, require, stretched
from engine.probe import Probe
from engine.trace import Trace

Size = tuple[int, int]


@explainer(
    "vit_cx",
    title="ViT-CX",
    family="perturbation",
    summary="Which regions, as the model's own features group them, keep the class probable when "
    "the rest is faded out.",
    limits="Sees only what the chosen layer's features mark; with few groups the map is coarse, "
    "and a class that no group alone makes probable gets a faint one.",
    needs={"features"},
    gradients=False,
    slow=True,
    settings={"threshold": 0.1, "noise": 0.1, "seed": 0},
    facts={"hidden": "0 in normalised units, the mean of the training images"},
)
def run(trace: Trace, *, threshold: float, noise: float, seed: int) -> Maps:
    """Causal score of the feature masks that cover a pixel, (B, H, W).

    Raises:
        UnknownName: A setting is out of range.
    """
    require(threshold >= 0, f"The threshold must not be negative; it is {threshold}.")
    require(noise >= 0, f"The noise must not be negative; it is {noise}.")
    maps: Maps = {}
    for stream in trace.images:
        probe = trace.probe(stream)
        height, width = probe.image.shape[2:]
        features = trace.features(stream).values
        groups = [grouped(one, threshold, (height, width)) for one in features]
        draws = _draws(groups, probe.image.shape[1:], noise, seed) if noise else None
        maps[stream] = saliency(probe, groups, draws)
    return maps


def saliency(
    probe: Probe, groups: Sequence[Tensor], noise: Iterator[Tensor] | None = None
) -> Tensor:
    """1/K sum_k s_k M_k / sum_j M_j with s_k = p(x M_k + e_k) - p(x + e_k) + p(x); (B, H, W).

    A pixel that no mask covers gets 0, where the reference divides 0 by 0. Without noise s_k is
    p(x M_k), so that one evaluation a mask is enough.

    Args:
        probe: The image and the probability.
        groups: For each image the grids (K, h, w) of `grouped`, not enlarged.
        noise: One (C, H, W) for each mask of the first image, then of the second and so on, in
            normalised units; it is faded where the mask shows the image. None for no noise.

    Source:
        Xie et al., "ViT-CX: Causal Explanation of Vision Transformers", IJCAI 2023.
    """
    image, batch = probe.image, len(probe.image)
    counts = torch.tensor([len(group) for group in groups], device=image.device)
    owners = torch.arange(batch, device=image.device).repeat_interleave(counts)
    rows = len(owners)
    probe.progress.expect(rows if noise is None else 2 * rows + batch)
    every = torch.arange(batch, device=image.device)
    clean = None if noise is None else evaluated(probe.probability, image, every, probe.portion)
    heat = torch.zeros(batch, *image.shape[2:], device=image.device)
    cover = torch.zeros_like(heat)
    at_once = probe.portion if noise is None else max(1, probe.portion // 2)
    height, width = image.shape[2:]
    grids = torch.cat(list(groups))
    for first in range(0, rows, at_once):
        whose = owners[first : first + at_once]
        masks = stretched(enlarged(grids[first : first + at_once], (height, width)))
        masks = masks.to(image.device, torch.float32)
        scores = _scores(probe, masks, whose, noise, clean)
        belongs = F.one_hot(whose, batch).float()
        heat += torch.einsum("nb,n,nhw->bhw", belongs, scores, masks)
        cover += torch.einsum("nb,nhw->bhw", belongs, masks)
    mean = heat / torch.where(cover > 0, cover, 1)
    return mean / counts.clamp_min(1)[:, None, None]


def _scores(
    probe: Probe,
    masks: Tensor,
    owners: Tensor,
    noise: Iterator[Tensor] | None,
    clean: Tensor | None,
) -> Tensor:
    """s_k of masks (n, H, W) over the images of `owners`; (n,)."""
    image, hidden = probe.image[owners], 1 - masks[:, None]
    shown = (image * masks[:, None]).to(image.dtype)
    if noise is None or clean is None:
        return evaluated(probe.probability, shown, owners, probe.portion)
    added = (torch.stack(list(islice(noise, len(masks)))).to(image) * hidden).to(image.dtype)
    pair, twice = torch.cat([shown + added, image + added]), torch.cat([owners, owners])
    masked, whole = evaluated(probe.probability, pair, twice, probe.portion).chunk(2)
    return masked - whole + clean[owners]


def _draws(
    groups: Sequence[Tensor], shape: Sequence[int], noise: float, seed: int
) -> Iterator[Tensor]:
    """Noise for each mask; every image begins at the same seed, whatever its neighbours."""
    for group in groups:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(len(group)):
            yield noise * torch.randn(tuple(shape), generator=generator)


def grouped(features: Tensor, threshold: float, size: Size) -> Tensor:
    """Sums of similar channels, each channel scaled to 0..1 as enlarged to `size`.

    Args:
        features: (K, h, w). Constant channels are left out; they would be masks of 0 / 0.
        threshold: Groups merge while their farthest members are nearer than this, in 1 - cosine.
        size: H and W of the image.

    Returns:
        (groups, h, w) float64 on the CPU, in the order of their first channels. Enlarging is
        linear, so enlarging the sum is the sum of the enlarged.
    """
    grids = features.detach().double().cpu()
    low, high = ranges(grids, size)
    varied = high > low
    grids, low, high = grids[varied], low[varied], high[varied]
    if not len(grids):
        return grids
    labels = clusters((1 - similarity(grids, low, high, size)).numpy(), threshold)
    members = F.one_hot(torch.from_numpy(labels)).double()
    scaled = (grids - low[:, None, None]) / (high - low)[:, None, None]
    return torch.einsum("kg,khw->ghw", members, scaled)


def ranges(grids: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Least and greatest value of each (K, h, w) when enlarged to `size`, without enlarging it.

    Between four neighbouring cells the enlarged map is bilinear, so its extremes lie at the first
    and last pixel of each interval: 2h x 2w pixels are enough.
    """
    rows, columns = (
        matrix[_ends(matrix)]
        for matrix in (enlarging(c, s) for c, s in zip(grids.shape[1:], size, strict=True))
    )
    corners = (rows @ grids @ columns.T).flatten(1)
    return corners.amin(1), corners.amax(1)


def _ends(matrix: Tensor) -> Tensor:
    """Whether a row of an enlarging matrix is the first or last between its two cells."""
    cell = (matrix > 0).long().argmax(1)
    edge = torch.ones(1, dtype=torch.bool)
    changes = cell[1:] != cell[:-1]
    return torch.cat([edge, changes]) | torch.cat([changes, edge])


def similarity(grids: Tensor, low: Tensor, high: Tensor, size: Size) -> Tensor:
    """Cosine of all pairs of masks (U f - low) / (high - low), exact at low resolution; (K, K).

    U enlarges, so <U f, U g> = f' (U'U) g, and U'U is one small matrix for each axis; the rest
    needs only the sums of the enlarged maps.

    Args:
        grids: f, (K, h, w). low, high: (K,), of the enlarged maps. size: H and W.
    """
    rows, columns = (enlarging(c, s) for c, s in zip(grids.shape[1:], size, strict=True))
    mixed = (rows.T @ rows) @ grids @ (columns.T @ columns)
    products = mixed.flatten(1) @ grids.flatten(1).T
    sums = torch.einsum("h,khw,w->k", rows.sum(0), grids, columns.sum(0))
    crossed = torch.outer(low, sums)
    pixels = size[0] * size[1]
    masks = products - crossed - crossed.T + pixels * torch.outer(low, low)
    lengths = masks.diagonal().clamp_min(0).sqrt()
    return masks / torch.outer(lengths, lengths)


def clusters(distances: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    """Complete linkage, merged while the distance is below the threshold; labels from 0, (K,)."""
    count = len(distances)
    if count < 2:
        return np.zeros(count, dtype=np.int64)
    apart = np.clip(distances, 0, None)
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), "complete")
    labels = fcluster(tree, np.nextafter(threshold, -np.inf), "distance")
    _, first, each = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return order[each].astype(np.int64)
