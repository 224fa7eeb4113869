"""Studies in the database: plans, answers that are kept once, and a chain that tells of each."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from app.errors import InvalidInput, NotFound, StaleRecord
from app.store import By, Given, HandedIn, OutputInfo, Store
from app.store.study_standing import CLOSED, WITHDRAWN
from app.store.study_submit import ELSEWHERE, HANDED_IN, ORDER, REASON, REUSED
from app.store.study_timing import SLACK_MS, believed
from engine.records import Case, Image, Modality, Truth
from engine.study.plan import plan
from engine.study.records import (
    Arm,
    ArmKind,
    Design,
    Order,
    Protocol,
    ReadStatus,
    StudyQuestion,
    StudyState,
)

SERVER = "LIGHTBOX_TEST_DATABASE"
BY = By("olga", "organiser")
QUESTION = StudyQuestion("trust", "How far do you trust it?")
IMAGE = Arm("image", "Image only", ArmKind.IMAGE)
SECOND = Arm("second", "Image again", ArmKind.IMAGE)


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


def tiny(number: int) -> Case:
    pixels = np.full((1, 4, 4, 1), number, np.float32)
    image = Image(pixels, Modality.RADIOGRAPH, f"{number:064x}")
    return Case(f"LB-{number:04d}", (image,), truth=Truth("benign", None, None, None, "made"))


def opened(
    store: Store, *, cases: int = 2, readers: tuple[str, ...] = ("ann", "bob"), **design: Any
) -> tuple[int, str]:
    """An open study of tiny cases; its number and code."""
    names = [store.keep_case(tiny(n), owner="olga", source="test") for n in range(cases)]
    arms = design.pop("arms", (IMAGE,))
    protocol = Protocol(
        "Trust",
        cases=tuple(names),
        readers=readers,
        arms=arms,
        questions=design.pop("questions", (QUESTION,)),
        design=Design(**{"session_readings": 1000, "session_minutes": 600, **design}),
        seed=3,
    )
    number = store.add_study("olga", protocol, BY)
    for case in names:
        for arm in arms:
            store.keep_output(number, OutputInfo(case, arm.id, content="x"))
    study = store.study(number)
    store.open_study(number, study.version, plan(protocol, study.code), BY)
    return number, study.code


def send(store: Store, reader: str, token: str, value: float = 3, **changes: Any) -> HandedIn:
    """Hand in one answer."""
    sent: dict[str, Any] = {
        "asked": (QUESTION,), "comment": "", "reason": "", "timing": {"active_ms": 5},
        "revision": 0, "by": By(reader, "reader"), **changes,
    }  # fmt: skip
    key = sent.pop("key", secrets.token_hex(8))
    given = sent.pop("given", (Given("trust", ReadStatus.ANSWERED, value),))
    return store.hand_in(reader, token, key, given, **sent)


def next_token(store: Store, reader: str, code: str) -> str:
    following = store.standing(reader, code).following
    assert following is not None
    return following.token


def test_a_design_comes_back_as_it_was_and_a_stale_change_is_refused(store: Store) -> None:
    protocol = Protocol("Draft", arms=(IMAGE,), questions=(QUESTION,), groups={"LB-1": "dense"})
    number = store.add_study("olga", protocol, BY)
    found = store.study(number)
    assert (found.protocol, found.version, found.state) == (protocol, 1, StudyState.DRAFT)
    assert store.study_of_code(found.code) == found
    changed = replace(protocol, text="乳腺\0 guide")
    assert store.save_study(number, replace(changed, text="guide"), 1, BY, lambda *_: ()) == 2
    with pytest.raises(StaleRecord):
        store.save_study(number, protocol, 1, BY, lambda *_: ())
    assert store.study(number).protocol.text == "guide"
    store.delete_study(number, BY)
    with pytest.raises(NotFound):
        store.study(number)
    with pytest.raises(NotFound):
        store.study(2**40)
    assert [entry.action for entry in store.audit(10, object=found.code)] == [
        "study_delete", "study_save", "study_create",
    ]  # fmt: skip


def test_an_opened_study_has_codes_tokens_and_the_plan_as_rows(store: Store) -> None:
    number, code = opened(store, cases=3, repeats=1, repeat_gap=1)
    study = store.study(number)
    assert study.state is StudyState.OPEN
    rows = store.study_plan(number)
    assert {row.planned for row in rows} == set(plan(study.protocol, code))
    assert len({row.token for row in rows}) == len(rows) == 8
    assert set(store.study_codes(number).values()) == {"C001", "C002", "C003"}
    assert {reader.code for reader in store.study_readers(number)} == {"R01", "R02"}
    assert store.study_counts() == {number: (8, 0)}
    with pytest.raises(StaleRecord):
        store.open_study(number, study.version, (), BY)
    with pytest.raises(InvalidInput):
        store.delete_study(number, BY)


def test_an_answer_is_kept_once_with_its_row_of_the_trail(store: Store) -> None:
    number, code = opened(store)
    token = next_token(store, "ann", code)
    before = len(store.audit(1000))
    first = send(store, "ann", token, 4, key="one")
    assert first.is_new and first.reading.revision == 1
    again = send(store, "ann", token, 4, key="one")
    other_key = send(store, "ann", token, 4, key="two")
    assert not again.is_new and not other_key.is_new
    assert len(store.audit(1000)) == before + 1
    (kept,) = store.submissions(number)
    assert kept.answers == (Given("trust", ReadStatus.ANSWERED, 4.0),)
    entry = store.audit(1)[0]
    assert (entry.who, entry.action, entry.object, entry.role) == (
        "ann", "study_answer", code, "reader",
    )  # fmt: skip
    assert store.verify_audit() is None


def test_what_was_handed_in_stays_unless_the_design_allows_changes(store: Store) -> None:
    _, code = opened(store)
    token = next_token(store, "ann", code)
    send(store, "ann", token, 4, key="one")
    with pytest.raises(StaleRecord, match=REUSED):
        send(store, "ann", token, 5, key="one")
    with pytest.raises(StaleRecord, match=HANDED_IN):
        send(store, "ann", token, 5, key="two", revision=1, reason="Slip.")


def test_every_version_of_a_changed_answer_is_kept(store: Store) -> None:
    number, code = opened(store, allow_changes=True)
    token = next_token(store, "ann", code)
    send(store, "ann", token, 4)
    with pytest.raises(InvalidInput, match=REASON):
        send(store, "ann", token, 5, revision=1)
    with pytest.raises(StaleRecord, match=ELSEWHERE):
        send(store, "ann", token, 5, revision=0, reason="Slip.")
    assert send(store, "ann", token, 5, revision=1, reason="Slip.").reading.revision == 2
    kept = store.submissions(number)
    assert [(k.revision, k.answers[0].value, k.reason) for k in kept] == [
        (1, 4.0, ""), (2, 5.0, "Slip."),
    ]  # fmt: skip


def test_stages_are_read_in_their_order_and_never_changed(store: Store) -> None:
    _, code = opened(store, arms=(IMAGE, SECOND), order=Order.SEQUENTIAL, allow_changes=True)
    first, second, *_ = store.standing("ann", code).readings
    assert (first.case, first.stage, second.stage) == (second.case, 1, 2)
    with pytest.raises(InvalidInput, match=ORDER):
        send(store, "ann", second.token)
    send(store, "ann", first.token)
    with pytest.raises(StaleRecord, match=HANDED_IN):
        send(store, "ann", first.token, 5, revision=1, reason="Saw the map.")
    assert send(store, "ann", second.token).is_new


def test_a_reading_belongs_to_one_reader(store: Store) -> None:
    _, code = opened(store)
    token = next_token(store, "ann", code)
    for call in (
        lambda: send(store, "bob", token),
        lambda: store.reading("bob", token),
        lambda: store.keep_draft("bob", token, 1, {}, "t"),
        lambda: store.study_draft("bob", token),
        lambda: store.note_reading("bob", token),
        lambda: store.standing("cleo", code),
        lambda: store.pause_study("cleo", code, True, BY),
        lambda: store.standing("ann", "ST-none"),
    ):
        with pytest.raises(NotFound):
            call()
    assert store.standings("cleo") == []


def test_drafts_keep_the_newest_and_tell_of_another_tab(store: Store) -> None:
    _, code = opened(store)
    token = next_token(store, "ann", code)
    assert store.keep_draft("ann", token, 2, {"a": 2}, "left") == (2, False)
    assert store.keep_draft("ann", token, 1, {"a": 1}, "left") == (2, False)
    assert store.study_draft("ann", token) == ({"a": 2}, 2)
    assert store.keep_draft("ann", token, 3, {"a": 3}, "right") == (3, True)
    send(store, "ann", token)
    assert store.keep_draft("ann", token, 9, {"a": 9}, "right") == (3, False)
    assert store.study_draft("ann", token) == ({}, 3)


def test_a_closed_study_and_a_reader_who_left_take_no_answers(store: Store) -> None:
    number, code = opened(store)
    token, other = next_token(store, "ann", code), next_token(store, "bob", code)
    store.change_reader(number, "bob", "withdraw", "{code} left.", BY, withdrawn=datetime.now(UTC))
    with pytest.raises(StaleRecord, match=WITHDRAWN):
        send(store, "bob", other)
    send(store, "ann", token, key="mine")
    store.lock_study(number, lambda: {"answers": "d" * 64}, "Enough.", BY)
    following = store.standing("ann", code).following
    assert following is not None
    with pytest.raises(StaleRecord, match=CLOSED):
        send(store, "ann", following.token)
    assert not send(store, "ann", token, key="mine").is_new  # it had arrived in time
    assert store.study(number).digests == {"answers": "d" * 64}
    texts = [each.text for each in store.study_deviations(number)]
    assert texts[0].endswith(" left.") and "1 readings not handed in" in texts[1]
    with pytest.raises(InvalidInput):
        store.lock_study(number, dict, "", BY)


def test_the_reading_of_a_locked_study_is_not_changed_any_more(store: Store) -> None:
    number, _ = opened(store)
    store.lock_study(number, dict, "", BY)
    before = len(store.study_deviations(number))
    with pytest.raises(InvalidInput, match="locked"):
        store.change_reader(number, "ann", "withdraw", "Left.", BY, withdrawn=datetime.now(UTC))
    assert store.study_readers(number)[0].withdrawn is None
    assert len(store.study_deviations(number)) == before
    store.change_reader(number, "ann", "describe_reader", "", BY, specialty="Radiology")
    assert "Radiology" in {reader.specialty for reader in store.study_readers(number)}


def test_a_lock_looks_things_up_while_many_wait_to_write(store: Store) -> None:
    """Those who wait hold no connection, so that there is one for whoever writes."""
    number, _ = opened(store)
    found: list[int] = []
    with ThreadPoolExecutor(20) as others:

        def digests() -> dict[str, str]:
            jobs = [others.submit(store.record, "ann", "look") for _ in range(20)]
            time.sleep(0.5)
            found.append(sum(job.done() for job in jobs))
            found.append(len(store.study_plan(number)))
            return {}

        began = time.monotonic()
        store.lock_study(number, digests, "", BY)
        assert time.monotonic() - began < 15
    assert found == [0, 4]
    assert len(store.audit(100, action="look")) == 20 and store.verify_audit() is None


def test_cases_of_an_open_study_are_hidden_from_its_active_readers(store: Store) -> None:
    number, _ = opened(store)
    hidden = set(store.study_codes(number))

    def seen(name: str) -> set[str]:
        listed = {row.id for row in store.case_summaries(name)} & hidden
        assert listed == {case for case in hidden if store.may_see(case, name)}
        return listed

    assert (seen("ann"), seen("cleo"), seen("olga")) == (set(), hidden, hidden)
    store.change_reader(number, "ann", "withdraw", "", BY, withdrawn=datetime.now(UTC))
    assert (seen("ann"), seen("bob")) == (hidden, set())
    store.lock_study(number, dict, "", BY)
    assert seen("bob") == hidden


@pytest.mark.parametrize(
    ("told", "kept", "doubted"),
    [
        ({"first_ms": 200, "active_ms": 900}, (200, 900), False),
        ({"first_ms": -5, "active_ms": 900}, (0, 900), True),
        ({"active_ms": 10**12}, (None, 2000 + SLACK_MS), True),
        ({"active_ms": float("nan")}, (None, 0), True),
        ({"active_ms": "long"}, (None, 0), True),
        ({"active_ms": True}, (None, 0), True),
    ],
)
def test_a_browsers_clock_is_believed_within_the_time_that_passed(
    told: dict[str, Any], kept: tuple[int | None, int], doubted: bool
) -> None:
    now = datetime.now(UTC)
    made, is_odd = believed(told, now - timedelta(seconds=2), now, has_heat=False)
    assert ((made["first_ms"], made["active_ms"]), is_odd) == (kept, doubted)
    assert made["heat_seen"] is None
    assert believed({"heat_seen": 1, "opacity": -4}, now, now, has_heat=True)[0] == {
        "first_ms": None, "active_ms": 0, "opacity": 0, "window": 0, "method": 0,
        "heat_seen": False, "clock_doubted": False,
    }  # fmt: skip
    assert believed({}, now + timedelta(hours=1), now, has_heat=False)[1]


def test_many_readers_hand_in_at_once_and_nothing_is_lost_or_doubled(
    url: str, tmp_path: Path
) -> None:
    names = tuple(f"reader{n:02d}" for n in range(50))
    with Store(tmp_path, url) as store:
        number, code = opened(store, cases=1, readers=names)

        def read(name: str) -> int:
            token, key = next_token(store, name, code), secrets.token_hex(8)
            for _ in range(2):  # a double click
                send(store, name, token, key=key)
            return store.standing(name, code).done

        with ThreadPoolExecutor(50) as pool:
            assert list(pool.map(read, names)) == [1] * 50
        kept = Counter(each.reading for each in store.submissions(number))
        assert len(kept) == 50 and set(kept.values()) == {1}
        told = [e for e in store.audit(1000) if e.action == "study_answer"]
        assert len(told) == 50
        assert store.verify_audit() is None


def test_the_same_reading_sent_by_many_tabs_is_kept_once(store: Store) -> None:
    number, code = opened(store)
    token = next_token(store, "ann", code)

    def click(value: int) -> bool:
        try:
            return send(store, "ann", token, value).is_new
        except StaleRecord:
            return False

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(click, [3, 4] * 6)) == 1
    assert len(store.submissions(number)) == 1


WRITER = """
import sys
from pathlib import Path
from app.store import By, Given, Store
from engine.study.records import ReadStatus, StudyQuestion
folder, url, code, name = sys.argv[1:]
asked = (StudyQuestion("trust", "How far do you trust it?"),)
with Store(Path(folder), url) as store:
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    for n in range(1, 10**6):
        following = store.standing(name, code).following
        if following is None:
            break
        done = store.hand_in(
            name, following.token, f"key{n}", (Given("trust", ReadStatus.ANSWERED, 1.0 + n % 5),),
            asked=asked, comment=str(n), reason="", timing={}, revision=0, by=By(name, "reader"),
        )
        sys.stdout.write(f"{done.reading.id} {n}\\n"); sys.stdout.flush()
