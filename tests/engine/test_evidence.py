"""The evidence beside each map, on a small network: measured, stable, dependent on the weights."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.comparison import agreement, consensus
from engine.counterfactual import region_table, without
from engine.errors import Cancelled, EmptyMask, IncompatibleExplainer, ShapeMismatch, UnknownName
from engine.evidence import begin, localised, measure, stability
from engine.explainers import EXPLAINERS
from engine.listening import at_rest
from engine.metrics.catalogue import METRICS
from engine.progress import Progress
from engine.records import Explanation, HeatMap, Region
from engine.sanity import sanity
from engine.workflow import LESION, PREDICTED, explain
from tests.engine.small_system import small_case, small_system

METHODS = ("rollout", "gradcam_plus_plus", "relevance", "cross_modal", "saliency")


@pytest.fixture(scope="module")
def system():
    return small_system()


@pytest.fixture(scope="module")
def case():
    return small_case()


@pytest.fixture(scope="module")
def analysis(system, case):
    return explain(system, case, METHODS, "Invasive")


def oracle_map(case, values: np.ndarray, method: str = "rollout") -> Explanation:
    heat = HeatMap(0, 0, values.astype(np.float32), (8, 8))
    return Explanation(method, "Invasive", (heat,), {}, "tiny", "0" * 64)


def test_every_score_says_what_it_is(system, case, analysis):
    found = measure(system, case, analysis.explanations, "Invasive")
    assert set(found) == set(METHODS)
    for scores in found.values():
        assert {score.image for score in scores} <= {0, 1}
        for score in scores:
            known = METRICS[score.metric]
            assert (score.unit, score.better) == (known.unit, known.better)
            assert score.value is None or np.isfinite(score.value)
            assert score.n > 0 or score.value is None
    named = {score.metric for score in found["saliency"] if score.image == 0}
    assert {"deletion", "insertion", "energy_pointing_game", "energy_ratio", "entropy"} <= named
    assert not any(s.metric == "energy_ratio" for s in found["saliency"] if s.image == 1)


def test_a_map_of_the_truth_scores_as_the_truth(system, case):
    truth = case.truth.mask
    perfect = oracle_map(case, truth)
    scores = {s.metric: s for s in measure(system, case, [perfect], "Invasive")["rollout"]}
    assert scores["energy_pointing_game"].value == pytest.approx(1.0)
    assert scores["equal_area_iou"].value == pytest.approx(1.0)
    assert scores["pointing_game"].value == 1.0
    away = oracle_map(case, ~truth)
    scores = {s.metric: s for s in measure(system, case, [away], "Invasive")["rollout"]}
    assert scores["energy_pointing_game"].value == pytest.approx(0.0)
    assert scores["roc_auc"].value == pytest.approx(0.0)


def test_faithfulness_equals_a_plain_loop(system, case, analysis):
    explanation = next(e for e in analysis.explanations if e.method == "saliency")
    scores = measure(system, case, [explanation], "Invasive", baseline="black")["saliency"]
    got = next(s for s in scores if s.metric == "deletion" and s.image == 0)
    prepared = system.prepare(case)
    view = next(iter(prepared.views.values()))
    heat = explanation.maps[0].values
    canvas = view.placement.to_canvas(heat, float(heat.min()))
    order = np.argsort(-canvas.ravel(), kind="stable")
    step = -(-canvas.size // 24)
    image = prepared.inputs["mammo_img"].clone()
    shares = []
    for count in range(0, canvas.size + step, step):
        flat = image.clone().reshape(1, 1, -1)
        flat[..., order[:count]] = -1.0
        with torch.no_grad():
            output = system.network(flat.reshape(image.shape), prepared.inputs["patho_img"])
        shares.append(float(output["classification"].softmax(1)[0, 3]))
    area = float(np.trapezoid(shares) / (len(shares) - 1))
    assert got.value == pytest.approx(area, abs=1e-5)
    assert got.n == len(shares)


def test_a_decision_that_lies_elsewhere_is_told(system, case, analysis):
    with torch.no_grad():
        kept = system.network.classification.layers[-1].weight.clone()
        system.network.classification.layers[-1].weight.zero_()
    try:
        found = measure(system, case, analysis.explanations[:1], "Invasive")["rollout"]
    finally:
        with torch.no_grad():
            system.network.classification.layers[-1].weight.copy_(kept)
    assert "can hardly tell maps apart" in next(s.note for s in found if s.metric == "deletion")


def test_flat_maps_get_scores_without_a_number(system, case):
    empty = HeatMap(0, 0, np.zeros((256, 192), np.float32), (8, 8), False, "The map is flat.")
    flat = Explanation("rollout", "Invasive", (empty,), {}, "tiny", "0" * 64)
    for score in measure(system, case, [flat], "Invasive")["rollout"]:
        assert score.value is None and score.note == "The map is flat."


def test_localisation_looks_only_where_the_model_saw():
    values = np.zeros((40, 40), np.float32)
    values[10:14, 10:14] = 1
    truth = values > 0
    seen = np.zeros((40, 40), bool)
    seen[:20, :20] = True
    scores = {s.metric: s for s in localised(values, truth, seen, None)}
    assert scores["energy_pointing_game"].chance == pytest.approx(16 / 400)
    assert localised(values, truth, ~seen, None) == []


def test_stability_is_zero_for_a_method_that_ignores_the_image(system, case, monkeypatch):
    fixed = torch.linspace(0, 1, 64).reshape(1, 8, 8)

    def run(trace, **settings):
        return dict.fromkeys(trace.images, fixed)

    monkeypatch.setitem(EXPLAINERS._parts, "rollout", replace(EXPLAINERS["rollout"], run=run))
    found = stability(system, case, ("rollout", "saliency"), "Invasive", draws=2)
    assert found["rollout"][0].value == 0
    assert all(score.value > 0 for score in found["saliency"])
    assert all(score.better == "lower" for scores in found.values() for score in scores)


def test_the_sanity_check_tells_maps_of_the_model_from_maps_of_the_image(system, case, monkeypatch):
    def edges(trace, **settings):
        image = trace.image("mammography")[:, 0]
        return {"mammography": torch.hypot(*torch.gradient(image, dim=(1, 2)))}

    monkeypatch.setitem(EXPLAINERS._parts, "eigencam", replace(EXPLAINERS["eigencam"], run=edges))
    before = {k: v.clone() for k, v in system.network.state_dict().items()}
    found = sanity(system, case, ("saliency", "eigencam"), "Invasive", stages=3, draws=2)
    assert found.verdicts["eigencam"][0] == "fails"
    assert found.spearman["eigencam"][-1] == pytest.approx(1.0)
    assert found.verdicts["saliency"][0] == "passes"
    assert abs(found.spearman["saliency"][-1]) < 0.5
    for name, maps in found.maps.items():
        assert len(maps) == 1 + len(found.stages), name
        assert maps[0].values.shape == (256, 192)
    assert all(torch.equal(v, before[k]) for k, v in system.network.state_dict().items())


def test_removing_a_region_changes_only_that_region(system, case):
    mask = case.truth.mask
    found = without(system, case, 0, mask, methods=("gradcam",), target="Invasive")
    old, new = case.images[0].pixels[0], found.case.images[0].pixels[0]
    assert np.array_equal(old[~mask], new[~mask])
    assert not np.array_equal(old[mask], new[mask])
    assert found.case.images[0].digest != case.images[0].digest
    change = (
        found.after.prediction.probabilities["Invasive"]
        - found.before.prediction.probabilities["Invasive"]
    )
    assert found.effect.value == pytest.approx(change)
    assert found.after.explanations[0].target == "Invasive"


def test_regions_that_cannot_be_removed(system, case):
    with pytest.raises(EmptyMask):
        without(system, case, 0, np.zeros((256, 192), bool))
    with pytest.raises(ShapeMismatch):
        without(system, case, 0, np.ones((9, 9), bool))
    with pytest.raises(UnknownName):
        without(system, case, 7, np.ones((256, 192), bool))
    with pytest.raises(UnknownName, match="fill"):
        without(system, case, 0, case.truth.mask, fill="magic")


def test_heat_inside_regions(case):
    values = np.zeros((256, 192), np.float32)
    mask = np.zeros((256, 192), bool)
    mask[10:20, 10:30] = True
    values[10:20, 10:20] = 2.0
    values[100:110, 100:110] = 1.0
    unknown = replace(case, truth=None)
    made = [oracle_map(case, values)]
    row = region_table(unknown, None, made, [("Mine", Region(0, mask=mask))])[0]
    assert (row.label, row.kind, row.method) == ("Mine", "reader", "rollout")
    assert row.mean == pytest.approx(0.5)
    assert row.max == pytest.approx(1.0)
    assert row.coverage == pytest.approx(0.5)
    assert row.share == pytest.approx(200 / 300)
    assert row.area == pytest.approx(200 / (256 * 192))
    assert "67% of the heat lies in Mine" in row.text


def test_agreement_and_consensus(analysis):
    found = agreement(analysis.explanations, 0)
    assert found is not None
    assert np.allclose(np.diag(found.correlation), 1)
    assert np.allclose(found.correlation, found.correlation.T)
    shared = consensus(analysis.explanations, 0)
    assert shared is not None and shared.values.shape == (256, 192)
    assert consensus((), 0) is None and agreement((), 0) is None


@pytest.mark.parametrize("method", ["gradcam", "relevance", "saliency"])
def test_a_region_is_explained_instead_of_a_class(system, case, method):
    wanted = np.zeros((256, 192), bool)
    wanted[60:140, 20:100] = True
    by_region = explain(system, case, (method,), "Invasive", region=wanted).explanations[0]
    by_class = explain(system, case, (method,), "Invasive").explanations[0]
    assert by_region.target == LESION
    assert not np.allclose(by_region.maps[0].values, by_class.maps[0].values)


def test_the_region_score_is_the_sum_of_the_segmentation_there(system, case):
    from engine.trace import RegionTarget

    prepared = system.prepare(case)
    with torch.no_grad(), at_rest(system.network):
        output = system.network(**prepared.inputs)
    regions = torch.zeros_like(output["lesion_map"], dtype=torch.bool)
    regions[:, 2:4, 1:5] = True
    target = RegionTarget(regions, system.segmentation).settled(output)
    assert float(target.scores(output)) == pytest.approx(float(output["lesion_map"][regions].sum()))
    shares = output["lesion_map"].sigmoid()[regions].mean()
    assert float(target.shares(output)) == pytest.approx(float(shares))


def test_a_region_that_holds_nothing_is_refused(system, case):
    with pytest.raises(EmptyMask):
        explain(system, case, ("gradcam",), region=np.zeros((256, 192), bool))
    with pytest.raises(IncompatibleExplainer, match="size of the image"):
        explain(system, case, ("gradcam",), region=np.ones((4, 4), bool))


def test_what_the_model_segments_is_explained_or_said_to_be_empty(system, case):
    prepared = system.prepare(case)
    with torch.no_grad():
        found = bool((system.network(**prepared.inputs)["lesion_map"] > 0).any())
    if found:
        assert explain(system, case, ("gradcam",), region=PREDICTED).explanations
    else:
        with pytest.raises(EmptyMask):
            explain(system, case, ("gradcam",), region=PREDICTED)


def test_the_other_image_is_encoded_once_and_the_answer_is_the_same(system, case):
    session = begin(system, case, "Invasive")
    for stream, name in (("mammography", "mammo_img"), ("pathology", "patho_img")):
        probe = session.probes[stream]
        changed = probe.image.flip(-1)
        with torch.no_grad():
            whole = system.network(**{**session.prepared.inputs, name: changed})
        got = probe.probability(changed)
        assert float(got) == pytest.approx(
            float(whole["classification"].softmax(1)[0, 3]), abs=1e-6
        )


def test_long_work_is_counted_and_can_be_stopped(system, case, analysis):
    seen: list[tuple[int, int]] = []
    measure(
        system, case, analysis.explanations[:1], "Invasive",
        progress=Progress(lambda done, expected: seen.append((done, expected))),
    )  # fmt: skip
    assert seen[-1][0] == seen[-1][1] > 100

    def stop(done: int, expected: int) -> None:
        raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        explain(system, case, ("rise",), progress=Progress(stop))
    with pytest.raises(Cancelled):
        explain(system, case, ("integrated_gradients",), progress=Progress(stop))


def test_a_network_in_use_by_two_threads_comes_back_as_it_was():
    network = torch.nn.Linear(2, 2).train()
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with at_rest(network):
            inside.set()
            leave.wait(5)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(5)
    with at_rest(network):
        assert not network.training
    assert not network.training and not network.weight.requires_grad
    leave.set()
    thread.join()
    assert network.training and network.weight.requires_grad


def test_maps_of_another_question_are_not_measured(system, case, analysis):
    with pytest.raises(IncompatibleExplainer, match="another class"):
        measure(system, case, analysis.explanations, "Benign")
    wanted = np.zeros((256, 192), bool)
    wanted[60:140, 20:100] = True
    lesion = explain(system, case, ("gradcam",), region=wanted).explanations
    with pytest.raises(IncompatibleExplainer, match="one class"):
        measure(system, case, lesion, None)


def test_a_method_without_numbers_does_not_pass_the_sanity_check(system, case, monkeypatch):
    calls: list[int] = []

    def run(trace, **settings):
        calls.append(1)
        grid = torch.rand(1, 8, 8) if len(calls) <= 2 else torch.full((1, 8, 8), float("nan"))
        return dict.fromkeys(trace.images, grid)

    monkeypatch.setitem(EXPLAINERS._parts, "gradcam", replace(EXPLAINERS["gradcam"], run=run))
    found = sanity(system, case, ("gradcam",), "Invasive", stages=2, draws=1)
    assert found.verdicts["gradcam"][0] == "not applicable"
