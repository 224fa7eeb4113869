"""The services: who may see what, how answers are kept, how a case is opened."""

from __future__ import annotations

import csv
import importlib.util
import io
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr
import numpy as np
import pytest

from app.auth import Role, User
from app.errors import InvalidInput, NotAllowed, NotFound, StaleRecord, StorageFailed
from app.services import GUEST, OPERATOR, Services
from app.services.layers import Memory, Scale, scale_of
from app.services.review import METHODS
from app.ui import clinic
from engine.metrics.protocol import QUESTIONS


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kit = _load("small_model")
ANN, BOB, CHIEF = kit.ANN, kit.BOB, kit.CHIEF
FIRST = QUESTIONS[0].id
ABSENT = "There is no such case."


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
def shared(services: Services) -> str:
    """A case that everybody sees, explained."""
    case_id = services.intake.keep(CHIEF, kit.small_case(), source="upload")
    services.review.open(ANN, case_id)
    return case_id


def rate(services: Services, user: User | None, case: str, **changes: Any) -> Any:
    """One answer to the first question on the relevance map."""
    answer = {
        "question": FIRST, "method": "relevance", "target": "Benign", "status": "answered",
        "value": 4, "comment": "", "revision": 0,
    }  # fmt: skip
    return services.ratings.rate(user, case=case, **{**answer, **changes})


def form(services: Services, user: User, case: str) -> dict[str, Any]:
    return services.ratings.form(user, case, method="relevance", target="Benign")


CALLS: dict[str, Callable[[Services, User | None, str], Any]] = {
    "review": lambda s, user, case: s.review.open(user, case),
    "layer": lambda s, user, case: s.cases.layer(user, case, 0, 0),
    "thumbnail": lambda s, user, case: s.cases.thumbnail(user, case),
    "pdf": lambda s, user, case: s.reports.case_pdf(user, case),
    "form": form,
    "rating": rate,
}


def test_a_private_case_looks_like_none_to_others(services: Services) -> None:
    mine = services.intake.keep(ANN, kit.small_case(), source="upload")
    services.review.open(ANN, mine)
    for call in CALLS.values():
        for user, case in ((BOB, mine), (BOB, "LB-none"), (ANN, "LB-none")):
            with pytest.raises(NotFound, match=f"^{ABSENT}$"):
                call(services, user, case)
        with pytest.raises(NotAllowed):
            call(services, None, mine)
        call(services, ANN, mine)
        call(services, CHIEF, mine)


def test_a_private_case_is_in_nobody_elses_list_and_its_heat_is_hidden(services: Services) -> None:
    mine = services.intake.keep(ANN, kit.small_case(), source="upload")
    services.review.open(ANN, mine)
    number = str(services.store.explanations(mine)[0].id)
    assert [row["id"] for row in services.cases.worklist(ANN)] == [mine]
    assert services.cases.worklist(BOB) == []
    assert [row["id"] for row in services.cases.worklist(CHIEF)] == [mine]
    assert services.cases.neighbour(BOB, mine, 1) is None
    wanted = services.review.heat(ANN, number, 0)
    assert len(wanted.data) == 2 * 160 * 128
    sentences = set()
    for text in (number, "999999", "-1", "x", "9" * 19, "١", ""):
        with pytest.raises(NotFound) as caught:
            services.review.heat(BOB, text, 0)
        sentences.add(str(caught.value))
    assert sentences == {"There is no such explanation."}
    for position, frame in ((5, 0), (-1, 0), (0, 1), (0, -1)):
        with pytest.raises(NotFound):
            services.cases.layer(ANN, mine, position, frame)
    assert services.ratings.agreement(BOB)[0].items == 0


def test_every_public_method_of_the_services_is_guarded(services: Services) -> None:
    internal = {
        "pixels", "scale", "picture",  # pixels' geometry, used by Reviews after its own check
        "keep",  # intake of a case already read; the caller names the owner
        "result",  # computation, used after a check
    }  # fmt: skip
    parts = (services.cases, services.review, services.ratings, services.reports,
             services.intake, services.administration, services.evidence, services.probe,
             services.benchmarks)  # fmt: skip
    bare = {
        name
        for part in parts
        for name in dir(part)
        if not name.startswith("_")
        and callable(getattr(part, name))
        and not hasattr(getattr(part, name), "required_role")
    }
    assert bare == internal


