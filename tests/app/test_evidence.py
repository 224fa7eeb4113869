"""The evidence beside every map: computed once, measured in the background, shown to readers."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import gradio as gr
import numpy as np
import pytest

import engine.evidence
import engine.sanity
import engine.workflow
from app.auth import User
from app.errors import InvalidInput, NotAllowed, NotFound
from app.services import Services
from app.services import evidence_tiles as tiles
from app.services.evidence_tiles import Look, look
from app.services.evidence_value import FLAG, number_text
from app.services.evidence_work import portion
from app.services.review import METHODS
from app.store import Store
from app.ui import clinic
from app.ui.shell import unguarded
from engine.errors import UnknownName
from engine.explainers import EXPLAINERS
from engine.metrics.base import scored
from engine.progress import Progress
from engine.records import HeatMap


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kit = _load("small_model")
ANN, BOB, CHIEF = kit.ANN, kit.BOB, kit.CHIEF
QUICK = {name for name, method in EXPLAINERS.items() if not method.slow}
BUSY = ("waiting", "running")
FEW = {"rise": {"masks": 8}}
LOOKS = (Look(), Look(smooth=3.0), Look(native=True), Look(scale="common"))
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def small(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small model, and stores that wait for each other, since jobs write meanwhile."""
    kit.use(monkeypatch, model)
    monkeypatch.setattr(kit, "Store", lambda workspace, url, busy_ms: Store(workspace, url))


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = kit.open_services(tmp_path)
    yield made
    made.close()


@pytest.fixture
def case(services: Services) -> str:
    """A case that everybody sees; nothing of it is computed yet."""
    return services.intake.keep(CHIEF, kit.small_case(), source="upload")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[tuple[Services, str]]:
    """A case whose evidence somebody has looked at, for tests that add nothing to it."""
    with pytest.MonkeyPatch.context() as patch:
        kit.use(patch, model)
        made = kit.open_services(tmp_path_factory.mktemp("opened"))
        name = made.intake.keep(CHIEF, kit.small_case(), source="upload")
        made.evidence.open(ANN, name)
        yield made, name
        made.close()


@pytest.fixture
def drawn(services: Services, case: str) -> str:
    """A case with two maps of "Benign"."""
    services.evidence.run(ANN, case, "Benign", ["gradcam", "rollout"])
    return case


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings that are invented, and so take no time."""

    def sanity(system: Any, case: Any, methods: Any, *args: Any, **options: Any) -> Any:
        heat = HeatMap(0, 0, np.ones((160, 128), np.float32), (8, 8))
        return SimpleNamespace(
            stages=("head",),
            maps=dict.fromkeys(methods, (heat, heat)),
            spearman=dict.fromkeys(methods, (0.98,)),
            verdicts={m: ("fails" if m == "rollout" else "passes", "Why.") for m in methods},
            checks={},
        )

    def measure(system: Any, case: Any, given: Any, *args: Any, **options: Any) -> Any:
        return {each.method: (scored("deletion", 0.5, 3),) for each in given}

    monkeypatch.setattr(engine.sanity, "sanity", sanity)
    monkeypatch.setattr(engine.evidence, "measure", measure)
    monkeypatch.setattr(engine.evidence, "stability", lambda *args, **options: {})


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Methods of each pass of the model."""
    seen: list[tuple[str, ...]] = []
    real = engine.workflow.explain

    def explain(system: Any, case: Any, methods: Any, *args: Any, **options: Any) -> Any:
        seen.append(tuple(methods))
        return real(system, case, methods, *args, **options)

    monkeypatch.setattr(engine.workflow, "explain", explain)
    return seen


