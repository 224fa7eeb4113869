"""The three splits that a recipe asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from engine.datasets.manifest import read_manifest
from engine.datasets.manifest_source import Pairing, manifest_source
from engine.datasets.phantoms import SPLITS, phantom_source
from engine.datasets.source import Source
from engine.datasets.splits import make_split, read_split, write_split
from engine.errors import InvalidRecipe
from engine.phantoms.site import Site, named_site
from engine.training.recipes import Recipe

SPLIT_FILE = "split.json"
WORTH_PROCESSES = 64
"""Phantoms from which starting processes pays."""


@dataclass(frozen=True)
class Splits:
    """Cases to learn from, to choose by, and to look at once, at the end."""

    train: Source
    validation: Source
    test: Source

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each split."""
        return {name: getattr(self, name).digest for name in ("train", "validation", "test")}


def sources_of(
    recipe: Recipe, sizes: tuple[int, int], cells: int, folder: Path, *, processes: int = 2
) -> Splits:
    """Make or open the splits of a recipe.

    Args:
        sizes: Sides of the mammogram and pathology inputs. cells: Side of the mask grid.
        folder: The run's folder; keeps phantoms, decoded images and the split.
        processes: How many make phantoms.

    Raises:
        InvalidRecipe: A split is empty, or a phantom site is unknown.
        EngineError: The manifest or the stored split cannot be used.
    """
    make = _phantoms if recipe.data.source == "phantoms" else _listed
    found = make(recipe, sizes, cells, folder, processes)
    for name in ("train", "validation", "test"):
        if not len(getattr(found, name)):
            raise InvalidRecipe(f"The {name} split holds no case; see the check of the data set.")
    return found


def _phantoms(
    recipe: Recipe, sizes: tuple[int, int], cells: int, folder: Path, processes: int
) -> Splits:
    data = recipe.data
    counts = {
        "train": data.train_cases, "validation": data.validation_cases, "test": data.test_cases
    }  # fmt: skip
    usual, test = _sites(data.sites), _sites(data.test_sites) or _sites(data.sites)
    return Splits(
        **{
            name: phantom_source(
                SPLITS[name] + data.first_seed,
                count,
                recipe.classes,
                sizes,
                cells,
                grades=recipe.grades,
                sites=test if name == "test" else usual,
                cache=folder / "phantoms",
                workers=processes if count >= WORTH_PROCESSES else 0,
            )
            for name, count in counts.items()
        }
    )


def _sites(names: tuple[str, ...]) -> tuple[Site, ...] | None:
    return tuple(named_site(name) for name in names) or None


def _listed(
    recipe: Recipe, sizes: tuple[int, int], cells: int, folder: Path, processes: int
) -> Splits:
    data = recipe.data
    manifest = read_manifest(Path(data.manifest), recipe.classes, recipe.grades)
    stored = Path(data.split) if data.split else folder / SPLIT_FILE
    if stored.is_file():
        split = read_split(stored)
    else:
        shares = dict(zip(("train", "validation", "test"), data.fractions, strict=True))
        split = make_split(
            manifest, shares, seed=data.split_seed, hold_out_sites=data.hold_out_sites
        )
        write_split(split, stored)
    return Splits(
        **{
            name: manifest_source(
                manifest,
                name,
                split,
                classes=recipe.classes,
                grades=recipe.grades,
                sizes=sizes,
                cells=cells,
                pairing=cast(Pairing, data.pairing),
                seed=data.split_seed,
                cache=folder / "decoded",
            )
            for name in ("train", "validation", "test")
        }
    )
