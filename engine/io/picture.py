"""From decoded pixels to an Image: the checks that every reader shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import UnreadableFile
from engine.io.windows import computed_window
from engine.records import FloatArray, Image, Laterality, Modality, Spacing, Window

CONSTANT = "All pixels of this picture have the same value."
GREY_GUESS = "The file does not state its modality; a grey picture is read as a mammogram."
COLOUR_GUESS = (
    "The file does not state its modality; a colour picture is read as a pathology image."
)
ROUNDED = "Pixel values of more than 24 bits were rounded."
WINDOWS_DROPPED = "The grey-level window stated by the file shows nothing; another was computed."


@dataclass(frozen=True, eq=False)
class Picture:
    """What a reader found in a file.

    Args:
        pixels: (F, H, W, C), any real type; C is 1, or 3 for RGB from 0 to 255.
        stated: Modality the file states; None where its format cannot state one.
        others: As in `Image`.
    """

    pixels: NDArray[Any]
    stated: Modality | None = None
    spacing: Spacing | None = None
    windows: tuple[Window, ...] = ()
    inverted: bool = False
    laterality: Laterality | None = None
    view: str | None = None
    bits: int = 8
    affine: NDArray[np.float64] | None = None
    background: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def finish(picture: Picture, digest: str, modality: Modality | None = None) -> Image:
    """Check the pixels and complete modality, windows and warnings.

    Args:
        picture: What a reader found.
        digest: SHA-256 of the source, hexadecimal.
        modality: Told by the caller; wins over the file.

    Raises:
        UnreadableFile: A pixel is not a finite number.
    """
    pixels = finite(picture.pixels)
    kind, guesses = _modality(picture, modality)
    warnings = [*picture.warnings, *guesses]
    if is_rounded(picture.pixels):
        warnings.append(ROUNDED)
    low, high = float(pixels.min()), float(pixels.max())
    if low == high:
        warnings.append(CONSTANT)
    windows: tuple[Window, ...] = ()
    if pixels.shape[3] == 1:
        windows = tuple(each for each in picture.windows if _shows(each, low, high))
        if picture.windows and not windows:
            warnings.append(WINDOWS_DROPPED)
        windows = windows or (
            computed_window(pixels, kind, inverted=picture.inverted, background=picture.background),
        )
    return Image(
        pixels=pixels,
        modality=kind,
        digest=digest,
        spacing=picture.spacing,
        windows=windows,
        inverted=picture.inverted,
        laterality=picture.laterality,
        view=picture.view,
        bits=picture.bits,
        affine=picture.affine,
        background=picture.background,
        facts=dict(picture.facts),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def is_rounded(values: NDArray[Any]) -> bool:
    """Whether float32 cannot hold all values of an integer array."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 4 or not values.size:
        return False
    return max(int(values.max()), -int(values.min())) > 1 << 24


def finite(pixels: NDArray[Any]) -> FloatArray:
    """Pixels as contiguous float32.

    Raises:
        UnreadableFile: A pixel is NaN or infinite, or there is none.
    """
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, and is refused
        values = np.ascontiguousarray(pixels, dtype=np.float32)
    if not values.size:
        raise UnreadableFile("The file states an image size of zero, so it holds no picture.")
    if not np.isfinite(values.sum(dtype=np.float64)) and not np.isfinite(values).all():
        raise UnreadableFile("The picture holds pixel values that are not numbers (NaN, infinity).")
    return values


def _modality(picture: Picture, told: Modality | None) -> tuple[Modality, tuple[str, ...]]:
    if told is not None:
        return told, ()
    if picture.stated is not None:
        return picture.stated, ()
    if picture.pixels.shape[3] == 3:
        return Modality.PATHOLOGY, (COLOUR_GUESS,)
    if picture.pixels.shape[0] == 1:
        return Modality.MAMMOGRAPHY, (GREY_GUESS,)
    return Modality.UNKNOWN, ()


def _shows(window: Window, low: float, high: float) -> bool:
    """Whether a window and the range of the pixels overlap."""
    return window.centre - window.width / 2 <= high and window.centre + window.width / 2 >= low
