"""Random streams of a study: each is named, and the name and the study's seed give it again."""

from __future__ import annotations

import hashlib
import json
from random import Random


def seed_of(seed: int, study: str, *names: str | int) -> int:
    """Seed of a named stream: SHA-256 of the study's seed, the study and the names."""
    text = json.dumps([seed, study, *names], ensure_ascii=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")


def stream(seed: int, study: str, *names: str | int) -> Random:
    """A random stream of its own, such as that of one reader in one session."""
    return Random(seed_of(seed, study, *names))


def turn(seed: int, study: str, name: str, size: int, index: int) -> int:
    """Place of an index within its block of `size`, shuffled block by block.

    Each run of `size` indices that starts at a multiple of `size` holds every place once, and
    later indices never change earlier ones: what is added later disturbs nothing.
    """
    block, place = divmod(index, size)
    order = list(range(size))
    stream(seed, study, name, block).shuffle(order)
    return order[place]
