"""TIFF and BigTIFF files to pictures: grey, palette or RGB, integer or floating point, pages."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from engine.errors import UnreadableFile, UnsupportedImage
from engine.io.channels import ALPHA, TURNED, scaled_colour, turned
from engine.io.limits import Limits
from engine.io.picture import Picture
from engine.io.source import Source
from engine.records import Spacing

ERRORS: tuple[type[Exception], ...] = (tifffile.TiffFileError,)
OTHER_PAGES = "The file holds pictures of several sizes; only the first one is shown."
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_JPEG = {6, 7, 33007}
_UNIT_MM = {2: 25.4, 3: 10.0}
_PLAUSIBLE_MM = (0.0001, 5.0)


def read(source: Source, limits: Limits) -> Picture:
    """A TIFF file; pages of one shape become frames.

    Raises:
        UnreadableFile: The file is damaged.
        LimitExceeded: The picture is too large.
        UnsupportedImage: The colour coding is not one of grey, palette and RGB.
    """
    with tifffile.TiffFile(BytesIO(source.data)) as file:
        first = file.pages.first
        limits.check_plane(first.imagelength, first.imagewidth)
        _check_kind(first)
        pages, warnings = _alike(file, first, limits)
        planes = [_plane(page) for page in pages]
    if any(plane.shape != planes[0].shape for plane in planes):
        raise UnreadableFile("This TIFF picture is damaged.")
    pixels = np.stack(planes)
    bits = _bits(first)
    facts = {"format": "TIFF", "bits": str(bits)}
    orientation = _orientation(first)
    if orientation != 1:
        facts["orientation"] = TURNED
    spacing = _spacing(first, swapped=orientation >= 5)
    pixels, alpha = _without_extras(pixels, first)
    palette = int(first.photometric) == _PALETTE
    floating = pixels.dtype.kind == "f" and not palette
    colour_bits = 0 if floating else 8 if palette else 8 * pixels.dtype.itemsize
    return Picture(
        scaled_colour(turned(pixels, orientation), colour_bits),
        spacing=spacing,
        inverted=int(first.photometric) == _WHITE_IS_ZERO,
        bits=bits,
        facts=facts,
        warnings=(*warnings, *alpha),
    )


def _check_kind(page: Any) -> None:
    """Refuse what cannot be shown faithfully."""
    photometric = int(page.photometric)
    decoded = photometric == _YCBCR and int(page.compression) in _JPEG
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE) and not decoded:
        raise UnsupportedImage("This TIFF picture uses a colour coding Lightbox does not read.")
    if page.imagedepth != 1 or page.dtype is None or np.dtype(page.dtype).kind not in "biuf":
        raise UnsupportedImage("This TIFF picture uses a pixel type Lightbox does not read.")


def _alike(file: Any, first: Any, limits: Limits) -> tuple[list[Any], tuple[str, ...]]:
    """Pages of the shape of the first one, and a warning where a full page is left out."""
    pages, others = [], False
    for page in file.pages:
        page = page.aspage()
        if page.shape == first.shape and page.dtype == first.dtype:
            pages.append(page)
            limits.check_plane(first.imagelength, first.imagewidth, len(pages))
        else:
            others = others or not page.is_reduced
    return pages, (OTHER_PAGES,) if others else ()


def _plane(page: Any) -> NDArray[Any]:
    """Pixels of one page, (H, W, S), palette applied."""
    array = page.asarray()
    if page.axes.startswith("S"):
        array = np.moveaxis(array, 0, -1)
    array = array.reshape(page.imagelength, page.imagewidth, -1)
    if int(page.photometric) != _PALETTE:
        return array.astype(np.uint8) if array.dtype == bool else array
    table = np.asarray(page.colormap)  # (3, entries), 16 bit
    if int(array.max()) >= table.shape[1]:
        raise UnreadableFile("This TIFF picture is damaged.")
    unit = 1.0 if table.max() < 256 else 255.0 / 65535.0  # old writers store 8-bit tables
    return np.moveaxis((table * np.float32(unit))[:, array[..., 0]], 0, -1).astype(np.float32)


def _without_extras(pixels: NDArray[Any], page: Any) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Grey or RGB alone, and a warning where dropped alpha is not opaque."""
    colour = 3 if int(page.photometric) in (_RGB, _PALETTE, _YCBCR) else 1
    samples = pixels.shape[3]
    if samples == colour:
        return pixels, ()
    if samples != colour + 1:
        raise UnsupportedImage("This TIFF picture has more channels than grey or RGB.")
    extra = pixels[..., -1]
    opaque = np.iinfo(extra.dtype).max if extra.dtype.kind in "iu" else 1
    return pixels[..., :-1], (() if bool((extra == opaque).all()) else (ALPHA,))


def _bits(page: Any) -> int:
    if np.dtype(page.dtype).kind == "f":
        return 32
    bits = page.bitspersample
    return int(min(32, max(bits) if isinstance(bits, tuple) else bits))


def _orientation(page: Any) -> int:
    tag = page.tags.get(274)
    value = int(tag.value) if tag is not None else 1
    return value if 1 <= value <= 8 else 1


def _spacing(page: Any, *, swapped: bool) -> Spacing | None:
    """Pitch from the resolution tags, where their unit is a length and the pitch plausible."""
    unit = page.tags.get(296)
    across, down = page.tags.get(282), page.tags.get(283)
    if across is None or down is None or unit is None or int(unit.value) not in _UNIT_MM:
        return None
    pitches = []
    for tag in (down, across):
        number, divisor = tag.value if isinstance(tag.value, tuple) else (tag.value, 1)
        if not number or not divisor:
            return None
        pitches.append(_UNIT_MM[int(unit.value)] * divisor / number)
    if not all(_PLAUSIBLE_MM[0] <= pitch <= _PLAUSIBLE_MM[1] for pitch in pitches):
        return None
    row, column = reversed(pitches) if swapped else pitches
    return Spacing(row, column, source="TIFF resolution tags")
