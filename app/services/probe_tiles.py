"""Pictures of the counterfactual probe: one image before and after, and maps on one scale."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.services.evidence_tiles import OPACITY, SIDE, shrunken
from app.services.layers import Layer, layer
from engine.records import BoolArray, FloatArray, Image, Window
from engine.render import blend, contours, default_window, display, draw_contour, fit, png_bytes

Bytes = NDArray[np.uint8]

PICTURE_SIDE = 900
TILE_SIDE = SIDE


def window_of(image: Image, frame: int) -> Window | None:
    """The window that a grey image is shown with; None for colour."""
    return None if image.is_colour else default_window(image, frame)


def size_of(image: Image, side: int, *, enlarge: bool = False) -> tuple[int, int]:
    """Rows and columns of a picture at the true aspect, its longer side at most `side` pixels."""
    height, width = float(image.height), float(image.width)
    if image.spacing is not None:
        smaller = min(image.spacing.row_mm, image.spacing.column_mm)
        height *= image.spacing.row_mm / smaller
        width *= image.spacing.column_mm / smaller
    scale = side / max(height, width)
    scale = scale if enlarge else min(1.0, scale)
    return max(1, round(height * scale)), max(1, round(width * scale))


def picture(image: Image, frame: int, window: Window | None, size: tuple[int, int]) -> Bytes:
    """One frame as RGB at a size (rows, columns)."""
    return fit(display(image, frame, window), *size)


def outlined(shown: Bytes, mask: BoolArray) -> Bytes:
    """A picture with the outline of a region of its image on it."""
    size = (shown.shape[1], shown.shape[0])
    covered = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    if not (covered >= 0.5).any():  # thinner than one pixel of the picture
        covered = covered / covered.max() if covered.any() else covered
    return draw_contour(shown, contours(covered >= 0.5))


def common_range(maps: Sequence[FloatArray]) -> tuple[float, float]:
    """Smallest and largest value of all maps together; (0, 0) where there is none."""
    if not maps:
        return 0.0, 0.0
    return min(float(v.min()) for v in maps), max(float(v.max()) for v in maps)


def heated(shown: Bytes, values: FloatArray, low: float, high: float) -> Bytes:
    """A picture under a map (H, W), coloured over a given range of values."""
    if high <= low:
        return shown
    resized = shrunken(values, (shown.shape[0], shown.shape[1]))
    relative: FloatArray = np.clip((resized - low) / (high - low), 0, 1).astype(np.float32)
    return blend(shown, relative, opacity=OPACITY)


def png(shown: Bytes) -> Layer:
    """A picture as the browser fetches it."""
    return layer(png_bytes(shown), "image/png")
