"""Training speed against a plain loop of the same network, and what reading the data costs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from engine.datasets.augment import augmented, plain
from engine.datasets.manifest import read_manifest
from engine.datasets.manifest_source import manifest_source
from engine.datasets.source import Source
from engine.datasets.splits import make_split
from engine.datasets.writing import PHANTOM_CLASSES, PHANTOM_GRADES, write_phantom_manifest
from engine.training.loop import Trainer
from engine.training.recipe_files import read_recipe
from engine.training.recipes import Recipe
from engine.training.run import built, input_sizes, one_device
from tests.bench.common import ROOT, Row, interleaved, ms, ratio

CPU = torch.device("cpu")
STEPS, ROUNDS, CASES = 3, 4, 96
GOAL, DATA_GOAL = 1.15, 0.5
RECIPE = ROOT / "assets" / "recipes" / "crossmodal-demo.toml"


def measure() -> list[Row]:
    """Rows for a step of training and for the data of a step."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = read_recipe(RECIPE, {"data.workers": 2, "optimiser.epochs": 1000})
        source = _source(recipe, Path(folder))
        size = recipe.optimiser.batch_size
        works = {
            "ours": _trainer(recipe, source, Path(folder)),
            "plain": _plain(recipe, source),
            "timm": _timm(recipe, source),
            "data": _data(source, size),
        }
        times = interleaved(works, ROUNDS, time.perf_counter)
    rate = size * STEPS / sorted(times["ours"])[len(times["ours"]) // 2]
    what = f"{STEPS} training steps of {size} pairs at 224 px ({rate:.1f} pairs a second)"
    return [
        Row(what, ms(times["ours"]), f"a plain torch loop of this network, {ms(times['plain'])}",
            ratio(times["ours"], times["plain"]), GOAL),
        Row(what, ms(times["ours"]), f"the same loop of a timm ViT of the trunk's size alone, "
            f"{ms(times['timm'])}", ratio(times["ours"], times["timm"])),
        Row("Reading and augmenting the same pairs, 2 threads", ms(times["data"]),
            f"these steps, {ms(times['ours'])}", ratio(times["data"], times["ours"]), DATA_GOAL),
    ]  # fmt: skip


def _source(recipe: Recipe, folder: Path) -> Source:
    """Phantoms as files, decoded once into the cache."""
    path = write_phantom_manifest(folder / "files", CASES, sites=None)
    manifest = read_manifest(path, PHANTOM_CLASSES, PHANTOM_GRADES)
    split = make_split(manifest, {"train": 1.0}, seed=0)
    sizes, cells = input_sizes(recipe, built(recipe))
    source = manifest_source(
        manifest, "train", split, classes=PHANTOM_CLASSES, grades=PHANTOM_GRADES, sizes=sizes,
        cells=cells, cache=folder / "decoded", seed=0,
    )  # fmt: skip
    source.take(torch.arange(len(source)))
    return source


def _trainer(recipe: Recipe, source: Source, folder: Path) -> Callable[[], object]:
    """The training loop as it runs: read, augment, step, average, report."""
    trainer = Trainer(
        one_device(recipe, CPU), recipe, folder / "run", built(recipe), source, source, {}
    )
    trainer.prepare()
    trainer.network.train()

    def batches() -> Iterator[Any]:
        while True:
            yield from trainer.batches()
            trainer.state.position = 0

    stream = batches()

    def work() -> None:
        for _ in range(STEPS):
            trainer.step(*next(stream))

    return work


def _plain(recipe: Recipe, source: Source) -> Callable[[], object]:
    """Forward, loss, backward, AdamW, on tensors that lie ready."""
    network = built(recipe).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    ready = plain(source.take(torch.arange(recipe.optimiser.batch_size)))

    def loss() -> Tensor:
        outputs = network(ready.mammo, network.normalise_pathology(ready.patho))
        total, _ = network.compute_loss(
            outputs, ready.label, ready.box, ready.grade, ready.label, outputs["mammo_proj"],
            outputs["patho_proj"], has_box=ready.has_box, lesion_masks=ready.mask,
        )  # fmt: skip
        return total

    return _loop(loss, optimiser)


def _timm(recipe: Recipe, source: Source) -> Callable[[], object]:
    """A timm ViT of the trunk's width and depth on both images, and one linear layer."""
    config = recipe.network
    trunk = timm.models.VisionTransformer(
        img_size=224, patch_size=config["patch_size"], embed_dim=config["embed_dim"],
        depth=config["depth"], num_heads=config["num_heads"], num_classes=0, dynamic_img_size=True,
    ).train()  # fmt: skip
    head = nn.Linear(2 * config["embed_dim"], len(recipe.classes))
    optimiser = torch.optim.AdamW([*trunk.parameters(), *head.parameters()], lr=1e-4)
    ready = plain(source.take(torch.arange(recipe.optimiser.batch_size)))

    def loss() -> Tensor:
        found = [trunk(ready.mammo.expand(-1, 3, -1, -1)), trunk(ready.patho)]
        return nn.functional.cross_entropy(head(torch.cat(found, 1)).float(), ready.label)

    return _loop(loss, optimiser)


def _loop(loss: Callable[[], Tensor], optimiser: torch.optim.Optimizer) -> Callable[[], object]:
    def work() -> None:
        for _ in range(STEPS):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                total = loss()
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            optimiser.step()

    return work


def _data(source: Source, size: int) -> Callable[[], object]:
    """The pictures of the steps, from the cache, augmented."""
    order = cycle(range(len(source)))

    def work() -> None:
        chosen = torch.tensor([next(order) for _ in range(size * STEPS)])
        for batch in source.batches(chosen, size, workers=2):
            augmented(batch, list(range(size)))

    return work
