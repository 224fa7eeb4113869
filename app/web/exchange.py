"""One request and its answer: the body is counted as it streams, the answer gets its headers."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Message, Receive, Scope, Send

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; object-src 'none'; frame-ancestors 'none'; "
    "base-uri 'self'; form-action 'self'"
)
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
ALWAYS = (
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
)
_FOREIGN = b"access-control-"
_UNSTORED = (b"text/html", b"application/json", b"text/csv", b"application/pdf")

Pair = tuple[bytes, bytes]


class BodyTooLarge(Exception):
    """The body outgrew its limit; the gate answers."""


class Exchange:
    """A request whose body may hold `limit` bytes, and its answer.

    Args:
        scope: The request.
        receive: Where its body comes from.
        send: Where its answer goes.
        limit: Most bytes of the body.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self._receive, self._send, self._limit = receive, send, limit
        self._count = 0
        self.is_started = False
        self.is_too_large = _stated_length(scope) > limit

    async def receive(self) -> Message:
        """The next part of the body.

        Raises:
            BodyTooLarge: The body has outgrown the limit.
        """
        message = await self._receive()
        if message["type"] == "http.request":
            self._count += len(message.get("body", b""))
            if self._count > self._limit:
                self.is_too_large = True
                raise BodyTooLarge
        return message

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on; dropped when the body proved too large before it."""
        if self.is_too_large and not self.is_started:
            return
        await self.answer(message)

    async def answer(self, message: Message) -> None:
        """Pass a part of the answer on in any case."""
        if message["type"] == "http.response.start":
            self.is_started = True
            message = {**message, "headers": secured(message.get("headers", ()))}
        await self._send(message)


def secured(headers: Iterable[Pair]) -> list[Pair]:
    """Headers of an answer with ours added; leave for foreign origins is taken out."""
    ours = {name for name, _ in ALWAYS}
    kept = [
        (name.lower(), value)
        for name, value in headers
        if name.lower() not in ours and not name.lower().startswith(_FOREIGN)
    ]
    stated = dict(kept)
    if b"content-security-policy" not in stated:
        kept.append((b"content-security-policy", POLICY.encode()))
    kind = stated.get(b"content-type", b"")
    if b"cache-control" not in stated and kind.startswith(_UNSTORED):
        kept.append((b"cache-control", b"no-store"))
    return [*kept, *ALWAYS]


def _stated_length(scope: Scope) -> int:
    """Content-Length of a request, 0 when it is not stated or no number."""
    stated = dict(scope["headers"]).get(b"content-length", b"0")
    return int(stated) if stated.isdigit() else 0
