"""When something breaks: one sentence, nothing half stored, nothing lost."""

import errno
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import event, text

from app.errors import InvalidInput, NewerDatabase, StorageFailed
from app.settings import Secret, Settings
from app.store import Store
from app.store.migrate import REVISIONS, SCRIPTS
from engine.records import (
    AnswerStatus,
    Case,
    Explanation,
    HeatMap,
    Image,
    Modality,
    Prediction,
    Region,
)

WEIGHTS = "a" * 64
ROOT = Path(__file__).parents[2]


def case(name: str = "Case-1", seed: int = 0, size: int = 8) -> Case:
    pixels = np.random.default_rng(seed).integers(0, 255, (1, size, size, 1)).astype(np.float32)
    return Case(name, (Image(pixels, Modality.MAMMOGRAPHY, f"{seed:064x}"),))


def keep(store: Store, one: Case | None = None) -> str:
    return store.keep_case(one or case(), owner="ann", source="upload")


def prediction(mask: np.ndarray | None = None) -> Prediction:
    return Prediction({"a": 1.0}, "demo", "1", WEIGHTS, regions=(Region(0, mask=mask),))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "cases").rglob("*"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path, busy_ms=100) as opened:
        yield opened


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/secret/path")


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_revisions_known_are_those_shipped() -> None:
    scripts = ScriptDirectory(str(SCRIPTS))
    assert tuple(reversed([s.revision for s in scripts.walk_revisions()])) == REVISIONS


def test_sqlite_is_opened_for_many_windows(store: Store) -> None:
    with store._reading() as session:
        found = [
            session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        ]
    assert found == ["wal", 1, 100, 2]  # 2: an answer survives the loss of power


def test_a_newer_database_is_left_as_it_is(tmp_path: Path) -> None:
    Store(tmp_path).close()
    path = tmp_path / "lightbox.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(NewerDatabase, match="newer version"):
        Store(tmp_path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "lightbox.sqlite3").write_bytes(b"this is a text, and a long one" * 100)
    with pytest.raises(StorageFailed, match="damaged"):
        Store(tmp_path)


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "sqlite:///:memory:", "martian://x/y"])
def test_an_unusable_url_gets_a_sentence(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInput, match=r"database"):
        Store(tmp_path, Secret(url))


def test_an_absent_server_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="cannot be reached") as caught:
        Store(tmp_path, Secret("postgresql://ann:hunter2@127.0.0.1:1/x"))
    assert "hunter2" not in str(caught.value)


