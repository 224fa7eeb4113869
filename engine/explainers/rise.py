"""RISE: which regions are shown when a randomly masked image keeps its class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from engine.explainers.base import Maps, explainer
from engine.explainers.masks import evaluated, random_cells, random_masks, require
from engine.probe import Probe
from engine.trace import Trace

COVERAGES = ("expected", "actual")
"""What the sum over masks is divided by."""


MOST_MASKS, MOST_CELLS = 20_000, 32


@explainer(
    "rise",
    title="RISE",
    family="perturbation",
    summary="Which regions are in view when the image, seen through random masks, still gets "
    "the class.",
    limits="Random masks leave a speckle that only more masks remove, and a class that no "
    "partial view makes probable gets an empty map.",
    needs={"input"},
    gradients=False,
    slow=True,
    settings={"masks": 1000, "cells": 7, "keep": 0.5, "coverage": "actual", "seed": 0},
    facts={"hidden": "0 in normalised units, the mean of the training images"},
)
def run(trace: Trace, *, masks: int, cells: int, keep: float, coverage: str, seed: int) -> Maps:
    """Expected probability with a pixel in view, (B, H, W); the same masks for every image.

    The paper takes 4000 to 8000 masks; 1000 are what a CPU does in minutes. Dividing by the
    "actual" coverage cancels the speckle of the masks themselves: between seeds the maps of the
    small ViT of the tests correlate (ranks) by 0.89 instead of 0.49 at 1000 masks, and 4000 masks
    by the "expected" coverage of the paper reach 0.82.

    Raises:
        UnknownName: A setting is out of range.
    """
    require(masks >= 1 and cells >= 1, "RISE takes at least 1 mask of at least 1 cell.")
    require(
        masks <= MOST_MASKS and cells <= MOST_CELLS,
        f"RISE takes at most {MOST_MASKS} masks of at most {MOST_CELLS} cells a side.",
    )
    require(
        coverage in COVERAGES, f"The coverage is one of {', '.join(COVERAGES)}, not {coverage!r}."
    )
    require(0 < keep <= 1, f"The share of cells kept must lie above 0 and up to 1; it is {keep}.")
    maps: Maps = {}
    for stream in trace.images:
        probe = trace.probe(stream)
        probe.progress.expect(masks * len(probe.image))
        drawn = _drawn(probe, masks, cells, keep, seed)
        maps[stream] = saliency(probe, drawn, keep if coverage == "expected" else None)
    return maps


def saliency(probe: Probe, masks: Iterable[Tensor], keep: float | None) -> Tensor:
    """Sum over N masks of p(x * m) m / (N keep), (B, H, W).

    Masked pixels become 0 in normalised units.

    Args:
        probe: The image and the probability.
        masks: Portions (n, H, W) in [0, 1]; their sizes change the speed only.
        keep: Expected value of a mask, as in the reference; None to divide by the sum of the masks
            instead, which has the same limit and far less noise.

    Source:
        Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models",
        BMVC 2018.
    """
    image = probe.image
    batch = len(image)
    total = torch.zeros(batch, *image.shape[2:], device=image.device)
    cover = torch.zeros(image.shape[2:], device=image.device)
    for some in masks:
        seen = (some[:, None, None] * image).to(image.dtype).flatten(0, 1)
        owners = torch.arange(len(seen), device=image.device) % batch
        shares = evaluated(probe.probability, seen, owners, probe.portion).reshape(-1, batch)
        total += torch.einsum("nb,nhw->bhw", shares, some.float())
        cover += some.float().sum(0) if keep is None else keep * len(some)
    return total / torch.where(cover > 0, cover, 1)


def _drawn(probe: Probe, count: int, cells: int, keep: float, seed: int) -> Iterator[Tensor]:
    """Masks by portions, enlarged only when they are needed."""
    at_once = max(1, probe.portion // len(probe.image))
    grids, shifts = (part.to(probe.image.device) for part in random_cells(count, cells, keep, seed))
    height, width = probe.image.shape[2:]
    for some, moved in zip(grids.split(at_once), shifts.split(at_once), strict=True):
        yield random_masks(some, moved, (height, width))
