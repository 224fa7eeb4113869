"""Where training cases come from: anything that gives batches by position."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.datasets.batch import Batch
from engine.datasets.prefetch import ahead


class Source(ABC):
    """Cases by position.

    Attributes:
        classes: Class names, in the order of the labels.
        site_names: Names of the sites, in the order of the site numbers.
        labels, sites, patients: (N,) int64 each; label -1 where unknown.
        digest: SHA-256, hexadecimal, of everything that determines pixels and labels.
    """

    classes: tuple[str, ...]
    site_names: tuple[str, ...]
    labels: NDArray[np.int64]
    sites: NDArray[np.int64]
    patients: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256, hexadecimal, of everything that determines pixels and labels."""

    @abstractmethod
    def take(self, indices: Tensor) -> Batch:
        """The cases at these positions, (B,) int64, in this order."""

    def batches(self, indices: Tensor, size: int, *, workers: int = 0) -> Iterator[Batch]:
        """The cases at `indices` in their order, `size` at a time; the last may be smaller.

        Args:
            indices: Positions, (N,) int64.
            size: Cases in one batch, >= 1.
            workers: Threads that decode ahead; 0 decodes when asked.
        """
        return ahead(self.take, indices.split(size) if len(indices) else (), workers)

    def subset(self, indices: Tensor) -> Source:
        """The cases at these positions as a source of their own."""
        return Subset(self, indices)


class ArraySource(Source):
    """Cases that lie in memory.

    Args:
        batch: All cases. site_names: By site number. classes: By label.
        digest: Of the cases; computed from them when empty.
    """

    def __init__(
        self, batch: Batch, site_names: tuple[str, ...], classes: tuple[str, ...], digest: str = ""
    ) -> None:
        self.batch = replace(batch, index=torch.arange(len(batch)))
        self.site_names = site_names
        self.classes = classes
        self.labels = batch.label.numpy()
        self.sites = batch.site.numpy()
        self.patients = batch.patient.numpy()
        self._digest = digest or digest_of(batch, site_names, classes)

    @property
    def digest(self) -> str:
        """See `Source.digest`."""
        return self._digest

    def take(self, indices: Tensor) -> Batch:
        """See `Source.take`."""
        return self.batch.take(indices)


class Subset(Source):
    """Some cases of another source; `index` counts within the subset."""

    def __init__(self, parent: Source, indices: Tensor) -> None:
        self._parent, self._indices = parent, indices.to(torch.int64)
        self.classes, self.site_names = parent.classes, parent.site_names
        chosen = self._indices.numpy()
        self.labels = parent.labels[chosen]
        self.sites = parent.sites[chosen]
        self.patients = parent.patients[chosen]

    @property
    def digest(self) -> str:
        """See `Source.digest`."""
        whole = hashlib.sha256(self._parent.digest.encode())
        whole.update(self._indices.numpy().tobytes())
        return whole.hexdigest()

    def take(self, indices: Tensor) -> Batch:
        """See `Source.take`."""
        return replace(self._parent.take(self._indices[indices]), index=indices.clone())


def digest_of(batch: Batch, site_names: tuple[str, ...], classes: tuple[str, ...]) -> str:
    """SHA-256 of the bytes of cases and of the names of their numbers."""
    whole = hashlib.sha256(repr((site_names, classes)).encode())
    for part in fields(batch):
        values = getattr(batch, part.name)
        whole.update(f"{part.name} {tuple(values.shape)}".encode())
        whole.update(np.ascontiguousarray(values.numpy()).data)
    return whole.hexdigest()
