"""Settings: precedence, refusals, and secrets that do not print."""

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import pytest

from app.errors import InvalidInput, StorageFailed
from app.settings import _READERS, Secret, Settings


def load(flags: dict | None = None, environ: dict | None = None, **kwargs: Path) -> Settings:
    return Settings.load(flags, environ or {}, **kwargs)


def test_defaults_lie_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = load()
    assert found.workspace == tmp_path / "workspace" and not found.workspace.exists()
    url = f"sqlite:///{(tmp_path / 'workspace' / 'lightbox.sqlite3').as_posix()}"
    assert found.database.reveal() == url
    assert (found.host, found.port, found.device, found.open_browser) == (
        "127.0.0.1",
        7860,
        "auto",
        True,
    )
    assert (found.session_minutes, found.idle_minutes, found.max_upload_mb) == (480, 15, 1024)
    assert found.is_loopback and found.max_upload_bytes == 1_024_000_000


def test_flags_come_before_environment_before_file_before_defaults(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('port = 1\nhost = "a"\ndevice = "cpu"\nopen_browser = false\n')
    environ = {"LIGHTBOX_PORT": "2", "LIGHTBOX_HOST": "b", "LIGHTBOX_CONFIG": str(file)}
    found = load({"port": 3, "host": None}, environ)
    assert (found.port, found.host, found.device) == (3, "b", "cpu")
    assert not found.open_browser and found.idle_minutes == 15
    assert load(file=file).port == 1


def test_the_workspace_may_hold_the_file(tmp_path: Path) -> None:
    (tmp_path / "lightbox.toml").write_text("port = 99\n")
    assert load({"workspace": tmp_path}).port == 99
    assert load({}, {"LIGHTBOX_WORKSPACE": str(tmp_path)}).port == 99


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "70000"),
        ("port", "-1"),
        ("port", "1.5"),
        ("port", True),
        ("port", "²"),
        ("device", "gpu"),
        ("open_browser", "perhaps"),
        ("session_minutes", 0),
        ("idle_minutes", "soon"),
        ("max_upload_mb", 0),
        ("database", "postgres"),
        ("host", 7),
        ("workspace", 7),
        ("secret_file", ""),
    ],
)
def test_a_bad_value_names_the_field(name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=f"^The setting {name} must [^.]*\\.$"):
        load({name: value, **({} if name == "workspace" else {"workspace": "w"})})


def test_a_bad_environment_or_file_names_the_field(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="setting port"):
        load({}, {"LIGHTBOX_PORT": "x"})
    for content in ("port = 'x'", "port = [1]"):
        (tmp_path / "lightbox.toml").write_text(content)
        with pytest.raises(InvalidInput, match="setting port"):
            load({"workspace": tmp_path})


def test_unknown_fields_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="“colour” is not a known option"):
        load({"colour": 1})
    (tmp_path / "lightbox.toml").write_text("[server]\nport = 1\n")
    with pytest.raises(InvalidInput, match="“server” is not a known field"):
        load({"workspace": tmp_path})
    assert load({}, {"LIGHTBOX_REQUIRE": "real_data"}).port == 7860


def test_a_missing_or_broken_file_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist") as caught:
        load({}, {"LIGHTBOX_CONFIG": str(tmp_path / "absent.toml")})
    assert "absent" not in str(caught.value)
    (tmp_path / "lightbox.toml").write_bytes(b"port = \xff")
    with pytest.raises(InvalidInput, match="not valid TOML"):
        load({"workspace": tmp_path})


def test_secrets_do_not_print() -> None:
    found = load({"database": "postgresql://ann:hunter2@db/x"})
    secret = found.database
    shown = f"{found} {found!r} {secret} {secret!r}"
    assert "hunter2" not in shown and "********" in shown
    assert secret.reveal().endswith("@db/x")
    assert secret == Secret("postgresql://ann:hunter2@db/x") != Secret("other")
    assert hash(secret) == hash(Secret("postgresql://ann:hunter2@db/x"))
    with pytest.raises(InvalidInput) as caught:
        load({"database": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    found = load({"workspace": tmp_path / "w"})
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: found.signing_key(), range(16)))
    assert len(keys) == 1 and len(keys.pop()) == 32
    path = tmp_path / "w" / "session.key"
    assert [p.name for p in path.parent.iterdir()] == ["session.key"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    assert load({"workspace": tmp_path / "w"}).signing_key() == path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_damaged_or_unreadable_key_gets_a_sentence(tmp_path: Path) -> None:
    found = load({"workspace": tmp_path})
    found.secret_file.write_bytes(b"short")
    with pytest.raises(StorageFailed, match="damaged"):
        found.signing_key()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="cannot be read"):
        load({"workspace": tmp_path / "file"}).signing_key()
    elsewhere = load({"workspace": tmp_path, "secret_file": tmp_path / "k" / "key"})
    assert len(elsewhere.signing_key()) == 32 and (tmp_path / "k" / "key").is_file()


def test_each_field_has_a_reader() -> None:
    assert set(_READERS) == {field.name for field in fields(Settings)}


@pytest.mark.parametrize(
    ("host", "loopback"), [("localhost", True), ("127.0.0.9", True), ("0.0.0.0", False)]
)
def test_loopback_is_known(host: str, loopback: bool) -> None:
    assert load({"host": host}).is_loopback is loopback
