"""The four maps of one case against one forward and backward pass with parameter gradients."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import torch

from engine.models import MODELS, Prepared
from engine.models.crossmodal import CrossModal
from engine.phantoms import phantom_case
from engine.records import Case, ModelCard, Prediction
from engine.workflow import DEFAULT_METHODS, explain
from tests.bench.common import ROOT, Row, interleaved, ms, ratio

ROUNDS = 15
TARGET = 0.8
CLASSES = ("Normal", "Benign", "In situ", "Invasive")
SMALL_VIT = {"img_size": 224, "patch_size": 16, "embed_dim": 384, "depth": 6, "num_heads": 6}


class Ready(CrossModal):
    """A system that prepares and reads a case once, so that only trace and maps are timed."""

    kept: tuple[Prepared, Prediction] | None = None

    def prepare(self, case: Case, frames: Mapping[int, int] | None = None) -> Prepared:
        """The case as tensors, as it was at the first call."""
        return super().prepare(case, frames) if self.kept is None else self.kept[0]

    def read(self, output: Any, prepared: Prepared, case: Case, seconds: float = 0.0) -> Prediction:
        """The prediction, as it was at the first call."""
        if self.kept is None:
            self.kept = prepared, super().read(output, prepared, case, seconds)
        return self.kept[1]


def measure() -> list[Row]:
    """Rows for the demonstration network and for a small ViT; process CPU time, one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    recipe = tomllib.loads((ROOT / "assets/recipes/crossmodal-demo.toml").read_text("utf-8"))
    try:
        return [
            *_rows("demonstration network", recipe["network"]),
            *_rows("ViT-S width, 6 blocks", SMALL_VIT),
        ]
    finally:
        torch.set_num_threads(threads)


def _rows(title: str, config: Mapping[str, Any]) -> list[Row]:
    case = phantom_case(9_000_001, "Invasive")
    whole, ready = _system(MODELS["crossmodal"], config), _system(Ready, config)
    explain(ready, case)
    works: dict[str, Callable[[], object]] = {
        "pass": _full_pass(ready, case),
        "maps": lambda: explain(ready, case),
        "whole": lambda: explain(whole, case),
        "apart": lambda: [explain(ready, case, [name]) for name in DEFAULT_METHODS],
    }
    times = interleaved(works, ROUNDS, time.process_time)
    unit = f"forward + backward with parameter gradients, {ms(times['pass'])}"

    def row(what: str, name: str, target: float | None = None) -> Row:
        value = ratio(times[name], times["pass"])
        return Row(f"{what}, {title}", ms(times[name]), unit, value, target)

    return [
        row("Four maps, one pass", "maps", TARGET),
        row("The same with reading the case and the prediction", "whole"),
        row("Four maps, one after the other", "apart"),
    ]


def _system(kind: type[Any], config: Mapping[str, Any]) -> Any:
    """A system with random weights whose images speak to each other."""
    torch.manual_seed(0)
    network = kind.build(config)
    with torch.no_grad():
        network.mammo_gate.fill_(0.3)
        network.patho_gate.fill_(0.3)
    card = ModelCard(
        name="bench", system="crossmodal", version="0", title="Bench", intended_use="Timing.",
        training_data="none", limits=(), classes=CLASSES, grades=CLASSES[1:], config=config,
        metrics={}, facts={}, weights="bench.safetensors", weights_digest="0" * 64,
    )  # fmt: skip
    return kind(card, network, torch.device("cpu"))


def _full_pass(system: Ready, case: Case) -> Callable[[], None]:
    """What a tool that knows nothing of frozen parameters runs: everything gets a gradient."""
    network, inputs = system.network, system.prepare(case).inputs
    network.requires_grad_(True)  # the maps freeze it for their pass, and put it back

    def work() -> None:
        network.zero_grad()
        logits = system.logits(network(**inputs))
        logits[0, logits.argmax(1)].sum().backward()

    return work
