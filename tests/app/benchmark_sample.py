"""A benchmark made of drawn numbers, so that no test of its page has to run a model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.benchmark import ArmResult, Benchmark, Cell, MethodResult, SanityResult
from engine.benchmark.summary import Sample, cell, ratio_cell
from engine.benchmark.verdict import judge, order, refusal
from engine.records import ModelCard

DRAWN = {
    "deletion": (0.55, -1),
    "insertion": (0.55, 1),
    "comprehensiveness": (0.1, 1),
    "sufficiency": (0.4, -1),
    "pointing_game": (0.05, 1),
    "roc_auc": (0.5, 1),
    "sparseness": (None, 1),
    "noise_sensitivity": (None, -1),
    "randomisation": (0.2, -1),
}
"""By metric: its chance level, and the sign of a good difference from it."""

GOOD = {"gradcam": 9.0, "relevance": 6.0, "hirescam": 5.5, "lrp": 3.0, "rollout": 1.0, "rise": 2.0}
"""By method: how many times chance its heat in the lesion is."""


def method(
    name: str, times: float, cases: int, *, title: str = "", slow: bool = False
) -> MethodResult:
    """A method whose maps are `times` as good as chance."""
    rng = np.random.default_rng(sum(name.encode()))
    gain = 0.06 * (times - 1)
    areas = rng.uniform(0.01, 0.03, cases)
    shares = np.clip(areas * times * rng.uniform(0.7, 1.3, cases), 0, 1)
    energy = [
        Sample(float(s), float(a), "", n % 4 != 0)
        for n, (s, a) in enumerate(zip(shares, areas, strict=True))
    ]
    ratios = [replace(e, value=(e.value or 0) / (e.chance or 1), chance=1.0) for e in energy]
    cells: list[Cell] = [
        cell("energy_pointing_game", "mammography", energy, 0),
        ratio_cell("mammography", energy, ratios, 0),
    ]
    for metric, (chance, sign) in DRAWN.items():
        middle = (0.3 if chance is None else chance) + sign * gain
        values = np.clip(middle + rng.normal(0, 0.05, cases), 0, 1)
        if metric == "pointing_game":
            values = np.round(np.clip(values * 1.4, 0, 1))
        samples = [Sample(float(v), chance) for v in values]
        cells.append(cell(metric, "mammography", samples, 0))
    strength = 0.7 if name == "rollout" else 0.2
    sanity = SanityResult(
        "fails" if strength >= 0.5 else "passes", strength, 0.15, 0.5, 4, "Measured."
    )
    return MethodResult(
        method=name,
        title=title or name.replace("_", " ").capitalize(),
        summary="What it shows.",
        limits="What it cannot say.",
        family="activation",
        class_blind=name == "rollout",
        slow=slow,
        cases=cases,
        seconds=0.2,
        refused="",
        cells=tuple(cells),
        sanity=sanity,
        verdict=judge("mammography", cells, sanity, blind=name == "rollout"),
    )


def sample(card: ModelCard, cases: int = 24, made: str = "2026-01-02T03:04:05+00:00") -> Benchmark:
    """A benchmark of a model with one arm, its methods best first, the last one refused."""
    methods = [method(name, times, cases, slow=name == "rise") for name, times in GOOD.items()]
    reason = "Prototypes reads prototypes, which this model has not."
    none = replace(
        methods[0],
        method="prototypes",
        title="Prototypes",
        cells=(),
        sanity=None,
        cases=0,
        seconds=None,
        refused=reason,
        verdict=refusal(reason),
    )
    ranked = tuple(sorted([none, *methods], key=lambda each: order(each, "mammography")))
    arm = ArmResult(
        "mammogram", "Mammogram alone", ("mammography",), cases, 18, 0.62, {}, 0.1, ranked
    )
    return Benchmark(
        model=card.name,
        title=card.title,
        system=card.system,
        model_version=card.version,
        weights_digest=card.weights_digest,
        made=made,
        device="cpu",
        cases="Phantoms of engine.phantoms from seed 5000000 on.",
        seed=0,
        labels={"Benign": 8, "In situ": 8, "Invasive": 8},
        excluded=7,
        settings={"sanity_cases": 4},
        arms=(arm,),
        command=f"lightbox benchmark-explainers --model {card.name} --cases {cases}",
    )