def test_readers_do_not_administer_nor_export(services: Services, shared: str) -> None:
    rate(services, ANN, shared)
    office = services.administration
    for call in (services.ratings.export_csv, office.audit, office.audit_is_intact, office.cards):
        for user in (ANN, GUEST, None):
            with pytest.raises(NotAllowed):
                call(user)
        call(CHIEF)
    with pytest.raises(NotAllowed):
        services.accounts.create_user(ANN, "eve", "correct horse battery", Role.ADMINISTRATOR)


def test_the_guest_exists_only_in_an_open_demonstration_on_loopback(tmp_path: Path) -> None:
    assert kit.open_services(tmp_path / "a").guest() is None
    away = kit.open_services(tmp_path / "b", demonstration=True, host="0.0.0.0")
    assert away.guest() is None and away.user(GUEST.name) is None
    home = kit.open_services(tmp_path / "c", demonstration=True)
    assert home.guest() == GUEST and home.user(GUEST.name) == GUEST
    assert home.user("somebody") is None and home.user(None) is None
    assert home.needs_setup()
    home.accounts.create_first_administrator("ann", "correct horse battery")
    assert home.guest() is None and home.user(GUEST.name) is None
    assert not home.needs_setup()
    known = home.user("ann")
    assert known is not None and known.role is Role.ADMINISTRATOR
    for made in (away, home):
        made.close()


def test_a_deactivated_reader_is_nobody_at_once(services: Services) -> None:
    chief = services.accounts.create_first_administrator("chief", "correct horse battery")
    services.accounts.create_user(chief, "ann", "another long password", Role.READER)
    assert services.user("ann") is not None
    services.accounts.deactivate(chief, "ann")
    assert services.user("ann") is None


def test_a_case_is_computed_once_in_any_letter_case(services: Services, shared: str) -> None:
    stored = len(services.store.explanations(shared))
    assert stored == len(METHODS)
    for target in ("Benign", "benign", "BENIGN", "1", None, ""):
        assert services.review.open(BOB, shared, target).target == "Benign"
    services.reports.case_pdf(BOB, shared, "bEnIgN")
    assert len(services.store.explanations(shared)) == stored
    assert services.review.open(BOB, shared, "in situ").target == "In situ"
    assert len(services.store.explanations(shared)) == 2 * stored
    strange = services.review.open(BOB, shared, "<script>")
    assert "Invasive" in strange.findings["warnings"][0]
    assert strange.viewer["layers"] == [] and strange.target == ""
    assert len(services.store.explanations(shared)) == 2 * stored


def test_readers_who_open_a_case_at_once_share_one_computation(services: Services) -> None:
    case = services.intake.keep(ANN, kit.small_case(), source="upload")
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda n: services.review.open(ANN, case), range(8)))
    assert len(services.store.explanations(case)) == len(METHODS)
    assert all(review.viewer == opened[0].viewer for review in opened)
    assert services.administration.audit_is_intact(CHIEF)


def test_what_the_page_gets(services: Services, shared: str) -> None:
    review = services.review.open(BOB, shared, "Invasive", "gradcam")
    shown = [entry["method"] for entry in review.viewer["layers"] if entry["visible"]]
    assert set(shown) == {"gradcam"}
    assert [entry["id"] for entry in review.findings["methods"]] == list(METHODS)
    assert sum(p["value"] for p in review.findings["probabilities"]) == pytest.approx(1, abs=1e-5)
    for entry in review.viewer["layers"]:
        number = entry["id"].split("-")
        codes = np.frombuffer(services.review.heat(BOB, number[0], int(number[1])).data, "<u2")
        stored = services.store.heat(int(number[0]), int(number[1]))
        assert codes.size == entry["width"] * entry["height"] == stored.size
        if entry["localised"]:
            step = (entry["max"] - entry["min"]) / 65535
            back = codes.reshape(stored.shape) * step + entry["min"]
            assert np.abs(back - stored).max() <= step
    image = review.viewer["images"][0]
    codes = np.frombuffer(services.cases.layer(BOB, shared, 0, 0).data, "<u2")
    values = codes.reshape(image["height"], image["width"]) * image["slope"] + image["intercept"]
    assert np.array_equal(values, services.store.case(shared).images[0].pixels[0, :, :, 0])
    assert services.store.audit(1)[0].action == "view"


