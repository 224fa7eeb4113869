"""Checkpoints of others: opened as data only, taken out of what they are wrapped in."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import ModelUnavailable
from engine.models.weights import sha256_of

CONTAINERS = (
    "state_dict", "model_state_dict", "model", "network", "net", "module", "weights", "params",
)  # fmt: skip
"""Where training scripts put the tensors, in the order in which they are looked for."""

PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "backbone.", "encoder.")
"""What wrappers put before every name: parallel training, compilation, Lightning and the like."""

CODE = (
    "This file holds more than tensors and plain values, and what it holds could run as a program, "
    "so it was not opened. Save the model's state_dict, or safetensors, where it was made."
)
DAMAGED = "This file is no checkpoint that can be read: it is damaged, or of another kind."


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file.

    Args:
        tensors: By name, as the file orders them.
        digest: SHA-256 of the file, hexadecimal.
        container: Keys under which they lay, joined by dots; empty where they lay at the top.
    """

    tensors: Mapping[str, Tensor]
    digest: str
    container: str = ""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read .safetensors, or what `torch.save` wrote, without running anything of it.

    Raises:
        ModelUnavailable: The file is absent, damaged, holds code, or holds no tensors.
    """
    if not path.is_file():
        raise ModelUnavailable("There is no checkpoint at the place given.")
    try:
        digest = sha256_of(path)
        with path.open("rb") as stream:
            head = stream.read(9)
    except OSError:
        raise ModelUnavailable("The checkpoint cannot be read.") from None
    found = _safetensors(path) if head[8:9] == b"{" else _pickled(path)
    tensors, container = unwrapped(found)
    if not tensors:
        raise ModelUnavailable("The file holds no tensors by name, so it is no checkpoint.")
    return Checkpoint(tensors, digest, container)


def _safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError):
        raise ModelUnavailable(DAMAGED) from None


def _pickled(path: Path) -> Any:
    """What `torch.load` gives with nothing but tensors and plain values allowed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelUnavailable(CODE if _is_refused(str(error)) else DAMAGED) from None
    except RuntimeError as error:
        raise ModelUnavailable(CODE if "TorchScript" in str(error) else DAMAGED) from None
    except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError):
        raise ModelUnavailable(DAMAGED) from None


def _is_refused(message: str) -> bool:
    """Whether the unpickler met something that it may not build, not mere damage."""
    return any(word in message for word in ("GLOBAL", "REDUCE", "BUILD", "NEWOBJ", "allowlist"))


def unwrapped(found: Any) -> tuple[dict[str, Tensor], str]:
    """Tensors by name, from under the keys of training scripts; and those keys."""
    keys: list[str] = []
    while isinstance(found, Mapping):
        key = next((k for k in CONTAINERS if isinstance(found.get(k), Mapping)), None)
        if key is None:
            break
        keys.append(key)
        found = found[key]
    if not isinstance(found, Mapping):
        return {}, ".".join(keys)
    tensors = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, Tensor)}
    return tensors, ".".join(keys)


def without_prefix(tensors: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Names freed of a wrapper's prefix, where all share one that the network's own have not."""
    known = tuple(names)
    found = dict(tensors)
    while True:
        shared = next((p for p in PREFIXES if all(name.startswith(p) for name in found)), None)
        if shared is None or any(name.startswith(shared) for name in known):
            return found
        found = {name.removeprefix(shared): tensor for name, tensor in found.items()}
