"""Settings of one Lightbox process: flags, then environment, then a TOML file, then defaults.

Settings are read once, at the start, and passed down; nothing else reads the environment.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.errors import InvalidInput, StorageFailed

PREFIX = "LIGHTBOX_"
CONFIG_NAME = "lightbox.toml"
DATABASE_NAME = "lightbox.sqlite3"
KEY_NAME = "session.key"
KEY_BYTES = 32
DEVICES = ("auto", "cpu", "cuda")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
GIVEN_ROLES = ("none", "observer", "reader", "organiser")


class Secret:
    """A text that prints as asterisks; `reveal` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself; for the call that needs it, never for a message or a log."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('********')"

    def __str__(self) -> str:
        return "********"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and secrets.compare_digest(
            self._value.encode(), other._value.encode()
        )

    def __hash__(self) -> int:
        return hash((Secret, self._value))


UNSTATED = Secret("")


@dataclass(frozen=True)
class Settings:
    """What one process is told at its start.

    Args:
        host: Interface to listen on; loopback unless said otherwise.
        port: Port to listen on, 0 to 65535; 0 takes a free one.
        workspace: Folder of cases, arrays, database and key; absolute once loaded.
        database: SQLAlchemy URL; may hold a password, so it prints as asterisks.
        device: "auto", "cpu" or "cuda".
        open_browser: Whether the browser is opened at the start.
        session_minutes: Longest life of a login, minutes.
        idle_minutes: Life of a login that is not used, minutes.
        max_upload_mb: Largest upload, megabytes (10^6 bytes).
        secret_file: File of the key that signs cookies; made once, readable by its owner only.
        medsam: Weights of LiteMedSAM, which turns a box into an outline; None where they are not
            installed.
        public_url: Address under which browsers reach a server behind a proxy, such as
            "https://lightbox.example"; empty where they reach it directly.
        audit_days: Rows of the audit trail older than this may be removed by `lightbox audit
            trim`, days; 0 keeps all of them. Six years are 2192.
        oidc_issuer: Issuer of the OpenID Connect provider; empty where there is none.
        oidc_client_id: Name of Lightbox at the provider.
        oidc_client_secret: Secret of Lightbox at the provider; empty for a public client.
        oidc_role_claim: Claim that names the role, such as "roles" or "realm_access.roles"; where
            it is empty, administrators give roles.
        oidc_default_role: Role of accounts that the provider gives none; "none" refuses them.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    workspace: Path = Path("workspace")
    database: Secret = UNSTATED
    device: str = "auto"
    open_browser: bool = True
    session_minutes: int = 480
    idle_minutes: int = 15
    max_upload_mb: int = 1024
    secret_file: Path = Path(KEY_NAME)
    medsam: Path | None = None
    public_url: str = ""
    audit_days: int = 0
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: Secret = UNSTATED
    oidc_role_claim: str = ""
    oidc_default_role: str = "observer"

    @classmethod
    def load(
        cls,
        flags: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        file: Path | None = None,
    ) -> Settings:
        """Settings from flags, `LIGHTBOX_*` variables, a TOML file and defaults, in this order.

        Args:
            flags: Field name to value; None means "not given".
            environ: Environment; that of the process when None.
            file: TOML file; when None, the one named by `LIGHTBOX_CONFIG`, else `lightbox.toml`
                in the workspace when it exists.

        Raises:
            InvalidInput: A field is unknown, or a value is not acceptable.
        """
        given = {name: value for name, value in (flags or {}).items() if value is not None}
        _refuse_unknown(given, "option")
        variables = _from_environment(os.environ if environ is None else environ)
        config = variables.pop("config", "")
        above = {**variables, **given}
        stated = _from_file(_config_file(file, config, above))
        read = {name: _READERS[name](name, value) for name, value in {**stated, **above}.items()}
        if ("oidc_issuer" in read) != ("oidc_client_id" in read):
            raise InvalidInput("The settings oidc_issuer and oidc_client_id need each other.")
        return cls(**_completed(read))

    @property
    def is_loopback(self) -> bool:
        """True when only this machine can reach the server."""
        return self.host in LOOPBACK or self.host.startswith("127.")

    @property
    def has_provider(self) -> bool:
        """True when people may sign in through an OpenID Connect provider."""
        return bool(self.oidc_issuer and self.oidc_client_id)

    @property
    def max_upload_bytes(self) -> int:
        """Largest upload, bytes."""
        return self.max_upload_mb * 1_000_000

    def signing_key(self) -> bytes:
        """The key that signs cookies, 32 bytes; made at the first call, mode 0600.

        Raises:
            StorageFailed: The workspace cannot be written, or the key file is damaged.
        """
        try:
            if not self.secret_file.exists():
                _make_key(self.secret_file)
            if os.name == "posix" and stat.S_IMODE(self.secret_file.stat().st_mode) & 0o077:
                self.secret_file.chmod(0o600)
            key = self.secret_file.read_bytes()
        except OSError:
            raise StorageFailed("The key that protects logins cannot be read or made.") from None
        if len(key) != KEY_BYTES:
            raise StorageFailed("The key that protects logins is damaged; remove it and restart.")
        return key


def _make_key(path: Path) -> None:
    """Write a fresh key under its final name at once, so that no process reads half a key."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(secrets.token_bytes(KEY_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _config_file(file: Path | None, named: object, above: Mapping[str, object]) -> Path | None:
    """The TOML file to read, or None; a file that was asked for must exist."""
    wanted = file or (Path(str(named)) if named else None)
    if wanted is None:
        workspace = _path("workspace", above.get("workspace", Settings.workspace))
        found = workspace / CONFIG_NAME
        return found if found.is_file() else None
    if not wanted.expanduser().is_file():
        raise InvalidInput("The settings file asked for does not exist.")
    return wanted.expanduser()


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    """`LIGHTBOX_*` variables that name a field (or the settings file); empty ones are unset."""
    known = {*_READERS, "config"}
    stated = {name: environ.get(PREFIX + name.upper(), "") for name in sorted(known)}
    return {name: value for name, value in stated.items() if value}


