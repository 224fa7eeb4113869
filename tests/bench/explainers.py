"""The gradient methods together against one pass with parameter gradients, and against peers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import timm
import torch
from torch import Tensor

from engine import ExplainabilityToolkit
from engine.explainers import EXPLAINERS
from tests.bench import peers
from tests.bench.common import Row, interleaved, ms, ratio

ROUNDS = {1: 5, 8: 3}
"""By batch size."""
TARGET, LRP_TARGET = 0.8, 2.0
ARCHITECTURE = "vit_base_patch16_224"
SIX = (
    "rollout", "gradient_rollout", "attention_gradcam", "gradcam", "relevance", "input_x_gradient",
)  # fmt: skip
LRP = "lrp"


def vision_transformer(**settings: Any) -> Any:
    """ViT-B/16 with random weights, in evaluation mode."""
    torch.manual_seed(0)
    return timm.create_model(ARCHITECTURE, **settings).eval()


def pictures(count: int, side: int = 224) -> Tensor:
    """Smooth random images, (count, 3, side, side)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, 3, side // 16, side // 16, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread within, as many as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fast_gradient_methods(toolkit: ExplainabilityToolkit) -> tuple[str, ...]:
    """All methods that one pass with gradients serves, as far as this model serves them."""
    served = (name for name, why in toolkit.methods.items() if not why)
    return tuple(n for n in served if not EXPLAINERS[n].slow and EXPLAINERS[n].streams == 1)


def measure() -> list[Row]:
    """Rows for batch 1 and 8; process CPU time, one thread."""
    network = vision_transformer()
    with one_thread():
        return [row for batch in ROUNDS for row in _rows(network, batch)]


def _rows(network: Any, batch: int) -> list[Row]:
    toolkit, x = ExplainabilityToolkit(network), pictures(batch)
    every = fast_gradient_methods(toolkit)

    def ours(methods: Sequence[str]) -> peers.Work:
        return lambda: toolkit.explain_all(x, methods, 0)

    works: dict[str, peers.Work] = {
        "unit": lambda: _unit(network, x),
        "frozen": lambda: _to_input(network, x),
        "six": ours(SIX),
        "every": ours([name for name in every if name != LRP]),
    }
    if LRP in every:
        works["lrp"] = ours([LRP])
    if batch == 1:
        alone = peers.gradcam(network, x)
        works |= {"peer cam": alone, "our cam": ours(["gradcam"])} if alone else {}
        works["scripts"] = _apart(network, x, alone)
    times = interleaved(works, ROUNDS[batch], time.process_time)
    return _table(times, batch, len(every) - (LRP in every))


def _table(times: dict[str, list[float]], batch: int, count: int) -> list[Row]:
    where = f"ViT-B/16, batch {batch}"
    held = f"forward + backward with parameter gradients, {ms(times['unit'])}"

    def row(what: str, name: str, target: float | None = None) -> Row:
        value = ratio(times[name], times["unit"])
        return Row(f"{what}, {where}", ms(times[name]), held, value, target)

    rows = [
        row("Six gradient methods, one pass", "six", TARGET),
        row(f"All {count} methods that one pass serves", "every"),
        row("For comparison: the bare pass, parameters frozen, to the input", "frozen"),
    ]
    if LRP in times:
        rows.append(row("LRP attribution", LRP, LRP_TARGET))
    if "scripts" in times:
        rows += [
            _cam(times, where),
            row(f"The six through peers one by one ({_peers()})", "scripts"),
        ]
    return rows


def _peers() -> str:
    packages = ("grad-cam", "captum")
    known = [peers.known_as(name) or f"{name} not installed" for name in packages]
    return f"{', '.join(known)}, four as the scripts do them"


def _cam(times: dict[str, list[float]], where: str) -> Row:
    what = f"Grad-CAM, {where}"
    if "peer cam" not in times:
        return absent(what, "grad-cam")
    ours, peer = times["our cam"], times["peer cam"]
    against = f"{peers.known_as('grad-cam')}, {ms(peer)}"
    return Row(what, ms(ours), against, ratio(ours, peer), 1)


def absent(what: str, package: str) -> Row:
    """The row of a comparison whose peer is not installed; it has no number."""
    return Row(what, "–", f"{package} is not installed here", math.nan)


def _unit(network: Any, x: Tensor) -> None:
    network.zero_grad()
    network(x)[:, 0].sum().backward()


def _to_input(network: Any, x: Tensor) -> None:
    network.requires_grad_(False)
    given = x.clone().requires_grad_()
    torch.autograd.grad(network(given)[:, 0].sum(), given)
    network.requires_grad_(True)


def _apart(network: Any, x: Tensor, cam: peers.Work | None) -> peers.Work:
    """Each of the six in a pass of its own."""
    scripts = (
        peers.rollout, peers.gradient_rollout, peers.attention_gradcam, peers.relevance,
    )  # fmt: skip
    works: list[peers.Work] = [lambda run=run: run(network, x) for run in scripts]  # type: ignore[misc]
    works.append(peers.input_x_gradient(network, x))
    works.append(cam or (lambda: _unit(network, x)))
    return peers.one_by_one(works)
