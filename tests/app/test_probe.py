"""The counterfactual probe: regions as they travel, who may ask, and what the answer says."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput, NotAllowed, NotFound
from app.services import Services
from app.services import probe_tiles as tiles
from app.services import probe_words as words
from app.services.layers import layer
from app.services.probe import Probes
from app.services.probe_mask import MOST_RUNS, box_mask, decode, encode
from app.services.probe_outline import Outliner
from app.services.probe_results import ANSWERS, USERS, Answer, Results
from app.ui.probe import ProbePage
from app.web.probe_routes import probe_routes
from engine.errors import ModelUnavailable
from engine.records import Box, Image, Modality, Prediction, Spacing


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kit = _load("small_model")
ANN, BOB, CHIEF = kit.ANN, kit.BOB, kit.CHIEF


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def small(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.use(monkeypatch, model)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = kit.open_services(tmp_path)
    yield made
    made.close()


@pytest.fixture
def probes(services: Services) -> Probes:
    return Probes(services._context, services.review)


@pytest.fixture
def case(services: Services) -> str:
    return str(services.intake.keep(ANN, kit.small_case(), source="upload"))


def square(services: Services, case: str, image: int = 0) -> tuple[np.ndarray, list[int]]:
    """A region on an image, and how it travels."""
    shown = services.store.case(case).images[image]
    mask = np.zeros((shown.height, shown.width), bool)
    mask[40:80, 30:70] = True
    return mask, encode(mask)


# Regions as they travel


@given(st.data())
def test_what_is_encoded_is_decoded(data: Any) -> None:
    height, width = data.draw(st.integers(1, 6)), data.draw(st.integers(2, 6))
    cells = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(cells).reshape(height, width)
    runs = encode(mask)
    assert sum(runs) == mask.size
    if mask.any() and not mask.all():
        assert np.array_equal(decode(runs, height, width), mask)


@pytest.mark.parametrize(
    "runs, message",
    [
        ([], "Nothing is marked"),
        ([12], "Nothing is marked"),
        (None, "Nothing is marked"),
        ([0, 12], "whole image"),
        ([3, 4], "does not fit"),
        ([3, -1, 10], "does not fit"),
        ([2, 2.0, 8], "does not fit"),
        ([2, True, 9], "does not fit"),
        ([2, "2", 8], "does not fit"),
        ([10**30, 1], "does not fit"),
        ("12", "does not fit"),
        ({"0": 12}, "does not fit"),
        ([0] * (MOST_RUNS + 1), "too many"),
    ],
)
def test_runs_that_are_no_region_are_refused_in_words(runs: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        decode(runs, 3, 4)


def test_a_box_becomes_the_pixels_within_it() -> None:
    mask = box_mask(Box(1, 2, 3, 2), 6, 8)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 3, 1, 3)
    assert box_mask(Box(7.9, 5.9, 0.05, 0.05), 6, 8).sum() == 1
    assert box_mask(Box(-5, -5, 100, 100), 6, 8).all()
    for outside in (Box(20, 0, 3, 3), Box(-9, 0, 3, 3), Box(2, 2, 0, 0)):
        with pytest.raises(InvalidInput, match="outside"):
            box_mask(outside, 6, 8)


# Words


@pytest.mark.parametrize(
    "before, after, end",
    [
        (0.97, 0.41, "falls from 0.97 to 0.41."),
        (0.41, 0.97, "rises from 0.41 to 0.97."),
        (0.97, 0.97, "stays at 0.97."),
        (0.99999, 0.99996, "stays at 1.00."),
        (0.9998, 0.9961, "hardly changes: it was 0.9998 and is now 0.9961."),
    ],
)
def test_the_effect_is_one_sentence(before: float, after: float, end: str) -> None:
    said = words.effect_text("Invasive", before, after, 0.12, "Mammogram")
    start = "Without the marked region (12 % of the mammogram) the probability of Invasive "
    assert said == start + end


def test_small_shares_are_not_said_to_be_nothing() -> None:
    shares = (0.0002, 0.004, 0.0994, 0.0996, 0.5)
    assert [words.share_text(share) for share in shares] == [
        "less than 0.1 %", "0.4 %", "9.9 %", "10 %", "50 %",
    ]  # fmt: skip


def test_every_fill_of_the_engine_is_offered_with_a_sentence() -> None:
    from engine.metrics.baselines import FILLS

    assert set(words.FILLS) == set(FILLS)
    assert all(text.endswith(".") for _, text in words.FILLS.values())


# Pictures


def test_pictures_have_the_true_aspect() -> None:
    pixels = np.zeros((1, 100, 50, 1), np.float32)
    image = Image(pixels, Modality.MRI, "0" * 64, spacing=Spacing(1.0, 4.0))
    assert tiles.size_of(image, 900) == (100, 200)
    assert tiles.size_of(image, 100) == (50, 100)
    assert tiles.size_of(image, 280, enlarge=True) == (140, 280)


def test_the_outline_of_a_region_thinner_than_a_pixel_is_still_drawn() -> None:
    mask = np.zeros((400, 400), bool)
    mask[200, 100:300] = True
    grey = np.full((40, 40, 3), 90, np.uint8)
    drawn = tiles.outlined(grey, mask)
    assert (drawn[20] != 90).any() and (drawn[5] == 90).all()


def test_both_maps_are_drawn_on_one_scale() -> None:
    base = np.full((20, 20, 3), 40, np.uint8)
    strong, weak = np.zeros((20, 20), np.float32), np.zeros((20, 20), np.float32)
    strong[5:10, 5:10], weak[5:10, 5:10] = 1.0, 0.02
    low, high = tiles.common_range([strong, weak])
    hot, cold = (tiles.heated(base, each, low, high) for each in (strong, weak))
    assert (hot[6, 6] != 40).any()
    assert np.array_equal(cold, base)  # on a scale of its own it would look as hot
    assert np.array_equal(tiles.heated(base, weak, *tiles.common_range([])), base)


# The service


def test_the_panel_says_what_can_be_marked(probes: Probes, case: str) -> None:
    value = probes.panel(ANN, case)
    assert [image["title"] for image in value["images"]] == ["Mammogram", "Pathology"]
    assert value["target"] == "Benign" and value["results"] == [] and value["job"] is None
    mammogram = value["images"][0]
    assert mammogram["regions"][0]["label"] == "Lesion of the model"
    assert sum(mammogram["regions"][0]["runs"]) == mammogram["width"] * mammogram["height"]
    by_name = {method["id"]: method for method in value["methods"]}
    assert by_name["relevance"]["chosen"] and not by_name["relevance"]["reason"]
    assert by_name["prototypes"]["reason"].endswith(".")
    assert not value["outline"]["ready"] and "not installed" in value["outline"]["text"]
    assert probes.panel(ANN, case, "Invasive")["target"] == "Invasive"
    assert probes.panel(ANN, case, "segmented lesion")["target"] == "Benign"


def test_removing_a_region_gives_both_answers_with_pictures(
    services: Services, probes: Probes, case: str
) -> None:
    mask, runs = square(services, case)
    value = probes.ask(ANN, case, image=0, mask=runs, fill="black", target="Invasive")
    (answer,) = value["results"]
    assert answer["share"] == pytest.approx(mask.mean())
    assert answer["fill"] == "Black" and answer["target"] == "Invasive"
    stored = services.review.result(
        services.store.case(case), services.models.card()
    ).prediction.probabilities
    for row in answer["rows"]:
        assert row["before"] == pytest.approx(stored[row["name"]], abs=1e-5)
        assert row["difference"] == pytest.approx(row["after"] - row["before"])
    assert sum(row["after"] for row in answer["rows"]) == pytest.approx(1, abs=1e-5)
    assert any(abs(row["difference"]) > 1e-6 for row in answer["rows"])
    assert [row["name"] for row in answer["rows"] if row["target"]] == ["Invasive"]
    assert answer["sentence"].startswith("Without the marked region (")
    addresses = [*answer["pictures"], *(p for m in answer["methods"] for p in m["pictures"])]
    assert len(addresses) == 6
    shown = [_picture(probes, address) for address in addresses]
    assert all(max(each.shape[:2]) == tiles.TILE_SIDE for each in shown)
    scale = shown[1].shape[0] / services.store.case(case).images[0].height
    inside = shown[1][round(44 * scale) : round(76 * scale), round(34 * scale) : round(66 * scale)]
    assert inside.max() <= 2  # black, in the picture after


def _picture(probes: Probes, address: str) -> np.ndarray:
    *_, answer, name = address.split("/")
    data = probes.tile(ANN, answer, int(name.removesuffix(".png"))).data
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


def test_filling_keeps_everything_outside_the_region(
    services: Services, probes: Probes, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import engine.counterfactual

    mask, runs = square(services, case)
    seen: list[Any] = []
    real = engine.counterfactual.without

    def spy(*args: Any, **asked: Any) -> Any:
        seen.append(real(*args, **asked))
        return seen[-1]

    monkeypatch.setattr("engine.counterfactual.without", spy)
    probes.ask(ANN, case, image=0, mask=runs, methods=())
    before, after = services.store.case(case).images[0].pixels, seen[0].case.images[0].pixels
    frame = seen[0].before.prediction.frames[0]
    assert np.array_equal(before[frame][~mask], after[frame][~mask])
    assert not np.array_equal(before[frame][mask], after[frame][mask])


def test_each_question_is_in_the_trail_without_pixels(
    services: Services, probes: Probes, case: str
) -> None:
    _, runs = square(services, case)
    probes.ask(ANN, case, image=0, mask=runs, fill="mean", methods=())
    (row,) = services.store.audit(action="probe")
    assert (row.who, row.object) == ("ann", case)
    assert dict(row.detail) == {"image": 0, "fill": "mean", "permille": 78}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mask": [160 * 128]}, "Nothing is marked"),
        ({"mask": [1, 2, 3]}, "does not fit"),
        ({"fill": "paint"}, "no such way"),
        ({"fill": None}, "no such way"),
        ({"methods": ["nonsense"]}, "cannot be used"),
        ({"methods": ["prototypes"]}, "cannot be used"),
    ],
)
def test_a_bad_question_is_refused_in_words(
    services: Services, probes: Probes, case: str, changes: dict[str, Any], message: str
) -> None:
    _, runs = square(services, case)
    with pytest.raises(InvalidInput, match=message):
        probes.ask(ANN, case, **{"image": 0, "mask": runs, **changes})
    assert services.store.audit(action="probe") == []


def test_too_many_maps_at_once_are_refused(services: Services, probes: Probes, case: str) -> None:
    _, runs = square(services, case)
    able = [m["id"] for m in probes.panel(ANN, case)["methods"] if not m["reason"]]
    assert len(able) > 6
    with pytest.raises(InvalidInput, match="at most 6"):
        probes.ask(ANN, case, image=0, mask=runs, methods=able)


@pytest.mark.parametrize("image", [2, -1, "0", None, True, 0.0])
def test_an_image_that_is_not_there_is_not_found(probes: Probes, case: str, image: Any) -> None:
    with pytest.raises(NotFound, match="no such image"):
        probes.ask(ANN, case, image=image, mask=[1])
    with pytest.raises(NotFound, match="no such image"):
        probes.outline(ANN, case, image=image, box=[1, 1, 5, 5])


def test_a_private_case_and_its_answers_look_like_none_to_others(
    services: Services, probes: Probes, case: str
) -> None:
    _, runs = square(services, case)
    answer = probes.ask(ANN, case, image=0, mask=runs, methods=())["results"][0]["id"]
    calls = (
        lambda user: probes.panel(user, case),
        lambda user: probes.ask(user, case, image=0, mask=runs),
        lambda user: probes.outline(user, case, image=0, box=[1, 1, 5, 5]),
        lambda user: probes.cancel(user, case),
        lambda user: probes.picture(user, case, 0, 0),
    )
    for call in calls:
        with pytest.raises(NotFound, match=r"^There is no such case\.$"):
            call(BOB)
        with pytest.raises(NotAllowed):
            call(None)
    assert probes.tile(ANN, answer, 0).media_type == "image/png"
    for user in (BOB, CHIEF):  # answers belong to who asked, even where the case is seen
        with pytest.raises(NotFound, match="no longer kept"):
            probes.tile(user, answer, 0)
    with pytest.raises(NotAllowed):
        probes.tile(None, answer, 0)
    for number in (-1, 99):
        with pytest.raises(NotFound, match="no longer kept"):
            probes.tile(ANN, answer, number)
    assert probes.panel(CHIEF, case)["results"] == []


def test_a_slow_method_goes_on_in_the_background(
    services: Services, probes: Probes, case: str
) -> None:
    _, runs = square(services, case)
    jobs = services._context.jobs
    value = probes.ask(ANN, case, image=0, mask=runs, methods=["occlusion"])
    job = probes._results.job("ann", case)
    assert value["job"] is not None or value["results"]
    if job is not None:
        jobs.wait(job, 60)
    done = probes.panel(ANN, case)
    assert done["job"] is None and done["problem"] == ""
    assert done["results"][0]["methods"][0]["id"] == "occlusion"


def test_waiting_can_be_ended(
    services: Services, probes: Probes, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    go = threading.Event()

    def slow(*args: Any, progress: Any, **asked: Any) -> Any:
        go.wait(30)
        progress.advance(1)
        raise AssertionError("the computation went on")

    monkeypatch.setattr("engine.counterfactual.without", slow)
    _, runs = square(services, case)
    value = probes.ask(ANN, case, image=0, mask=runs, methods=["occlusion"])
    assert value["job"]["state"] in ("waiting", "running")
    job = value["job"]["id"]
    assert probes.cancel(ANN, case)["job"] is None
    go.set()
    assert services._context.jobs.wait(job, 30).state == "cancelled"
    assert probes.panel(ANN, case)["results"] == []


def test_a_failed_job_says_why(
    services: Services, probes: Probes, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any, **asked: Any) -> Any:
        raise ModelUnavailable("The weights of this model are gone.")

    monkeypatch.setattr("engine.counterfactual.without", fails)
    _, runs = square(services, case)
    value = probes.ask(ANN, case, image=0, mask=runs, methods=["occlusion"])
    if value["job"] is not None:
        services._context.jobs.wait(value["job"]["id"], 30)
        value = probes.panel(ANN, case)
    assert value["problem"] == "The weights of this model are gone."
    assert probes.panel(ANN, case)["problem"] == ""  # said once


def test_only_the_latest_answers_are_kept() -> None:
    results = Results()
    for n in range(ANSWERS + 3):
        results.keep("ann", Answer(f"a{n}", "LB-1", {"n": n}, (layer(b"x"),)))
    assert [a.value["n"] for a in results.of("ann", "LB-1")] == list(range(ANSWERS + 2, 2, -1))
    assert results.find("ann", "a0") is None and results.find("bob", "a8") is None
    for n in range(USERS):
        results.keep(f"user{n}", Answer("b", "LB-1", {}, ()))
    assert results.of("ann", "LB-1") == []


# Boxes


def test_without_weights_a_box_is_used_as_it_is(
    services: Services, probes: Probes, case: str
) -> None:
    found = probes.outline(ANN, case, image=0, box=[30.4, 40, 40, 40.2])["suggestion"]
    image = services.store.case(case).images[0]
    mask = decode(found["runs"], image.height, image.width)
    assert np.array_equal(mask, square(services, case)[0])
    assert "not installed" in found["text"]


@pytest.mark.parametrize(
    "box", [None, [1, 2, 3], [1, 2, 3, "4"], "abcd", [1, 2, 3, 1e12], [1, 2, 3, np.nan]]
)
def test_a_box_that_is_none_is_refused(probes: Probes, case: str, box: Any) -> None:
    with pytest.raises(InvalidInput, match="not complete"):
        probes.outline(ANN, case, image=0, box=box)


def test_weights_that_cannot_be_used_are_named_and_the_box_is_used(
    services: Services, case: str, tmp_path: Path
) -> None:
    wrong = tmp_path / "weights.pth"
    wrong.write_bytes(b"no weights")
    settings = replace(services.settings, medsam=wrong)
    probes = Probes(services._context, services.review, outliner=Outliner(settings))
    assert probes.panel(ANN, case)["outline"]["ready"]
    found = probes.outline(ANN, case, image=0, box=[30, 40, 40, 40])
    assert "A box is used as it is drawn." in found["suggestion"]["text"]
    assert not found["outline"]["ready"]
    assert str(tmp_path) not in found["outline"]["text"]


# Handlers and routes


def test_a_refusal_is_said_in_the_panel_and_each_value_is_new(
    services: Services, probes: Probes, case: str
) -> None:
    page = ProbePage(probes, count(1).__next__)
    assert page.probe(ANN, {})["case"] == ""
    first = page.probe(ANN, {"case": case, "target": "Benign"})
    assert first["problem"] == "" and first["target"] == "Benign"
    event: Any = SimpleNamespace(_data={"case": case, "image": 0, "fill": "mean", "mask": []})
    event._data |= {"target": "Invasive"}
    said = page.remove_region(ANN, event)
    assert said["problem"].startswith("Nothing is marked yet")
    assert said["target"] == "Invasive"
    _, runs = square(services, case)
    event._data |= {"mask": runs, "fill": "mean", "methods": "oops"}
    done = page.remove_region(ANN, event)
    assert done["problem"] == "" and done["results"][0]["methods"] == []
    event._data["box"] = [30, 40, 40, 40]
    assert page.outline_box(ANN, event)["suggestion"]["image"] == 0
    last = page.stop_probe(ANN, event)
    assert last["version"] > done["version"] > said["version"] > first["version"]


def test_pictures_and_values_are_sent_to_who_may_see_them(
    services: Services, probes: Probes, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.probe_routes.user_of", lambda request, services: ANN)
    app = FastAPI()
    app.include_router(probe_routes(services, probes))
    with TestClient(app) as client:
        value = client.get(f"/probe/{case}.json?target=Invasive")
        assert value.json()["target"] == "Invasive"
        assert value.headers["cache-control"] == "no-store"
        sent = client.get(value.json()["images"][0]["picture"])
        assert sent.headers["content-type"] == "image/png"
        assert sent.headers["cache-control"].startswith("private")
        shown = cv2.imdecode(np.frombuffer(sent.content, np.uint8), cv2.IMREAD_COLOR)
        assert shown.shape[:2] == (160, 128)


def test_a_change_of_mind_of_the_model_is_said() -> None:
    def says(benign: float) -> Prediction:
        return Prediction({"Benign": benign, "Invasive": 1 - benign}, "m", "1", "0")

    assert words.turn_text(says(0.2), says(0.3)) == ""
    still = words.turn_text(says(0.2), says(0.3), ["Pathology"])
    assert still == "The model still reads the pathology, which is unchanged."
    said = words.turn_text(says(0.2), says(0.8))
    assert said == "The model would then say Benign instead of Invasive."
