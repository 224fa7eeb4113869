"""The sanity check: does a map still look the same after the model's weights are destroyed?

The parts of the network are randomised one after the other, from its answer back to its input,
and the map of the same image and class is computed each time. A map that hardly changes shows
the image, not the model.

Source:
    Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018. Unlike common tools every
    parameter is reached (class token, positions, LayerScale), with a draw of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from engine.errors import ShapeMismatch, UnknownName
from engine.metrics.base import scored
from engine.metrics.cascade import cascade, heads, randomised
from engine.metrics.likeness import Likeness, Maps, likenesses, mean_known, mean_likeness
from engine.progress import Progress
from engine.records import BoolArray, Score

Heat = NDArray[np.floating]
Explain = Callable[[], Sequence[Heat]]
THRESHOLD = 0.5
"""A method fails when, every weight destroyed, the rank correlation with its own map, sign
ignored, is still this high on average. It is a convention of Lightbox; the source gives no number.
Smooth maps of few cells come near it by accident, which is why the last stage is drawn more than
once and the likeness of two destroyed networks is stated beside it."""


class Verdict(StrEnum):
    """What the check says of a method."""

    PASSES = "passes"
    FAILS = "fails"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, eq=False)
class StageResult:
    """The maps after one more part was randomised, and their likeness to the true ones.

    Args:
        stage: Part randomised last.
        randomised: Number of parts randomised so far.
        applicable: False where the method cannot depend on what was randomised so far.
        likeness: Mean over maps and draws; None where maps are flat or too small to say.
        maps: The maps of the first draw, for small multiples.
        draws: Number of times the weights were drawn.
    """

    stage: str
    randomised: int
    applicable: bool
    likeness: Likeness
    maps: Maps
    draws: int

    @property
    def correlation(self) -> float | None:
        """Mean Spearman correlation with the true maps, -1 to 1."""
        return self.likeness.correlation


@dataclass(frozen=True, eq=False)
class SanityCheck:
    """Outcome of the cascade.

    Args:
        original: Maps of the network as it was trained.
        stages: One result per part, from the answer back to the input; the last is the network
            with everything destroyed.
        verdict: Whether the method passes.
        reason: Why, in one sentence.
        threshold: Strength from which a method fails.
        seed: Seed of the draws.
        chance: Mean strength between the maps of two networks destroyed differently: what the
            image alone, without any training, makes alike. None with one draw.
    """

    original: Maps
    stages: tuple[StageResult, ...]
    verdict: Verdict
    reason: str
    threshold: float
    seed: int
    chance: float | None

    @property
    def score(self) -> Score:
        """The likeness after everything was destroyed; lower is better."""
        last = self.stages[-1]
        note = f"{self.reason} Threshold {self.threshold:g}, seed {self.seed}."
        n = len(self.original) * last.draws
        return scored("randomisation", last.likeness.strength, n, chance=self.chance, note=note)


def sanity_checks(
    explain: Callable[[], Mapping[str, Sequence[Heat]]],
    network: nn.Module,
    *,
    layers: Sequence[str] | None = None,
    limit: int | None = None,
    seen: Sequence[BoolArray] | None = None,
    class_blind: Collection[str] = (),
    threshold: float = THRESHOLD,
    draws: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, SanityCheck]:
    """Randomise a network part by part, once for all methods, and compare maps with the true ones.

    Args:
        explain: Computes, by method, the maps, (H, W) each, of the same images and classes with
            `network` as it then is. It must not fall back on anything computed before.
        network: Randomised in place and restored to the bit, whatever happens. Give a copy where
            others use the network meanwhile.
        layers: Parts in the order of randomisation; all of them by default.
        limit: At most so many comparisons: the first part, all heads, and evenly from there to
            the last.
        seen: One (H, W) bool per map, the pixels to compare. Give what the model saw: a border
            that every map leaves cold makes all maps look alike.
        class_blind: Methods that do not look at the answer, so that maps that stay the same while
            only heads are random are not held against them.
        threshold: See `THRESHOLD`.
        draws: How often everything is destroyed anew at the last stage, since the likeness of two
            smooth maps varies much from draw to draw.
        seed: Seed of the first draw; the others count on from it.
        progress: Told after each computation of the maps.

    Raises:
        UnknownName: The network has no part of a name, or no part at all.
        ShapeMismatch: `explain` returns no map, or maps of changing number or size.
    """
    ordered = tuple(layers) if layers is not None else cascade(network)
    if not ordered:
        raise UnknownName("The network has no part that could be randomised.")
    after = heads(network)
    stops = _stops(ordered, after, limit)
    if progress is not None:
        progress.expect(len(stops) + max(1, draws))
    original = _maps(explain, progress)
    reached = []
    with ExitStack() as destroyed:
        for count, name in enumerate(ordered, start=1):
            destroyed.enter_context(randomised(network, [name], seed))
            if count in stops:
                blind = set(ordered[:count]) <= after
                reached.append(_Stop(name, count, blind, [_maps(explain, progress)]))
    for other in range(seed + 1, seed + max(1, draws)):
        with randomised(network, ordered, other):
            reached[-1].drawn.append(_maps(explain, progress))
    return {
        name: _check(name, maps, reached, seen, name in class_blind, threshold, seed)
        for name, maps in original.items()
    }


def sanity_check(
    explain: Explain,
    network: nn.Module,
    *,
    class_blind: bool = False,
    layers: Sequence[str] | None = None,
    limit: int | None = None,
    seen: Sequence[BoolArray] | None = None,
    threshold: float = THRESHOLD,
    draws: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> SanityCheck:
    """The check of one method, whose maps `explain` computes; see `sanity_checks`."""
    checks = sanity_checks(
        lambda: {"method": explain()},
        network,
        layers=layers,
        limit=limit,
        seen=seen,
        class_blind={"method"} if class_blind else (),
        threshold=threshold,
        draws=draws,
        seed=seed,
        progress=progress,
    )
    return checks["method"]


@dataclass(frozen=True, eq=False)
class _Stop:
    """Maps of all methods, once per draw, after `count` parts; or while only heads are random."""

    stage: str
    count: int
    only_heads: bool
    drawn: list[Mapping[str, Maps]]


def _stops(ordered: Sequence[str], after: frozenset[str], limit: int | None) -> set[int]:
    """Numbers of randomised parts at which the maps are compared."""
    count = len(ordered)
    if limit is None or limit >= count:
        return set(range(1, count + 1))
    first = min(count, max(1, sum(name in after for name in ordered)))
    spread = max(1, limit - 1 if first > 1 else limit)
    return {1, count} | {round(place) for place in np.linspace(count, first, spread)}


def _maps(
    explain: Callable[[], Mapping[str, Sequence[Heat]]], progress: Progress | None
) -> dict[str, Maps]:
    found = {name: tuple(np.array(heat) for heat in maps) for name, maps in explain().items()}
    if not all(found.values()):
        raise ShapeMismatch("The explanation holds no map, so nothing can be compared.")
    if progress is not None:
        progress.advance(1)
    return found


def _check(
    name: str,
    original: Maps,
    reached: Sequence[_Stop],
    seen: Sequence[BoolArray] | None,
    class_blind: bool,
    threshold: float,
    seed: int,
) -> SanityCheck:
    """What the recorded maps say of one method."""
    results = []
    for stop in reached:
        drawn = [maps[name] for maps in stop.drawn]
        blind = class_blind and stop.only_heads and all(map(np.array_equal, original, drawn[0]))
        rows = [row for maps in drawn for row in likenesses(original, maps, seen)]
        likeness = mean_likeness(rows)
        results.append(
            StageResult(stop.stage, stop.count, not blind, likeness, drawn[0], len(drawn))
        )
    last = [maps[name] for maps in reached[-1].drawn]
    between = [row.strength for a, b in combinations(last, 2) for row in likenesses(a, b, seen)]
    flat = mean_likeness(likenesses(original, original, seen)).correlation is None
    verdict, reason = _verdict(flat, results[-1], threshold)
    chance = mean_known(between)
    return SanityCheck(original, tuple(results), verdict, reason, threshold, seed, chance)


def _verdict(flat: bool, last: StageResult, threshold: float) -> tuple[Verdict, str]:
    if flat:
        return (
            Verdict.NOT_APPLICABLE,
            "The map of the trained model is flat, so there is nothing to compare.",
        )
    if not last.applicable:
        reason = "The method does not depend on the parts that were randomised."
        return Verdict.NOT_APPLICABLE, reason
    value = last.likeness.strength
    if value is None:
        return Verdict.PASSES, "Without what the model learnt, no map is left."
    if value < threshold:
        return Verdict.PASSES, f"The map loses its order (correlation {value:.2f})."
    return Verdict.FAILS, f"The map hardly depends on the model (correlation {value:.2f})."
