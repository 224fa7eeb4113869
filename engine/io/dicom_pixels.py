"""Decoded pixels of a DICOM data set, before any rescaling of grey values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pydicom.uid
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_color_lut, get_decoder
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID

from engine.errors import UnreadableFile, UnsupportedImage
from engine.io.jpegstream import StreamHeader, check_jpeg_end, j2k_header, jpeg_header
from engine.io.limits import Limits
from engine.io.picture import ROUNDED, is_rounded
from engine.io.privacy import MODALITY_CODES, PHOTOMETRICS, listed

CUT_SHORT = "The pixel data of this DICOM file are cut short."
# pydicom itself decodes RLE: the RLE plugin of pylibjpeg ends in a panic on damaged data.
_PLUGINS = ("pyjpegls", "pydicom", "pylibjpeg", "pillow", "gdcm")
_VIDEO = "1.2.840.10008.1.2.4.10"
_GREY = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pixels as stored.

    Args:
        values: (F, H, W, C); C is 1, or 3 for RGB from 0 to 255.
        bits: Bits of a stored sample; 32 for floating point.
        inverted: True for MONOCHROME1.
        facts: Closed-list facts of the coding.
        warnings: Sentences.
    """

    values: NDArray[Any]
    bits: int
    inverted: bool
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def colour(self) -> bool:
        """True when there are three channels."""
        return int(self.values.shape[3]) == 3


def decoded(dataset: Any, limits: Limits) -> Decoded:
    """Decode all frames.

    Raises:
        UnreadableFile: Pixel data are missing, cut short or damaged.
        UnsupportedImage: The coding, or the meaning of the samples, cannot be handled.
        LimitExceeded: The header states too many pixels.
    """
    frames = int(dataset.get("NumberOfFrames") or 1)
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if "Rows" not in dataset or "Columns" not in dataset:
        raise UnreadableFile("This DICOM file does not state the size of its picture.")
    limits.check_plane(rows, columns, frames)
    photometric = listed(dataset.get("PhotometricInterpretation"), PHOTOMETRICS)
    if photometric is None:
        raise UnsupportedImage("This DICOM file does not say what its pixel values mean.")
    syntax = _syntax(dataset)
    _check_length(dataset, syntax, frames)
    array, meaning = _decode(dataset, syntax)
    stored = 32 if "PixelData" not in dataset else int(dataset.BitsStored)
    if photometric == "PALETTE COLOR":
        array, stored = _palette(array, dataset), 8
    elif meaning not in (*_GREY, "RGB"):
        raise UnsupportedImage("This DICOM file uses a colour coding Lightbox does not read.")
    elif meaning == "RGB" and stored != 8:
        array = array.astype(np.float32) * np.float32(255.0 / (2**stored - 1))
    values = array.reshape(frames, rows, columns, -1)
    if values.shape[3] not in (1, 3):
        raise UnreadableFile("The pixel data of this DICOM file are damaged.")
    return Decoded(
        values,
        min(stored, 32),
        photometric == "MONOCHROME1",
        _facts(dataset, syntax, photometric, stored, frames),
        (ROUNDED,) if is_rounded(values) else (),
    )


def _syntax(dataset: Any) -> UID:
    """Transfer syntax stated, or guessed from the way the elements are written."""
    stated = dataset.file_meta.get("TransferSyntaxUID")
    if isinstance(stated, UID) and stated:
        return stated
    implicit, little = dataset.original_encoding
    if implicit is None or (implicit and not little):
        raise UnreadableFile("This DICOM file does not say how its pixels are coded.")
    native = {
        (True, True): pydicom.uid.ImplicitVRLittleEndian,
        (False, True): pydicom.uid.ExplicitVRLittleEndian,
        (False, False): pydicom.uid.ExplicitVRBigEndian,
    }[implicit, little]
    expected = get_expected_length(dataset)
    if len(dataset.get("PixelData") or b"") not in (expected, expected + expected % 2):
        raise UnreadableFile("This DICOM file does not say how its pixels are coded.")
    return native


def _check_length(dataset: Any, syntax: UID, frames: int) -> None:
    """Refuse pixel data that are too short, or whose streams state a larger size."""
    keywords = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    keyword = next(each for each in keywords if each in dataset)
    data = dataset[keyword].value
    if not data:
        raise UnreadableFile("The pixel data of this DICOM file are missing.")
    if not syntax.is_encapsulated:
        if keyword == "PixelData" and len(data) < get_expected_length(dataset):
            raise UnreadableFile(CUT_SHORT)
        return
    if syntax.startswith(_VIDEO) and len(syntax) > len(_VIDEO):
        raise UnsupportedImage(
            "This DICOM file holds a video stream, which Lightbox does not read."
        )
    for frame in generate_frames(data, number_of_frames=frames):
        header = _stream_header(frame)
        if header is not None and (header.rows, header.columns) != (
            dataset.Rows,
            dataset.Columns,
        ):
            raise UnreadableFile("The pixel data of this DICOM file contradict its header.")


def _stream_header(frame: bytes) -> StreamHeader | None:
    """Header of a JPEG or JPEG 2000 stream, which must be whole; None for other codings."""
    if frame[:2] == b"\xff\xd8":
        check_jpeg_end(frame)
        return jpeg_header(frame)
    return j2k_header(frame)


def _decode(dataset: Any, syntax: UID) -> tuple[NDArray[Any], str]:
    """All frames, colour as RGB, and the photometric interpretation they now have."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UnsupportedImage(
            "This DICOM file uses a compression Lightbox does not read."
        ) from None
    options: dict[str, Any] = {}
    if syntax.is_encapsulated:
        usable = [name for name in _PLUGINS if name in decoder.available_plugins]
        if not usable:
            raise UnsupportedImage("This DICOM file uses a compression Lightbox does not read.")
        options["decoding_plugin"] = usable[0]
    array, properties = decoder.as_array(_with_syntax(dataset, syntax), raw=False, **options)
    return array, str(properties["photometric_interpretation"])


def _palette(indices: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """RGB from 0 to 255 of palette indices."""
    colours = apply_color_lut(indices, dataset)[..., :3]
    if colours.dtype != np.uint16:
        return colours
    segmented = "SegmentedRedPaletteColorLookupTableData" in dataset
    if not segmented and dataset.original_encoding[1] is False:
        colours = colours.byteswap()  # pydicom reads the table as little endian
    if int(colours.max()) < 256:  # eight-bit colours kept in sixteen bits
        return colours
    return colours * np.float32(255 / 65535)


def _with_syntax(dataset: Any, syntax: UID) -> Any:
    """The data set, its transfer syntax filled in where the file states none."""
    if not dataset.file_meta.get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _facts(dataset: Any, syntax: UID, photometric: str, stored: int, frames: int) -> dict[str, str]:
    name = syntax.name if syntax.is_transfer_syntax and not syntax.is_private else "private"
    return {
        "format": "DICOM",
        "transfer_syntax": name,
        "photometric": photometric,
        "bits": str(stored),
        "frames": str(frames),
        "modality": listed(dataset.get("Modality"), MODALITY_CODES) or "not stated",
    }
