"""The store gives back what it was given, on SQLite and on a database server."""

import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from app.auth import Account, Login, Role
from app.errors import InvalidInput, NotFound, StaleRecord, StorageFailed
from app.store import CaseStatus, Store
from app.store.migrate import REVISIONS
from app.store.tables import Base
from engine.records import (
    AnswerStatus,
    Box,
    Case,
    Explanation,
    Grade,
    HeatMap,
    Image,
    Laterality,
    Modality,
    Patch,
    Prediction,
    Region,
    Spacing,
    Truth,
    Window,
)

WEIGHTS = "a" * 64
SERVER = "LIGHTBOX_TEST_DATABASE"


@pytest.fixture(params=["sqlite", "server"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database; on a server, a schema of its own."""
    if request.param == "sqlite":
        yield f"sqlite:///{(tmp_path / 'database.sqlite3').as_posix()}"
        return
    if SERVER not in os.environ:
        if "postgres" in os.environ.get("LIGHTBOX_REQUIRE", ""):
            pytest.fail(f"{SERVER} must name a PostgreSQL database")
        pytest.skip(f"{SERVER} names no database server")
    server = make_url(os.environ[SERVER]).set(drivername="postgresql+psycopg")
    schema = f"test_{secrets.token_hex(6)}"
    admin = create_engine(server)
    with admin.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    own = server.update_query_dict({"options": f"-csearch_path={schema}"})
    yield own.render_as_string(hide_password=False)
    with admin.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    admin.dispose()


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path, url) as opened:
        yield opened


def mammogram(seed: int = 0) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 4096, (1, 12, 9, 1)).astype(np.float32)
    return Image(
        pixels=pixels,
        modality=Modality.MAMMOGRAPHY,
        digest=f"{seed:064x}",
        spacing=Spacing(0.07, 0.1, None, "at detector"),
        windows=(Window(2048, 4096.5), Window(1.5, 2, "SIGMOID", "dense")),
        inverted=True,
        laterality=Laterality.LEFT,
        view="MLO",
        bits=12,
        background=-1.25,
        facts={"format": "DICOM"},
        warnings=("Spacing is at the detector.",),
    )


def volume() -> Image:
    pixels = np.random.default_rng(1).normal(size=(3, 5, 4, 1)).astype(np.float32)
    affine = np.linspace(-1, 1, 16).reshape(4, 4) / 3
    return Image(pixels, Modality.MRI, "b" * 64, Spacing(1, 1, 2.5), (Window(0, 1),), affine=affine)


def colour() -> Image:
    pixels = np.random.default_rng(2).integers(0, 256, (1, 6, 7, 3)).astype(np.float32)
    return Image(pixels, Modality.PATHOLOGY, "c" * 64)


def case(name: str = "Case-1", seed: int = 0) -> Case:
    mask = np.zeros((12, 9), bool)
    mask[2:4, 3:6] = True
    return Case(
        id=name,
        images=(mammogram(seed), volume(), colour()),
        note="dichte Brust; 乳腺\0",
        truth=Truth("invasive", 2, Box(3, 2, 3, 2), mask, "phantom"),
        warnings=("The case has no ultrasound.",),
    )


def prediction() -> Prediction:
    mask = np.eye(12, 9, dtype=bool)
    return Prediction(
        probabilities={"normal": 0.25, "invasive": 0.75},
        model="demo",
        version="1",
        weights_digest=WEIGHTS,
        grade=Grade(("low", "high"), (0.4, 0.6), 1),
        regions=(Region(0, 0, Box(1, 2, 3, 4), mask, 0.5), Region(1, 2, None, None, None)),
        patches=(Patch(2, Box(0, 0, 2, 2), np.float32(0.5)),),
        frames={0: 0, 1: 2},
        warnings=("Read without ultrasound.",),
        seconds=0.5,
    )


def explanation(method: str = "rollout") -> Explanation:
    heat = np.random.default_rng(3).normal(size=(12, 9)).astype(np.float32)
    flat = HeatMap(1, 2, np.zeros((5, 4), np.float32), (1, 1), False, "The map is flat.")
    maps = (HeatMap(0, 0, heat, (4, 3)), flat)
    return Explanation(method, "invasive", maps, {"layers": [1, 2], "seed": 7}, "demo", WEIGHTS, 1)


def same_images(one: Image, other: Image) -> bool:
    plain = [
        "modality",
        "digest",
        "spacing",
        "windows",
        "inverted",
        "laterality",
        "view",
        "bits",
        "background",
    ]
    equal = all(getattr(one, name) == getattr(other, name) for name in plain)
    affine = (one.affine is None and other.affine is None) or np.array_equal(
        np.asarray(one.affine), np.asarray(other.affine)
    )
    said = dict(one.facts) == dict(other.facts) and one.warnings == other.warnings
    exact = np.array_equal(one.pixels, other.pixels) and other.pixels.dtype == np.float32
    return bool(equal and affine and said and exact)


def test_migrations_make_exactly_the_tables(store: Store) -> None:
    with store._database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert context.get_current_revision() == REVISIONS[-1]


def test_a_case_comes_back_exactly(store: Store) -> None:
    given_case = case()
    kept = store.keep_case(given_case, owner="ann", source="upload", thumbnail=b"png")
    found = store.case(kept)
    assert kept == "Case-1" and found.id == "Case-1"
    assert found.note == "dichte Brust; 乳腺" and found.warnings == given_case.warnings
    pairs = list(zip(given_case.images, found.images, strict=True))
    assert [same_images(a, b) for a, b in pairs] == [True, True, True]
    assert found.truth is not None and given_case.truth is not None
    assert (found.truth.label, found.truth.grade) == ("invasive", 2)
    assert found.truth.box == given_case.truth.box and found.truth.source == "phantom"
    assert np.array_equal(found.truth.mask, given_case.truth.mask)
    assert store.thumbnail(kept) == b"png"


def test_one_image_is_mapped_in_its_smallest_type(store: Store) -> None:
    store.keep_case(case(), owner="ann", source="upload")
    kinds = [store.image_array("Case-1", n).dtype for n in range(3)]
    assert kinds == [np.uint16, np.float32, np.uint8]
    first = store.image_array("Case-1", 0)
    assert isinstance(first, np.memmap) and not first.flags.writeable
    assert same_images(store.image("Case-1", 1), volume())
    with pytest.raises(NotFound, match="no such image"):
        store.image_array("Case-1", 3)
    with pytest.raises(NotFound, match="no such case"):
        store.case("absent")


def test_the_same_case_is_stored_once_and_a_pseudonym_is_never_shared(store: Store) -> None:
    assert store.keep_case(case(), owner="ann", source="upload") == "Case-1"
    assert store.keep_case(case("Other"), owner="bob", source="upload") == "Case-1"
    assert store.keep_case(case("case-1", seed=9), owner="bob", source="upload") == "case-1-2"
    assert [found.id for found in store.case_summaries()] == ["case-1-2", "Case-1"]


def test_a_private_case_shows_to_its_owner_only(store: Store) -> None:
    store.keep_case(case(), owner="ann", source="upload", shared=False)
    copy = store.keep_case(case(), owner="bob", source="upload", shared=False)
    assert copy == "Case-1-2"
    assert [found.id for found in store.case_summaries("ann")] == ["Case-1"]
    assert [found.id for found in store.case_summaries("bob")] == ["Case-1-2"]
    assert store.case_summaries("eve") == []
    assert len(store.case_summaries("eve", everything=True)) == 2
    assert store.may_see("Case-1", "ann") and not store.may_see("Case-1", "bob")
    assert not store.may_see("absent", "ann")


def test_the_worklist_tells_what_a_case_holds_and_how_far_it_is(store: Store) -> None:
    store.keep_case(case(), owner="ann", source="upload", thumbnail=b"png")
    (line,) = store.case_summaries("ann")
    assert line.modalities == (Modality.MAMMOGRAPHY, Modality.MRI, Modality.PATHOLOGY)
    assert (line.images, line.frames, line.label_known) == (3, 5, True)
    assert (line.owner, line.thumbnail, line.status) == ("ann", b"png", CaseStatus.NEW)
    assert abs(datetime.now(UTC) - line.created) < timedelta(minutes=1)
    number = store.keep_prediction("Case-1", prediction())
    store.keep_explanation("Case-1", number, explanation())
    assert store.case_summaries("ann")[0].status == CaseStatus.EXPLAINED
    rate(store, reader="bob")
    assert store.case_summaries("ann")[0].status == CaseStatus.EXPLAINED
    assert store.case_summaries("bob")[0].status == CaseStatus.RATED
    assert store.case_summaries()[0].status == CaseStatus.RATED


@pytest.mark.parametrize("name", ["", "../up", "a b", "-a", "a" * 61, "Müller"])
def test_an_odd_pseudonym_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidInput, match="pseudonym"):
        store.keep_case(case(name), owner="ann", source="upload")
    assert store.case_summaries() == []


def test_a_case_with_broken_pixels_is_refused(store: Store) -> None:
    broken = Image(np.full((1, 2, 2, 1), np.nan, np.float32), Modality.CT, "d" * 64)
    for images in ((), (broken,), (Image(np.zeros((0, 1, 1, 1), np.float32), Modality.CT, ""),)):
        with pytest.raises(InvalidInput):
            store.keep_case(Case("Case-1", images), owner="ann", source="upload")


def test_a_prediction_comes_back_exactly_and_the_newest_counts(store: Store) -> None:
    store.keep_case(case(), owner="ann", source="upload")
    assert store.latest_prediction("Case-1", WEIGHTS) is None
    first = store.keep_prediction("Case-1", prediction())
    second = store.keep_prediction("Case-1", prediction())
    latest = store.latest_prediction("Case-1", WEIGHTS)
    assert latest is not None and latest[0] == second > first
    given_one, found = prediction(), latest[1]
    for name in ("model", "version", "grade", "warnings", "seconds", "frames", "patches"):
        assert getattr(found, name) == getattr(given_one, name), name
    assert list(found.probabilities.items()) == list(given_one.probabilities.items())
    assert np.array_equal(found.regions[0].mask, given_one.regions[0].mask)
    assert (found.regions[0].box, found.regions[0].score) == (Box(1, 2, 3, 4), 0.5)
    assert found.regions[1].mask is None and found.regions[1].frame == 2
    assert store.latest_prediction("Case-1", "f" * 64) is None
    assert store.prediction(first).model == "demo"


def test_an_explanation_comes_back_exactly(store: Store) -> None:
    store.keep_case(case(), owner="ann", source="upload")
    number = store.keep_prediction("Case-1", prediction())
    one = store.keep_explanation("Case-1", number, explanation())
    two = store.keep_explanation("Case-1", number, explanation("gradcam"))
    found, wanted = store.explanation(one), explanation()
    assert (found.method, found.target, found.settings) == ("rollout", "invasive", wanted.settings)
    assert np.array_equal(found.maps[0].values, wanted.maps[0].values)
    assert found.maps[0].grid == (4, 3) and found.maps[1].reason == "The map is flat."
    assert not found.maps[1].localised
    rows = store.explanations("Case-1", WEIGHTS)
    assert [(row.id, row.method) for row in rows] == [(two, "gradcam"), (one, "rollout")]
    assert rows[1].prediction == number and rows[1].maps[1].frame == 2
    assert store.explanation_row(two) == rows[0]
    assert store.explanations("Case-1", "f" * 64) == []
    heat = store.heat(one, 0)
    assert heat.dtype == np.float32 and np.array_equal(heat, wanted.maps[0].values)
    for absent in (lambda: store.heat(one, 2), lambda: store.heat(999, 0)):
        with pytest.raises(NotFound):
            absent()


def test_a_result_must_fit_its_case(store: Store, tmp_path: Path) -> None:
    store.keep_case(case(), owner="ann", source="upload")
    store.keep_case(case("Case-2", seed=5), owner="ann", source="upload")
    number = store.keep_prediction("Case-1", prediction())
    good = np.zeros((12, 9), np.float32)
    bad = [
        HeatMap(0, 0, good.T, (1, 1)),
        HeatMap(3, 0, good, (1, 1)),
        HeatMap(0, 1, good, (1, 1)),
        HeatMap(0, 0, good * np.nan, (1, 1)),
    ]
    for heat in bad:
        wrong = Explanation("m", "t", (HeatMap(0, 0, good, (1, 1)), heat), {}, "demo", WEIGHTS)
        with pytest.raises(InvalidInput):
            store.keep_explanation("Case-1", number, wrong)
    with pytest.raises(InvalidInput, match="setting"):
        store.keep_explanation(
            "Case-1", number, Explanation("m", "t", (), {"x": float("inf")}, "demo", WEIGHTS)
        )
    with pytest.raises(NotFound, match="prediction"):
        store.keep_explanation("Case-2", number, explanation())
    with pytest.raises(NotFound):
        store.keep_prediction("absent", prediction())
    assert store.explanations("Case-1") == []
    assert list(tmp_path.glob("cases/*/heat/*")) == []


def rate(store: Store, value: int | None = 4, expected: int = 0, **other: object):
    fields: dict = {"case": "Case-1", "reader": "ann", "question": "q1", "method": "rollout"}
    fields |= {"target": "invasive", "status": AnswerStatus.ANSWERED, "comment": ""}
    fields |= {"weights_digest": WEIGHTS, **other}
    return store.keep_rating(value=value, expected_revision=expected, **fields)


def test_a_changed_rating_keeps_its_history(store: Store) -> None:
    store.keep_case(case(), owner="ann", source="upload")
    first = rate(store, 4, comment="gut 好")
    assert (first.revision, first.value, first.comment) == (1, 4, "gut 好") and first.id > 0
    second = rate(store, None, 1, status=AnswerStatus.CANNOT_JUDGE)
    assert (second.revision, second.value) == (2, None)
    rate(store, 2, reader="bob")
    rate(store, 5, question="q2")
    assert [r.value for r in store.rating_history("Case-1", "ann", "q1")] == [4, None]
    assert store.rating_history("Case-1", "ann", "q1")[0] == first
    current = store.current_ratings()
    assert [(r.reader, r.question, r.value) for r in current] == [
        ("ann", "q1", None),
        ("bob", "q1", 2),
        ("ann", "q2", 5),
    ]
    assert [r.value for r in store.current_ratings(reader="bob", case="Case-1")] == [2]
    assert store.current_ratings(question="q3") == []


def test_a_stale_change_is_refused_and_a_repeat_is_no_change(store: Store) -> None:
    store.keep_case(case(), owner="ann", source="upload")
    first = rate(store, 4)
    assert rate(store, 4) == first
    with pytest.raises(StaleRecord, match="another window"):
        rate(store, 3)
    with pytest.raises(StaleRecord):
        rate(store, 3, expected=2)
    assert rate(store, 3, expected=1).revision == 2
    assert rate(store, 3, expected=1).revision == 2
    assert len(store.rating_history("Case-1", "ann")) == 2


@pytest.mark.parametrize("value", [0, 6, None, True, 2.5])
def test_an_answer_is_one_to_five(store: Store, value: object) -> None:
    store.keep_case(case(), owner="ann", source="upload")
    with pytest.raises(InvalidInput, match="1 to 5"):
        rate(store, value)
    with pytest.raises(InvalidInput, match="without a number"):
        rate(store, 3, status=AnswerStatus.CANNOT_JUDGE)
    with pytest.raises(NotFound):
        rate(store, 3, case="absent")
    assert store.current_ratings() == []


def test_the_database_itself_refuses_a_wrong_rating(store: Store) -> None:
    store.keep_case(case(), owner="ann", source="upload")
    rate(store, 4)
    for change in ("value = 9", "value = NULL", "status = 'maybe'", "revision = 0"):
        with pytest.raises(StorageFailed, match="refused"), store._writing() as session:
            session.execute(text(f"UPDATE ratings SET {change}"))
    assert store.current_ratings()[0].value == 4


def test_threads_write_at_the_same_time(store: Store) -> None:
    store.keep_case(case(), owner="ann", source="upload")

    def work(n: int) -> int:
        store.record(f"reader-{n}", "view", "Case-1")
        return rate(store, 1 + n % 5, reader=f"reader-{n}").revision

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(24))) == [1] * 24
    assert len(store.current_ratings()) == 24
    assert store.verify_audit() is None and len(store.audit()) == 24


def test_of_two_changes_at_once_one_is_stale(store: Store) -> None:
    store.keep_case(case(), owner="ann", source="upload")
    rate(store, 1)

    def change(value: int) -> bool:
        try:
            rate(store, value, expected=1)
        except StaleRecord:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(change, [2, 3, 4, 5])) == [False, False, False, True]


def test_reports_are_noted(store: Store) -> None:
    store.keep_case(case(), owner="ann", source="upload")
    made = store.keep_report(case="Case-1", report_id="R-1", digest="e" * 64, maker="ann")
    assert store.reports() == [made] == store.reports("Case-1")
    with pytest.raises(InvalidInput, match="made before"):
        store.keep_report(case="Case-1", report_id="R-1", digest="e" * 64, maker="ann")
    with pytest.raises(NotFound):
        store.keep_report(case="absent", report_id="R-2", digest="e" * 64, maker="ann")


def test_the_audit_trail_pages_filters_and_shows_tampering(store: Store) -> None:
    assert store.verify_audit() is None
    for n in range(5):
        store.record("ann" if n % 2 else "bob", "view", f"Case-{n}", {"n": n, "x": 0.1})
    assert [entry.position for entry in store.audit(2)] == [5, 4]
    assert [entry.position for entry in store.audit(2, before=4)] == [3, 2]
    assert [entry.object for entry in store.audit(who="ann")] == ["Case-3", "Case-1"]
    assert store.audit(action="export") == []
    assert store.audit(object="Case-2")[0].detail == {"n": 2, "x": 0.1}
    assert store.verify_audit() is None
    for wrong in ({"a": [1]}, {"a": float("nan")}):
        with pytest.raises(InvalidInput):
            store.record("ann", "view", detail=wrong)


@pytest.mark.parametrize(
    ("change", "position"),
    [
        ("UPDATE audit SET who = 'eve' WHERE position = 3", 3),
        ("UPDATE audit SET detail = '{}' WHERE position = 2", 2),
        ("DELETE FROM audit WHERE position = 4", 4),
        ("DELETE FROM audit WHERE position = 1", 1),
    ],
)
def test_a_changed_audit_row_is_found(store: Store, change: str, position: int) -> None:
    for n in range(5):
        store.record("ann", "view", f"Case-{n}", {"n": n})
    with store._writing() as session:
        session.execute(text(change))
    assert store.verify_audit() == position


def test_accounts_and_logins_are_kept(store: Store) -> None:
    now = datetime.now(UTC)
    ann = Account("ann", "Ann 安", Role.ADMINISTRATOR, "hash", True, now)
    bob = Account("bob", "Bob", Role.READER, "hash", True, now, True)
    assert not store.has_accounts()
    assert store.add_account(ann, only_first=True) and store.has_accounts()
    assert not store.add_account(bob, only_first=True) and not store.add_account(ann)
    assert store.add_account(bob) and store.accounts() == [ann, bob]
    store.set_password("bob", "other", must_change=False)
    found = store.account("bob")
    assert found is not None and (found.password_hash, found.must_change) == ("other", False)
    assert not store.deactivate_account("ann") and store.deactivate_account("bob")
    assert store.account("nobody") is None
    login = Login("1" * 64, "ann", now, now, now + timedelta(hours=1))
    store.add_login(login)
    assert store.login("1" * 64) == login and store.login("2" * 64) is None
    store.touch_login("1" * 64, now + timedelta(minutes=1))
    store.add_login(Login("2" * 64, "ann", now, now, now))
    store.revoke_logins("ann", but="1" * 64)
    kept = [store.login(digest) for digest in ("1" * 64, "2" * 64)]
    assert [one.revoked for one in kept if one] == [False, True]
    assert kept[0] is not None and kept[0].last_seen == now + timedelta(minutes=1)
    store.revoke_login("1" * 64)
    assert store.login("1" * 64).revoked


def test_text_and_numbers_out_of_range_get_a_sentence(store: Store) -> None:
    for ask in (lambda: store.case("\ud800"), lambda: store.prediction(2**80)):
        with pytest.raises(InvalidInput, match="out of range"):
            ask()
    store.keep_case(case(), owner="ann", source="upload")
    assert rate(store, 4, comment="a\0b\ud800").comment == "ab?"


def test_a_reopened_workspace_has_everything(url: str, tmp_path: Path) -> None:
    with Store(tmp_path, url) as store:
        store.keep_case(case(), owner="ann", source="upload")
        number = store.keep_prediction("Case-1", prediction())
        shown = store.keep_explanation("Case-1", number, explanation())
        rating = rate(store, 4)
        store.record("ann", "rate", "Case-1")
    with Store(tmp_path, url) as store:
        assert same_images(store.case("Case-1").images[0], mammogram())
        assert np.array_equal(store.heat(shown, 0), explanation().maps[0].values)
        assert store.current_ratings() == [rating]
        assert store.verify_audit() is None and store.audit()[0].action == "rate"
