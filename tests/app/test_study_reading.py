"""The reading room: blind in every value it gives, in order, and open to one reader only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.errors import InvalidInput, NotAllowed, NotFound, StaleRecord
from app.services import Services
from app.services.reading import ReadingRoom
from app.services.reading_item import NO_MAP
from app.store.study_submit import HANDED_IN
from engine.explainers import EXPLAINERS
from engine.study.forms import FORMS
from engine.study.records import ArmKind, Order, Protocol
from tests.app import small_model as kit
from tests.app import study_world as sw
from tests.app.study_world import StudyWorld, study_world

ANN, BOB, CLEO = sw.READERS
ALL_ARMS = (sw.IMAGE, sw.PREDICTION, sw.GRADCAM, sw.ROLLOUT, sw.RANDOM, sw.CENTRE, sw.OTHER_CLASS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def shared(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyWorld]:
    """One workspace for all tests; each opens a study of its own."""
    with pytest.MonkeyPatch.context() as patch:
        kit.use(patch, model)
        with study_world(tmp_path_factory.mktemp("workspace"), 4) as made:
            yield made


@pytest.fixture
def world(shared: StudyWorld) -> Iterator[StudyWorld]:
    """The workspace; afterwards nobody reads blind any more."""
    yield shared
    store = shared.services.store
    for study in store.studies():
        if study.state == "open":
            shared.services.studies.lock(sw.ORGANISER, study.id)


def texts(value: Any) -> Iterator[str]:
    """Every text in a value, keys included."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


def everything_told(world: StudyWorld, reader: Any, code: str) -> tuple[list[Any], list[str]]:
    """All values and digests that one reader gets while reading a whole study."""
    room, told, etags = world.services.reading, [], []
    told.append(room.studies(reader))
    told.append(room.room(reader, code))
    token = told[-1]["next"]
    while token is not None:
        item = room.item(reader, token)
        told.append(item)
        for n, image in enumerate((item["viewer"] or {"images": []})["images"]):
            etags.append(room.image(reader, token, n, image["frame"]).etag)
        for n, _ in enumerate((item["viewer"] or {"layers": []})["layers"]):
            etags.append(room.heat(reader, token, n).etag)
        told.append(room.save_draft(reader, token, 1, {}, "tab"))
        told.append(world.submit(reader, token, 3))
        told.append(room.item(reader, token))
        token = told[-2]["next"]
    told.append(room.room(reader, code))
    return told, etags


def test_nothing_given_to_a_reader_tells_case_method_arm_truth_repeat_or_others(
    world: StudyWorld,
) -> None:
    cases = world.cases[:2]
    design = sw.protocol(cases, arms=ALL_ARMS, repeats=2, repeat_gap=2)
    number, code = world.opened(design)
    store = world.services.store
    labels = {store.case(case).truth.label for case in cases}  # type: ignore[union-attr]
    shown = {output.leading for output in store.outputs(number).values()}
    secret = {*cases, *store.study_codes(number).values(), *(labels - shown)}
    secret |= {arm.id for arm in ALL_ARMS} - {"image", "prediction"}
    secret |= {arm.title for arm in ALL_ARMS}
    secret |= set(EXPLAINERS) | {m.title for m in EXPLAINERS.values()}
    secret |= {kind.value for kind in ArmKind} - {"image", "prediction"}
    secret |= {"decoy", "random", "other_class", "edges", "replicate", "truth", "R01"}
    secret |= {reader.name for reader in sw.READERS[1:]} | {"R02", "R03", sw.ORGANISER.name}
    secret |= {output.weights_digest[:12] for output in store.outputs(number).values()}
    secret |= {image.digest[:12] for case in cases for image in store.case(case).images}
    told, etags = everything_told(world, ANN, code)
    assert len(told) > 40
    words = " ".join(texts(told)).casefold()
    for word in secret:
        assert not re.search(rf"(?<![a-z0-9]){re.escape(word.casefold())}(?![a-z0-9])", words), word
    mine = {row.token for row in store.standing("ann", code).readings}
    others = {row.token for row in store.study_plan(number)} - mine
    assert not others & set(texts(told))
    assert len(set(etags)) == len(etags)


