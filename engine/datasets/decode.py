"""Files of a manifest as the bytes of a batch, read and prepared as the product does it."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import engine.geometry
from engine.datasets import encode
from engine.datasets.cache import PixelCache
from engine.datasets.encode import Bytes
from engine.errors import ShapeMismatch
from engine.geometry import Placement
from engine.io import read_image
from engine.models.crossmodal import mammogram_input, pathology_input
from engine.records import BoolArray, Box, Modality

TUPLES = ("source", "inner", "offset")


class Decoder:
    """Decodes files once, and finds them in the cache afterwards.

    Args:
        sizes: Sides of the mammogram and pathology inputs. cells: Side of the mask grid.
        store: Where decoded images are kept.
    """

    def __init__(self, sizes: tuple[int, int], cells: int, store: PixelCache) -> None:
        self.sizes, self.cells, self.store = sizes, cells, store

    def mammogram(self, path: Path) -> tuple[Bytes, Placement]:
        """(1, size, size) uint8 of [-1, 1], and its placement; the middle frame of several.

        Raises:
            EngineError: The file cannot be used.
        """
        key = self._key("mammogram", self.sizes[0], path)
        known = self.store.read(key)
        if known is not None:
            return known[0], _placement(known[1])
        image = read_image(path, modality=Modality.MAMMOGRAPHY)
        pixels, placement = mammogram_input(image, image.frames // 2, self.sizes[0])
        made = encode.mammogram_bytes(pixels)
        self.store.keep(key, made, asdict(placement))
        return made, placement

    def pathology(self, path: Path) -> Bytes:
        """(3, size, size) uint8 of [0, 1]; raises as `mammogram`."""
        key = self._key("pathology", self.sizes[1], path)
        known = self.store.read(key)
        if known is not None:
            return known[0]
        image = read_image(path, modality=Modality.PATHOLOGY)
        pixels, _ = pathology_input(image, image.frames // 2, self.sizes[1])
        made = encode.pathology_bytes(pixels)
        self.store.keep(key, made, {})
        return made

    def mask(self, path: Path, placement: Placement) -> tuple[Bytes, Box | None]:
        """(cells, cells) uint8, share of the cell of 255, and the box around it, source pixels.

        Raises:
            ShapeMismatch: The mask has another size than its mammogram.
            EngineError: The file cannot be used.
        """
        key = self._key("mask", (self.cells, asdict(placement)), path)
        known = self.store.read(key)
        if known is None:
            mask = lesion_mask(path)
            if mask.shape != placement.source:
                raise ShapeMismatch("The lesion mask has another size than its mammogram.")
            made = encode.mask_cells(mask, placement, self.cells)
            known = made, {"box": _around(mask)}
            self.store.keep(key, *known)
        array, facts = known
        return array, None if facts["box"] is None else Box(*facts["box"])

    def _key(self, kind: str, settings: Any, path: Path) -> str:
        text = repr((kind, settings, self.store.digest(path), preparation()))
        return hashlib.sha256(text.encode()).hexdigest()


def is_file(path: Path) -> bool:
    """Whether this is a file, and not a folder, a device or a name that no file can have."""
    try:
        return path.is_file()
    except OSError:
        return False


def lesion_mask(path: Path) -> BoolArray:
    """A mask file, (H, W) bool: pixels above half of its largest value.

    Raises:
        EngineError: The file cannot be read.
    """
    image = read_image(path, modality=Modality.MASK)
    pixels = image.pixels[0]
    marked: BoolArray = (pixels > max(float(pixels.max()), 0.0) / 2).any(axis=-1)
    return marked


@cache
def preparation() -> str:
    """Digest of the program text that turns an image into a network's input."""
    parts = (engine.geometry, encode, mammogram_input, pathology_input)
    text = "\n".join(inspect.getsource(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()


def _around(mask: BoolArray) -> list[int] | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


def _placement(facts: dict[str, Any]) -> Placement:
    fields: dict[str, Any] = {k: tuple(v) if k in TUPLES else v for k, v in facts.items()}
    return Placement(**fields)