"""


def test_a_killed_process_loses_no_acknowledged_answer(url: str, tmp_path: Path) -> None:
    with Store(tmp_path, url) as store:
        number, code = opened(store, cases=60, readers=("ann", "bob"))
    arguments = [sys.executable, "-c", WRITER, str(tmp_path), url, code]
    writers = [
        subprocess.Popen([*arguments, name], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
        for name in ("ann", "bob")
    ]
    outputs = []
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdout is not None
        outputs += [writer.stdout.readline().split() for _ in range(6)]
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    for writer in writers:
        assert writer.stdout is not None
        with writer.stdout:
            outputs += [line.split() for line in writer.stdout if line.endswith("\n")]
        writer.wait()
    acknowledged = {int(reading): comment for reading, comment in outputs}
    assert len(acknowledged) >= 12
    with Store(tmp_path, url) as store:
        kept = {each.reading: each for each in store.submissions(number)}
        assert all(kept[reading].comment == comment for reading, comment in acknowledged.items())
        assert all(len(each.answers) == 1 for each in kept.values())
        told = [e for e in store.audit(1000) if e.action == "study_answer"]
        assert sorted(e.detail["reading"] for e in told) == sorted(kept)
        assert store.verify_audit() is None
    if url.startswith("sqlite"):
        with create_engine(url).connect() as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