def test_items_of_all_arms_have_one_shape(world: StudyWorld) -> None:
    """But for an image on which a method finds nothing, which is said in the same words for all."""
    _, code = world.opened(sw.protocol(world.cases[:1], arms=ALL_ARMS[2:]))
    room, shapes = world.services.reading, set()
    token = world.next(ANN, code)
    while token is not None:
        item = room.item(ANN, token)
        own = ("id", "url", "label", "localised", "max", "reason")
        layers = item["viewer"]["layers"]
        facts = [{key: v for key, v in each.items() if key not in own} for each in layers]
        for each in layers:  # a map may lack on one image, which is said in the same words for all
            said = (each["localised"], each["max"], each["reason"])
            assert said in ((True, 1.0, ""), (False, 0.0, NO_MAP))
        sizes = [len(room.heat(ANN, token, n).data) for n, _ in enumerate(facts)]
        shapes.add(json.dumps([facts, sizes, item["questions"], item["prediction"]]))
        token = world.submit(ANN, token)["next"]
    assert len(shapes) == 1


def test_a_reader_gets_nothing_of_another_reader(world: StudyWorld) -> None:
    number, code = world.opened(sw.protocol(world.cases, arms=(sw.IMAGE,), readers=(ANN, BOB)))
    token = world.next(ANN, code)
    assert token is not None
    world.submit(ANN, token, 4, comment="mine alone")
    calls = calls_of(world.services, code, token)
    for who in (BOB, CLEO, sw.ORGANISER, sw.CHIEF):
        for name, call in calls.items():
            if name in ("room", "take_break", "resume") and who is BOB:
                continue
            with pytest.raises(NotFound):
                call(who)
    for who in (None, sw.OBSERVER):
        for call in calls.values():
            with pytest.raises(NotAllowed):
                call(who)
    told, _ = everything_told(world, BOB, code)
    assert "mine alone" not in json.dumps(told) and token not in json.dumps(told)
    assert world.services.reading.studies(CLEO)[0]["code"] != code
    assert world.services.store.study(number).state == "open"


def calls_of(services: Services, code: str, token: str) -> dict[str, Callable[[Any], Any]]:
    """Every call of the reading room that names a study or a reading."""
    room = services.reading
    return {
        "room": lambda who: room.room(who, code),
        "item": lambda who: room.item(who, token),
        "draft": lambda who: room.save_draft(who, token, 5, {}, "t"),
        "submit": lambda who: room.submit(who, token, "k", sw.scores(3, ["trust"])),
        "event": lambda who: room.event(who, token, "shown"),
        "image": lambda who: room.image(who, token, 0, 0),
        "heat": lambda who: room.heat(who, token, 0),
        "take_break": lambda who: room.take_break(who, code),
        "resume": lambda who: room.resume(who, code),
    }


def test_cases_of_a_study_are_closed_to_its_readers_everywhere_else(world: StudyWorld) -> None:
    services, case = world.services, world.cases[0]
    number, _ = world.opened(sw.protocol([case], arms=(sw.PREDICTION, sw.GRADCAM)))
    explanation = services.store.output(number, case, sw.GRADCAM.id)
    assert explanation is not None
    calls: tuple[Callable[[Any], Any], ...] = (
        lambda who: services.review.open(who, case),
        lambda who: services.review.preview(who, case),
        lambda who: services.review.heat(who, str(explanation.explanation), 0),
        lambda who: services.cases.layer(who, case, 0, 0),
        lambda who: services.reports.case_pdf(who, case),
        lambda who: services.evidence.panel(who, case),
        lambda who: services.probe.panel(who, case),
        lambda who: services.ratings.form(who, case, method="gradcam", target="Benign"),
    )
    for call in calls:
        with pytest.raises(NotFound):
            call(ANN)
    assert case not in {row["id"] for row in services.cases.worklist(ANN)}
    for who in (sw.ORGANISER, sw.CHIEF):
        assert case in {row["id"] for row in services.cases.worklist(who)}
        assert services.cases.layer(who, case, 0, 0).data
    services.studies.lock(sw.ORGANISER, number)
    assert services.cases.layer(ANN, case, 0, 0).data


