"""Pictures to bytes: PNG, and thumbnails at the true aspect."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import UnsupportedImage
from engine.records import Case, Image
from engine.render.grey import display

Bytes = NDArray[np.uint8]


def png_bytes(picture: Bytes) -> bytes:
    """A lossless PNG file of (H, W) grey or (H, W, 3) RGB, uint8.

    Raises:
        UnsupportedImage: The picture is empty.
    """
    if not picture.size:
        raise UnsupportedImage("An empty picture cannot be stored.")
    ordered = picture if picture.ndim == 2 else picture[:, :, ::-1]
    done, data = cv2.imencode(".png", np.ascontiguousarray(ordered))
    if not done:
        raise UnsupportedImage("The picture could not be encoded.")
    return bytes(data)


def thumbnail(source: Case | Image, side: int = 160) -> bytes:
    """A PNG whose longer side is `side` pixels, of the middle frame of the (first) image."""
    image = source.images[0] if isinstance(source, Case) else source
    picture = display(image, image.frames // 2)
    height, width = float(image.height), float(image.width)
    if image.spacing is not None:
        height, width = height * image.spacing.row_mm, width * image.spacing.column_mm
    scale = side / max(height, width)
    return png_bytes(fit(picture, round(height * scale), round(width * scale)))


def fit(picture: Bytes, height: int, width: int) -> Bytes:
    """The picture resized to exactly (height, width), each at least 1; averaged when made smaller.

    Enlarged pixels stay square blocks, so that no detail is invented.
    """
    size = (max(1, width), max(1, height))
    smaller = size[0] < picture.shape[1] or size[1] < picture.shape[0]
    way = cv2.INTER_AREA if smaller else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, size, interpolation=way), dtype=np.uint8)