def _from_file(path: Path | None) -> dict[str, object]:
    """Fields stated by a TOML file."""
    if path is None:
        return {}
    try:
        stated = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise InvalidInput("The settings file is not valid TOML.") from None
    except OSError:
        raise InvalidInput("The settings file cannot be read.") from None
    _refuse_unknown(stated, "field of the settings file")
    return stated


def _refuse_unknown(stated: Mapping[str, object], kind: str) -> None:
    unknown = sorted(set(stated) - set(_READERS))
    if unknown:
        raise InvalidInput(
            f"“{unknown[0]}” is not a known {kind}; known are {', '.join(sorted(_READERS))}."
        )


def _completed(read: dict[str, Any]) -> dict[str, Any]:
    """Values that depend on the workspace, filled in where they were not given."""
    workspace = read.setdefault("workspace", _path("workspace", Settings.workspace))
    default_url = f"sqlite:///{(workspace / DATABASE_NAME).as_posix()}"
    read.setdefault("database", Secret(default_url))
    read["secret_file"] = workspace / read.get("secret_file", KEY_NAME)
    return read


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"The setting {name} must be a text that is not empty.")
    return value.strip()


def _device(name: str, value: object) -> str:
    if value not in DEVICES:
        raise InvalidInput(f"The setting {name} must be one of {', '.join(DEVICES)}.")
    return str(value)


def _path(name: str, value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise InvalidInput(f"The setting {name} must be the name of a file or folder.")
    return Path(value).expanduser().absolute()


def _key_path(name: str, value: object) -> Path:
    """As stated: a relative name is taken within the workspace, not within the current folder."""
    _path(name, value)
    return Path(str(value)).expanduser()


def _url(name: str, value: object) -> Secret:
    text = value.reveal() if isinstance(value, Secret) else value
    if not isinstance(text, str) or "://" not in text:
        raise InvalidInput(f"The setting {name} must be a database URL such as sqlite:///name.")
    return Secret(text)


def _web(name: str, value: object) -> str:
    """An address without query; plain http only where it stays on this machine."""
    text = _text(name, value)
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)
    if not is_safe or not host or parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidInput(f"The setting {name} must be an address that begins with https://.")
    return text


def _secret(name: str, value: object) -> Secret:
    return value if isinstance(value, Secret) else Secret(_text(name, value))


def _given_role(name: str, value: object) -> str:
    if value not in GIVEN_ROLES:
        raise InvalidInput(f"The setting {name} must be one of {', '.join(GIVEN_ROLES)}.")
    return str(value)


def _boolean(name: str, value: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    answer = value if isinstance(value, bool) else words.get(str(value).strip().lower())
    if answer is None:
        raise InvalidInput(f"The setting {name} must be true or false.")
    return answer


def _whole(low: int, high: int) -> Callable[[str, object], int]:
    def read(name: str, value: object) -> int:
        text = str(value).strip()
        is_whole = not isinstance(value, bool) and text.isascii() and text.isdigit()
        if not is_whole or len(text) > 12 or not low <= int(text) <= high:
            raise InvalidInput(f"The setting {name} must be a whole number from {low} to {high}.")
        return int(text)

    return read


_READERS: dict[str, Callable[[str, object], Any]] = {
    "host": _text,
    "port": _whole(0, 65_535),
    "workspace": _path,
    "database": _url,
    "device": _device,
    "open_browser": _boolean,
    "session_minutes": _whole(1, 10_080),
    "idle_minutes": _whole(1, 10_080),
    "max_upload_mb": _whole(1, 1_000_000),
    "secret_file": _key_path,
    "medsam": _path,
    "public_url": _web,
    "audit_days": _whole(0, 36_525),
    "oidc_issuer": _web,
    "oidc_client_id": _text,
    "oidc_client_secret": _secret,
    "oidc_role_claim": _text,
    "oidc_default_role": _given_role,
}
