"""Splits by patient, stratified by class and site, stored with their hash."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from engine.datasets.errors import InvalidManifest, in_rows
from engine.datasets.manifest import SPLIT_NAMES, Manifest, Row, salted
from engine.errors import InvalidRecipe

FRACTIONS: Mapping[str, float] = MappingProxyType({"train": 0.7, "validation": 0.15, "test": 0.15})
EXTERNAL = "external"
"""Split of the sites that are held out."""

ALTERED = "The stored split was altered, or is damaged; make it anew."


@dataclass(frozen=True)
class Split:
    """Which patient is used for what.

    Args:
        assignment: Hash of site and patient (`Row.salted` with `salt`) to the name of a split.
        digest: SHA-256 of the assignment without a salt, hexadecimal: the same for the same split.
        seed: That it was drawn with.
        salt: Of a stored split; empty in memory, and in files of old.
    """

    assignment: Mapping[str, str]
    digest: str
    seed: int
    salt: str = ""

    def find(self, row: Row) -> str | None:
        """Name of the split of a row; None where its patient is in none."""
        return self.assignment.get(row.salted(self.salt))

    def of(self, row: Row) -> str:
        """Name of the split of a row.

        Raises:
            InvalidManifest: Its patient is not in the split.
        """
        found = self.find(row)
        if found is None:
            raise InvalidManifest(f"The patient of row {row.number} is not in the stored split.")
        return found


def make_split(
    manifest: Manifest,
    fractions: Mapping[str, float] = FRACTIONS,
    *,
    seed: int,
    hold_out_sites: Sequence[str] = (),
) -> Split:
    """Assign each patient to one split.

    The manifest's own split is used where it states one. Otherwise, within each class (of a
    patient: that of the highest label) and kind of examination (mammograms, pathology, both)
    patients are ordered by site, shuffled within a site, and dealt out so that each run of them
    holds each split in its share; so classes and sites are both stratified.

    Args:
        manifest: Rows. fractions: Name to share; they sum to 1. seed: For the shuffle.
        hold_out_sites: Sites whose patients all go to the split "external".

    Raises:
        InvalidManifest: A site is unknown, some rows state a split and others do not, or one
            patient is in two splits.
        InvalidRecipe: The fractions do not sum to 1.
    """
    if any(v < 0 for v in fractions.values()) or abs(sum(fractions.values()) - 1) > 1e-6:
        raise InvalidRecipe("The shares of the splits must be positive and sum to 1.")
    if not set(hold_out_sites) <= {row.site for row in manifest.rows}:
        raise InvalidManifest("The manifest has no site of a name that is to be held out.")
    stated = [row for row in manifest.rows if row.split]
    if stated and len(stated) < len(manifest.rows):
        rows = in_rows(row.number for row in manifest.rows if not row.split)
        raise InvalidManifest(f"The split is stated for some rows, but not for {rows}.")
    assignment = _own(manifest) if stated else _drawn(manifest, fractions, seed, hold_out_sites)
    held = {row.key for row in manifest.rows if row.site in hold_out_sites}
    assignment |= dict.fromkeys(held, EXTERNAL)
    return _sealed(assignment, seed)


def write_split(split: Split, path: Path) -> None:
    """Write a split as JSON with its hash, under salted keys; via a temporary name.

    The salt keeps files from being looked up in a table, or matched with one another. It lies in
    the file, so that who has the file can still try out identifiers one by one.
    """
    salt = split.salt or secrets.token_hex(16)
    keys = {key: key if split.salt else salted(key, salt) for key in split.assignment}
    stored: dict[str, Any] = {
        "assignment": dict(sorted((keys[k], name) for k, name in split.assignment.items())),
        "digest": split.digest,
        "seed": split.seed,
        "salt": salt,
    }
    stored["seal"] = _seal(stored)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")
    partial.replace(path)


def read_split(path: Path) -> Split:
    """Read what `write_split` wrote.

    Raises:
        InvalidManifest: Absent, damaged or altered.
    """
    try:
        stored: dict[str, Any] = json.loads(path.read_text("utf-8"))
        assignment = {str(key): str(name) for key, name in stored["assignment"].items()}
        seed, digest = int(stored["seed"]), str(stored["digest"])
        salt, seal = str(stored.get("salt", "")), stored.get("seal")
    except OSError:
        raise InvalidManifest("The stored split cannot be opened.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidManifest(ALTERED) from None
    known = {"assignment": assignment, "digest": digest, "seed": seed, "salt": salt}
    is_sound = seal == _seal(known) if salt else _sealed(assignment, seed).digest == digest
    if not is_sound:
        raise InvalidManifest(ALTERED)
    return Split(assignment, digest, seed, salt)


def _seal(stored: Mapping[str, Any]) -> str:
    """SHA-256 of all that is stored but itself, hexadecimal."""
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()


def _sealed(assignment: Mapping[str, str], seed: int) -> Split:
    text = json.dumps([sorted(assignment.items()), seed])
    return Split(dict(assignment), hashlib.sha256(text.encode()).hexdigest(), seed)


def _own(manifest: Manifest) -> dict[str, str]:
    assignment: dict[str, str] = {}
    for row in manifest.rows:
        if row.split not in SPLIT_NAMES:
            raise InvalidManifest(
                f"The split in row {row.number} is not one of {', '.join(SPLIT_NAMES)}."
            )
        if assignment.setdefault(row.key, row.split) != row.split:
            raise InvalidManifest(f"The patient of row {row.number} is in two splits.")
    return assignment


def _drawn(
    manifest: Manifest, fractions: Mapping[str, float], seed: int, held: Sequence[str]
) -> dict[str, str]:
    strata: dict[str, tuple[int, tuple[str, ...]]] = {}
    sites: dict[str, str] = {}
    for row in manifest.rows:
        if row.site not in held:
            label = manifest.classes.index(row.label) if row.label in manifest.classes else -1
            worst, kinds = strata.get(row.key, (-1, ()))
            kinds = tuple(sorted({*kinds, row.modality}))
            strata[row.key], sites[row.key] = (max(worst, label), kinds), row.site
    rng = np.random.default_rng(seed)
    names, shares = list(fractions), np.array(list(fractions.values()))
    assignment: dict[str, str] = {}
    for stratum in sorted(set(strata.values())):
        counts = np.zeros(len(names))
        for key in _ordered([k for k in strata if strata[k] == stratum], sites, rng):
            short = shares * (counts.sum() + 1) - counts
            chosen = int(np.argmax(short + rng.random(len(names)) * 1e-9))
            counts[chosen] += 1
            assignment[key] = names[chosen]
    return assignment


def _ordered(keys: Sequence[str], sites: Mapping[str, str], rng: np.random.Generator) -> list[str]:
    """Patients by site, shuffled within each; the same whatever the order of the rows."""
    known = sorted(keys)
    shuffled = [known[i] for i in rng.permutation(len(known))]
    return sorted(shuffled, key=lambda key: sites[key])
