"""One file to one image: the reader is chosen by content."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from engine.errors import UnreadableFile, UnsupportedImage
from engine.io.limits import Limits
from engine.io.picture import Picture, finish
from engine.io.seam import decoding
from engine.io.series import Header
from engine.io.source import NOT_AN_IMAGE, Format, Source, load, sniff
from engine.records import Image, Modality

# Module and function of each reader; imported when first needed, since the libraries are large.
_READERS = {
    Format.DICOM: ("engine.io.dicom", "read"),
    Format.PNG: ("engine.io.raster", "read_png"),
    Format.JPEG: ("engine.io.raster", "read_jpeg"),
    Format.TIFF: ("engine.io.tiff", "read"),
    Format.NIFTI: ("engine.io.nifti", "read"),
    Format.METAIMAGE: ("engine.io.metaimage", "read"),
    Format.NRRD: ("engine.io.nrrd", "read"),
}
_OTHERS = {
    Format.ENCRYPTED: "This file is encrypted, so its image cannot be read.",
    Format.ZIP: "This file is a zip archive; it is opened as a batch, not as one image.",
    Format.ARCHIVE: "This file is an archive that Lightbox cannot open; unpack it, or use zip.",
}


def read_image(
    path: Path, *, modality: Modality | None = None, limits: Limits | None = None
) -> Image:
    """Read one file as one de-identified image.

    Args:
        path: A DICOM, PNG, JPEG, TIFF, NIfTI, MetaImage or NRRD file, whatever its name.
        modality: Told by the caller; wins over what the file states.
        limits: What the machine can bear; the usual limits when None.

    Raises:
        UnreadableFile: The file is damaged, encrypted, or not an image.
        UnsupportedImage: It is of a kind that Lightbox does not read.
        LimitExceeded: It is too large.
    """
    limits = limits or Limits()
    return decode(load(path, limits), modality=modality, limits=limits)


def decode(source: Source, *, modality: Modality | None = None, limits: Limits) -> Image:
    """Decode the bytes of one file; as `read_image`."""
    kind = sniff(source.data)
    if kind not in _READERS:
        error = UnreadableFile if kind is Format.ENCRYPTED else UnsupportedImage
        raise (error(_OTHERS[kind]) if kind in _OTHERS else UnreadableFile(NOT_AN_IMAGE))
    return finish(picture(source, kind, limits), source.digest, modality)


def peek(path: Path, limits: Limits) -> Header:
    """The header of a DICOM file.

    Raises:
        UnreadableFile: The file is damaged.
        LimitExceeded: It is too large.
    """
    header: Header = import_module("engine.io.dicom_header").peek(path, limits)
    return header


def picture(source: Source, kind: Format, limits: Limits) -> Picture:
    """Run the reader of a format behind the seam."""
    name, function = _READERS[kind]
    reader = import_module(name)
    with decoding(*reader.ERRORS):
        return getattr(reader, function)(source, limits)
