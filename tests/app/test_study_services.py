"""Studies as their organiser runs them: design, preparation, life, analysis, isolation."""

from __future__ import annotations

import csv
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.errors import InvalidInput, NotAllowed, NotFound, StaleRecord
from app.services.study_prepare import DECOY_DIGEST
from engine.study.forms import FORMS
from engine.study.records import Protocol, StudyState
from tests.app import small_model as kit
from tests.app import study_world as sw
from tests.app.study_world import ORGANISER, StudyWorld, study_world

ANN, BOB, CLEO = sw.READERS
MINE = (sw.ORGANISER, sw.CHIEF)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def world(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyWorld]:
    """One workspace for all tests; each makes a study of its own."""
    with pytest.MonkeyPatch.context() as patch:
        kit.use(patch, model)
        with study_world(tmp_path_factory.mktemp("workspace"), 4) as made:
            yield made


@pytest.fixture(scope="module")
def read(world: StudyWorld) -> tuple[int, str, dict[str, dict[str, float]]]:
    """A study that three readers have read to its end; planted ratings by reader and case."""
    arms = (sw.PREDICTION, sw.GRADCAM, sw.RANDOM)
    design = replace(
        sw.protocol(world.cases, arms=arms, repeats=1, repeat_gap=2),
        groups={world.cases[0]: "dense"},
    )
    number, code = world.opened(design)
    planted = {
        reader.name: {case: 1.0 + (2 * n + shift) % 5 for n, case in enumerate(world.cases)}
        for shift, reader in enumerate(sw.READERS)
    }
    for reader in sw.READERS:
        world.read_all(reader, code, planted[reader.name])
    return number, code, planted


def test_a_draft_is_made_changed_copied_and_deleted(world: StudyWorld) -> None:
    studies = world.services.studies
    design = Protocol("Draft", arms=(sw.IMAGE,))
    number = studies.create(ORGANISER, design)
    assert studies.protocol(ORGANISER, number) == (design, 1, StudyState.DRAFT)
    better = replace(design, title="Better", cases=tuple(world.cases))
    assert studies.save(ORGANISER, number, better, 1) == 2
    with pytest.raises(StaleRecord):
        studies.save(ORGANISER, number, design, 1)
    copied = studies.copy(ORGANISER, number)
    assert studies.protocol(ORGANISER, copied)[0] == replace(better, title="Better (copy)")
    row = next(row for row in studies.list(ORGANISER) if row["id"] == number)
    assert (row["title"], row["state"], row["cases"], row["readings"]) == ("Better", "draft", 4, 0)
    for each in (number, copied):
        studies.delete(ORGANISER, each)
    assert not {number, copied} & {row["id"] for row in studies.list(sw.CHIEF)}


def test_a_study_belongs_to_its_organiser(
    world: StudyWorld, read: tuple[int, str, dict[str, dict[str, float]]]
) -> None:
    number, _, _ = read
    s, a = world.services.studies, world.services.study_analysis
    calls: dict[str, Callable[[Any], Any]] = {
        "protocol": lambda who: s.protocol(who, number),
        "save": lambda who: s.save(who, number, s.protocol(ORGANISER, number)[0], 1),
        "preview": lambda who: s.preview(who, number),
        "prepare": lambda who: s.prepare(who, number),
        "preparation": lambda who: s.preparation(who, number),
        "open": lambda who: s.open(who, number),
        "withdraw": lambda who: s.withdraw(who, number, "ann", "x"),
        "override": lambda who: s.override_washout(who, number, "ann", "x"),
        "excuse": lambda who: s.excuse_training(who, number, "ann", "x"),
        "describe": lambda who: s.describe_reader(who, number, "ann", "x", "y"),
        "observers": lambda who: s.name_observers(who, number, []),
        "progress": lambda who: s.progress(who, number),
        "lock": lambda who: s.lock(who, number),
        "unblind": lambda who: s.unblind(who, number),
        "delete": lambda who: s.delete(who, number),
        "copy": lambda who: s.copy(who, number),
        "adjudicate": lambda who: a.adjudicate(who, number, "C001", "arm_1", "trust", "3", ""),
    }
    looks: dict[str, Callable[[Any], Any]] = {
        "facts": lambda who: a.facts(who, number),
        "analysis": lambda who: a.analysis(who, number),
        "export": lambda who: a.export(who, number),
        "export_zip": lambda who: a.export_zip(who, number),
        "adjudication": lambda who: a.adjudication(who, number),
        "report_pdf": lambda who: a.report_pdf(who, number),
        "report_json": lambda who: a.report_json(who, number),
    }
    for call in (*calls.values(), *looks.values()):
        with pytest.raises(NotFound, match=r"^There is no such study\.$"):
            call(sw.OTHER)
        with pytest.raises(NotAllowed):
            call(None)
    for who in (ANN, sw.OBSERVER):
        for call in calls.values():
            with pytest.raises(NotAllowed):
                call(who)
        for call in looks.values():
            with pytest.raises(NotFound):
                call(who)
    assert number not in {row["id"] for row in s.list(sw.OTHER)}
    assert number in {row["id"] for row in s.list(sw.CHIEF)}
    assert a.studies(sw.OBSERVER) == []


