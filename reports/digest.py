"""SHA-256 of records: equal content, equal digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def digest_of(value: Any) -> str:
    """Hexadecimal SHA-256 of records, mappings, sequences, arrays and plain values.

    Mappings are taken in order of their keys; arrays with type and shape.
    """
    state = hashlib.sha256()
    for piece in _pieces(value):
        state.update(piece)
    return state.hexdigest()


def _pieces(value: Any) -> Iterator[bytes]:
    if is_dataclass(value) and not isinstance(value, type):
        yield from _group("record", [(f.name, getattr(value, f.name)) for f in fields(value)])
    elif isinstance(value, Mapping):
        pairs = sorted(((repr(key), item) for key, item in value.items()), key=lambda p: p[0])
        yield from _group("mapping", pairs)
    elif isinstance(value, (list, tuple)):
        yield from _group("sequence", [("", item) for item in value])
    elif isinstance(value, np.ndarray):
        yield f"array {value.dtype.str} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    else:
        text = repr(value).encode("utf-8", "backslashreplace")
        yield f"value {len(text)} ".encode() + text


def _group(kind: str, pairs: list[tuple[str, Any]]) -> Iterator[bytes]:
    yield f"{kind} {len(pairs)} ".encode()
    for name, item in pairs:
        yield f"{len(name)} {name} ".encode("utf-8", "backslashreplace")
        yield from _pieces(item)