def test_a_preview_is_what_opening_shows_and_no_view(services: Services, shared: str) -> None:
    opened = services.review.open(BOB, shared, "Benign", "gradcam")
    leading = services.review.open(BOB, shared)
    before = [entry.action for entry in services.store.audit(100)]
    assert services.review.preview(BOB, shared, "Benign", "gradcam") == opened.viewer
    assert services.review.preview(BOB, shared) == leading.viewer
    assert services.review.preview(BOB, shared, "<script>")["layers"] == []
    after = [entry.action for entry in services.store.audit(100)]
    assert after.count("view") == before.count("view")
    assert after.count("prefetch") == before.count("prefetch") + 3
    find = services.cases.neighbour
    near = {"previous": find(BOB, shared, -1), "next": find(BOB, shared, 1)}
    assert services.cases.neighbours(BOB, shared) == near


@pytest.mark.parametrize(
    "values",
    [
        np.array([[-3.4e38, 3.4e38]], np.float32),
        np.array([[0, 65535]], np.uint16),
        np.array([[-32768, 32767]], np.int16),
        np.array([[-1.5, 2.25]], np.float32),
        np.array([[7.0, 7.0]], np.float32),
    ],
)
def test_codes_give_the_values_back(values: np.ndarray) -> None:
    scale = scale_of(values)
    codes = np.frombuffer(scale.encode(values), "<u2").reshape(values.shape)
    back = codes.astype(np.float64) * scale.slope + scale.intercept
    span = float(values.max()) - float(values.min())
    assert np.abs(back - values.astype(np.float64)).max() <= span / 65535
    assert scale.slope > 0


def test_whole_numbers_keep_their_codes() -> None:
    values = np.array([[3, 4095]], np.uint16)
    assert scale_of(values) == Scale(1.0, 0.0)
    assert Scale(1.0, 0.0).encode(values) == values.tobytes()


def test_memory_forgets_the_oldest_within_its_limit() -> None:
    memory, made = Memory(10), []

    def get(key: str, size: int) -> str:
        return str(memory.get(key, lambda: made.append(key) or key, lambda value: size))

    for key, size in (("a", 4), ("b", 4), ("a", 4), ("c", 4), ("a", 4), ("b", 4), ("huge", 11)):
        assert get(key, size) == key
    assert made == ["a", "b", "c", "b", "huge"]
    get("huge", 11)
    assert made[-1] == "huge" and made.count("huge") == 2


def test_an_answer_is_kept_with_its_history_through_a_restart(
    services: Services, shared: str, tmp_path: Path
) -> None:
    first = rate(services, ANN, shared)
    again = rate(services, ANN, shared)
    assert (first.revision, again.revision) == (1, 1)
    changed = rate(services, ANN, shared, value=2, comment="näher 观察", revision=1)
    unsure = rate(services, ANN, shared, status="cannot_judge", value=None, revision=2)
    assert (changed.revision, unsure.revision) == (2, 3)
    with pytest.raises(StaleRecord, match="another window"):
        rate(services, ANN, shared, value=5, revision=1)
    services.close()
    later = kit.open_services(tmp_path)
    shown = form(later, ANN, shared)
    assert shown["answers"][FIRST]["status"] == "cannot_judge"
    assert shown["answers"][FIRST]["value"] is None
    assert shown["history"] == {FIRST: 3} and shown["progress"] == {"rated": 1, "cases": 1}
    history = later.store.rating_history(shared, "ann")
    assert [(r.revision, r.value, r.comment) for r in history] == [
        (1, 4, ""), (2, 2, "näher 观察"), (3, None, ""),
    ]  # fmt: skip
    assert [row["status"] for row in later.cases.worklist(ANN)] == ["rated"]
    assert [row["status"] for row in later.cases.worklist(BOB)] == ["explained"]
    assert later.administration.audit_is_intact(CHIEF)
    later.close()


