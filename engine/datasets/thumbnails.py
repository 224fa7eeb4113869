"""Small pictures of the images of a manifest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.datasets import encode
from engine.datasets.decode import is_file
from engine.datasets.errors import InvalidManifest
from engine.datasets.manifest import Manifest
from engine.errors import EngineError, UnreadableFile
from engine.io import read_image
from engine.models.crossmodal import mammogram_input, pathology_input
from engine.records import Modality


def thumbnail(manifest: Manifest, row_index: int, side: int = 128) -> NDArray[np.uint8]:
    """The image of a row as a model would see it, (side, side, 3) uint8.

    Args:
        manifest: Rows. row_index: Position in `manifest.rows`. side: Pixels, >= 16.

    Raises:
        InvalidManifest: The image cannot be used; the sentence names its row.
    """
    row = manifest.rows[row_index]
    modality = Modality.MAMMOGRAPHY if row.is_mammogram else Modality.PATHOLOGY
    path = manifest.file(row)
    try:
        if not is_file(path):
            raise UnreadableFile("This file cannot be opened.")
        image = read_image(path, modality=modality)
        frame = image.frames // 2
        if row.is_mammogram:
            grey = encode.mammogram_bytes(mammogram_input(image, frame, side)[0])
            return np.repeat(grey.transpose(1, 2, 0), 3, axis=2)
        pixels = encode.pathology_bytes(pathology_input(image, frame, side)[0])
    except EngineError as wrong:
        raise InvalidManifest(f"Row {row.number} of the manifest: {wrong}") from None
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))
