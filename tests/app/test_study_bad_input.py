"""What a browser may send that does not fit: one clear sentence, and nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from app.errors import InvalidInput, NotFound
from app.services import reading_submit as sent
from engine.study.records import QuestionKind, ReadStatus, StudyQuestion
from tests.app import small_model as kit
from tests.app import study_world as sw
from tests.app.study_world import StudyWorld, study_world

ANN = sw.READERS[0]
SIZES = [(128, 160, 2)]
SCALE = StudyQuestion("trust", "How far do you trust it?")
CHOICE = StudyQuestion("side", "Which side?", QuestionKind.CHOICE, choices=("left", "right"))
NUMBER = StudyQuestion("size", "How large?", QuestionKind.NUMBER, low=0, high=90, unit="mm")
TEXT = StudyQuestion("why", "Why?", QuestionKind.TEXT, required=False)
POINT = StudyQuestion("where", "Where?", QuestionKind.POINT)
BOX = StudyQuestion("box", "Draw a box.", QuestionKind.BOX)
OUTLINE = StudyQuestion("outline", "Outline it.", QuestionKind.OUTLINE)
FIRM = replace(SCALE, cannot_judge=False)


def answered(**entry: Any) -> dict[str, Any]:
    return {"status": "answered", **entry}


def marked(points: Any, **where: Any) -> dict[str, Any]:
    return answered(marks={"image": 0, "frame": 0, "points": points, **where})


@pytest.mark.parametrize(
    ("question", "entry"),
    [
        (SCALE, None),
        (SCALE, []),
        (SCALE, {"status": "skipped"}),
        (SCALE, {"status": "unknown"}),
        (SCALE, {"status": ["answered"]}),
        (SCALE, answered()),
        (SCALE, answered(value="3")),
        (SCALE, answered(value=True)),
        (SCALE, answered(value=0)),
        (SCALE, answered(value=2.5)),
        (SCALE, answered(value=float("nan"))),
        (SCALE, answered(value=10**400)),
        (SCALE, answered(value=3, extra=1)),
        (SCALE, answered(value=3, reason="r" * 10_001)),
        (SCALE, answered(value=3, reason=7)),
        (FIRM, {"status": "cannot_judge"}),
        (FIRM, {"status": "not_applicable"}),
        (CHOICE, answered(value=2)),
        (CHOICE, answered(value=-1)),
        (NUMBER, answered(value=90.5)),
        (NUMBER, answered(value=float("inf"))),
        (TEXT, answered(text="t" * 10_001)),
        (TEXT, answered(text=["t"])),
        (POINT, answered()),
        (POINT, marked([])),
        (POINT, marked([[1]])),
        (POINT, marked([[1, "2"]])),
        (POINT, marked([[1, float("nan")]])),
        (POINT, marked([[-1, 5]])),
        (POINT, marked([[1, 161]])),
        (POINT, marked([[1, 2]], image=1)),
        (POINT, marked([[1, 2]], frame=2)),
        (POINT, marked([[1, 2]], image=-1)),
        (POINT, marked([[1, 2]], extra=1)),
        (POINT, marked("1,2")),
        (BOX, marked([[1, 2]])),
        (BOX, marked([[1, 2], [3, 4], [5, 6]])),
        (OUTLINE, marked([[1, 2], [3, 4]])),
        (OUTLINE, marked([[1, 2]] * 5000)),
    ],
)
def test_an_answer_that_does_not_fit_gets_one_sentence(question: StudyQuestion, entry: Any) -> None:
    with pytest.raises(InvalidInput) as raised:
        sent.given((question,), {question.id: entry}, SIZES)
    said = str(raised.value)
    assert said.endswith(".") and len(said) < 200


@pytest.mark.parametrize(
    ("question", "entry", "kept"),
    [
        (SCALE, answered(value=5), (ReadStatus.ANSWERED, 5.0, "")),
        (SCALE, {"status": "cannot_judge", "value": 3}, (ReadStatus.CANNOT_JUDGE, None, "")),
        (CHOICE, answered(value=0), (ReadStatus.ANSWERED, 0.0, "")),
        (NUMBER, answered(value=0.5), (ReadStatus.ANSWERED, 0.5, "")),
        (TEXT, None, (ReadStatus.SKIPPED, None, "")),
        (TEXT, answered(text="  "), (ReadStatus.SKIPPED, None, "")),
        (TEXT, answered(text="=1+1 <b>"), (ReadStatus.ANSWERED, None, "=1+1 <b>")),
    ],
)
def test_an_answer_that_fits_is_kept_as_it_is(
    question: StudyQuestion, entry: Any, kept: tuple[ReadStatus, float | None, str]
) -> None:
    (given,) = sent.given((question,), {question.id: entry} if entry else {}, SIZES)
    assert (given.status, given.value, given.text) == kept


def test_marks_are_kept_in_pixels_of_the_image() -> None:
    (given,) = sent.given((BOX,), {"box": marked([[1.004, 2], [128, 160]], frame=1)}, SIZES)
    assert given.marks == {"image": 0, "frame": 1, "points": [[1.0, 2.0], [128.0, 160.0]]}
    assert given.value is None


def test_answers_must_belong_to_the_questions() -> None:
    for answers in (None, [], "x", {"other": answered(value=1)}):
        with pytest.raises(InvalidInput):
            sent.given((SCALE,), answers, SIZES)


@pytest.mark.parametrize("value", ["", "k" * 65, "schlüssel", None, 5])
def test_a_mark_of_sending_is_short_and_plain(value: Any) -> None:
    with pytest.raises(InvalidInput):
        sent.mark(value)


def test_a_draft_keeps_what_it_can_and_refuses_what_is_too_long() -> None:
    kept = sent.draft((SCALE, POINT), {"trust": answered(value="x"), "where": 3, "no": {}})
    assert kept == {
        "trust": {"status": "answered", "value": None, "text": "", "marks": None, "reason": ""}
    }
    with pytest.raises(InvalidInput, match="at most 10000"):
        sent.draft((TEXT,), {"why": answered(text="t" * 10_000_000)})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyWorld]:
    with pytest.MonkeyPatch.context() as patch:
        kit.use(patch, kit.write_model(tmp_path_factory.mktemp("model")))
        with study_world(tmp_path_factory.mktemp("workspace"), 2) as made:
            yield made


def test_what_is_refused_leaves_no_trace(world: StudyWorld) -> None:
    number, code = world.opened(sw.protocol(world.cases, arms=(sw.IMAGE,), questions=(SCALE,)))
    room, store, token = world.services.reading, world.services.store, world.next(ANN, code)
    assert token is not None
    good = sw.scores(3, ["trust"])
    before = len(store.audit(1000))
    huge = "c" * 10_000_000
    broken: tuple[dict[str, Any], ...] = (
        {"comment": huge}, {"reason": huge}, {"comment": 7}, {"key": ""}, {"key": None},
        {"revision": -1}, {"revision": "1"}, {"revision": True}, {"answers": {}},
        {"answers": None}, {"answers": good | {"other": good["trust"]}},
    )  # fmt: skip
    for change in broken:
        with pytest.raises(InvalidInput):
            room.submit(ANN, token, **{"key": "k", "answers": good, **change})
    for call in (
        lambda: room.save_draft(ANN, token, -1, {}, "t"),
        lambda: room.save_draft(ANN, token, 1, [], "t"),
        lambda: room.save_draft(ANN, token, 1, {}, ""),
        lambda: room.save_draft(ANN, token, 1, {}, "t", huge),
        lambda: room.event(ANN, token, "deleted"),
    ):
        with pytest.raises(InvalidInput):
            call()
    for unknown in ("", "x", "0" * 32, "\0", "a" * 100_000, "../../etc"):
        with pytest.raises(NotFound):
            room.item(ANN, unknown)
        with pytest.raises(NotFound):
            room.room(ANN, unknown)
    assert store.submissions(number) == [] and len(store.audit(1000)) == before
    assert store.study_draft("ann", token) == ({}, 0)


def test_markup_formulas_and_odd_characters_are_kept_as_text(world: StudyWorld) -> None:
    number, code = world.opened(sw.protocol(world.cases, arms=(sw.IMAGE,), questions=(SCALE,)))
    token = world.next(ANN, code)
    assert token is not None
    comment = '=cmd|" /C calc"!A0 <script>alert(1)</script> 乳腺 \0\ud800'
    world.submit(ANN, token, comment=comment, timing={"active_ms": "x", "first_ms": -1})
    (kept,) = world.services.store.submissions(number)
    assert kept.comment == comment.replace("\0", "").replace("\ud800", "?")
    assert kept.timing["clock_doubted"] and kept.timing["active_ms"] == 0
    table = world.services.study_analysis.export(sw.ORGANISER, number)["answers.csv"]
    assert b"\"'=cmd" in table or b"\t'=cmd" in table or b",'=cmd" in table
    facts = world.services.study_analysis.facts(sw.ORGANISER, number)
    assert any("browser's clock" in sentence for sentence in facts.deviations)


def test_one_case_and_identical_ratings_are_analysed_with_reasons(world: StudyWorld) -> None:
    design = sw.protocol(world.cases[:1], arms=(sw.IMAGE,), questions=(SCALE,))
    number, code = world.opened(design)
    for reader in sw.READERS:
        world.read_all(reader, code, 3)
    found = world.services.study_analysis.analysis(sw.ORGANISER, number)
    (result, *_) = found.questions
    undefined = [s for s in result.statistics if s.value is None]
    assert undefined and all(s.reason for s in undefined)
    with pytest.raises(InvalidInput):
        world.services.study_analysis.imported(sw.ORGANISER, b"x" * (65 * 1024 * 1024))
