"""Whether maps depend on what a model has learnt: its weights are destroyed part by part."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from engine.evidence import Session, SharedMaps, begin, serves
from engine.explainers import EXPLAINERS
from engine.metrics.cascade import cascade
from engine.metrics.randomisation import SanityCheck, Verdict, sanity_checks
from engine.models import System
from engine.progress import Progress
from engine.records import BoolArray, Case, FloatArray, HeatMap
from engine.trace import enlarged
from engine.workflow import placed

STAGES = 6
BROKEN = "With destroyed weights the method gives no numbers, so that nothing can be compared."
DARK = 0.03
"""Share of the brightest pixel below which a pixel is background: every map leaves it cold, so
that it would make any two maps look alike."""


@dataclass(frozen=True, eq=False)
class Sanity:
    """The cascade of all methods on one case.

    Args:
        stages: Part randomised last at each stop, from the model's answer back to its input.
        maps: By method, the trained map first, then one a stop; the first image of the case.
        spearman: By method, the rank correlation with the trained map, one a stop.
        verdicts: By method, "passes", "fails" or "not applicable", and why.
        checks: By method, everything that was measured.
    """

    stages: tuple[str, ...]
    maps: Mapping[str, tuple[HeatMap, ...]]
    spearman: Mapping[str, tuple[float | None, ...]]
    verdicts: Mapping[str, tuple[str, str]]
    checks: Mapping[str, SanityCheck]


def sanity(
    system: System,
    case: Case,
    methods: Sequence[str],
    target: str | None,
    *,
    frames: Mapping[int, int] | None = None,
    stages: int = STAGES,
    draws: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Sanity:
    """Cascading parameter randomisation; the class stays that of the trained model.

    A copy of the model is destroyed, so that others may go on using it. All methods share the pass
    at each stop; maps are compared at the resolution of the model's input, where there is tissue.

    Args:
        system, case, target, frames, progress: See `engine.evidence.measure`.
        methods: Registry names; those that the model cannot serve are left out.
        stages: Stops, spread over the parts of the network. draws: Draws of the last stop.
        seed: Seed of the draws.

    Source:
        Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018.
    """
    mine = copy.deepcopy(system)
    session = begin(mine, case, target, frames, progress)
    able = [m for m in (EXPLAINERS[name] for name in methods) if serves(mine, m, session)]
    image = session.probe.image
    size = (image.shape[-2], image.shape[-1])

    broken: set[str] = set()

    def explain() -> dict[str, Sequence[FloatArray]]:
        grids = SharedMaps(session, able).grids(image)
        broken.update(name for name, grid in grids.items() if not bool(grid.isfinite().all()))
        broken.update(m.name for m in able if kept and m.name in kept and m.name not in grids)
        return {
            method.name: (_pixels(grids.get(method.name), size),)
            for method in able
            if kept is None or method.name in kept
        }

    kept: frozenset[str] | None = None
    kept = frozenset(name for name, (heat,) in explain().items() if heat.any())
    checks: dict[str, SanityCheck] = {}
    if kept:
        checks = sanity_checks(
            explain,
            mine.network,
            layers=mine.cascade or cascade(mine.network),
            limit=stages,
            seen=(_tissue(image, session.probe.black),),
            class_blind={method.name for method in able if method.class_blind},
            draws=draws,
            seed=seed,
            progress=progress,
        )
    first = next(iter(checks.values()), None)
    return Sanity(
        () if first is None else tuple(spoken(result.stage) for result in first.stages),
        {name: _maps(session, check) for name, check in checks.items()},
        {name: tuple(r.correlation for r in check.stages) for name, check in checks.items()},
        {
            name: (str(Verdict.NOT_APPLICABLE), BROKEN)
            if name in broken
            else (str(check.verdict), check.reason)
            for name, check in checks.items()
        },
        checks,
    )


def spoken(part: str) -> str:
    """The name of a part of a network in words: "encoder.blocks.3" becomes "block 4"."""
    block = re.fullmatch(r".*\b(?:blocks|layers|stages|layer)\.?(\d+)", part)
    if block:
        return f"block {int(block.group(1)) + 1}"
    return part.rsplit(".", 1)[-1].replace("_", " ")


def _pixels(grid: Tensor | None, size: tuple[int, int]) -> FloatArray:
    """A grid at the resolution of the input; zero where a destroyed model gives no map."""
    if grid is None or not bool(grid.isfinite().all()):
        return np.zeros(size, dtype=np.float32)
    return np.asarray(enlarged(grid, size)[0].cpu().numpy(), dtype=np.float32)


def _tissue(image: Tensor, black: Tensor) -> BoolArray:
    """Pixels of the input that are not background, (H, W); all where nothing is dark."""
    bright = (image[0] - black[:, None, None]).abs().mean(0)
    smooth = F.avg_pool2d(bright[None], 5, stride=1, padding=2)[0]
    mask: BoolArray = (smooth > DARK * smooth.max()).cpu().numpy()
    return mask if mask.any() else np.ones_like(mask)


def _maps(session: Session, check: SanityCheck) -> tuple[HeatMap, ...]:
    heats = [check.original[0], *(result.maps[0] for result in check.stages)]
    return tuple(
        placed(np.asarray(heat, np.float32), session.prepared, session.stream, 0.0)
        for heat in heats
    )
