"""Network inputs as the bytes of a `Batch`: one place for the scale of each kind of picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.geometry import Placement
from engine.records import BoolArray, Box, FloatArray

Bytes = NDArray[np.uint8]


def mammogram_bytes(pixels: FloatArray) -> Bytes:
    """(H, W, 1) in [-1, 1] as (1, H, W) uint8."""
    return np.rint((pixels[..., 0] + 1) * 127.5).astype(np.uint8)[None]


def pathology_bytes(pixels: FloatArray) -> Bytes:
    """(H, W, 3) in [0, 1] as (3, H, W) uint8."""
    return np.ascontiguousarray(np.rint(pixels * 255).astype(np.uint8).transpose(2, 0, 1))


def box_shares(box: Box, placement: Placement) -> NDArray[np.float32]:
    """A box in source pixels as left, top, width, height in shares of the canvas, clipped to it."""
    placed, size = placement.box_to_canvas(box), float(placement.size)
    ends = np.array([placed.x, placed.y, placed.x + placed.width, placed.y + placed.height])
    left, top, right, bottom = np.clip(ends / size, 0.0, 1.0)
    return np.array([left, top, right - left, bottom - top], np.float32)


def mask_cells(mask: BoolArray, placement: Placement, cells: int) -> Bytes:
    """A lesion (H, W) on the source as the share of each cell of the canvas it covers, of 255."""
    full = placement.to_canvas(mask.astype(np.float32))
    small = cv2.resize(full, (cells, cells), interpolation=cv2.INTER_AREA)
    return np.rint(small * 255).astype(np.uint8)