def test_a_locked_database_gets_a_sentence(store: Store, tmp_path: Path) -> None:
    keep(store)
    other = sqlite3.connect(tmp_path / "lightbox.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageFailed, match="busy"):
        keep(store, case("Case-2", 2))
    assert len(store.case_summaries()) == 1
    other.close()
    assert keep(store, case("Case-2", 2)) == "Case-2"
    assert files(tmp_path) == ["0.npy", "0.npy", "Case-1", "Case-2"]


def test_a_read_only_database_can_be_read(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        keep(store)
    path = (tmp_path / "lightbox.sqlite3").as_posix()
    with Store(tmp_path, f"sqlite:///file:{path}?mode=ro&uri=true") as store:
        assert store.case("Case-1").images[0].width == 8
        with pytest.raises(StorageFailed, match="read-only"):
            store.record("ann", "view")


def test_a_full_disk_while_writing_rows_stores_nothing(store: Store, tmp_path: Path) -> None:
    @event.listens_for(store._database, "connect")
    def limit(connection: sqlite3.Connection, record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")

    store._database.dispose()
    with pytest.raises(StorageFailed, match="disk is full"):
        store.keep_case(case(), owner="ann", source="upload", thumbnail=b"x" * 100_000)
    assert store.case_summaries() == [] and files(tmp_path) == []


def test_a_full_disk_while_writing_arrays_stores_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(store)
    number = store.keep_prediction("Case-1", prediction())
    heat = HeatMap(0, 0, np.ones((8, 8), np.float32), (1, 1))
    explained = Explanation("m", "t", (heat, heat), {}, "demo", WEIGHTS)
    before = files(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("app.store.arrays.os.fsync", full_disk)
        for work in (
            lambda: keep(store, case("Case-2", 2)),
            lambda: store.keep_prediction("Case-1", prediction(np.ones((8, 8), bool))),
            lambda: store.keep_explanation("Case-1", number, explained),
        ):
            with pytest.raises(StorageFailed, match="disk is full") as caught:
                work()
            assert "secret" not in str(caught.value) and caught.value.__suppress_context__
    left = [name for name in files(tmp_path) if name not in ("masks", "heat")]
    assert left == before and len(store.case_summaries()) == 1
    assert store.explanations("Case-1") == []
    assert store.keep_explanation("Case-1", number, explained) == 1


@pytest.mark.parametrize("failure", [full_disk, killed])
def test_a_writer_that_stops_between_array_and_row_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: object
) -> None:
    keep(store)
    number = store.keep_prediction("Case-1", prediction())
    before = files(tmp_path)
    heat = HeatMap(0, 0, np.ones((8, 8), np.float32), (1, 1))
    with monkeypatch.context() as patch:
        patch.setattr("sqlalchemy.orm.Session.add", failure)
        with pytest.raises((StorageFailed, KeyboardInterrupt)):
            keep(store, case("Case-2", 2))
        with pytest.raises((StorageFailed, KeyboardInterrupt)):
            explained = Explanation("m", "t", (heat,), {}, "demo", WEIGHTS)
            store.keep_explanation("Case-1", number, explained)
    assert [name for name in files(tmp_path) if name != "heat"] == before
    assert [found.id for found in store.case_summaries()] == ["Case-1"]
    assert store.explanations("Case-1") == []


def test_folders_left_by_a_power_cut_are_neither_used_nor_destroyed(tmp_path: Path) -> None:
    orphan = tmp_path / "cases" / "Case-1"
    orphan.mkdir(parents=True)
    (orphan / "0.npy").write_bytes(b"of another database")
    draft, fresh = (tmp_path / "cases" / f".draft-{name}" for name in ("old", "new"))
    for folder in (draft, fresh):
        folder.mkdir()
    os.utime(draft, (time.time() - 200_000,) * 2)
    with Store(tmp_path) as store:
        assert keep(store) == "Case-1"
        assert np.array_equal(store.case("Case-1").images[0].pixels, case().images[0].pixels)
    assert (orphan / "0.npy").read_bytes() == b"of another database"
    assert not draft.exists() and fresh.exists()


def test_a_changed_or_missing_array_is_noticed(store: Store, tmp_path: Path) -> None:
    keep(store)
    path = tmp_path / "cases" / "Case-1" / "0.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    for read in (lambda: store.case("Case-1"), lambda: store.image_array("Case-1", 0)):
        with pytest.raises(StorageFailed, match="damaged"):
            read()
    path.unlink()
    with pytest.raises(StorageFailed, match="missing"):
        store.case("Case-1")


def test_error_messages_hold_no_values(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StorageFailed) as caught, store._writing() as session:
        session.execute(text("INSERT INTO nowhere VALUES (:name)"), {"name": "Mrs Secret"})
    assert "Secret" not in str(caught.value) and "nowhere" not in str(caught.value)
    assert "Secret" not in caplog.text and "database error" in caplog.text


WRITER = """
import sys
from pathlib import Path
import numpy as np
from app.store import Store
from engine.records import AnswerStatus, Case, Image, Modality
who, folder = sys.argv[1], Path(sys.argv[2])
with Store(folder) as store:
    for n in range(8):
        pixels = np.full((1, 4, 4, 1), n, np.float32) + (100 if who == "ann" else 0)
        case = Case(f"Case-{n}", (Image(pixels, Modality.CT, who + str(n)),))
        kept = store.keep_case(case, owner=who, source="upload")
        store.keep_rating(case=kept, reader=who, question="q", method="m", target="t",
            status=AnswerStatus.ANSWERED, value=3, comment="", weights_digest="a" * 64)
        store.record(who, "rate", kept)
"""


def test_two_processes_write_at_the_same_time_from_the_start(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WRITER, who, str(tmp_path)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for who in ("ann", "bob")
    ]
    said = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    with Store(tmp_path) as store:
        owners = [found.owner for found in store.case_summaries()]
        assert sorted(owners) == ["ann"] * 8 + ["bob"] * 8
        assert len(store.current_ratings()) == 16 and len(store.audit()) == 16
        assert store.verify_audit() is None
        means = {store.case(c.id).images[0].pixels.mean() >= 100 for c in store.case_summaries("x")}
        assert means == {True, False}


def test_a_killed_process_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    code = WRITER.replace(
        "store.record(who", "n == 3 and __import__('os')._exit(9)\n        store.record(who"
    )
    done = subprocess.run([sys.executable, "-c", code, "ann", str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == 9
    with Store(tmp_path) as store:
        assert len(store.case_summaries()) == 4 == len(store.current_ratings())
        assert len(store.audit()) == 3 and store.verify_audit() is None
        assert {r.status for r in store.current_ratings()} == {AnswerStatus.ANSWERED}


def test_the_store_opens_by_settings(tmp_path: Path) -> None:
    with Store.open(Settings.load({"workspace": tmp_path / "new"}, {})) as store:
        keep(store)
    assert (tmp_path / "new" / "lightbox.sqlite3").is_file()
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
