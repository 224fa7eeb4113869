"""Histograms of oriented gradients: which way the edges of a map run, cell by cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeMismatch

Values = NDArray[np.float64]
ORIENTATIONS = 9
BLOCK = 3
CLIP = 0.2
EPSILON = 1e-5


def edge_histogram(heat: Values, cell: int = 16) -> Values:
    """Features of a map, one vector.

    Nine unsigned orientations, each pixel voting for one bin with the length of its gradient;
    overlapping blocks of 3 x 3 cells (fewer when the map has fewer) are normalised, clipped at
    0.2 and normalised again. Pixels that fill no whole cell are left out.

    Args:
        heat: (H, W).
        cell: Side of a cell, pixels.

    Raises:
        ShapeMismatch: The map is smaller than a cell.

    Source:
        Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005.
    """
    rows, columns = heat.shape[0] // cell, heat.shape[1] // cell
    if rows == 0 or columns == 0:
        raise ShapeMismatch("The maps are too small for their edges to be compared.")
    cells = _cells(heat, cell, rows, columns)
    high, wide = min(BLOCK, rows), min(BLOCK, columns)
    blocks = np.lib.stride_tricks.sliding_window_view(cells, (high, wide), axis=(0, 1))
    flat = np.moveaxis(blocks, 2, -1).reshape(*blocks.shape[:2], -1)
    return _unit(np.minimum(_unit(flat), CLIP)).ravel()


def _cells(heat: Values, cell: int, rows: int, columns: int) -> Values:
    """Histogram of each cell, (rows, columns, orientations)."""
    down, across = np.zeros_like(heat), np.zeros_like(heat)
    down[1:-1] = heat[2:] - heat[:-2]
    across[:, 1:-1] = heat[:, 2:] - heat[:, :-2]
    size = np.hypot(down, across)
    angle = np.rad2deg(np.arctan2(down, across)) % 180
    chosen = np.minimum((angle / (180 / ORIENTATIONS)).astype(int), ORIENTATIONS - 1)
    votes = np.zeros((*heat.shape, ORIENTATIONS))
    np.put_along_axis(votes, chosen[..., None], size[..., None], axis=-1)
    whole = votes[: rows * cell, : columns * cell]
    return whole.reshape(rows, cell, columns, cell, ORIENTATIONS).mean((1, 3))


def _unit(blocks: Values) -> Values:
    return blocks / np.sqrt((blocks**2).sum(-1, keepdims=True) + EPSILON**2)
