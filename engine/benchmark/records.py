"""What a benchmark found, as frozen records, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar

from engine.errors import UnreadableFile

VERSION = 1
"""Version of the JSON."""

Against = Literal["better", "worse", "alike", "unknown"]
Level = Literal["use", "caution", "avoid", "unknown", "refused"]

LEVELS: Mapping[str, str] = {
    "use": "Use",
    "caution": "With caution",
    "avoid": "Do not trust",
    "unknown": "Too few cases",
    "refused": "Not available",
}
"""Levels with their titles, best first."""


@dataclass(frozen=True)
class Cell:
    """One metric of one method, over all cases.

    Args:
        metric: Registry name. image: Modality of the image that it was measured on.
        value: Mean over cases; for `energy_ratio`, the mean share of the heat in the lesion divided
            by the mean share of the area. None where no case has a number.
        low, high: Bounds of the 95 % interval over cases; None with fewer than two cases.
        median: Median over cases.
        chance: Mean of what a map without information is expected to get; None where there is none.
        against_chance: Whether the interval of the difference from chance, case by case, leaves
            chance out; "unknown" with too few cases, or without a direction or chance level.
        n: Cases with a number. undefined: Cases without. reason: Why most of these have none.
        right: As `value`, over the cases that the model answered right. n_right: Their number.
        moot: Cases in which replacing the whole image hardly changes the answer, so that
            faithfulness cannot tell maps apart.
    """

    metric: str
    image: str
    value: float | None
    low: float | None
    high: float | None
    median: float | None
    chance: float | None
    against_chance: Against
    n: int
    undefined: int
    reason: str = ""
    right: float | None = None
    n_right: int = 0
    moot: int = 0


@dataclass(frozen=True)
class SanityResult:
    """What the randomisation of all weights says of a method.

    Args:
        verdict: "passes", "fails" or "not applicable".
        strength: Mean rank correlation, sign ignored, of the maps of the trained and of the
            destroyed model; None where the destroyed model gives no map.
        chance: The same between two destroyed models.
        threshold: Strength from which a method fails. cases: Number of cases tested.
        text: The verdict in one sentence.
    """

    verdict: str
    strength: float | None
    chance: float | None
    threshold: float
    cases: int
    text: str


@dataclass(frozen=True)
class Verdict:
    """What the numbers amount to: a level, and why in plain words."""

    level: Level
    text: str


@dataclass(frozen=True)
class MethodResult:
    """All that was found about one method in one arm.

    Args:
        method: Registry name. title, summary, limits, family: As the method declares them.
        class_blind: Its map does not depend on the class. slow: It runs the model many times.
        cases: Cases that it explained.
        seconds: Median time a case beyond the pass that all methods share, s; None without one.
        refused: Why it is not available; empty where it is.
        cells: By metric and image. sanity: None where it was not tested.
        verdict: On the first image.
    """

    method: str
    title: str
    summary: str
    limits: str
    family: str
    class_blind: bool
    slow: bool
    cases: int
    seconds: float | None
    refused: str
    cells: tuple[Cell, ...]
    sanity: SanityResult | None
    verdict: Verdict

    def cell(self, metric: str, image: str) -> Cell | None:
        """The cell of a metric on an image, or None."""
        return next((c for c in self.cells if (c.metric, c.image) == (metric, image)), None)


@dataclass(frozen=True)
class ArmResult:
    """One way to show the cases to the model.

    Args:
        id: Key of `engine.benchmark.run.ARMS`. title: For people.
        images: Modalities measured; the first bears the lesion.
        cases: Cases with a lesion that were measured.
        right: How many of these the model answered right; None where it has no such classes.
        probability: Mean probability of the true class; None likewise.
        failed: Sentences of what could not be measured, with the number of cases each.
        seconds: Median time of the shared pass, s.
        methods: Best first.
    """

    id: str
    title: str
    images: tuple[str, ...]
    cases: int
    right: int | None
    probability: float | None
    failed: Mapping[str, int]
    seconds: float | None
    methods: tuple[MethodResult, ...]


@dataclass(frozen=True)
class Benchmark:
    """All methods on all cases of known truth, with one model.

    Args:
        model, title, system, model_version: From the model card.
        weights_digest: SHA-256 of the weights.
        made: When, ISO 8601, UTC. device: Where it ran, "cpu" or "cuda".
        cases: Where the cases come from, in words.
        seed: Of intervals, noise and randomised weights.
        labels: Cases with a lesion, by class.
        excluded: Cases left out since they have no lesion.
        settings: How many cases each part was measured on.
        command: What to type to obtain it again; empty when it was made otherwise.
        arms: In the order in which they were measured.
        version: Version of the JSON.
    """

    model: str
    title: str
    system: str
    model_version: str
    weights_digest: str
    made: str
    device: str
    cases: str
    seed: int
    labels: Mapping[str, int]
    excluded: int
    settings: Mapping[str, Any]
    arms: tuple[ArmResult, ...]
    command: str = ""
    version: int = field(default=VERSION)


def to_json(benchmark: Benchmark) -> str:
    """The benchmark as JSON text; numbers keep six significant digits."""
    return json.dumps(_rounded(asdict(benchmark)), indent=1, allow_nan=False) + "\n"


def from_json(text: str) -> Benchmark:
    """The benchmark in a JSON text.

    Raises:
        UnreadableFile: It is no benchmark, or one of another version.
    """
    try:
        table = json.loads(text)
        if table["version"] != VERSION:
            raise UnreadableFile("This benchmark was written by another version of Lightbox.")
        return _made(Benchmark, {**table, "arms": tuple(_arm(arm) for arm in table["arms"])})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnreadableFile("The file holds no benchmark of explanation methods.") from None


def _arm(table: Mapping[str, Any]) -> ArmResult:
    methods = tuple(_method(method) for method in table["methods"])
    return _made(ArmResult, {**table, "images": tuple(table["images"]), "methods": methods})


def _method(table: Mapping[str, Any]) -> MethodResult:
    verdict = _made(Verdict, table["verdict"])
    if verdict.level not in LEVELS:
        raise ValueError
    cells = tuple(_made(Cell, cell) for cell in table["cells"])
    sanity = None if table["sanity"] is None else _made(SanityResult, table["sanity"])
    parts = {"cells": cells, "sanity": sanity, "verdict": verdict}
    return _made(MethodResult, {**table, **parts})


R = TypeVar("R", Benchmark, ArmResult, MethodResult, Cell, SanityResult, Verdict)


def _made(kind: type[R], table: Mapping[str, Any]) -> R:
    if set(table) != {each.name for each in fields(kind)}:
        raise ValueError
    return kind(**table)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
