"""Phantoms as training tensors: made once, in parallel, by the same code that prepares cases."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from engine.models.crossmodal import mammogram_input, pathology_input
from engine.phantoms import phantom_case

SPLITS = {"train": 1_000_000, "validation": 2_000_000, "test": 3_000_000}
"""First phantom seed of each split; splits never meet below a million cases."""


@dataclass(frozen=True)
class Batch:
    """Cases as tensors.

    Args:
        mammo: (B, 1, H, W) uint8 of [-1, 1]. patho: (B, 3, h, w) uint8 of [0, 1].
        label: (B,) int. grade: (B,) int, -1 where a case has none.
        box: (B, 4) left, top, width, height, shares of the canvas; zeros where there is none.
        mask: (B, m, m) uint8, share of each cell covered by the lesion, of 255.
    """

    mammo: Tensor
    patho: Tensor
    label: Tensor
    grade: Tensor
    box: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.label)

    def take(self, indices: Tensor) -> Batch:
        """Some of the cases."""
        return Batch(**{f.name: getattr(self, f.name)[indices] for f in fields(self)})

    def to(self, device: torch.device) -> Batch:
        """The same cases on another device."""
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def phantom_arrays(
    seed: int, classes: tuple[str, ...], sizes: tuple[int, int], cells: int
) -> dict[str, np.ndarray]:
    """One phantom as arrays; the fields of `Batch` without the batch axis."""
    case = phantom_case(seed, classes[seed % len(classes)])
    truth = case.truth
    assert truth is not None
    mammo, placement = mammogram_input(case.images[0], 0, sizes[0])
    patho, _ = pathology_input(case.images[1], 0, sizes[1])
    box, mask = np.zeros(4, np.float32), np.zeros((cells, cells), np.float32)
    if truth.box is not None and truth.mask is not None:
        placed = placement.box_to_canvas(truth.box)
        box[:] = np.array([placed.x, placed.y, placed.width, placed.height]) / sizes[0]
        full = placement.to_canvas(truth.mask.astype(np.float32))
        mask = cv2.resize(full, (cells, cells), interpolation=cv2.INTER_AREA)
    return {
        "mammo": np.rint((mammo[..., 0] + 1) * 127.5).astype(np.uint8)[None],
        "patho": np.rint(patho * 255).astype(np.uint8).transpose(2, 0, 1),
        "label": np.int64(classes.index(truth.label)),
        "grade": np.int64(-1 if truth.grade is None else truth.grade),
        "box": box,
        "mask": np.rint(mask * 255).astype(np.uint8),
    }


def phantom_split(
    split: str,
    count: int,
    classes: tuple[str, ...],
    sizes: tuple[int, int],
    cells: int,
    *,
    cache: Path | None = None,
    workers: int = 2,
) -> Batch:
    """All phantoms of a split, classes balanced, from disk when they were made before.

    Args:
        split: "train", "validation" or "test". count: Cases. classes: Class names by label.
        sizes: Sides of the mammogram and pathology inputs. cells: Side of the mask grid.
        cache: Folder for the arrays. workers: Processes.
    """
    stored = None if cache is None else cache / f"{split}-{count}-{sizes[0]}-{sizes[1]}.npz"
    if stored is not None and stored.is_file():
        with np.load(stored, allow_pickle=False) as arrays:
            return Batch(**{name: torch.from_numpy(arrays[name]) for name in arrays.files})
    make: Callable[[int], dict[str, np.ndarray]] = partial(
        phantom_arrays, classes=classes, sizes=sizes, cells=cells
    )
    seeds = range(SPLITS[split], SPLITS[split] + count)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(make, seeds, chunksize=16))
    arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    if stored is not None:
        stored.parent.mkdir(parents=True, exist_ok=True)
        np.savez(stored, **arrays)
    return Batch(**{name: torch.from_numpy(values) for name, values in arrays.items()})
