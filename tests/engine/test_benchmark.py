"""The benchmark of methods: numbers, verdicts, and a run on a tiny model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from engine.benchmark import Benchmark, Cell, SanityResult, from_json, to_json
from engine.benchmark.run import Plan, benchmark
from engine.benchmark.summary import ENOUGH, Sample, cell, ratio_cell, wilson
from engine.benchmark.table import markdown, number
from engine.benchmark.verdict import judge
from engine.errors import Cancelled, UnknownName, UnreadableFile
from engine.models import MODELS
from engine.phantoms import phantom_case
from engine.records import Case, ModelCard

IMAGE = "mammography"
PASSES = SanityResult("passes", 0.2, 0.1, 0.5, 4, "")
CONFIG = {
    "img_size": 64,
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "adapter_dim": 8,
    "projection_dim": 8,
    "pathology_size": 48,
}
METHODS = ("input_x_gradient", "rollout", "cross_modal", "prototypes")


def samples(values: object, chance: float | None = None, note: str = "") -> list[Sample]:
    return [Sample(v, chance, note) for v in np.asarray(values, dtype=float).tolist()]


def found(times: float, n: int = 24, deletion: float = 0.3, **changes: Any) -> list[Cell]:
    """Cells of a method whose heat in the lesion is `times` chance."""
    rng = np.random.default_rng(4)
    shares = samples(0.02 * times * np.linspace(0.8, 1.2, n), 0.02)
    ratios = [replace(each, value=(each.value or 0.0) / 0.02, chance=1.0) for each in shares]
    noise = rng.normal(0, 0.02, n)
    heat = replace(ratio_cell(IMAGE, shares, ratios, 0), **changes)
    return [
        heat,
        cell("deletion", IMAGE, samples(deletion + noise, 0.5), 0),
        cell("insertion", IMAGE, samples(0.7 + noise, 0.5), 0),
    ]


def test_a_mean_has_an_interval_a_median_and_a_side_of_chance() -> None:
    values = np.linspace(0.2, 0.4, 20)
    got = cell("deletion", IMAGE, samples(values, 0.5), seed=1)
    assert got.value == pytest.approx(0.3) and got.median == pytest.approx(0.3)
    assert got.low is not None and got.high is not None and 0.2 < got.low < 0.3 < got.high < 0.4
    assert (got.n, got.undefined, got.chance, got.against_chance) == (20, 0, 0.5, "better")
    assert got == cell("deletion", IMAGE, samples(values, 0.5), seed=1)
    assert cell("insertion", IMAGE, samples(values, 0.5), seed=1).against_chance == "worse"
    assert cell("deletion", IMAGE, samples(values, 0.3), seed=1).against_chance == "alike"


def test_chance_is_compared_case_by_case() -> None:
    """Cases differ more than the method gains: only the paired difference shows it."""
    chances = np.linspace(0.1, 0.9, 20)
    paired = [Sample(float(c - 0.02), float(c)) for c in chances]
    got = cell("deletion", IMAGE, paired, 0)
    assert got.low is not None and got.high is not None and got.chance is not None
    assert got.low < got.chance < got.high and got.against_chance == "better"


def test_few_cases_say_nothing_about_chance() -> None:
    few = samples(np.full(ENOUGH - 1, 0.1), 0.5)
    assert cell("deletion", IMAGE, few, 0).against_chance == "unknown"
    assert cell("deletion", IMAGE, [*few, few[0]], 0).against_chance == "better"
    alone = cell("deletion", IMAGE, few[:1], 0)
    assert (alone.low, alone.high, alone.n) == (None, None, 1)


def test_what_is_undefined_is_counted_with_its_commonest_reason() -> None:
    flat, gone = Sample(None, None, "The map is flat."), Sample(None, None, "Gone.")
    got = cell("roc_auc", IMAGE, [*samples([0.6, 0.8], 0.5), flat, gone, flat], 0)
    assert (got.n, got.undefined, got.reason) == (2, 3, "The map is flat.")
    none = cell("roc_auc", IMAGE, [flat], 0)
    assert (none.value, none.low, none.chance, none.against_chance) == (None, None, None, "unknown")


def test_stability_has_no_chance_to_beat() -> None:
    assert (
        cell("randomisation", IMAGE, samples(np.full(20, 0.1), 0.4), 0).against_chance == "unknown"
    )


def test_hits_get_wilsons_interval() -> None:
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    all_hit = cell("pointing_game", IMAGE, samples(np.ones(10), 0.05), 0)
    assert all_hit.low == pytest.approx(0.7225, abs=1e-4) and all_hit.high == pytest.approx(1.0)
    assert all_hit.against_chance == "better"


def test_the_ratio_is_that_of_the_means() -> None:
    shares = [Sample(0.5, 0.25, "", True), Sample(0.1, 0.01)]
    ratios = [Sample(2.0, 1.0, "", True), Sample(10.0, 1.0)]
    got = ratio_cell(IMAGE, shares, ratios, 0)
    assert got.value == pytest.approx(0.3 / 0.13) and got.median == pytest.approx(6.0)
    assert (got.right, got.n_right, got.chance) == (pytest.approx(2.0), 1, 1.0)


@pytest.mark.parametrize(
    ("times", "sanity", "level", "words"),
    [
        (9.0, PASSES, "use", "Finds the lesion (9."),
        (3.0, PASSES, "caution", "only weakly (3."),
        (1.0, PASSES, "avoid", "Does not find the lesion (1.0 x chance"),
        (0.2, PASSES, "avoid", "Avoids the lesion (0.2 x chance"),
        (
            9.0,
            replace(PASSES, verdict="fails", strength=0.8),
            "avoid",
            "weights are destroyed (likeness",
        ),
        (9.0, None, "caution", "not tested against random weights"),
    ],
)
def test_verdicts(times: float, sanity: SanityResult | None, level: str, words: str) -> None:
    got = judge(IMAGE, found(times), sanity)
    assert got.level == level
    assert words in got.text and got.text.endswith(".")


def test_faithfulness_counts_in_the_verdict() -> None:
    good = judge(IMAGE, found(9.0), PASSES)
    assert "faithful better than chance in deletion (0.3" in good.text
    worse = judge(IMAGE, found(9.0, deletion=0.6), PASSES)
    assert worse.level == "caution" and "less faithful than chance in deletion" in worse.text
    cells = [replace(each, moot=each.n) for each in found(9.0)]
    assert judge(IMAGE, cells, PASSES).level == judge(IMAGE, found(9.0), PASSES).level == "use"
    faint = [
        replace(each, value=each.chance + 0.01)
        if each.metric in ("deletion", "insertion")
        else each
        for each in cells
    ]
    moot = judge(IMAGE, faint, PASSES)
    assert moot.level == "caution" and "replacing the whole image hardly changes" in moot.text


def test_too_few_cases_and_missing_maps() -> None:
    few = judge(IMAGE, found(9.0, n=3), PASSES)
    assert few.level == "unknown" and few.text.startswith("Only 3 cases")
    flat = judge(IMAGE, found(9.0, undefined=40, reason="The map is flat."), PASSES)
    assert flat.level == "avoid" and "in 40 of 64 cases (The map is flat)" in flat.text
    assert judge(IMAGE, [], None).level == "unknown"


@pytest.fixture(scope="module")
def made() -> tuple[Benchmark, Benchmark]:
    """The same run twice."""
    return _made(), _made()


def _system() -> Any:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    card = ModelCard(
        "tiny", "crossmodal", "0", "Tiny", "Test.", "Nothing.", (),
        ("Normal", "Benign", "In situ", "Invasive"), ("Benign", "In situ", "Invasive"),
        CONFIG, {}, {}, "none", "d" * 64,
    )  # fmt: skip
    system = MODELS["crossmodal"]
    return system(card, system.build(CONFIG), torch.device("cpu"))


def _cases() -> Iterator[Case]:
    for label in ("Benign", "Normal", "Invasive"):
        yield phantom_case(5, label, height=160, width=128, tile=128)


def _made(**changes: Any) -> Benchmark:
    plan = Plan(slow=False, sanity_cases=1, stability_cases=1)
    return benchmark(_system(), _cases(), METHODS, plan, seed=2, **changes)


def test_a_run_covers_arms_methods_and_metrics(made: tuple[Benchmark, Benchmark]) -> None:
    got = made[0]
    assert (got.labels, got.excluded) == ({"Benign": 1, "Invasive": 1}, 1)
    alone, both = got.arms
    assert (alone.images, both.images) == (("mammography",), ("mammography", "pathology"))
    for arm in got.arms:
        assert arm.cases == 2 and arm.right is not None and not arm.failed
        heat = next(m for m in arm.methods if m.method == "input_x_gradient")
        measured = {c.metric: c for c in heat.cells if c.image == IMAGE}
        assert {
            "energy_ratio",
            "deletion",
            "sparseness",
            "noise_sensitivity",
            "randomisation",
        } <= set(measured)
        assert measured["energy_ratio"].n == 2 and measured["randomisation"].n == 1
        assert heat.sanity is not None and heat.sanity.cases == 1
        assert heat.verdict.level == "unknown"
        parts = next(m for m in arm.methods if m.method == "prototypes")
        assert parts.verdict.level == "refused" and "this model has not" in parts.refused
    crossed = {
        arm.id: next(m for m in arm.methods if m.method == "cross_modal") for arm in got.arms
    }
    assert crossed["mammogram"].verdict.level == "refused" and not crossed["mammogram"].cells
    assert crossed["pathology"].cases == 2
    pathology = [c for c in crossed["pathology"].cells if c.image == "pathology"]
    assert {c.metric for c in pathology} == {
        "deletion", "insertion", "sufficiency", "comprehensiveness", "sparseness", "entropy"
    }  # fmt: skip


def test_a_run_returns_for_its_seed(made: tuple[Benchmark, Benchmark]) -> None:
    tables = [json.loads(to_json(each)) for each in made]
    for table in tables:
        table["made"] = ""
        for arm in table["arms"]:
            arm["seconds"] = 0
            for method in arm["methods"]:
                method["seconds"] = 0
    assert tables[0] == tables[1]


def test_json_comes_back_whole(made: tuple[Benchmark, Benchmark]) -> None:
    text = to_json(made[0])
    again = from_json(text)
    assert to_json(again) == text
    assert again.arms[0].methods[0].cells == tuple(again.arms[0].methods[0].cells)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', '{"version": 2}', "3"])
def test_json_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(UnreadableFile):
        from_json(text)


def test_the_table_names_every_method_and_metric(made: tuple[Benchmark, Benchmark]) -> None:
    text = markdown(made[0])
    for words in (
        "Input x gradient",
        "Prototypes",
        "Deletion ↓",
        "With pathology",
        "Too few cases",
    ):
        assert words in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| Input")}
    assert min(widths) >= 4


def test_evidence_still_says_when_faithfulness_is_moot() -> None:
    """The caution of `engine.evidence` is recognised by its words."""
    case = next(_cases())
    blind = _system()
    with torch.no_grad():
        for name, parameter in blind.network.named_parameters():
            if "classification" in name:
                parameter.zero_()
    got = benchmark(
        blind, [case], ["rollout"], Plan(("mammogram",), sanity_cases=0, stability_cases=0)
    )
    (method,) = got.arms[0].methods
    deletion = method.cell("deletion", IMAGE)
    assert deletion is not None and deletion.moot == 1
    assert "hardly changes the answer" in method.verdict.text


def test_progress_may_cancel_and_names_are_checked() -> None:
    def stop(number: int, what: str) -> None:
        raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        _made(progress=stop)
    with pytest.raises(UnknownName, match="arm"):
        benchmark(_system(), (), None, Plan(("nowhere",)))
    with pytest.raises(UnknownName):
        benchmark(_system(), (), ["nothing"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (-0.0001, "0.000"),
        (-0.25, "\N{MINUS SIGN}0.25"),
        (12.34, "12.3"),
        (123.4, "123"),
    ],
)
def test_numbers_are_readable(value: float | None, text: str) -> None:
    assert number(value) == text
