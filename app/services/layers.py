"""Pixels as the viewer fetches them: little-endian codes with a linear scale."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP = 65535
WIDE = 1e30
"""A step from which on differences of float32 values overflow."""


@dataclass(frozen=True)
class Layer:
    """Bytes for a browser.

    Args:
        data: The body. media_type: Its type. etag: Digest of the body.
    """

    data: bytes
    media_type: str
    etag: str


def layer(data: bytes, media_type: str = "application/octet-stream") -> Layer:
    """Bytes with their digest."""
    return Layer(data, media_type, hashlib.sha256(data).hexdigest()[:32])


@dataclass(frozen=True)
class Scale:
    """Value = code * slope + intercept, for uint16 codes."""

    slope: float
    intercept: float

    def encode(self, values: NDArray[Any]) -> bytes:
        """Codes of values, little-endian uint16, row by row."""
        if self.slope == 1.0 and self.intercept == 0.0 and values.dtype == np.uint16:
            return np.ascontiguousarray(values).astype("<u2", copy=False).tobytes()
        numbers: NDArray[Any] = values.astype(np.float32 if self.slope < WIDE else np.float64)
        codes = (numbers - self.intercept) / self.slope
        return np.clip(np.rint(codes), 0, TOP).astype("<u2").tobytes()


def scale_of(values: NDArray[Any]) -> Scale:
    """The exact scale of whole numbers within 16 bits; otherwise 65536 steps over the range."""
    low, high = float(values.min()), float(values.max())
    if np.issubdtype(values.dtype, np.integer) and high - low <= TOP:
        return Scale(1.0, 0.0 if low >= 0 and high <= TOP else low)
    return Scale((high - low) / TOP if high > low else 1.0, low)


class Memory:
    """Keeps what was computed last, within a number of bytes; safe for several threads.

    Args:
        limit: Bytes; entries count with `size`.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._used, self._lock = limit, 0, Lock()
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any], size: Callable[[Any], int]) -> Any:
        """The entry of a key, made when it is not there."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key][0]
        value = make()
        weight = size(value)
        with self._lock:
            if key not in self._entries and weight <= self._limit:
                self._entries[key] = (value, weight)
                self._used += weight
                while self._used > self._limit:
                    self._used -= self._entries.popitem(last=False)[1][1]
        return value