def test_readings_come_one_after_another(world: StudyWorld) -> None:
    _, code = world.opened(sw.protocol(world.cases, arms=(sw.IMAGE,)))
    room = world.services.reading
    first, second, third, _ = world.services.store.standing("ann", code).readings
    item = room.item(ANN, first.token)
    assert (item["ahead"], item["previous"], item["following"]) == (second.token, None, None)
    assert room.image(ANN, second.token, 0, 0).data  # fetched ahead
    with pytest.raises(NotFound):
        room.item(ANN, third.token)
    with pytest.raises(InvalidInput, match="in their order"):
        room.submit(ANN, second.token, "k", sw.scores(3, item["questions"]))
    assert world.submit(ANN, first.token)["next"] == second.token
    seen = room.item(ANN, first.token)
    assert seen["read_only"] and seen["answers"]["trust"]["value"] == 3
    assert room.item(ANN, second.token)["previous"] == first.token


def test_a_stage_tells_nothing_before_the_one_before_is_handed_in(world: StudyWorld) -> None:
    design = sw.protocol(
        world.cases[:2], arms=(sw.IMAGE, sw.GRADCAM), order=Order.SEQUENTIAL, allow_changes=True
    )
    _, code = world.opened(design)
    room = world.services.reading
    alone, revealed, *_ = world.services.store.standing("ann", code).readings
    item = room.item(ANN, alone.token)
    assert (item["stage"], item["ahead"], item["prediction"]) == (1, None, None)
    for call in (room.item, lambda who, token: room.heat(who, token, 0)):
        with pytest.raises(NotFound):
            call(ANN, revealed.token)
    world.submit(ANN, alone.token, 2)
    with pytest.raises(StaleRecord, match=HANDED_IN):
        world.submit(ANN, alone.token, 5, revision=1, reason="The map says so.")
    shown = room.item(ANN, revealed.token)
    assert shown["stage"] == 2 and shown["prediction"]["class"] == "Benign"
    assert shown["previous_stage"]["trust"]["value"] == 2
    assert room.item(ANN, alone.token)["read_only"]


def test_a_draft_is_there_again_and_a_second_tab_is_noticed(world: StudyWorld) -> None:
    _, code = world.opened(sw.protocol(world.cases[:1], arms=(sw.IMAGE,)))
    room, token = world.services.reading, world.next(ANN, code)
    assert token is not None
    entry = {"status": "answered", "value": 4}
    first = room.save_draft(ANN, token, 4, {"trust": entry, "none": entry}, "left", "so far")
    assert first == {"sequence": 4, "other_tab": False}
    assert room.save_draft(ANN, token, 3, {}, "left")["sequence"] == 4
    item = room.item(ANN, token)
    assert item["answers"]["trust"]["value"] == 4 and "none" not in item["answers"]
    assert (item["comment"], item["draft_sequence"]) == ("so far", 4)
    assert room.save_draft(ANN, token, 5, {}, "right")["other_tab"]


def test_a_double_click_is_one_answer_and_gives_the_same_reply(world: StudyWorld) -> None:
    number, code = world.opened(sw.protocol(world.cases[:2], arms=(sw.IMAGE,)))
    token = world.next(ANN, code)
    assert token is not None
    first = world.submit(ANN, token, 4, key="one")
    assert world.submit(ANN, token, 4, key="one") == first
    assert len(world.services.store.submissions(number)) == 1
    with pytest.raises(StaleRecord):
        world.submit(ANN, token, 5, key="two")