def test_an_observer_who_was_named_looks_and_changes_nothing(
    world: StudyWorld, read: tuple[int, str, dict[str, dict[str, float]]]
) -> None:
    number, _, _ = read
    studies, analysis = world.services.studies, world.services.study_analysis
    with pytest.raises(InvalidInput, match="cannot observe"):
        studies.name_observers(ORGANISER, number, ["ann"])
    with pytest.raises(InvalidInput, match="needs an account"):
        studies.name_observers(ORGANISER, number, ["nobody"])
    studies.name_observers(ORGANISER, number, ["oona"])
    assert analysis.facts(sw.OBSERVER, number).answers
    assert [row["id"] for row in analysis.studies(sw.OBSERVER)] == [number]
    with pytest.raises(NotAllowed):
        studies.progress(sw.OBSERVER, number)
    studies.name_observers(ORGANISER, number, [])
    with pytest.raises(NotFound):
        analysis.facts(sw.OBSERVER, number)


def test_facts_hold_codes_and_the_planted_ratings_and_no_name(
    world: StudyWorld, read: tuple[int, str, dict[str, dict[str, float]]]
) -> None:
    number, _, planted = read
    store = world.services.store
    facts = world.services.study_analysis.facts(ORGANISER, number)
    readers = {r.code: r.reader for r in store.study_readers(number)}
    cases = {code: case for case, code in store.study_codes(number).items()}
    assert {(a.reader, a.case, a.value) for a in facts.answers} == {
        (code, case_code, planted[name][case])
        for code, name in readers.items()
        for case_code, case in cases.items()
    }
    assert {arm.id for arm in facts.protocol.arms} == {"arm_1", "arm_2", "arm_3"}
    assert not any(arm.method or arm.decoy for arm in facts.protocol.arms)
    assert {a.group for a in facts.answers if a.case == "C001"} == {"dense"}
    assert facts.readings_done == facts.readings_planned == dict.fromkeys(readers, 13)
    assert sum(a.replicate == 2 for a in facts.answers) > 0
    truths = {a.case: (a.truth, a.ai_prediction, a.ai_correct) for a in facts.answers}
    assert {right for _, _, right in truths.values()} == {True, False}
    told = repr(facts)
    assert not any(f"'{name}'" in told for name in (*planted, *world.cases, "olga"))


