"""The cases of one split of a manifest, decoded when asked for."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.datasets import encode
from engine.datasets.batch import Batch
from engine.datasets.cache import PixelCache
from engine.datasets.decode import Decoder, preparation
from engine.datasets.errors import InvalidManifest
from engine.datasets.manifest import Manifest, Row, box_of, grade_of, label_of
from engine.datasets.source import Source
from engine.datasets.splits import Split
from engine.errors import EngineError
from engine.geometry import Placement
from engine.records import Box

Pairing = Literal["patient", "label", "none"]
WHITE = 255


@dataclass(frozen=True)
class CaseRows:
    """A mammogram, and the pathology image that goes with it."""

    mammogram: Row
    pathology: Row | None


def manifest_source(
    manifest: Manifest,
    split_name: str,
    split: Split,
    *,
    classes: Sequence[str] = (),
    grades: Sequence[str] = (),
    sizes: tuple[int, int],
    cells: int,
    pairing: Pairing = "patient",
    seed: int = 0,
    cache: Path | None = None,
) -> Source:
    """Cases of a split: each is one mammogram, with or without a pathology image.

    Args:
        manifest: Rows. split_name: Which cases. split: Who is in it.
        classes: Class names by label, and grades, lowest first; the manifest's own when empty.
        sizes: Sides of the mammogram and pathology inputs. cells: Side of the mask grid.
        pairing: "patient" pairs a mammogram with the first pathology image of its patient, whatever
            the classes (`check` tells where they differ), since a choice by class would tell it;
            "label" pairs a mammogram with any pathology image of its class and split, drawn by
            `seed` and the row (an artificial pair); "none" reads no pathology.
        cache: Folder for decoded images; None decodes each time.

    Raises:
        InvalidManifest: No mammogram is in the split; a class, grade or box is impossible; or pairs
            by class would give the class away, since one class alone has no pathology image.
    """
    rows = [row for row in manifest.rows if split.of(row) == split_name]
    known = Manifest(
        manifest.rows,
        manifest.folder,
        manifest.digest,
        tuple(classes) or manifest.classes,
        tuple(grades) or manifest.grades,
    )
    cases = tuple(_cases(rows, pairing, seed))
    if not cases:
        raise InvalidManifest(f"There is no mammogram in the split {split_name}.")
    if pairing == "label":
        _refuse_telling(cases, split_name)
    facts = (split_name, split.digest, sizes, cells, pairing, seed, known.classes, known.grades)
    return ManifestSource(known, cases, facts, Decoder(sizes, cells, PixelCache(cache)))


class ManifestSource(Source):
    """See `manifest_source`. Numbers of sites and patients count over the whole manifest."""

    def __init__(
        self,
        manifest: Manifest,
        cases: tuple[CaseRows, ...],
        facts: tuple[object, ...],
        decoder: Decoder,
    ) -> None:
        self.manifest, self.cases = manifest, cases
        self.classes = manifest.classes
        self.site_names = tuple(sorted({row.site for row in manifest.rows}))
        keys = {key: n for n, key in enumerate(sorted({row.key for row in manifest.rows}))}
        rows = [case.mammogram for case in cases]
        self.labels = _numbers(label_of(row, manifest) for row in rows)
        self.sites = _numbers(self.site_names.index(row.site) for row in rows)
        self.patients = _numbers(keys[row.key] for row in rows)
        self._grades = [grade_of(row, manifest) for row in rows]
        self._boxes = [box_of(row) for row in rows]
        self._facts, self._decoder = facts, decoder

    @cached_property
    def digest(self) -> str:
        """See `Source.digest`; reads each file once where its digest is not known yet."""
        whole = hashlib.sha256(repr((self.manifest.digest, self._facts, preparation())).encode())
        for case in self.cases:
            with _told(case.mammogram):
                for path in self._files(case):
                    whole.update(self._decoder.store.digest(path).encode())
        return whole.hexdigest()

    def take(self, indices: Tensor) -> Batch:
        """See `Source.take`.

        Raises:
            InvalidManifest: A file cannot be used; the sentence names its row.
        """
        cases = [self._case(int(i)) for i in indices]
        arrays = {
            name: torch.from_numpy(np.stack([case[name] for case in cases])) for name in cases[0]
        }
        chosen = indices.numpy()
        return Batch(
            **arrays,
            label=torch.from_numpy(self.labels[chosen]),
            site=torch.from_numpy(self.sites[chosen]),
            patient=torch.from_numpy(self.patients[chosen]),
            index=indices.clone(),
        )

    def _files(self, case: CaseRows) -> list[Path]:
        paths = [self.manifest.file(case.mammogram), self.manifest.mask_file(case.mammogram)]
        if case.pathology is not None:
            paths.append(self.manifest.file(case.pathology))
        return [path for path in paths if path is not None]

    def _case(self, position: int) -> dict[str, NDArray[np.generic] | np.generic]:
        """The fields of a batch that a case's files and annotations state."""
        case = self.cases[position]
        row, other = case.mammogram, case.pathology
        with _told(row):
            mammo, placement = self._decoder.mammogram(self.manifest.file(row))
            box, mask, has_mask = self._extent(row, self._boxes[position], placement)
        patho = np.full((3, self._decoder.sizes[1], self._decoder.sizes[1]), WHITE, np.uint8)
        if other is not None:
            with _told(other):
                patho = self._decoder.pathology(self.manifest.file(other))
        grade = self._grades[position]
        return {
            "mammo": mammo,
            "patho": patho,
            "has_patho": np.bool_(other is not None),
            "grade": np.int64(-1 if grade is None else grade),
            "box": np.zeros(4, np.float32) if box is None else encode.box_shares(box, placement),
            "mask": mask,
            "has_mask": np.bool_(has_mask),
        }

    def _extent(
        self, row: Row, box: Box | None, placement: Placement
    ) -> tuple[Box | None, encode.Bytes, bool]:
        """Box, mask on the grid, and whether the extent is known, also as known to be none."""
        path, cells = self.manifest.mask_file(row), self._decoder.cells
        if path is None:
            is_known = box is None and row.label in self.manifest.healthy
            return box, np.zeros((cells, cells), np.uint8), is_known
        mask, around = self._decoder.mask(path, placement)
        return box or around, mask, True


