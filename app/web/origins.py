"""Which requests come from our own pages: host names, origins, and the browser's own word."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from app.settings import Settings

READING = ("GET", "HEAD")
OWN_SITES = (None, "same-origin", "none")
ANYWHERE = ("", "0.0.0.0", "::")


class KnownHosts:
    """The names under which this server may be addressed; any other may be a rebound one.

    Args:
        settings: Its host is known beside the loopback names. When it stands for every
            interface, this machine's name and any literal address are known too. So is that of
            its public address.
        others: Further names, such as that of a reverse proxy.
    """

    def __init__(self, settings: Settings, others: Iterable[str] = ()) -> None:
        self._is_open = settings.host in ANYWHERE
        names = {"localhost", settings.host.lower(), *(name.lower() for name in others)}
        names |= {_name(settings.public_url)} if settings.public_url else set()
        if self._is_open:
            own = socket.gethostname().lower()
            names |= {own, f"{own.split('.')[0]}.local"}
        self._names = names - set(ANYWHERE)

    def know(self, scope: Scope) -> bool:
        """True when the request has one Host header, and it names this server."""
        host = host_of(scope)
        if host in self._names:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or self._is_open


def host_of(scope: Scope) -> str:
    """Host name of the request without port; empty when it is absent, doubled or malformed."""
    stated = Headers(scope=scope).getlist("host")
    if len(stated) != 1 or any(mark in stated[0] for mark in "/@?#\\"):
        return ""
    return _name(f"//{stated[0]}")


def is_own(scope: Scope) -> bool:
    """True when the request does not come from a foreign page.

    Reading by following a link from elsewhere is allowed; embedding and posting are not.
    """
    headers = Headers(scope=scope)
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if scope["method"] in READING:
        return site in OWN_SITES or _is_link(headers)
    if site not in OWN_SITES:
        return False
    return origin is None or origin.partition("://")[2].lower() == headers["host"].lower()


def is_on_this_machine(scope: Scope) -> bool:
    """True when the browser runs on this machine and no proxy stands between."""
    headers = Headers(scope=scope)
    if "x-forwarded-for" in headers or "forwarded" in headers:
        return False
    client = scope.get("client")
    return client is not None and _is_loopback(client[0]) and _is_loopback(host_of(scope))


def address_of(scope: Scope) -> str:
    """Network address of the browser, for slowing down guesses."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _is_link(headers: Headers) -> bool:
    return (
        headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest", "document") == "document"
    )


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _name(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""