def test_washout_stands_between_sessions_until_it_is_over_or_overridden(
    world: StudyWorld,
) -> None:
    design = sw.protocol(
        world.cases[:2], arms=(sw.IMAGE, sw.PREDICTION), sessions=2, washout_days=14
    )
    number, code = world.opened(design)
    room, studies = world.services.reading, world.services.studies
    for reader in (ANN, BOB):
        assert world.read_all(reader, code) == 2
    state = room.room(ANN, code)
    assert (state["state"], state["next"]) == ("washout", None)
    begins = datetime.fromisoformat(state["from"])
    assert timedelta(days=13.9) < begins - datetime.now(UTC) < timedelta(days=14.1)
    waiting = world.services.store.standing("ann", code).following
    assert waiting is not None
    with pytest.raises(NotFound):
        room.item(ANN, waiting.token)
    with pytest.raises(InvalidInput, match="may not begin yet"):
        room.submit(ANN, waiting.token, "k", sw.scores(3, ["trust"]))
    later = ReadingRoom(
        world.services._context, world.services.cases, lambda: begins + timedelta(minutes=1)
    )
    assert later.room(ANN, code)["state"] == "ready"
    studies.override_washout(sw.ORGANISER, number, "bob", "Ill {next} week.")
    assert world.read_all(BOB, code) == 2
    assert room.room(BOB, code)["state"] == "done"
    assert room.room(ANN, code)["state"] == "washout"
    with pytest.raises(InvalidInput, match="no session is left"):
        studies.override_washout(sw.ORGANISER, number, "bob", "Once more.")
    (told,) = studies.progress(sw.ORGANISER, number)["deviations"]
    assert "before the washout ended. Reason: Ill (next) week." in told["text"]


def test_training_has_feedback_and_a_criterion(world: StudyWorld) -> None:
    warm = [sw.training(world.cases[3], sw.GRADCAM.id, 5)]
    design = sw.protocol(
        world.cases[:2], arms=(sw.GRADCAM,), training=warm, pass_share=1.0, readers=(ANN, BOB)
    )
    number, code = world.opened(design)
    room = world.services.reading
    token = world.next(ANN, code)
    assert token is not None and room.item(ANN, token)["training"]
    done = world.submit(ANN, token, 2)
    assert done["feedback"] == "Not as expected. Look closer."
    assert (done["state"], done["next"]) == ("failed_training", None)
    first = world.next(BOB, code)
    assert first is not None
    passed = world.submit(BOB, first, 5)
    assert (passed["feedback"], passed["state"]) == ("As expected. Look closer.", "ready")
    assert passed["next"] is not None
    assert not room.item(BOB, passed["next"])["training"]
    assert world.submit(BOB, passed["next"], 5)["feedback"] is None
    world.services.studies.excuse_training(sw.ORGANISER, number, "ann", "Misread the scale.")
    assert world.read_all(ANN, code) == 2
    facts = world.services.study_analysis.facts(sw.ORGANISER, number)
    assert {answer.case for answer in facts.answers} == {"C001", "C002"}


def test_breaks_are_due_at_the_limit_and_taken_at_will(world: StudyWorld) -> None:
    design = sw.protocol(world.cases, arms=(sw.IMAGE,), session_readings=2)
    number, code = world.opened(design)
    room = world.services.reading
    token = world.next(ANN, code)
    assert token is not None
    assert world.submit(ANN, token)["progress"]["left_in_session"] == 1
    token = world.next(ANN, code)
    assert token is not None
    tired = world.submit(ANN, token)
    assert (tired["state"], tired["next"]) == ("break", None)
    assert "take a break" in tired["message"]
    assert room.resume(ANN, code)["state"] == "ready"
    paused = room.take_break(ANN, code)
    assert (paused["state"], paused["next"]) == ("break", None)
    assert room.resume(ANN, code)["next"] is not None
    (mine,) = [
        r
        for r in world.services.studies.progress(sw.ORGANISER, number)["readers"]
        if r["name"] == "ann"
    ]
    assert (mine["breaks"], mine["done"]) == (1, 2)


