"""Channels of pictures: alpha dropped, equal colours merged, colour brought to 0 to 255."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import UnsupportedImage

ALPHA = "The picture has transparent parts; they are shown as if opaque."
TURNED = "turned upright as its orientation tag asks"


def drop_alpha(pixels: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Grey or RGB from (F, H, W, C) with C of 1 to 4; the second and fourth channel are alpha.

    Returns:
        Pixels, (F, H, W, 1 or 3), and a warning where some pixel is not opaque.
    """
    if pixels.shape[3] not in (2, 4):
        return pixels, ()
    alpha = pixels[..., -1]
    opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1
    return pixels[..., :-1], (() if bool((alpha == opaque).all()) else (ALPHA,))


def scaled_colour(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """RGB from 0 to 255, whatever the bits; a grey picture stored as RGB becomes (F, H, W, 1).

    Args:
        pixels: (F, H, W, 1 or 3).
        bits: Bits of a colour sample; 0 for floating point from 0 to 1.

    Raises:
        UnsupportedImage: Floating point colours outside 0 to 1, whose scale is unknown.
    """
    if pixels.shape[3] != 3:
        return pixels
    first = pixels[..., :1]
    if bool((pixels == first).all()):
        return first
    if bits == 8:
        return pixels
    colour = pixels.astype(np.float32)
    if bits:
        return colour * np.float32(255.0 / (2**bits - 1))
    if float(colour.min()) < 0 or float(colour.max()) > 1:
        raise UnsupportedImage("The colours of this picture have a scale Lightbox does not know.")
    return colour * np.float32(255.0)


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels (F, H, W, C) upright, given the EXIF orientation 1 to 8; others change nothing."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(1, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, :, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[:, ::-1]
    return pixels