def test_the_analysis_equals_the_planted_ratings_before_and_after_unblinding(
    world: StudyWorld, read: tuple[int, str, dict[str, dict[str, float]]]
) -> None:
    number, _, planted = read
    studies, analysis = world.services.studies, world.services.study_analysis
    found = analysis.analysis(ORGANISER, number)
    ratings = [value for mine in planted.values() for value in mine.values()]
    pooled = next(q for q in found.questions if (q.question, q.arm, q.group) == ("trust", "", ""))
    assert pooled.mean == pytest.approx(sum(ratings) / len(ratings))
    assert analysis.analysis(ORGANISER, number) is found  # kept in memory
    assert analysis.analysis(ORGANISER, number, arm="arm_1").questions != found.questions
    flags = analysis.adjudication(ORGANISER, number)
    assert flags and not {"ann", "R01"} & set(json.dumps(flags).split('"'))
    flag = flags[0]
    args = (flag["case"], flag["arm"], flag["question"])
    with pytest.raises(InvalidInput):
        analysis.adjudicate(ORGANISER, number, "C999", *args[1:], "3", "")
    with pytest.raises(InvalidInput):
        analysis.adjudicate(ORGANISER, number, *args, " ", "")
    analysis.adjudicate(ORGANISER, number, *args, "3", "Both looked again.")
    analysis.adjudicate(ORGANISER, number, *args, "4", "Third look.")
    assert analysis.adjudication(ORGANISER, number)[0]["outcome"] == "4"
    assert analysis.analysis(ORGANISER, number).questions == found.questions
    with pytest.raises(InvalidInput, match="locked before"):
        studies.unblind(ORGANISER, number)
    studies.lock(ORGANISER, number, "Everybody is done.")
    frozen = world.services.store.study(number).digests
    names = ("answers", "protocol", "plan", "model", "outputs", "display", "software")
    assert set(frozen) == set(names) and all(len(digest) == 64 for digest in frozen.values())
    with pytest.raises(InvalidInput, match="locked"):
        protocol, version, _ = studies.protocol(ORGANISER, number)
        studies.save(ORGANISER, number, replace(protocol, text="New."), version)
    studies.unblind(ORGANISER, number)
    facts = analysis.facts(ORGANISER, number)
    assert {arm.method for arm in facts.protocol.arms} == {"", "gradcam"}
    assert {a.arm for a in facts.answers} == {sw.PREDICTION.id, sw.GRADCAM.id, sw.RANDOM.id}
    assert analysis.adjudication(ORGANISER, number)
    again = analysis.analysis(ORGANISER, number)
    named = next(q for q in again.questions if (q.question, q.arm, q.group) == ("trust", "", ""))
    assert named.mean == pooled.mean
    assert world.services.store.study(number).state is StudyState.LOCKED
    archive = analysis.export_zip(ORGANISER, number)
    assert world.services.store.study(number).state is StudyState.EXPORTED
    with zipfile.ZipFile(io.BytesIO(archive.data)) as files:
        table = files.read("answers.csv").decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(table)))
    assert len(rows) == len(facts.answers)
    assert {row["condition"] for row in rows} == {a.arm for a in facts.answers}
    told = [e.action for e in world.services.store.audit(200, object=facts.code)]
    assert {"study_lock", "study_unblind", "study_export", "study_adjudicate"} <= set(told)
    assert world.services.store.verify_audit() is None
    assert analysis.report_pdf(ORGANISER, number).data.startswith(b"%PDF")
    assert json.loads(analysis.report_json(ORGANISER, number).data)


def test_whoever_reads_in_a_study_sees_its_answers_after_the_lock_only(world: StudyWorld) -> None:
    add = replace(sw.protocol(world.cases[:2], arms=(sw.IMAGE,)), readers=("ann", "olga"))
    number, code = world.opened(add)
    world.read_all(ANN, code)
    with pytest.raises(NotAllowed, match="after the study is locked"):
        world.services.study_analysis.facts(ORGANISER, number)
    world.services.studies.lock(ORGANISER, number)
    assert len(world.services.study_analysis.facts(ORGANISER, number).answers) == 2
    (told,) = world.services.studies.progress(ORGANISER, number)["deviations"]
    assert "2 readings not handed in" in told["text"]