def test_what_is_on_the_screen_when_a_break_is_due_can_be_handed_in(world: StudyWorld) -> None:
    _, code = world.opened(sw.protocol(world.cases[:2], arms=(sw.IMAGE,)))
    room, token = world.services.reading, world.next(ANN, code)
    assert token is not None
    room.item(ANN, token)
    room.event(ANN, token, "shown")
    room.take_break(ANN, code)
    assert room.save_draft(ANN, token, 1, {}, "t")["sequence"] == 1
    assert world.submit(ANN, token)["state"] == "break"


def test_the_end_is_a_questionnaire_and_thanks(world: StudyWorld) -> None:
    questions = (*sw.SCALES, *FORMS["sus"].questions)
    design = sw.protocol(world.cases[:1], arms=(sw.IMAGE,), questions=questions)
    _, code = world.opened(design)
    room = world.services.reading
    token = world.next(ANN, code)
    assert token is not None
    closing = world.submit(ANN, token)["next"]
    item = room.item(ANN, closing)
    assert (item["kind"], item["viewer"], item["prediction"]) == ("closing", None, None)
    assert set(item["questions"]) == {q.id for q in FORMS["sus"].questions}
    for call in (room.heat, lambda *at: room.image(*at, 0)):
        with pytest.raises(NotFound):
            call(ANN, closing, 0)
    done = world.submit(ANN, closing)
    assert (done["state"], done["next"]) == ("done", None)
    assert done["message"].endswith("thank you.")


def test_changes_are_versions_with_a_reason(world: StudyWorld) -> None:
    number, code = world.opened(sw.protocol(world.cases[:2], arms=(sw.IMAGE,), allow_changes=True))
    room, token = world.services.reading, world.next(ANN, code)
    assert token is not None
    world.submit(ANN, token, 4)
    assert not room.item(ANN, token)["read_only"]
    with pytest.raises(InvalidInput, match="say why"):
        world.submit(ANN, token, 2, revision=1)
    assert world.submit(ANN, token, 2, revision=1, reason="Slip.")["revision"] == 2
    item = room.item(ANN, token)
    assert (item["revision"], item["answers"]["trust"]["value"]) == (2, 2)
    facts = world.services.study_analysis.facts(sw.ORGANISER, number)
    assert {(a.value, a.revision, a.revisions, a.reason) for a in facts.answers} == {
        (2.0, 2, 2, "Slip.")
    }


def test_a_model_that_is_switched_changes_nothing_in_an_open_study(
    world: StudyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, code = world.opened(sw.protocol(world.cases[:1], arms=(sw.PREDICTION,)))
    token = world.next(ANN, code)
    assert token is not None
    before = world.services.reading.item(ANN, token)["prediction"]
    other = kit.write_model(tmp_path / "other", leading="Invasive")
    monkeypatch.setattr(world.services.models, "_cards", {})
    kit.use(monkeypatch, other)
    assert world.services.reading.item(ANN, token)["prediction"] == before


def test_the_probability_is_shown_only_where_the_design_says_so(world: StudyWorld) -> None:
    design: Protocol = sw.protocol(
        world.cases[:1], arms=(sw.PREDICTION,), show_prediction_score=False
    )
    _, code = world.opened(design)
    token = world.next(ANN, code)
    assert token is not None
    shown = world.services.reading.item(ANN, token)["prediction"]
    assert shown == {"class": "Benign", "probability": None}


def test_questions_on_a_map_are_asked_where_there_is_one(world: StudyWorld) -> None:
    _, code = world.opened(sw.protocol(world.cases[:1], arms=(sw.IMAGE, sw.PREDICTION, sw.GRADCAM)))
    room, asked = world.services.reading, dict[str, list[str]]()
    token = world.next(ANN, code)
    while token is not None:
        arm = world.services.store.reading("ann", token)[1].arm
        asked[arm] = room.item(ANN, token)["questions"]
        token = world.submit(ANN, token)["next"]
    assert asked == {
        sw.IMAGE.id: ["trust"],
        sw.PREDICTION.id: ["trust"],
        sw.GRADCAM.id: [question.id for question in sw.SCALES],
    }
