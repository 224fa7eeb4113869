"""Leave one site out: what each way of generalising reaches at a hospital that it never saw.

`python -m engine.training.generalisation RECIPE --out FOLDER --seeds 3` trains every method with
every site held out in turn, and prints a table. A folder that holds results is gone on with.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.phantoms.site import SITES
from engine.training.evaluate import measure
from engine.training.loop import Trainer
from engine.training.recipe_files import read_recipe, recipe_toml
from engine.training.recipes import Recipe
from engine.training.run import built, input_sizes, one_device, recipe_digest
from engine.training.sources import sources_of

METHODS: Mapping[str, Mapping[str, Any]] = {
    "ERM": {"generalisation": "none"},
    "MixStyle": {"generalisation": "none", "mixstyle": 0.5},
    "IRMv1": {"generalisation": "irm", "penalty": 100.0},
    "V-REx": {"generalisation": "vrex", "penalty": 10.0},
}
"""DomainBed's penalties, after annealing; MixStyle with probability 0.5 and alpha 0.1."""

FIGURES = ("accuracy", "macro_auc")


def variant(recipe: Recipe, method: str, held_out: str, seed: int) -> Recipe:
    """The recipe of one cell of the table."""
    asked = dict(METHODS[method])
    network = {**recipe.network, "mixstyle": asked.pop("mixstyle", 0.0)}
    others = tuple(site.name for site in SITES if site.name != held_out)
    return replace(
        recipe,
        seed=seed,
        network=network,
        data=replace(recipe.data, sites=others, test_sites=(held_out,)),
        objective=replace(recipe.objective, **asked),
    )


def cell(recipe: Recipe, folder: Path, phantoms: Path, device: torch.device) -> dict[str, Any]:
    """Train one cell, and measure it at the sites it knows and at the one it does not.

    The weights are chosen by the validation split of the known sites alone; figures of known sites
    are of that split, so a little optimistic.
    """
    stored = folder / "result.json"
    if stored.is_file():
        found: dict[str, Any] = json.loads(stored.read_text("utf-8"))
        if found.get("recipe") == recipe_digest(recipe):
            return found
    network = built(recipe)
    sizes, cells = input_sizes(recipe, network)
    splits = sources_of(recipe, sizes, cells, phantoms)
    facts = {"recipe": recipe_digest(recipe)}
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        one_device(recipe, device), recipe, folder, network.to(device), splits.train,
        splits.validation, facts,
    )  # fmt: skip
    best = trainer.fit()
    found = dict(facts)
    for place, source in (("known", splits.validation), ("unseen", splits.test)):
        for pathology in (True, False):
            name = f"{place}_{'both' if pathology else 'mammogram'}"
            found[name] = measure(best, source, device, pathology=pathology)
    draft = stored.with_suffix(".partial")
    draft.write_text(json.dumps(found), "utf-8")
    draft.replace(stored)
    return found


def study(
    recipe: Recipe, out: Path, seeds: Iterable[int], device: torch.device
) -> dict[str, list[dict[str, Any]]]:
    """All cells: method to one result for each held-out site and seed."""
    found: dict[str, list[dict[str, Any]]] = {method: [] for method in METHODS}
    for seed in seeds:
        for site in SITES:
            for method in METHODS:
                told = variant(recipe, method, site.name, seed)
                name = f"{method}-{site.name}-{seed}".replace(" ", "")
                result = cell(told, out / name, out, device)
                found[method].append({**result, "site": site.name, "seed": seed})
                sys.stderr.write(f"{name}: {result['unseen_both']['accuracy']:.3f}\n")
    return found


def table(found: Mapping[str, list[dict[str, Any]]]) -> str:
    """Mean and standard deviation over seeds of the mean over held-out sites, as Markdown."""
    columns = ("unseen_both", "unseen_mammogram", "known_both", "known_mammogram")
    titles = (
        "unseen site, both images", "unseen site, mammogram",
        "known sites (validation), both images", "known sites (validation), mammogram",
    )  # fmt: skip
    lines = []
    for figure in FIGURES:
        lines += ["", f"| {figure} | " + " | ".join(titles) + " |", "|---" * 5 + "|"]
        for method, rows in found.items():
            cells = [_spread(rows, column, figure) for column in columns]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines[1:]) + "\n"


def _spread(rows: list[dict[str, Any]], column: str, figure: str) -> str:
    by_seed: dict[int, list[float]] = {}
    for row in rows:
        by_seed.setdefault(row["seed"], []).append(row[column][figure])
    means = [float(np.mean(values)) for values in by_seed.values()]
    return f"{np.mean(means):.3f} ± {np.std(means, ddof=1) if len(means) > 1 else 0:.3f}"


def by_site(found: Mapping[str, list[dict[str, Any]]]) -> str:
    """Accuracy at each unseen site with both images, mean over seeds, as Markdown."""
    names = [site.name for site in SITES]
    lines = ["| unseen site | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for method, rows in found.items():
        cells = [
            f"{np.mean([r['unseen_both']['accuracy'] for r in rows if r['site'] == name]):.3f}"
            for name in names
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m engine.training.generalisation")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    told = parser.parse_args(arguments)
    recipe = read_recipe(told.recipe)
    told.out.mkdir(parents=True, exist_ok=True)
    (told.out / "recipe.toml").write_text(recipe_toml(recipe), "utf-8")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = study(recipe, told.out, range(told.seeds), device)
    sys.stdout.write(table(found) + "\n" + by_site(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
