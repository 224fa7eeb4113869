"""What is reached on the real images named by LIGHTBOX_REAL_DATA, beside honest baselines.

Run as `python -m tests.real_study OUT [--imagenet CHECKPOINT] [--start WEIGHTS]`. One split of
patients serves every row; the test patients are looked at once. CHECKPOINT is of timm's
`tf_efficientnet_lite0` (by name, or in its order); without it that row is left out. WEIGHTS are
those of a network of the recipe's kind to continue from, such as the demonstration's.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from engine.datasets.source import Source
from engine.training.baseline import as_outputs, features, fitted, frozen_network
from engine.training.evaluate import Outputs, compare, figures, intervals, outputs_of
from engine.training.loop import Trainer
from engine.training.recipe_files import read_recipe
from engine.training.recipes import Recipe
from engine.training.run import built, input_sizes, one_device, recipe_digest
from engine.training.sources import sources_of
from tests.real_manifest import write

RECIPE = Path(__file__).parents[1] / "assets" / "recipes" / "breast-real.toml"
ARCHITECTURE = "tf_efficientnet_lite0"
CPU = torch.device("cpu")


def variants(recipe: Recipe, start: str) -> dict[str, Recipe]:
    """The networks to train: with label-paired pathology, on mammograms alone, and continued."""
    alone = replace(recipe.data, pairing="none")
    found = {
        "cross-modal, pairs by class": recipe,
        "mammogram only": replace(recipe, data=alone),
    }
    if start:
        found["mammogram only, from the demonstration's weights"] = replace(
            recipe, data=alone, start=replace(recipe.start, weights=start)
        )
    return found


def trained(recipe: Recipe, out: Path, name: str) -> tuple[dict[str, Outputs], list[Source]]:
    """Train one row; what it says of the test split, and the splits."""
    network = built(recipe)
    sizes, cells = input_sizes(recipe, network)
    splits = sources_of(recipe, sizes, cells, out)
    folder = out / name.replace(" ", "-").replace(",", "").replace("'", "")
    folder.mkdir(parents=True, exist_ok=True)
    best = Trainer(
        one_device(recipe, CPU), recipe, folder, network, splits.train, splits.validation,
        {"recipe": recipe_digest(recipe), "data": splits.digests},
    ).fit()  # fmt: skip
    said = {name: outputs_of(best, splits.test, CPU, pathology=False)}
    if recipe.data.pairing != "none":
        said[f"{name}; the pair shown"] = outputs_of(best, splits.test, CPU)
    return said, [splits.train, splits.validation, splits.test]


def frozen(sources: list[Source], like: Outputs, weights: Path | None) -> Outputs:
    """A frozen CNN and a logistic regression on train and validation patients."""
    network = frozen_network(ARCHITECTURE, weights)
    rows = [features(network, source) for source in sources]
    known = sources[:2]
    labels = np.concatenate([source.labels for source in known])
    patients = np.concatenate([2 * source.patients + k for k, source in enumerate(known)])
    said = fitted(
        np.concatenate(rows[:2]), labels, rows[2], classes=len(like.classes[0]), patients=patients
    )
    return as_outputs(said, like)


def line(name: str, said: Outputs) -> str:
    """One row of the table."""
    found, bounds = figures(said), intervals(said)
    cells = []
    for figure in ("accuracy", "macro_auc"):
        low, high = bounds[figure]
        cells.append(f"{found[figure]:.3f} ({low:.3f} to {high:.3f})")
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> int:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.real_study")
    parser.add_argument("out", type=Path)
    parser.add_argument("--imagenet", type=Path)
    parser.add_argument("--start", default="")
    told = parser.parse_args()
    torch.set_num_threads(1)
    recipe = read_recipe(RECIPE, {"data.manifest": str(write(told.out))})
    said: dict[str, Outputs] = {}
    sources: list[Source] = []
    for name, one in variants(recipe, told.start).items():
        found, sources = trained(one, told.out, name)
        said |= found
    like = said["mammogram only"]
    said["frozen random CNN"] = frozen(sources, like, None)
    if told.imagenet is not None:
        said["frozen ImageNet CNN"] = frozen(sources, like, told.imagenet)
    test = sources[2]
    counts = ", ".join(
        f"{int((test.labels == k).sum())} {name}" for k, name in enumerate(test.classes)
    )
    print(
        f"{len(test)} test mammograms of {len(set(test.patients.tolist()))} patients: {counts}.\n"
    )
    print("| network | accuracy | macro AUC |\n|---|---|---|")
    print("\n".join(line(name, one) for name, one in said.items()))
    print("\nDifference of macro AUC to `mammogram only` (95 %, paired by patient):\n")
    for name, one in said.items():
        if one is not like:
            move = compare(like, one)["macro_auc"]
            print(
                f"- {name}: {move['difference']:+.3f} ({move['low']:+.3f} to {move['high']:+.3f})"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