def test_an_open_study_grows_at_its_end_and_changes_nowhere_else(world: StudyWorld) -> None:
    studies, store = world.services.studies, world.services.store
    design = sw.protocol(world.cases[:2], arms=(sw.IMAGE, sw.PREDICTION), readers=(ANN, BOB))
    number, code = world.opened(design)
    before = {row.planned for row in store.study_plan(number)}
    with pytest.raises(InvalidInput, match="Cases of an open study can be added"):
        studies.save(ORGANISER, number, replace(design, cases=design.cases[:1]), 1)
    with pytest.raises(InvalidInput, match="stay as they are"):
        studies.save(ORGANISER, number, replace(design, seed=8), 1)
    asked = replace(design, questions=design.questions[1:])
    assert studies.save(ORGANISER, number, asked, 1) == 2
    token = world.next(ANN, code)
    assert token is not None
    world.submit(ANN, token)
    with pytest.raises(InvalidInput, match="questions stay"):
        studies.save(ORGANISER, number, design, 2)
    grown = replace(asked, cases=tuple(world.cases[:3]), readers=("ann", "bob", "cleo"))
    assert studies.save(ORGANISER, number, grown, 2) == 3
    world.await_prepared(number)
    after = {row.planned for row in store.study_plan(number)}
    assert before < after and len(after) == 18
    assert store.study_codes(number)[world.cases[2]] == "C003"
    assert world.read_all(CLEO, code) == 6
    texts = [each["text"] for each in studies.progress(ORGANISER, number)["deviations"]]
    assert [text.rsplit(": ", 1)[-1] for text in texts] == [
        "questions (version 2).", "cases, readers (version 3).",
    ]  # fmt: skip
    studies.lock(ORGANISER, number)


def test_a_reader_who_leaves_keeps_what_was_handed_in(world: StudyWorld) -> None:
    studies, room = world.services.studies, world.services.reading
    number, code = world.opened(sw.protocol(world.cases[:2], arms=(sw.IMAGE,)))
    token = world.next(ANN, code)
    assert token is not None
    world.submit(ANN, token)
    with pytest.raises(InvalidInput, match="reason"):
        studies.withdraw(ORGANISER, number, "ann", "  ")
    with pytest.raises(NotFound, match="no such reader"):
        studies.withdraw(ORGANISER, number, "zoe", "Gone.")
    studies.withdraw(ORGANISER, number, "ann", "Moved away.")
    assert room.room(ANN, code)["state"] == "withdrawn"
    assert room.studies(ANN)[0]["state"] == "withdrawn"
    with pytest.raises(NotFound):
        room.item(ANN, token)
    facts = world.services.study_analysis.facts(ORGANISER, number)
    assert len(facts.answers) == 1 and sum(r.withdrawn for r in facts.readers) == 1
    assert any("Moved away." in text and "ann" not in text for text in facts.deviations)
    studies.describe_reader(ORGANISER, number, "bob", " Radiology ", "5-10 years")
    described = world.services.study_analysis.facts(ORGANISER, number).readers
    assert ("Radiology", "5-10 years") in {(r.specialty, r.experience) for r in described}
    studies.lock(ORGANISER, number)


def test_a_study_opens_when_it_is_sound_prepared_and_confirmed(world: StudyWorld) -> None:
    studies = world.services.studies
    design = sw.protocol(world.cases[:2], arms=(sw.IMAGE,), readers=(ANN, BOB))
    number = studies.create(ORGANISER, replace(design, cases=()))
    with pytest.raises(InvalidInput, match="no case"):
        studies.open(ORGANISER, number)
    with pytest.raises(InvalidInput, match="nothing to prepare"):
        studies.prepare(ORGANISER, number)
    lonely = sw.with_design(design, crossing="split_plot", groups=2)
    studies.save(ORGANISER, number, lonely, 1)
    assert studies.preparation(ORGANISER, number)["done"] == 0
    with pytest.raises(InvalidInput, match="not ready"):
        studies.open(ORGANISER, number)
    world.prepared(number)
    with pytest.raises(InvalidInput, match="share no case"):
        studies.open(ORGANISER, number)
    assert studies.preview(ORGANISER, number).lonely
    studies.open(ORGANISER, number, confirm_lonely=True)
    with pytest.raises(InvalidInput, match="Only a draft"):
        studies.open(ORGANISER, number)
    studies.lock(ORGANISER, number)


