"""Which addresses exist for whom, and which of Gradio's own are open at all."""

from __future__ import annotations

import re

MOUNTS = ("/app", "/admin", "/study")
API = "/gradio_api"

# Addresses that need nobody signed in, and no look into the database.
_ASSETS = ("/static/", "/health", "/favicon.ico", "/manifest.json")
# Pages that sign somebody in or out; they look after themselves.
_DOORS = ("/login", "/logout", "/setup")
# What a browser asks about its own login, and the way by an identity provider: to ask is no use
# of a login, and a locked one may.
_KEEPERS = (
    "/lock", "/unlock", "/session", "/session/stay", "/session/end",
    "/login/oidc", "/login/oidc/callback",
)  # fmt: skip
PASSWORD = "/password"

_API_READ = re.compile(
    r"/(info/?|queue/data|heartbeat/\w+|startup-events|app_id|theme\.css|call/\w+/\w+)"
)
_API_WRITE = re.compile(r"/(queue/join|cancel|reset/?|component_server/?|call/(v2/)?\w+/?)")
_CLOSED = re.compile(
    r"/(login|logout|login_check|monitoring|pwa_icon|robots\.txt|file|proxy|upload)([/=].*|)",
    re.DOTALL,
)


def is_asset(path: str) -> bool:
    """True for addresses that are the same for everybody and hold nothing of a patient."""
    return path.startswith(_ASSETS[0]) or path in _ASSETS[1:]


def is_door(path: str) -> bool:
    """True for the pages that somebody who is not signed in may open."""
    return path in _DOORS


def is_keeper(path: str) -> bool:
    """True for addresses about a login itself; they may be asked without counting as a use."""
    return path in _KEEPERS


def is_below(path: str, mount: str) -> bool:
    """True when a path is a mount point or lies below it."""
    return path == mount or path.startswith(f"{mount}/")


def is_open(method: str, path: str) -> bool:
    """Whether an address may be used at all, whoever asks.

    Below a mount only what Gradio's page needs is open: files never travel through Gradio, so its
    upload, its file cache, its proxy, its recorder and its editor are closed.
    """
    mount = next((each for each in MOUNTS if is_below(path, each)), None)
    if mount is None:
        return True
    inner = path[len(mount) :]
    is_reading = method in ("GET", "HEAD")
    if is_below(inner, API):
        pattern = _API_READ if is_reading else _API_WRITE
        return pattern.fullmatch(inner[len(API) :]) is not None
    return is_reading and _CLOSED.fullmatch(inner) is None
