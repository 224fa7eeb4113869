"""The three splits that a recipe asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from engine.datasets.manifest import Manifest, read_manifest
from engine.datasets.manifest_source import Pairing, manifest_source
from engine.datasets.phantoms import SPLITS, phantom_source
from engine.datasets.source import Source
from engine.datasets.splits import EXTERNAL, Split, make_split, read_split, write_split
from engine.errors import EngineError, InvalidRecipe
from engine.phantoms.site import Site, named_site
from engine.training.checkpoints import LAST
from engine.training.recipes import DataRecipe, Recipe

SPLIT_FILE = "split.json"
WORTH_PROCESSES = 64
"""Phantoms from which starting processes pays."""
OTHER_SPLIT = (
    "The run in this folder has begun with another split: the manifest, its classes, or "
    "data.fractions, data.split_seed or data.hold_out_sites were others; choose another folder."
)


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
        EngineError: The manifest or the stored split cannot be used, or the run has begun with
            another split.
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
    split = _named_split(data, manifest) if data.split else _own_split(data, manifest, folder)
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


def _named_split(data: DataRecipe, manifest: Manifest) -> Split:
    """The split that the recipe names, which is never written to.

    Raises:
        InvalidRecipe: It is absent, or uses a site that is to be held out.
        InvalidManifest: It is damaged.
    """
    path = Path(data.split)
    if not path.is_file():
        raise InvalidRecipe("There is no split at the place that data.split names.")
    split = read_split(path)
    held = [row for row in manifest.rows if row.site in data.hold_out_sites]
    if any(split.find(row) not in (EXTERNAL, None) for row in held):
        raise InvalidRecipe(
            "The split that data.split names uses a site that data.hold_out_sites keeps out."
        )
    return split


def _own_split(data: DataRecipe, manifest: Manifest, folder: Path) -> Split:
    """The split of the recipe's settings, kept in the run's folder.

    Raises:
        InvalidRecipe: The run has made checkpoints with another one.
    """
    shares = dict(zip(("train", "validation", "test"), data.fractions, strict=True))
    made = make_split(manifest, shares, seed=data.split_seed, hold_out_sites=data.hold_out_sites)
    path = folder / SPLIT_FILE
    if _digest_of(path) == made.digest:
        return made
    if path.is_file() and (folder / LAST).is_file():
        raise InvalidRecipe(OTHER_SPLIT)
    write_split(made, path)
    return made


def _digest_of(path: Path) -> str:
    """Digest of a stored split; empty where there is none, or a damaged one."""
    try:
        return read_split(path).digest
    except EngineError:
        return ""
