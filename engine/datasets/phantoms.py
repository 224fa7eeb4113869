"""Phantoms as a source: made once, in parallel, by the same code that prepares cases."""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import engine.geometry
import engine.phantoms
from engine.datasets import encode
from engine.datasets.batch import Batch
from engine.datasets.source import ArraySource
from engine.models.crossmodal import mammogram_input, pathology_input
from engine.phantoms.cases import phantom_case
from engine.phantoms.site import SITES, Site

logger = logging.getLogger(__name__)

SPLITS = {"train": 1_000_000, "validation": 2_000_000, "test": 3_000_000}
"""First phantom seed of each split; splits never meet below a million cases."""

Arrays = dict[str, NDArray[Any]]
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def phantom_arrays(
    seed: int,
    classes: tuple[str, ...],
    sizes: tuple[int, int],
    cells: int,
    sites: tuple[Site, ...] | None = None,
) -> Arrays:
    """One phantom as arrays; the fields of `Batch` but `index`, without the batch axis.

    The class follows the seed. So does the site where `sites` are given, each class at each site
    equally often; otherwise it is drawn.
    """
    site = None
    if sites is not None:
        which = seed // len(classes) % len(sites)
        site = sites[which].jittered(np.random.default_rng((seed, 1)))
    case = phantom_case(seed, classes[seed % len(classes)], site=site)
    truth = case.truth
    assert truth is not None
    names = [each.name for each in sites or SITES]
    mammo, placement = mammogram_input(case.images[0], 0, sizes[0])
    patho, _ = pathology_input(case.images[1], 0, sizes[1])
    box, mask = np.zeros(4, np.float32), np.zeros((cells, cells), np.uint8)
    if truth.box is not None and truth.mask is not None:
        box = encode.box_shares(truth.box, placement)
        mask = encode.mask_cells(truth.mask, placement, cells)
    return {
        "mammo": encode.mammogram_bytes(mammo),
        "patho": encode.pathology_bytes(patho),
        "has_patho": np.array(True),
        "label": np.array(classes.index(truth.label), np.int64),
        "grade": np.array(-1 if truth.grade is None else truth.grade, np.int64),
        "box": box,
        "mask": mask,
        "has_mask": np.array(True),
        "site": np.array(names.index(case.images[0].facts["site"]), np.int64),
        "patient": np.array(seed, np.int64),
    }


def phantom_source(
    first_seed: int,
    count: int,
    classes: tuple[str, ...],
    sizes: tuple[int, int],
    cells: int,
    *,
    grades: Sequence[str] | None = None,
    sites: Sequence[Site] | None = None,
    cache: Path | None = None,
    workers: int = 2,
) -> ArraySource:
    """Phantoms of consecutive seeds, classes balanced, from disk when they were made before.

    Each phantom is a patient of its own, numbered by its seed.

    Args:
        first_seed: As in `SPLITS`. count: Cases, >= 1. classes: Class names by label.
        sizes: Sides of the mammogram and pathology inputs. cells: Side of the mask grid.
        grades: Classes that have a grade, lowest first; the generator's own when None.
        sites: Hospitals, equally often; None draws from `SITES`.
        cache: Folder for the arrays. workers: Processes; 0 works in this one.
    """
    places = None if sites is None else tuple(sites)
    names = tuple(site.name for site in places or SITES)
    make: Callable[[int], Arrays] = partial(
        phantom_arrays, classes=tuple(classes), sizes=sizes, cells=cells, sites=places
    )
    seeds = range(first_seed, first_seed + count)
    stored = None
    if cache is not None:
        settings = repr((first_seed, count, tuple(classes), sizes, cells, places))
        key = hashlib.sha256((_generator_code() + settings).encode()).hexdigest()[:16]
        stored = cache / f"phantoms-{first_seed}-{count}-{key}.npz"
    arrays = None if stored is None else _stored(stored, count)
    if arrays is None:
        arrays = _made(make, seeds, workers)
        if stored is not None:
            _store(stored, arrays)
    if grades is not None:
        levels = [grades.index(name) if name in grades else -1 for name in classes]
        arrays["grade"] = np.array(levels, np.int64)[arrays["label"]]
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    batch = Batch(**tensors, index=torch.arange(count))
    return ArraySource(batch, names, tuple(classes))


def _made(make: Callable[[int], Arrays], seeds: range, workers: int) -> Arrays:
    """All phantoms, stacked while they arrive."""
    if workers < 1:
        return _stacked(map(make, seeds), len(seeds))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        chunk = max(1, min(16, len(seeds) // workers))
        return _stacked(pool.map(make, seeds, chunksize=chunk), len(seeds))


def _stacked(rows: Iterable[Arrays] | Iterator[Arrays], count: int) -> Arrays:
    arrays: Arrays = {}
    for position, row in enumerate(rows):
        for name, value in row.items():
            if position == 0:
                arrays[name] = np.empty((count, *np.shape(value)), np.asarray(value).dtype)
            arrays[name][position] = value
    return arrays


def _stored(path: Path, count: int) -> Arrays | None:
    """Arrays made before; None where there are none, or they are damaged."""
    if not path.is_file():
        return None
    expected = {f.name for f in fields(Batch)} - {"index"}
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in expected}
    except _DAMAGED:
        logger.warning("stored phantoms are damaged and are made again")
        return None
    return arrays if all(len(values) == count for values in arrays.values()) else None


def _store(path: Path, arrays: Arrays) -> None:
    """Write via a temporary name, so that a reader sees all or nothing."""
    partial_path = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial_path.open("wb") as stream:
            np.savez(stream, **dict[str, Any](arrays))
        partial_path.replace(path)
    except OSError:
        with suppress(OSError):
            partial_path.unlink(missing_ok=True)
        logger.warning("made phantoms could not be stored; they will be made again next time")


def _generator_code() -> str:
    """The program text that determines the pixels, so that other text never meets old arrays."""
    folder = Path(inspect.getfile(engine.phantoms)).parent
    texts = [path.read_text("utf-8") for path in sorted(folder.glob("*.py"))]
    parts = (engine.geometry, encode, mammogram_input, pathology_input, phantom_arrays)
    return "\n".join([*texts, *(inspect.getsource(part) for part in parts)])