@contextmanager
def _told(row: Row) -> Iterator[None]:
    """Name the row in the message of an error about its files."""
    try:
        yield
    except EngineError as wrong:
        raise InvalidManifest(f"Row {row.number} of the manifest: {wrong}") from None


def _numbers(values: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(values, np.int64)


def _cases(rows: Sequence[Row], pairing: Pairing, seed: int) -> Iterator[CaseRows]:
    first: dict[str, Row] = {}
    of_class: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.is_pathology:
            first.setdefault(row.key, row)
            of_class[row.label].append(row)
    for row in rows:
        if not row.is_mammogram:
            continue
        if pairing == "patient":
            yield CaseRows(row, first.get(row.key))
        elif pairing == "label" and row.label:
            yield CaseRows(row, _drawn(row, of_class[row.label], seed))
        else:
            yield CaseRows(row, None)


def _drawn(row: Row, fields: Sequence[Row], seed: int) -> Row | None:
    """One of the pathology images, drawn by the seed and the row; None where there is none."""
    if not fields:
        return None
    return fields[int(np.random.default_rng((seed, row.number)).integers(len(fields)))]


def _refuse_telling(cases: Sequence[CaseRows], split_name: str) -> None:
    """Refuse pairs by class that only some classes have: their presence would tell the class."""
    paired = {case.mammogram.label for case in cases if case.pathology is not None}
    alone = {case.mammogram.label for case in cases} - paired - {""}
    if paired and alone:
        names = ", ".join(sorted(alone))
        raise InvalidManifest(
            f"The split {split_name} holds no pathology image of: {names}; "
            "pairs by class would give the class away."
        )