def test_a_rating_is_bound_to_the_weights_that_made_the_map(
    services: Services, shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = clinic._Page(services)
    review = services.review.open(ANN, shared)
    card = services.models.card()
    assert review.weights == card.weights_digest
    open_ = services.review.open

    def slow(*asked: Any) -> Any:
        found = open_(*asked)
        monkeypatch.setattr(services.models, "card", lambda: replace(card, weights_digest="f" * 64))
        return found

    monkeypatch.setattr(services.review, "open", slow)
    shown = page.open(ANN, gr.EventData(None, {"case": shared}))[2]
    assert shown["weights"] == card.weights_digest
    answer = {
        "case": shared, "question": FIRST, "method": "relevance", "target": "Benign",
        "status": "answered", "value": 4, "comment": "", "revision": 0,
    }  # fmt: skip
    for weights, words in ((shown["weights"], "Another model"), ("", "not known which model")):
        said = page.rate(ANN, gr.EventData(None, answer | {"weights": weights}))
        assert words in said["error"]
    assert services.store.current_ratings() == []


def test_the_form_never_shows_anothers_answers(services: Services, shared: str) -> None:
    rate(services, ANN, shared, comment="a secret thought")
    for user in (BOB, CHIEF):
        shown = form(services, user, shared)
        assert shown["answers"] == {} and shown["history"] == {}
        assert "secret" not in str(shown) and "ann" not in str(shown).lower().split()
        assert shown["progress"]["rated"] == 0


NONSENSE: tuple[tuple[dict[str, Any], str], ...] = (
    ({"question": "q99"}, "no such question"),
    ({"method": "magic"}, "not made for this case"),
    ({"target": "Invasive"}, "not made for this case"),
    ({"status": "perhaps"}, "neither a number"),
    ({"value": 6}, "1 to 5"),
    ({"value": 0}, "1 to 5"),
    ({"value": True}, "1 to 5"),
    ({"value": None}, "1 to 5"),
    ({"status": "cannot_judge", "value": 3}, "without a number"),
    ({"comment": "x" * 10_001}, "10000 characters"),
)


def test_answers_that_make_no_sense(services: Services, shared: str) -> None:
    for change, sentence in NONSENSE:
        with pytest.raises(InvalidInput, match=sentence):
            rate(services, ANN, shared, **change)
    assert services.store.current_ratings() == []


def test_the_longest_comment_is_kept(services: Services, shared: str) -> None:
    assert rate(services, ANN, shared, comment="界" * 10_000).comment == "界" * 10_000


def test_agreement_of_two_readers_and_of_one(services: Services, shared: str) -> None:
    none = services.ratings.agreement(ANN)
    assert [part.items for part in none] == [0] * len(QUESTIONS)
    assert all(e.value is None and e.reason for part in none for e in part.estimates)
    review = services.review.open(ANN, shared, "Normal")
    assert review.target == "Normal"
    answers = {"relevance": (4, 4), "gradcam": (2, 3), "rollout": (5, 5), "cross_modal": (1, 2)}
    for method, (one, other) in answers.items():
        rate(services, ANN, shared, method=method, value=one)
        if method == "relevance":
            alone = services.ratings.agreement(ANN, only=FIRST)[0]
            assert alone.readers == ("ann",)
            assert all(e.value is None and e.reason for e in alone.estimates)
        rate(services, BOB, shared, method=method, value=other)
    rate(services, BOB, shared, target="Normal", status="cannot_judge", value=None)
    (part,) = services.ratings.agreement(ANN, only=FIRST)
    assert part.readers == ("ann", "bob") and part.items == 5
    assert part.counts == (1, 2, 1, 2, 2, 1)
    known = [e for e in part.estimates if e.value is not None]
    assert known and all(-1 <= e.value <= 1 for e in known)
    assert all(np.isfinite(e.value) for e in known)
    assert all(e.reason for e in part.estimates if e.value is None)
    assert services.ratings.agreement(ANN, "gradcam", only=FIRST)[0].items == 1


def test_agreement_of_readers_who_could_not_judge(services: Services, shared: str) -> None:
    for user in (ANN, BOB):
        rate(services, user, shared, status="cannot_judge", value=None)
    (part,) = services.ratings.agreement(ANN, only=FIRST)
    assert part.counts == (0, 0, 0, 0, 0, 2)
    assert all(e.value is None and e.reason for e in part.estimates)


def test_csv_never_runs_in_a_spreadsheet(services: Services, shared: str) -> None:
    cells = ["=1+1", " @SUM(A1)", "\t=cmd", "+4", "-4", "＝1", 'plain, "quoted"\nline', "\tx"]
    services.review.open(ANN, shared, "Normal")
    places = [(m, t) for t in ("Benign", "Normal") for m in METHODS]
    for (method, target), comment in zip(places, cells, strict=True):
        rate(services, ANN, shared, method=method, target=target, comment=comment)
    made = services.ratings.export_csv(OPERATOR)
    rows = list(csv.DictReader(io.StringIO(made.data.decode("utf-8-sig"), newline="")))
    found = {(row["method"], row["target"]): row["comment"] for row in rows}
    for place, comment in zip(places, cells, strict=True):
        is_plain = comment.startswith("plain")
        assert found[place] == (comment if is_plain else f"'{comment}")
    assert {row["answer"] for row in rows} == {"4"}
    assert {row["reader_id"] for row in rows} == {"ann"}
    assert services.store.audit(1)[0].action == "export"


def test_the_report_shows_a_reader_the_own_ratings_only(services: Services, shared: str) -> None:
    rate(services, ANN, shared, comment="a thought")
    for user, reader in ((ANN, "ann"), (BOB, "bob"), (CHIEF, None)):
        seen = services.store.current_ratings(reader=reader, case=shared)
        made = services.reports.case_pdf(user, shared)
        assert made.data.startswith(b"%PDF") and made.media_type == "application/pdf"
        assert len(seen) == (0 if user is BOB else 1)
    actions = [entry.action for entry in services.store.audit(10)]
    assert actions.count("report") == 3


def test_several_files_sent_together_are_one_case(services: Services, tmp_path: Path) -> None:
    from engine.phantoms import write_case

    folder = tmp_path / "sent"
    write_case(kit.small_case(), folder)
    (entry,) = services.intake.receive(ANN, folder)
    assert entry["title"] == "Mammogram, Pathology" and not entry["problem"]
    case = services.store.case(entry["case"])
    assert case.truth is not None and case.truth.label == "Invasive"
    (again,) = services.intake.receive(ANN, folder)
    assert again["case"] == entry["case"]
    (own,) = services.intake.receive(BOB, folder)
    assert own["case"] != entry["case"]
    assert [row["id"] for row in services.cases.worklist(BOB)] == [own["case"]]


def test_the_demonstration_fills_an_empty_workspace_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.settings import Settings

    drawn: list[int] = []

    def draw(seed: int, label: str) -> Any:
        drawn.append(seed)
        return kit.small_case(seed, label)

    monkeypatch.setattr("engine.phantoms.phantom_case", draw)
    settings = Settings.load({"workspace": tmp_path, "device": "cpu"}, environ={})
    made = Services.open(settings, demonstration=True)
    rows = made.cases.worklist(GUEST)
    assert len(rows) == len(drawn) == 12 and {row["source"] for row in rows} == {"demonstration"}
    made.close()
    later = Services.open(settings, demonstration=True)
    assert len(drawn) == 12 and len(later.cases.worklist(GUEST)) == 12

    def lost(case_id: str) -> Any:
        raise StorageFailed("The disk is gone.")

    with monkeypatch.context() as patch:
        patch.setattr(later.store, "case", lost)
        later.warm_up()
    assert {row["status"] for row in later.cases.worklist(GUEST)} == {"new"}
    later.warm_up()
    assert {row["status"] for row in later.cases.worklist(GUEST)} == {"explained"}
    later.close()