def test_what_cannot_be_shown_keeps_a_study_closed(
    world: StudyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.errors import IncompatibleExplainer

    def refuse(*_: Any) -> Any:
        raise IncompatibleExplainer("This method needs another model.")

    studies = world.services.studies
    monkeypatch.setattr(studies._preparation, "_map", refuse)
    number = studies.create(ORGANISER, sw.protocol(world.cases[:1], arms=(sw.GRADCAM,)))
    studies.prepare(ORGANISER, number)
    while studies.preparation(ORGANISER, number)["running"]:
        pass
    state = studies.preparation(ORGANISER, number)
    assert (state["done"], state["total"]) == (0, 1)
    assert state["error"] == "1 of 1 cannot be shown: This method needs another model."
    with pytest.raises(InvalidInput, match="cannot be shown"):
        studies.open(ORGANISER, number)


def test_decoys_are_stored_like_maps_and_found_nowhere_else(world: StudyWorld) -> None:
    design = sw.protocol(world.cases[:1], arms=(sw.RANDOM, sw.OTHER_CLASS))
    number, _ = world.opened(design)
    store = world.services.store
    for output in store.outputs(number).values():
        assert output.explanation is not None and not output.problem
        row = store.explanation_row(output.explanation)
        assert (row.method, row.weights_digest, dict(row.settings)) == ("decoy", DECOY_DIGEST, {})
        assert row.target == output.leading
    world.services.studies.lock(ORGANISER, number)
    assert world.services.review.open(ANN, world.cases[0]).method
    assert "decoy" not in json.dumps(world.services.evidence.panel(ANN, world.cases[0]))


def test_choices_name_what_a_study_can_be_made_of(world: StudyWorld) -> None:
    found = world.services.studies.choices(ORGANISER)
    assert {row["id"] for row in found["cases"]} == set(world.cases)
    assert all(row["has_truth"] for row in found["cases"])
    assert {r["name"] for r in found["readers"]} >= {"ann", "bob", "cleo"}
    assert "oona" not in {r["name"] for r in found["readers"]}
    assert {m["id"] for m in found["methods"]} >= {"gradcam", "rollout"}
    assert {f["id"] for f in found["forms"]} == set(FORMS)


def test_who_and_what_is_named_must_exist(world: StudyWorld) -> None:
    studies = world.services.studies
    design = sw.protocol(world.cases[:1], arms=(sw.IMAGE,))
    for broken in (
        replace(design, readers=("ann", "nobody")),
        replace(design, readers=("ann", "oona")),
        replace(design, cases=("LB-none",)),
        replace(design, training=(sw.training("LB-none", "image", 1),)),
        replace(design, title="t" * 1000),
    ):
        with pytest.raises(InvalidInput):
            studies.create(ORGANISER, broken)
    assert studies.problems(ORGANISER, Protocol(""))["errors"]
    for number in (True, "1", None, 0, -1, 2**70):
        with pytest.raises((InvalidInput, NotFound)):
            studies.protocol(ORGANISER, number)


def test_scores_of_the_maps_are_measured_once_for_the_analysis(world: StudyWorld) -> None:
    studies, analysis = world.services.studies, world.services.study_analysis
    design = sw.protocol(world.cases[:1], arms=(sw.GRADCAM, sw.CENTRE))
    number, _ = world.opened(design)
    before = studies.measuring(ORGANISER, number)
    assert before["total"] == 1 and not before["running"]
    studies.measure_maps(ORGANISER, number)
    until = time.monotonic() + 120
    while studies.measuring(ORGANISER, number)["running"] and time.monotonic() < until:
        time.sleep(0.05)
    assert studies.measuring(ORGANISER, number) == {
        "done": 1, "total": 1, "running": False, "error": None,
    }  # fmt: skip
    ((item, scores),) = analysis.facts(ORGANISER, number).map_scores.items()
    assert item[0] == "C001" and item[1].startswith("arm_")
    assert {"deletion", "insertion"} & set(scores)
    studies.lock(ORGANISER, number)
