"""DICOM files to pictures: leniently where the pixels decode right, and refused otherwise."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Any

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID

from engine.errors import LimitExceeded, UnreadableFile, UnsupportedImage
from engine.io.dicom_geometry import affine, spacing
from engine.io.dicom_labels import laterality, modality, no_picture, view
from engine.io.dicom_pixels import decoded
from engine.io.dicom_values import in_units, padding, windows
from engine.io.limits import Limits
from engine.io.picture import Picture
from engine.io.privacy import BURNT_IN, MODALITY_CODES, burnt_in_text, listed
from engine.io.seam import DAMAGED
from engine.io.source import Source
from engine.records import Window

ERRORS: tuple[type[Exception], ...] = (BytesLengthException, InvalidDicomError)
FOR_PROCESSING = "These are raw detector data (for processing), not the picture made for reading."
TILES = "This slide is stored as tiles; each tile is shown as a frame of its own."
UNUSUAL_FILE = "The file lacks part of its DICOM header; it was read all the same."
_PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_DEFLATED = b"1.2.840.10008.1.2.1.99"


def read(source: Source, limits: Limits) -> Picture:
    """A DICOM file with pixels: single or multi-frame, grey, palette or colour, any usual coding.

    Values are rescaled to the units of the modality. MONOCHROME1 is told by `inverted`; the
    pixels themselves are never turned around.

    Raises:
        UnreadableFile: The file is damaged, cut short, or holds no picture.
        UnsupportedImage: It holds a dose, a video, or a coding that cannot be read.
        LimitExceeded: The image is too large.
    """
    dataset = parse(source.data, limits)
    if not any(keyword in dataset for keyword in _PIXEL_KEYWORDS):
        raise UnreadableFile(no_picture(dataset))
    if listed(dataset.get("Modality"), MODALITY_CODES) == "RTDOSE":
        raise UnsupportedImage("This DICOM file holds a radiotherapy dose, not a picture.")
    notes = _warnings(dataset)
    pixels = decoded(dataset, limits)
    values, facts = pixels.values, dict(pixels.facts)
    own_windows: tuple[Window, ...] = ()
    background = None
    if not pixels.colour:
        background = padding(dataset)
        own_windows, window_facts = windows(dataset)
        facts.update(window_facts)
        values = in_units(values, dataset)
    pitch, pitch_warnings = spacing(dataset)
    side, side_warnings = laterality(dataset)
    return Picture(
        pixels=values,
        stated=modality(dataset),
        spacing=pitch,
        windows=own_windows,
        inverted=pixels.inverted,
        laterality=side,
        view=view(dataset),
        bits=pixels.bits,
        affine=affine(dataset, pitch, values.shape[0]),
        background=background,
        facts=facts,
        warnings=(*pixels.warnings, *pitch_warnings, *side_warnings, *notes),
    )


def parse(data: bytes, limits: Limits, *, header_only: bool = False) -> Any:
    """The data set of a file, also without preamble or "DICM".

    Raises:
        UnreadableFile: The structure is damaged.
        LimitExceeded: A deflated file is too large when inflated.
    """
    _check_deflated(data, limits)
    bare = data[128:132] != b"DICM"
    dataset = pydicom.dcmread(BytesIO(data), force=bare, stop_before_pixels=header_only)
    if not len(dataset):
        raise UnreadableFile(DAMAGED)
    return dataset


def _check_deflated(data: bytes, limits: Limits) -> None:
    """Refuse a deflated data set that would fill the memory."""
    if _DEFLATED not in data[132:1024] or data[132:136] != b"\x02\x00\x00\x00":
        return
    decoder = zlib.decompressobj(wbits=-15)
    rest = data[144 + int.from_bytes(data[140:144], "little") :]
    size = 0
    while rest and not decoder.eof:
        size += len(decoder.decompress(rest, 1 << 20))
        rest = decoder.unconsumed_tail
        if size > limits.max_bytes:
            raise LimitExceeded("This file is larger, once unpacked, than Lightbox reads.")


def _warnings(dataset: Any) -> tuple[str, ...]:
    """What the reader of the picture should know."""
    code = listed(dataset.get("Modality"), MODALITY_CODES)
    found = []
    if burnt_in_text(dataset.get("BurnedInAnnotation"), code, dataset.get("SOPClassUID")):
        found.append(BURNT_IN)
    if str(dataset.get("PresentationIntentType", "")).strip().upper() == "FOR PROCESSING":
        found.append(FOR_PROCESSING)
    if dataset.get("TotalPixelMatrixRows") and int(dataset.get("NumberOfFrames") or 1) > 1:
        found.append(TILES)
    if not isinstance(dataset.file_meta.get("TransferSyntaxUID"), UID):
        found.append(UNUSUAL_FILE)
    return tuple(found)
