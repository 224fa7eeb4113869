"""Cases as tensors, as they lie on disk and in memory before augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Cases as tensors; every case has a mammogram.

    Args:
        mammo: (B, 1, H, W) uint8 of [-1, 1]. patho: (B, 3, h, w) uint8 of [0, 1], white where
            there is none.
        has_patho: (B,) bool.
        label: (B,) int64, -1 where unknown. grade: (B,) int64, -1 where there is none.
        box: (B, 4) float32 left, top, width, height, shares of the canvas; zeros where none.
        mask: (B, m, m) uint8, share of each cell covered by the lesion, of 255.
        has_mask: (B,) bool, the extent is known; also where it is known to be empty.
        site: (B,) int64. patient: (B,) int64, equal for images of one patient.
        index: (B,) int64, position in the source.
    """

    mammo: Tensor
    patho: Tensor
    has_patho: Tensor
    label: Tensor
    grade: Tensor
    box: Tensor
    mask: Tensor
    has_mask: Tensor
    site: Tensor
    patient: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.label)

    @property
    def has_box(self) -> Tensor:
        """Cases with a box, (B,) bool."""
        return self.box[:, 2] > 0

    def take(self, indices: Tensor) -> Batch:
        """Some of the cases; their `index` stays."""
        return Batch(**{f.name: getattr(self, f.name)[indices] for f in fields(self)})

    def to(self, device: torch.device | str) -> Batch:
        """The same cases on another device."""
        return Batch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @staticmethod
    def join(parts: Sequence[Batch]) -> Batch:
        """Cases of several batches, one after another; at least one batch."""
        return Batch(
            **{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Batch)}
        )
