"""Weights: read without pickle, verified, refused where they do not match their card."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.errors import EngineError, ModelUnavailable

UNWRITTEN = "The weights cannot be written: the disk is full, or closed to Lightbox."


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_weights(network: nn.Module, path: Path, digest: str) -> None:
    """Load safetensors into a network, every key matching.

    Raises:
        ModelUnavailable: The file is absent or damaged, its digest is not that of the card, or its
            tensors do not fit the network.
    """
    if not path.is_file():
        raise ModelUnavailable("The weights of this model are not installed.")
    try:
        found = sha256_of(path)
    except OSError:
        raise ModelUnavailable("The weights of this model cannot be read.") from None
    if found != digest:
        raise ModelUnavailable(
            "The weights of this model are not the ones its card describes "
            f"(digest {found[:12]}, expected {digest[:12]}), so they were not loaded."
        )
    try:
        network.load_state_dict(load_file(path), strict=True)
    except (SafetensorError, RuntimeError):
        raise ModelUnavailable(
            "The weights of this model do not fit its network, so they were not loaded."
        ) from None


def save_weights(network: nn.Module, path: Path) -> str:
    """Write a network's tensors as safetensors, via a temporary name; return the SHA-256.

    Raises:
        EngineError: They cannot be written; what was there before is untouched.
    """
    state = network.state_dict()
    tensors = {k: v.detach().cpu().contiguous() for k, v in state.items() if isinstance(v, Tensor)}
    partial = path.with_suffix(".partial")
    try:
        save_file(tensors, partial)
        partial.chmod(0o644)
        digest = sha256_of(partial)
        partial.replace(path)
    except (SafetensorError, OSError):  # safetensors reports a full disk as its own error
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise EngineError(UNWRITTEN) from None
    return digest
