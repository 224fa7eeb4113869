"""PNG and JPEG files to pictures; pixel spacing is unknown, since neither format states one."""

from __future__ import annotations

import struct
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from engine.errors import UnreadableFile, UnsupportedImage
from engine.io.channels import TURNED, drop_alpha, scaled_colour, turned
from engine.io.jpegstream import check_jpeg_end, exif_orientation, jpeg_header
from engine.io.limits import Limits
from engine.io.picture import Picture
from engine.io.pngchunks import CUT_SHORT, DAMAGED, picture_only
from engine.io.source import Source

ERRORS: tuple[type[Exception], ...] = ()
_COLOUR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}


def read_png(source: Source, limits: Limits) -> Picture:
    """A PNG file, 1 to 16 bits, grey, palette or RGB, with or without alpha.

    Raises:
        UnreadableFile: The file is damaged.
        LimitExceeded: The picture is too large.
    """
    data = source.data
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise UnreadableFile(CUT_SHORT)
    columns, rows, bits, kind = struct.unpack_from(">IIBB", data, 16)
    limits.check_plane(rows, columns)
    array = imagecodecs.png_decode(picture_only(data))
    if array.shape[:2] != (rows, columns):
        raise UnreadableFile(DAMAGED)
    facts = {"format": "PNG", "colour": _COLOUR_TYPES.get(kind, "unknown"), "bits": str(bits)}
    return _picture(array, 16 if bits == 16 else 8, facts)


def read_jpeg(source: Source, limits: Limits) -> Picture:
    """A JPEG file, grey or colour, turned upright when its EXIF orientation asks for it.

    Raises:
        UnreadableFile: The file is damaged.
        LimitExceeded: The picture is too large.
        UnsupportedImage: The colours are meant for print.
    """
    header = jpeg_header(source.data)
    limits.check_plane(header.rows, header.columns)
    if header.samples not in (1, 3):
        raise UnsupportedImage("This JPEG picture uses print colours (CMYK); save it as RGB.")
    check_jpeg_end(source.data)
    array = imagecodecs.jpeg_decode(source.data)
    if array.shape[:2] != (header.rows, header.columns):
        raise UnreadableFile("This JPEG picture is damaged.")
    facts = {"format": "JPEG", "bits": str(header.bits)}
    orientation = exif_orientation(source.data)
    if orientation != 1:
        facts["orientation"] = TURNED
    return _picture(array, header.bits, facts, orientation)


def _picture(
    array: NDArray[Any], bits: int, facts: dict[str, str], orientation: int = 1
) -> Picture:
    pixels = array.reshape(1, *array.shape[:2], -1)
    pixels, warnings = drop_alpha(pixels)
    pixels = scaled_colour(turned(pixels, orientation), 8 * np.dtype(pixels.dtype).itemsize)
    return Picture(pixels, bits=bits, facts=facts, warnings=warnings)