def method(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = [m for family in value["families"] for m in family["methods"] if m["id"] == name]
    assert len(found) == 1
    return found[0]


def states(value: dict[str, Any]) -> dict[str, str]:
    return {m["id"]: m["state"] for family in value["families"] for m in family["methods"]}


def settled(services: Services, user: User, case: str, target: str = "Benign") -> dict[str, Any]:
    """Value of the panel once nothing waits or runs."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        value = services.evidence.panel(user, case, target)
        parts = (value["measured"], value["stability"], value["randomisation"])
        if not {*states(value).values(), *(part["state"] for part in parts)} & set(BUSY):
            return value
        time.sleep(0.01)
    raise AssertionError("a computation did not end")


def picture(data: bytes) -> np.ndarray:
    assert data.startswith(PNG)
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[:, :, ::-1]


# Maps


def test_the_first_look_takes_one_pass_and_the_next_none(
    services: Services, case: str, passes: list[tuple[str, ...]]
) -> None:
    before = services.evidence.panel(ANN, case)
    assert passes == [] and before["target"] == ""
    assert set(states(before).values()) == {"ready"}
    first = services.evidence.open(ANN, case)
    assert len(passes) == 1 and set(passes[0]) == QUICK
    assert first["target"] == "Benign" and first["notice"] == "Test model, not for diagnosis."
    found = states(first)
    assert {found[name] for name in QUICK} == {"done", "refused"}
    assert {found[name] for name in (*METHODS, "saliency", "layercam")} == {"done"}
    assert {found[name] for name in ("text_association", "prototypes")} == {"refused"}
    for name, state in found.items():
        assert bool(method(first, name)["reason"]) == (state == "refused"), name
    assert {found[name] for name in EXPLAINERS if name not in QUICK} == {"ready"}
    assert "text" in method(first, "text_association")["reason"]
    for user in (ANN, BOB):
        assert services.evidence.open(user, case, "benign") == first
        assert services.evidence.panel(user, case) == first
    review = services.review.open(BOB, case)
    assert review.target == "Benign" and len(passes) == 1
    services.evidence.open(ANN, case, "Invasive")
    assert len(passes) == 2 and set(passes[1]) == QUICK


def test_maps_of_the_review_are_not_computed_again(
    services: Services, case: str, passes: list[tuple[str, ...]]
) -> None:
    services.review.open(ANN, case)
    assert passes == [METHODS]
    services.evidence.open(ANN, case)
    assert len(passes) == 2 and set(passes[1]) == QUICK - set(METHODS)


def test_readers_who_look_at_once_share_one_pass(
    services: Services, case: str, passes: list[tuple[str, ...]]
) -> None:
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(lambda n: services.evidence.open(ANN, case), range(6)))
    assert len(passes) == 1 and all(value == values[0] for value in values)


def test_the_value_says_all_that_the_panel_shows(opened: tuple[Services, str]) -> None:
    services, case = opened
    value = services.evidence.panel(ANN, case)
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert set(value) >= {
        "version", "case", "model", "notice", "target", "targets", "images", "families",
        "consensus", "agreement", "regions", "metrics", "stability", "measured", "randomisation",
    }  # fmt: skip
    assert value["targets"] == [*kit.CLASSES, "segmented lesion"]
    assert [image["title"] for image in value["images"]] == ["Mammogram", "Pathology"]
    assert [family["id"] for family in value["families"]][:2] == ["attention", "relevance"]
    gradcam = method(value, "gradcam")
    assert gradcam["title"] == "Grad-CAM" and not gradcam["slow"] and gradcam["seconds"] > 0
    assert gradcam["settings"] == gradcam["defaults"] == {"layers": None}
    assert [heat["image"] for heat in gradcam["maps"]] == [0, 1]
    assert gradcam["maps"][0]["grid"] == [8, 8]
    voices = [m for m in EXPLAINERS if states(value)[m] == "done"]
    heard = [m for m in voices if method(value, m)["maps"][0]["localised"]]
    assert value["consensus"][0]["methods"] == len(heard) == len(value["agreement"][0]["methods"])
    rank = np.asarray(value["agreement"][0]["rank"], dtype=float)
    assert np.allclose(np.diag(rank), 1) and np.allclose(rank, rank.T)
    table = value["regions"][0]
    assert table["kind"] == "model" and {row["method"] for row in table["rows"]} == set(heard)
    assert {"reference", "model"} >= {entry["kind"] for entry in value["regions"]}
    assert all(0 <= row["share"] <= 1 and row["text"] for row in table["rows"])
    assert value["measured"] == value["stability"] == {"state": "none", "job": None}


# Slow methods


def test_a_slow_method_is_computed_once_in_the_background(
    services: Services, case: str, passes: list[tuple[str, ...]]
) -> None:
    services.evidence.open(ANN, case)
    value = services.evidence.run(ANN, case, "Benign", ["occlusion"])
    entry = method(value, "occlusion")
    assert entry["state"] in (*BUSY, "done")
    entry = method(settled(services, ANN, case), "occlusion")
    assert entry["state"] == "done" and entry["maps"] and entry["job"] is None
    assert passes[1:] == [("occlusion",)]
    for user in (ANN, BOB):
        again = services.evidence.run(user, case, "Benign", ["occlusion", "gradcam"])
        assert method(again, "occlusion") == entry
    assert len(passes) == 2
    asked = [e for e in services.store.audit(50) if e.action == "explain"]
    assert {e.detail["method"] for e in asked} == {"occlusion", "gradcam"}


def test_other_settings_are_another_map_and_the_old_one_is_kept(
    services: Services, case: str, passes: list[tuple[str, ...]]
) -> None:
    usual = method(services.evidence.open(ANN, case), "rollout")
    other = {"rollout": {"head_fusion": "max"}, **FEW}
    services.evidence.run(ANN, case, "Benign", ["rollout", "rise"], other)
    value = settled(services, ANN, case)
    changed = method(value, "rollout")
    assert changed["settings"]["head_fusion"] == "max" and changed["state"] == "done"
    assert changed["explanation"] != usual["explanation"]
    assert method(value, "rise")["settings"]["masks"] == 8
    assert method(value, "rise")["defaults"]["masks"] > 8
    count = len(passes)
    assert method(services.evidence.panel(BOB, case), "rollout") == usual
    back = services.evidence.run(ANN, case, "Benign", ["rollout"])
    assert method(back, "rollout") == usual and len(passes) == count
    opened = services.review.open(ANN, case)
    shown = {e["id"].split("-")[0] for e in opened.viewer["layers"] if e["method"] == "rollout"}
    assert shown == {str(usual["explanation"])} and len(passes) == count


@pytest.mark.parametrize(
    ("names", "settings", "error"),
    [
        (["magic"], None, UnknownName),
        (["rise"], {"rise": {"magic": 1}}, UnknownName),
        (["rise"], {"rise": {"masks": "many"}}, InvalidInput),
        (["rise"], {"rise": {"masks": 1.5}}, InvalidInput),
        (["rise"], {"rise": {"masks": 10**9}}, InvalidInput),
        (["rise"], {"rise": {"masks": True}}, InvalidInput),
        (["rise"], {"rise": {"keep": float("nan")}}, InvalidInput),
        (["occlusion"], {"occlusion": {"window": [1, 2]}}, InvalidInput),
        (["occlusion"], {"occlusion": 3}, InvalidInput),
        (["rollout"], ["rollout"], InvalidInput),
        (["rollout"], {"rollout": {"head_fusion": "magic"}}, Exception),
    ],
)
def test_what_cannot_be_asked(
    opened: tuple[Services, str], names: list[str], settings: Any, error: type[Exception]
) -> None:
    services, case = opened
    with pytest.raises(error):
        services.evidence.run(ANN, case, "Benign", names, settings)
    assert not set(names) & {r.method for r in services.store.explanations(case)} - QUICK
    assert not services.store.audit(1, action="explain")


def test_a_method_that_fails_says_why(services: Services, case: str) -> None:
    services.evidence.run(ANN, case, "Benign", ["occlusion"], {"occlusion": {"baseline": "magic"}})
    entry = method(settled(services, ANN, case), "occlusion")
    assert entry["state"] == "failed" and entry["reason"] and entry["explanation"] is None
    services.evidence.run(ANN, case, "Benign", ["occlusion"])
    assert method(settled(services, ANN, case), "occlusion")["state"] == "done"


class Slow:
    """Makes one method take until it is let go; evaluations go on meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.begun, self.go = Event(), Event()
        real = engine.workflow.explain

        def explain(system: Any, case: Any, methods: Any, *args: Any, **options: Any) -> Any:
            if tuple(methods) == (name,):
                progress = options["progress"]
                progress.expect(1000)
                self.begun.set()
                while not self.go.wait(0.005):
                    progress.advance(1)
            return real(system, case, methods, *args, **options)

        monkeypatch.setattr(engine.workflow, "explain", explain)


def test_whoever_waits_at_a_page_goes_before_the_background(
    services: Services, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.evidence.panel(ANN, case)
    slow = Slow(monkeypatch, "rise")
    services.evidence.run(ANN, case, "Benign", ["rise"], FEW)
    assert slow.begun.wait(20)
    opened = services.review.open(BOB, case, "In situ")
    assert opened.target == "In situ" and opened.viewer["layers"]
    entry = method(services.evidence.panel(ANN, case), "rise")
    assert entry["state"] == "running" and 0 < entry["job"]["share"] < 1
    assert entry["job"]["left_s"] > 0 and entry["settings"]["masks"] == 8
    slow.go.set()
    assert method(settled(services, ANN, case), "rise")["state"] == "done"


def test_a_computation_is_cancelled_by_who_asked_for_it(
    services: Services, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.evidence.panel(ANN, case)
    slow = Slow(monkeypatch, "rise")
    job = method(services.evidence.run(ANN, case, "Benign", ["rise"], FEW), "rise")["job"]
    assert slow.begun.wait(20)
    assert method(services.evidence.panel(BOB, case), "rise")["state"] == "ready"
    with pytest.raises(NotFound):
        services.evidence.cancel(BOB, case, "Benign", job["id"])
    services.evidence.cancel(ANN, case, "Benign", job["id"])
    entry = method(settled(services, ANN, case), "rise")
    assert entry["state"] == "cancelled" and entry["explanation"] is None
    slow.go.set()
    services.evidence.run(ANN, case, "Benign", ["rise"], FEW)
    assert method(settled(services, ANN, case), "rise")["state"] == "done"


# Findings


def test_maps_are_measured_once(
    services: Services, drawn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.evidence, "STEPS", 4)
    case = drawn
    services.evidence.measure(ANN, case, "Benign")
    value = settled(services, ANN, case)
    assert value["measured"]["state"] == "done"
    scores = method(value, "gradcam")["scores"]
    named = {score["metric"] for score in scores}
    assert {"deletion", "insertion", "pointing_game", "energy_pointing_game"} <= named
    deletion = next(score for score in scores if score["metric"] == "deletion")
    assert deletion["title"] == "Deletion, Mammogram" and deletion["better"] == "lower"
    assert deletion["n"] > 0 and deletion["unit"] and 0 <= deletion["value"] <= 1
    assert deletion["text"] == f"{deletion['value']:.2f}"
    target = value["target"]
    digest = services.models.card().weights_digest
    kept = services.store.evidence_rows(case, digest, target)
    again = services.evidence.measure(BOB, case, "Benign")
    assert again["measured"]["state"] == "done" and method(again, "gradcam")["scores"] == scores
    services.evidence.run(ANN, case, "Benign", ["rollout"], {"rollout": {"head_fusion": "min"}})
    value = services.evidence.panel(ANN, case)
    assert value["measured"]["state"] == "none" and method(value, "rollout")["scores"] == []
    services.evidence.measure(ANN, case, "Benign")
    value = settled(services, ANN, case)
    assert value["measured"]["state"] == "done" and method(value, "rollout")["scores"]
    assert len(services.store.evidence_rows(case, digest, target)) == len(kept) + 1


def test_random_weights_leave_the_model_as_it_was(services: Services, drawn: str) -> None:
    before = services.models.run(lambda system: _weights(system))
    maps = method(services.evidence.panel(ANN, drawn, "Benign"), "gradcam")["maps"]
    services.evidence.randomise(ANN, drawn, "Benign")
    value = settled(services, ANN, drawn)
    test = value["randomisation"]
    assert test["state"] == "done" and len(test["stages"]) > 1 and test["note"]
    assert [entry["id"] for entry in test["methods"]] == ["gradcam", "rollout"]
    for entry in test["methods"]:
        assert len(entry["tiles"]) == len(test["stages"]) + 1
        assert len(entry["spearman"]) == len(test["stages"])
        assert entry["verdict"] in ("passes", "fails") and entry["text"]
        assert method(value, entry["id"])["flag"] == (FLAG if entry["verdict"] == "fails" else "")
        named = {score["metric"] for score in method(value, entry["id"])["scores"]}
        assert named == {"randomisation"}
    assert services.models.run(lambda system: _weights(system)) == before
    assert method(value, "gradcam")["maps"] == maps
    number = test["methods"][1]["tiles"][0].split("/")[3]
    show = services.evidence.sanity
    first = picture(show(BOB, number, "rollout", 0).data)
    last = picture(show(BOB, number, "rollout", len(test["stages"])).data)
    assert first.shape == last.shape and max(first.shape) == tiles.SIDE
    assert not np.array_equal(first, last)
    row, content = services.store.evidence(int(number))
    assert row.kind == "sanity" and len(content["maps"][0]["grid"]) == tiles.GRID_SIDE
    wrong = ((number, "gradcam", 0), (number, "rollout", 99), ("999", "rollout", 0), ("x", "", 0))
    for place in wrong:
        with pytest.raises(NotFound, match="no such evidence"):
            show(ANN, *place)


def _weights(system: Any) -> list[float]:
    return [float(values.double().sum()) for values in system.network.state_dict().values()]


def test_a_map_that_ignores_the_weights_is_flagged(
    services: Services, drawn: str, light: None
) -> None:
    services.evidence.randomise(ANN, drawn, "Benign")
    assert services.store.audit(1)[0].action == "randomise"
    value = settled(services, ANN, drawn)
    assert {n: method(value, n)["flag"] for n in ("gradcam", "rollout")} == {
        "gradcam": "", "rollout": FLAG,
    }  # fmt: skip
    services.evidence.run(ANN, drawn, "Benign", ["rollout"], {"rollout": {"head_fusion": "max"}})
    value = services.evidence.panel(ANN, drawn, "Benign")
    assert method(value, "rollout")["flag"] == ""  # this map was not tested
    assert value["randomisation"]["state"] == "done"


def test_stability_is_scored(services: Services, drawn: str) -> None:
    services.evidence.stability(ANN, drawn, "Benign")
    value = settled(services, ANN, drawn)
    assert value["stability"]["state"] == "done"
    named = {score["metric"] for score in method(value, "gradcam")["scores"]}
    families = {m["id"]: m["family"] for m in value["metrics"]}
    assert named and {families[name] for name in named} == {"stability"}


def test_only_maps_of_classes_are_examined(opened: tuple[Services, str]) -> None:
    services, case = opened
    evidence = services.evidence
    for call in (evidence.measure, evidence.stability, evidence.randomise):
        with pytest.raises(InvalidInput, match="no map to examine"):
            call(ANN, case, "Invasive")
        with pytest.raises(InvalidInput, match="classes only"):
            call(ANN, case, "Segmented lesion")


def test_a_target_that_cannot_be_explained_is_tried_once(
    services: Services, case: str, passes: list[tuple[str, ...]]
) -> None:
    services.evidence.open(ANN, case)
    value = services.evidence.open(ANN, case, "segmented lesion")
    assert value["target"] == "segmented lesion" and set(states(value).values()) == {"refused"}
    assert "nothing was segmented" in method(value, "rollout")["reason"]
    assert len(passes) == 2
    assert services.evidence.open(BOB, case, "Segmented Lesion") == value
    services.evidence.run(ANN, case, "segmented lesion", ["rise"])
    assert len(passes) == 2
    strange = services.evidence.open(ANN, case, "<script>")
    assert "Invasive" in strange["notice"] and strange["families"] == []


def test_the_segmented_lesion_is_asked_of_the_engine(
    services: Services, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, Any]] = []
    real = engine.workflow.explain

    def explain(system: Any, case: Any, methods: Any, target: Any = None, **options: Any) -> Any:
        asked.append((target, options.pop("region", None)))
        return real(system, case, methods, target, **options)

    monkeypatch.setattr(engine.workflow, "explain", explain)
    services.evidence.open(ANN, case, "segmented lesion")
    assert asked == [(None, "predicted")]


def test_a_case_that_the_model_cannot_read(services: Services) -> None:
    from dataclasses import replace

    whole = kit.small_case()
    slide = services.intake.keep(CHIEF, replace(whole, images=whole.images[1:]), source="upload")
    value = services.evidence.open(ANN, slide)
    assert value["problem"] and value["notice"] == value["problem"] and value["families"] == []


# Pictures


def test_tiles_have_one_size_and_each_its_look(opened: tuple[Services, str]) -> None:
    services, case = opened
    value = services.evidence.panel(ANN, case)
    plain = picture(services.evidence.picture(ANN, case, 0).data)
    assert plain.shape[:2] == (448, 358)
    number = str(method(value, "gradcam")["explanation"])
    made = [services.evidence.tile(ANN, number, 0, each) for each in LOOKS]
    assert len({layer.etag for layer in made}) == len(LOOKS)
    for layer in made:
        assert layer.media_type == "image/png" and picture(layer.data).shape == plain.shape
        assert not np.array_equal(picture(layer.data), plain)
    assert services.evidence.tile(BOB, number, 0, Look()) is made[0]
    joint = services.evidence.consensus(ANN, case, 0, "Benign", Look())
    assert picture(joint.data).shape == plain.shape
    flat = str(method(value, "attention_gradcam")["explanation"])
    assert np.array_equal(picture(services.evidence.tile(ANN, flat, 0, Look()).data), plain)
    for bad in ((number, 7), (number, -1), ("-1", 0), ("x", 0), ("9" * 19, 0)):
        with pytest.raises(NotFound):
            services.evidence.tile(ANN, *bad, Look())
    for image in (-1, 2):
        with pytest.raises(NotFound):
            services.evidence.picture(ANN, case, image)
        with pytest.raises(NotFound):
            services.evidence.consensus(ANN, case, image, "Benign", Look())


def test_words_of_an_address() -> None:
    assert look() == Look() and look("0", "0", "own") == Look()
    assert look("2.5", "1", "common") == Look(2.5, True, "common")
    for words in (("x", "", ""), ("-1", "", ""), ("nan", "", ""), ("1e9", "", ""),
                  ("", "2", ""), ("", "", "rank")):  # fmt: skip
        with pytest.raises(InvalidInput):
            look(*words)


def test_cells_lie_where_the_grid_lies() -> None:
    values = np.repeat(np.repeat(np.arange(6.0, dtype=np.float32).reshape(2, 3), 20, 0), 10, 1)
    assert np.array_equal(tiles.cells(values, (2, 3), None, (40, 30)), values)
    assert np.array_equal(tiles.cells(values, (2, 3), (0, 0, 40, 30), (4, 3)), values[::10, ::10])
    partly = tiles.cells(values, (1, 1), (0, 10, 20, 10), (40, 30))
    assert np.all(partly == 1.0)
    beyond = tiles.cells(values, (4, 3), (-20, 0, 80, 30), (40, 30))
    assert np.array_equal(beyond, values)


def test_ranks_cover_the_hotter_half() -> None:
    values = np.arange(101, dtype=np.float32)[None] ** 3
    ranks = tiles.ranked(values)
    assert ranks[0, :51].max() == 0 and ranks[0, -1] == 1
    assert ranks[0, 75] == pytest.approx(0.5)
    assert np.array_equal(tiles.ranked(values * 7 - 3), ranks)


def test_values_below_zero_stay_clear_on_signed_maps() -> None:
    base = np.full((4, 4, 3), 100, np.uint8)
    values = np.full((4, 4), -1.0, np.float32)
    values[0, 0], values[3, 3] = 5.0, -0.2
    for scale in tiles.SCALES:
        drawn = tiles.heated(base, values, signed=True, scale=scale)
        changed = np.argwhere((drawn != base).any(2)).tolist()
        assert changed == [[0, 0]]
    unsigned = tiles.heated(base, values, signed=False, scale="common")
    assert (unsigned[3, 3] != 100).any()


def test_smoothing_keeps_its_size_in_millimetres() -> None:
    image = kit.small_case().images[0]
    point = np.zeros(tiles.tile_size(image), np.float32)
    point[140, 112] = 1.0
    spread = tiles.smoothed(point, image, 4.0)
    rows = (np.arange(len(spread)) - 140.0) ** 2
    sigma = float(np.sqrt((spread.sum(1) * rows).sum() / spread.sum()))
    assert image.spacing is not None
    wanted = 4.0 / image.spacing.row_mm * len(spread) / image.height
    assert sigma == pytest.approx(wanted, rel=0.05)
    assert tiles.smoothed(point, image, 0.0) is point


def test_numbers_as_they_are_read() -> None:
    texts = {None: "–", 0.0: "0.00", 0.414: "0.41", -1.5: "-1.50", 0.004: "0.004",
             250.4: "250", 2e-6: "2e-06"}  # fmt: skip
    assert {number: number_text(number) for number in texts} == texts


def test_a_part_moves_the_whole_by_its_weight() -> None:
    told: list[tuple[int, int]] = []
    whole = Progress(lambda done, expected: told.append((done, expected)))
    whole.expect(100)
    part, finish = portion(whole, 60)
    part.advance(5)
    assert whole.done == 0
    part.expect(10)
    part.expect(10)
    for _ in range(4):
        part.advance(5)
    finish()
    rest, end = portion(whole, 40)
    rest.advance(1)
    end()
    assert whole.done == 100 and [done for done, _ in told] == sorted(done for done, _ in told)


# Who may see what


CALLS: dict[str, Callable[[Services, User | None, str], Any]] = {
    "open": lambda s, user, case: s.evidence.open(user, case),
    "panel": lambda s, user, case: s.evidence.panel(user, case),
    "run": lambda s, user, case: s.evidence.run(user, case, None, []),
    "measure": lambda s, user, case: s.evidence.measure(user, case, None),
    "stability": lambda s, user, case: s.evidence.stability(user, case, None),
    "randomise": lambda s, user, case: s.evidence.randomise(user, case, None),
    "picture": lambda s, user, case: s.evidence.picture(user, case, 0),
    "consensus": lambda s, user, case: s.evidence.consensus(user, case, 0, None, Look()),
}


def test_a_private_case_looks_like_none_to_others(services: Services, light: None) -> None:
    mine = services.intake.keep(ANN, kit.small_case(), source="upload")
    services.evidence.run(ANN, mine, "Benign", ["rollout"])
    for call in CALLS.values():
        for user, case in ((BOB, mine), (BOB, "LB-none"), (ANN, "LB-none")):
            with pytest.raises(NotFound, match=r"^There is no such case\.$"):
                call(services, user, case)
        with pytest.raises(NotAllowed):
            call(services, None, mine)
        call(services, ANN, mine)
        call(services, CHIEF, mine)
    with pytest.raises(NotFound):
        services.evidence.cancel(BOB, mine, None, "x")
    settled(services, ANN, mine)
    number = str(services.store.explanations(mine)[0].id)
    digest = services.models.card().weights_digest
    rows = services.store.evidence_rows(mine, digest, "Benign")
    found = str(next(row.id for row in rows if row.kind == "sanity"))
    for user in (BOB, None):
        with pytest.raises((NotFound, NotAllowed)):
            services.evidence.tile(user, number, 0, Look())
        with pytest.raises((NotFound, NotAllowed)):
            services.evidence.sanity(user, found, "rollout", 0)
    bare = {
        name
        for name in dir(services.evidence)
        if not name.startswith("_")
        and not hasattr(getattr(services.evidence, name), "required_role")
    }
    assert bare == set()


# Review


def test_a_map_that_is_asked_for_is_shown_in_the_review(services: Services, case: str) -> None:
    services.evidence.run(ANN, case, "Benign", ["occlusion"])
    settled(services, ANN, case)
    usual = services.review.open(ANN, case)
    assert {e["method"] for e in usual.viewer["layers"]} == set(METHODS)
    asked = services.review.open(ANN, case, "Benign", "occlusion")
    assert asked.method == "occlusion"
    layers = asked.viewer["layers"]
    assert {e["method"] for e in layers if e["visible"]} == {"occlusion"}
    assert {e["method"] for e in layers} == {*METHODS, "occlusion"}
    assert [m["id"] for m in asked.findings["methods"]] == [*METHODS, "occlusion"]
    assert services.review.preview(ANN, case, "Benign", "occlusion") == asked.viewer
    form = services.ratings.form(ANN, case, method="occlusion", target="Benign")
    assert [m["id"] for m in form["methods"]] == [*METHODS, "occlusion"]
    elsewhere = services.review.open(ANN, case, "Invasive", "occlusion")
    assert elsewhere.method in METHODS


# Store


def test_an_older_database_gains_the_evidence(tmp_path: Path) -> None:
    from alembic import command

    from app.store.migrate import config_for

    with Store(tmp_path) as store:
        kept = store.keep_case(kit.small_case(), owner="ann", source="upload", thumbnail=None,
                               shared=False)  # fmt: skip
        with store._writers.begin() as connection:
            command.downgrade(config_for(connection), "0001")
    with Store(tmp_path) as store:
        facts = {"weights_digest": "d" * 64, "target": "Benign", "method": "rise", "key": "k" * 64}
        assert store.evidence_rows(kept, "d" * 64, "Benign") == []
        first = store.keep_evidence(kept, kind="scores", content={"scores": [1.5]}, **facts)
        second = store.keep_evidence(kept, kind="sanity", content={"maps": []}, **facts)
        rows = store.evidence_rows(kept, "d" * 64, "Benign")
        assert [(row.id, row.kind) for row in rows] == [(second, "sanity"), (first, "scores")]
        assert store.evidence(first) == (rows[1], {"scores": [1.5]})
        assert store.evidence_rows(kept, "d" * 64, "Normal") == []
        with pytest.raises(InvalidInput):
            store.keep_evidence(kept, kind="magic", content={}, **facts)
        with pytest.raises(InvalidInput):
            store.keep_evidence(kept, kind="scores", content={"x": float("nan")}, **facts)
        with pytest.raises(NotFound):
            store.keep_evidence("LB-none", kind="scores", content={}, **facts)
        with pytest.raises(NotFound):
            store.evidence(999)


# Page and routes


def event(**data: Any) -> Any:
    return SimpleNamespace(_data=data)


def test_the_tab_answers_what_readers_do(services: Services, case: str, light: None) -> None:
    page = clinic._Page(services)
    tab = clinic.EvidencePage(services, page.stamp)
    assert tab.evidence(ANN, {})["case"] == ""
    value = tab.evidence(ANN, {"case": case, "target": "Benign", "method": "gradcam"})
    assert value["case"] == case and value["target"] == "Benign"
    seen = {"case": case, "target": "Benign"}
    stamps = [value["version"]]
    for call in (
        lambda: tab.run_methods(ANN, event(methods=["rise"], settings=FEW, **seen)),
        lambda: tab.measure(ANN, event(**seen)),
        lambda: tab.test_stability(ANN, event(**seen)),
        lambda: tab.randomise(ANN, event(**seen)),
        lambda: tab.evidence_target(ANN, event(name="Invasive", **seen)),
    ):
        made = call()
        stamps.append(made["version"])
    assert made["target"] == "Invasive" and len(set(stamps)) == len(stamps)
    running = services.evidence.panel(ANN, case, "Benign")["randomisation"]["job"]
    if running is not None:
        tab.cancel_job(ANN, event(job=running["id"], **seen))
    settled(services, ANN, case)
    viewer, _, form, current, _ = page.show_map(ANN, event(method="rise", **seen))
    assert current == {"case": case, "target": "Benign", "method": "rise"}
    assert {e["method"] for e in viewer["layers"] if e["visible"]} == {"rise"}
    assert form["method"] == "rise"


def test_the_tab_is_built_and_guarded(services: Services) -> None:
    async def build() -> gr.Blocks:
        return clinic.build(services)

    demo = asyncio.run(build())
    named = {b.fn.__name__ for b in demo.fns.values() if b.fn is not None}
    assert named >= {
        "evidence", "evidence_target", "run_methods", "cancel_job", "measure", "test_stability",
        "randomise", "show_map",
    }  # fmt: skip
    assert unguarded(demo) == []


def test_routes_send_the_value_and_the_pictures(tmp_path: Path) -> None:
    from app.web.server import create_app

    services = kit.open_services(tmp_path)
    try:
        people = _load("web_world")
        people.with_people(services)
        bob = services.user("bob")
        case = services.intake.keep(bob, kit.small_case(), source="upload")
        value = services.evidence.run(bob, case, "Benign", ["gradcam", "rollout"])
        app = create_app(services, ())
        client, stranger = people.browser(app), people.browser(app)
        assert people.sign_in(client, "bob").status_code == 303
        sent = client.get(f"/evidence/{case}.json", params={"target": "Benign"})
        assert sent.json() == value and sent.headers["cache-control"] == "no-store"
        tile = method(value, "gradcam")["maps"][0]["tile"]
        paths = [tile, value["images"][0]["tile"], value["consensus"][0]["tile"]]
        for path in paths:
            got = client.get(path)
            assert got.status_code == 200 and got.headers["content-type"] == "image/png"
            assert got.headers["cache-control"].startswith("private, max-age=")
            same = client.get(path, headers={"if-none-match": got.headers["etag"]})
            assert same.status_code == 304
            assert stranger.get(path).status_code == 401
        drawn = client.get(f"{tile}&smooth=2&scale=common")
        assert drawn.content != client.get(tile).content
        assert client.get(f"{tile}&smooth=far").status_code == 422
        assert client.get("/evidence/sanity/1/rollout/0.png").status_code == 404
        assert client.get("/evidence/LB-none.json").status_code == 404
        assert stranger.get(f"/evidence/{case}.json").status_code == 401
    finally:
        services.close()
