"""Methods that ask the model many times, against as many bare passes, and against peers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import ExplainabilityToolkit
from engine.metrics.baselines import blurred
from engine.metrics.perturbation import curve
from engine.progress import Progress
from tests.bench import peers
from tests.bench.common import Row, interleaved, ms, ratio
from tests.bench.explainers import absent, one_thread, pictures, vision_transformer

ROUNDS = 2
TARGET = 1.2
BATCHES = (1, 4, 8, 16)
WINDOW, MASKS, STEPS, CURVE_STEPS = 32, 32, 8, 12
CELLS, KEEP = 7, 0.5
THRESHOLD, NOISE = 0.15, 0.1
PORTION = 8

Values = NDArray[Any]


@dataclass
class Match:
    """One method of ours and its peer, which give the same numbers.

    Args:
        title: What is computed. ours, peer: Give the numbers, ours telling of every evaluation.
        rival: The peer in words. bare: Name of the pass that one evaluation is held against.
        made: The numbers last given, by side. count: Evaluations of ours.
    """

    title: str
    ours: Callable[[Progress], Values]
    peer: Callable[[], Values]
    rival: str
    bare: str = "forward"
    made: dict[str, Values] = field(default_factory=dict)
    count: int = 0

    def run_ours(self) -> None:
        """Compute, and keep the numbers and their count."""
        progress = Progress()
        self.made["ours"] = self.ours(progress)
        self.count = progress.done

    def run_peer(self) -> None:
        """Compute, and keep the numbers."""
        self.made["peer"] = self.peer()

    @property
    def difference(self) -> float:
        """Largest difference between both sides, over the largest value."""
        ours, peer = self.made["ours"], self.made["peer"]
        return float(np.abs(ours - peer).max() / np.abs(peer).max())


def measure() -> list[Row]:
    """Rows for one image; process CPU time, one thread."""
    network, x = vision_transformer(), pictures(1)
    with one_thread():
        matches = {match.title: match for match in _matches(network, x)}
        works: dict[str, peers.Work] = {
            f"{kind} {size}": _bare(network, pictures(size), kind == "slopes")
            for kind, sizes in (("forward", BATCHES), ("slopes", (1, PORTION)))
            for size in sizes
        }
        for title, match in matches.items():
            works |= {f"{title}, ours": match.run_ours, f"{title}, peer": match.run_peer}
        flipping = peers.pixel_flipping(network, x, _heat(), CURVE_STEPS)
        works |= {"flipping": flipping} if flipping else {}
        times = interleaved(works, ROUNDS, time.process_time)
    return [*(row for match in matches.values() for row in _rows(match, times)), _flipped(times)]


def _matches(network: Any, x: Tensor) -> list[Match]:
    toolkit, captum = ExplainabilityToolkit(network), peers.known_as("captum")

    def ours(method: str, **settings: Any) -> Callable[[Progress], Values]:
        return lambda progress: toolkit.explain(x, method, 0, progress=progress, **settings).values

    rise = {"masks": MASKS, "cells": CELLS, "keep": KEEP, "coverage": "expected"}
    return [
        Match(
            "Occlusion", ours("occlusion", window=WINDOW),
            lambda: peers.occlusion(network, x, WINDOW), f"{captum}, its defaults",
        ),
        Match(
            "Integrated gradients", ours("integrated_gradients", steps=STEPS),
            lambda: peers.integrated_gradients(network, x, STEPS), f"{captum}, its defaults",
            bare="slopes",
        ),
        Match(
            "RISE", ours("rise", **rise),
            lambda: peers.rise(network, x, MASKS, CELLS, KEEP), "the work of RISE's script",
        ),
        Match(
            "ViT-CX", ours("vit_cx", threshold=THRESHOLD, noise=NOISE),
            lambda: peers.vit_cx(network, x, THRESHOLD, NOISE), "the work of ViT-CX's script",
        ),
        Match(
            "Deletion and insertion", lambda progress: _curves(network, x, progress),
            lambda: _script_curves(network, x), "the work of RISE's script, step by step",
        ),
    ]  # fmt: skip


def _heat() -> Tensor:
    """A map without ties, (H, W)."""
    return torch.rand(224, 224, generator=torch.Generator().manual_seed(1))


def _curves(network: Any, x: Tensor, progress: Progress) -> Values:
    image, heat = x[0], _heat()

    def probability(images: Tensor) -> Tensor:
        return network(images).softmax(1)[:, 0]

    deleted = curve(
        "deletion", probability, image, heat, torch.zeros_like(image),
        steps=CURVE_STEPS, portion=PORTION, progress=progress,
    )  # fmt: skip
    inserted = curve(
        "insertion", probability, image, heat, blurred(image),
        steps=CURVE_STEPS, portion=PORTION, progress=progress,
    )  # fmt: skip
    return np.concatenate([deleted.scores, inserted.scores])


def _script_curves(network: Any, x: Tensor) -> Values:
    heat = _heat()
    deleted = peers.pixel_curve(network, x, torch.zeros_like(x), heat, CURVE_STEPS)
    inserted = peers.pixel_curve(network, blurred(x[0])[None], x, heat, CURVE_STEPS)
    return np.array([*deleted, *inserted])


def _bare(network: Any, x: Tensor, slopes: bool) -> peers.Work:
    """A forward pass; with `slopes`, and a backward pass to the image, parameters frozen."""

    def forward() -> None:
        with torch.no_grad():
            network(x)

    def both() -> None:
        network.requires_grad_(False)
        given = x.clone().requires_grad_()
        torch.autograd.grad(network(given)[:, 0].sum(), given)
        network.requires_grad_(True)

    return both if slopes else forward


def _rows(match: Match, times: dict[str, list[float]]) -> list[Row]:
    ours, peer = times[f"{match.title}, ours"], times[f"{match.title}, peer"]
    size, bare = _best(times, match.bare)
    passes = [match.count * one for one in bare]
    kind = "forward" if match.bare == "forward" else "forward + backward to the image"
    held = f"{match.count} x bare {kind} at batch {size}, {ms(passes)}"
    against = f"{match.rival}, {ms(peer)}; equal to {match.difference:.0e} of the peak"
    return [
        Row(
            f"{match.title}, {match.count} evaluations", ms(ours), held, ratio(ours, passes), TARGET
        ),
        Row(f"{match.title}, the same numbers", ms(ours), against, ratio(ours, peer), 1),
    ]


def _best(times: dict[str, list[float]], kind: str) -> tuple[int, list[float]]:
    """The batch size at which a pass is cheapest, and its seconds for each image."""
    each = {
        int(name.split()[1]): [value / int(name.split()[1]) for value in spent]
        for name, spent in times.items()
        if name.startswith(f"{kind} ")
    }
    size = min(each, key=lambda number: median(each[number]))
    return size, each[size]


def _flipped(times: dict[str, list[float]]) -> Row:
    """Half of both curves against a package that asks as often for one."""
    what = f"Deletion alone (half of both), {CURVE_STEPS} steps"
    ours = [value / 2 for value in times["Deletion and insertion, ours"]]
    if "flipping" not in times:
        return absent(what, "quantus")
    rival = f"PixelFlipping of {peers.known_as('quantus')}, {CURVE_STEPS} forwards"
    against = f"{rival}, channels apart, {ms(times['flipping'])}"
    return Row(what, ms(ours), against, ratio(ours, times["flipping"]))
