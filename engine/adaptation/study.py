"""What adaptation brings on phantoms of a new hospital, and whether the guards hold.

Target: phantoms of a hospital whose grey levels, noise, sharpness and stains no training case had.
Source: phantoms of the validation split, which the model did not train on. Truth serves to report
accuracy only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from engine.adaptation.errors import AdaptationRefused
from engine.adaptation.feeding import breast_network, without_pathology
from engine.adaptation.objectives import METHODS
from engine.adaptation.session import adapt
from engine.adaptation.settings import AdaptationSettings
from engine.adaptation.start import Start, look
from engine.datasets.batch import Batch
from engine.datasets.phantoms import SPLITS, phantom_source
from engine.datasets.source import Source
from engine.models.base import System
from engine.models.crossmodal import CrossModal
from engine.phantoms.site import NEW_HOSPITAL

FIRST_SEED = 5_000_000
"""First seed of the new hospital's phantoms; no split of `SPLITS` reaches it."""

ARMS = {"mammogram": "Mammogram alone", "pathology": "With pathology"}
ALL_STREAM = "all classes"


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Args:
        cases: Phantoms of the new hospital. buffer: Source phantoms. steps: Steps of each method.
        arms: Keys of `ARMS`. methods: Of `METHODS`.
        single: Class of the stream on which the guards must act.
        settings: How it is done; method, steps, buffer and guards are set by the study.
    """

    cases: int = 160
    buffer: int = 200
    steps: int = 20
    arms: tuple[str, ...] = tuple(ARMS)
    methods: tuple[str, ...] = tuple(METHODS)
    single: str = "Normal"
    settings: AdaptationSettings = field(default_factory=AdaptationSettings)


Told = Callable[[str], None]


def study(
    system: System,
    plan: Plan | None = None,
    *,
    cache: Path | None = None,
    workers: int = 1,
    progress: Told | None = None,
) -> list[dict[str, Any]]:
    """One row per arm, stream, method and guard, with the report of each but its cases.

    Args:
        system: Of the cross-modal breast kind. plan: How much is done.
        cache: Folder for the phantoms. workers: Processes that make them.
        progress: Told what is being done.

    Raises:
        AdaptationRefused: The system or the plan does not suit.
    """
    plan = plan or Plan()
    if plan.single not in system.card.classes:
        raise AdaptationRefused(f"The model has no class {plan.single!r}.")
    if plan.cases < len(system.card.classes):
        raise AdaptationRefused("There must be at least one phantom of each class.")
    told = progress or (lambda what: None)
    told("making phantoms")
    target, source = phantoms(system, plan, cache, workers)
    rows: list[dict[str, Any]] = []
    for arm in plan.arms:
        batch = target.take(torch.arange(len(target)))
        batch = without_pathology(batch) if arm == "mammogram" else batch
        rows += _arm(system, arm, batch, source, plan, told)
    return rows


def phantoms(system: System, plan: Plan, cache: Path | None, workers: int) -> tuple[Source, Source]:
    """Target and source cases of a study."""
    network = breast_network(system.network)
    assert isinstance(system, CrossModal)
    sizes = system.sizes
    cells = sizes[0] // network.patch_size * network.lesion_map.cells
    classes = system.card.classes
    target = phantom_source(
        FIRST_SEED, plan.cases, classes, sizes, cells,
        sites=(NEW_HOSPITAL,), cache=cache, workers=workers,
    )  # fmt: skip
    source = phantom_source(
        SPLITS["validation"], plan.buffer, classes, sizes, cells, cache=cache, workers=workers
    )
    return target, source


def _arm(
    system: System, arm: str, batch: Batch, source: Source, plan: Plan, told: Told
) -> list[dict[str, Any]]:
    settings = replace(plan.settings, steps=plan.steps, buffer=plan.buffer)
    told(f"{ARMS[arm]}: before")
    start = look(system, [batch], settings, source=source)
    rows = []
    for guards in (False, True):
        for method in plan.methods:
            if guards and method != plan.methods[0]:
                continue  # what guards do is shown by the first method, to save time
            told(f"{ARMS[arm]}: {method}{', guarded' if guards else ''}")
            chosen = replace(settings, method=method, guards=guards)
            rows.append(_row(system, arm, ALL_STREAM, batch, source, chosen, start))
    label = system.card.classes.index(plan.single)
    few = batch.take(torch.nonzero(batch.label == label)[:, 0])
    alone = _of_one_class(start, batch, label)
    for guards in (False, True):
        told(f"{ARMS[arm]}: {plan.single} only{', guarded' if guards else ''}")
        chosen = replace(settings, method="tent", guards=guards)
        rows.append(_row(system, arm, f"{plan.single} only", few, source, chosen, alone))
    return rows


def _of_one_class(start: Start, batch: Batch, label: int) -> Start:
    """What was found before any step, for the cases of one class."""
    return replace(start, answers=start.answers[(batch.label == label).numpy()])


def _row(
    system: System,
    arm: str,
    stream: str,
    batch: Batch,
    source: Source,
    settings: AdaptationSettings,
    start: Start,
) -> dict[str, Any]:
    report = dict(adapt(system, [batch], settings, source=source, start=start).report)
    report.pop("rows")
    return {"arm": ARMS[arm], "stream": stream, "guards": settings.guards, "report": report}


HEAD = (
    "Images", "Cases", "Method", "Guards", "Accuracy before", "after", "Difference",
    "Entropy before → after", "Class divergence before → after", "Source sensitivity",
    "Source accuracy", "Kept", "Steps", "Outcome",
)  # fmt: skip


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of a study as a table."""
    lines = [HEAD, tuple("---" for _ in HEAD), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    report = row["report"]
    accuracy, source = report["accuracy"], report["source"]
    return (
        row["arm"],
        f"{report['cases']}, {row['stream']}",
        report["method"].upper(),
        "on" if row["guards"] else "off",
        _interval(accuracy["before"]),
        _interval(accuracy["after"]),
        _interval(accuracy["difference"], sign="+"),
        _change(report["entropy"], 3),
        _change(report["kl"], 2),
        _change(source["sensitivity"], 3),
        _change(source["accuracy"], 3),
        f"{report['kept_share']:.0%}",
        str(report["steps_done"]),
        _outcome(report),
    )


def _interval(found: dict[str, float], sign: str = "") -> str:
    value, low, high = (format(found[key], f"{sign}.3f") for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _change(found: dict[str, float], digits: int) -> str:
    return f"{found['before']:.{digits}f} → {found['after']:.{digits}f}"


def _outcome(report: dict[str, Any]) -> str:
    reason = report["rolled_back"]
    return f"Rolled back. {reason}" if reason else "Kept."
