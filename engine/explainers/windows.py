"""Attention within shifted windows, put together over the whole image: an extension of our own.

No published rule covers it. Each layer's matrix over the whole image is block by block what its
windows say; a layer that joins 2 x 2 places into one hands each of them a quarter. Everything else
is as in `engine.explainers.rules`, read from the last layer down. It is labelled so wherever a map
made with it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import IncompatibleExplainer, UnknownName
from engine.explainers import rules
from engine.listening import Windows
from engine.trace import Reading, Trace

LABEL = "windows joined by Lightbox's own rule; no published one exists"


def facts(trace: Trace, needs: frozenset[str]) -> dict[str, str]:
    """What a map must say of itself where windows were joined for it; empty otherwise."""
    joined = "attention" in needs and any(r.windows is not None for r in trace.readings)
    return {"windows": LABEL} if joined else {}


def layers(trace: Trace, stream: str) -> tuple[Reading, ...]:
    """Attention within windows, first layer first; empty for other networks."""
    return tuple(r for r in trace.read("windowed", stream) if r.windows is not None)


def usable(
    readings: Sequence[Reading], start_layer: int, discard_ratio: float = 0.0
) -> tuple[Reading, ...]:
    """Layers that take part.

    Raises:
        UnknownName: There is no such first layer, or entries are to be discarded.
    """
    if discard_ratio:
        raise UnknownName("Within windows no attention is discarded; leave the ratio at 0.")
    return tuple(rules.later(readings, start_layer))


def flow(
    readings: Sequence[Reading], fused: Sequence[Tensor], batch: int, *, normalised: bool
) -> Tensor:
    """What reaches the mean of the last places, by the places of the first layer.

    Args:
        readings: Attention within windows, first layer first.
        fused: One matrix a window and layer, heads put together, (B windows, w, w).
        batch: Images B.
        normalised: True for rollout, rownorm(M + I); False for relevance, M + I, without what a
            place keeps of itself.

    Returns:
        (B, h, w) on the grid of the first layer.

    Raises:
        IncompatibleExplainer: The grids do not follow from one another by halving.
    """
    last = _windows(readings[-1])
    rows = torch.full((batch, 1, *last.grid), 1 / (last.grid[0] * last.grid[1]))
    rows = rows.to(fused[-1])
    still = rows
    for reading, matrix in zip(reversed(readings), reversed(fused), strict=True):
        windows = _windows(reading)
        rows, still = (_split(part, windows.grid) for part in (rows, still))
        rows = _through(rows, windows, matrix, normalised)
    return (rows if normalised else rows - still)[:, 0]


def _through(rows: Tensor, windows: Windows, matrix: Tensor, normalised: bool) -> Tensor:
    """rows @ rownorm(M + I), or rows @ (M + I); rows (B, 1, h, w). Padding takes nothing."""
    parts = _partition(rows, windows)
    matrix = matrix * _partition(torch.ones_like(rows), windows)
    if normalised:
        parts = parts / (matrix.sum(-1) + 1)[:, None, :]
    mixed = parts @ matrix + parts
    return _joined(mixed, windows, len(rows))


def _partition(rows: Tensor, windows: Windows) -> Tensor:
    """(B, 1, h, w) to (B windows, 1, places), rolled and padded as the layer does."""
    (height, width), (down, across) = windows.grid, windows.size
    rolled = rows.roll((-windows.shift[0], -windows.shift[1]), (2, 3))
    padded = F.pad(rolled, (0, -width % across, 0, -height % down))
    n, m = padded.shape[2] // down, padded.shape[3] // across
    cut = padded.reshape(len(rows), n, down, m, across).transpose(2, 3)
    return cut.reshape(len(rows) * n * m, 1, down * across)


def _joined(parts: Tensor, windows: Windows, batch: int) -> Tensor:
    """The inverse of `_partition`."""
    (height, width), (down, across) = windows.grid, windows.size
    n, m = -(-height // down), -(-width // across)
    cut = parts.reshape(batch, n, m, down, across).transpose(2, 3)
    whole = cut.reshape(batch, 1, n * down, m * across)[:, :, :height, :width]
    return whole.roll(windows.shift, (2, 3))


def _split(rows: Tensor, grid: tuple[int, int]) -> Tensor:
    """Rows over a coarser grid handed down to its four parts each; unchanged on the same grid."""
    if tuple(rows.shape[2:]) == grid:
        return rows
    fine = rows.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    if fine.shape[2] - grid[0] not in (0, 1) or fine.shape[3] - grid[1] not in (0, 1):
        raise IncompatibleExplainer("The model's windows could not be joined into one map.")
    return fine[:, :, : grid[0], : grid[1]]


def _windows(reading: Reading) -> Windows:
    assert reading.windows is not None
    return reading.windows
