"""The reading room over HTTP: pages, a small JSON interface, and the pixels of one's own readings.

Whatever changes something needs the header `x-lightbox-token`, beside the session cookie and the
gate's look at the origin.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.auth import Role, User, check, form_token, is_form_token
from app.errors import AppError, InvalidInput
from app.web.failures import status_of
from app.web.ports import Layer, ReadingRoom, Services
from app.web.reading_pages import reading_page, room_script, room_style
from app.web.session import begin_form, form_session, keep_form, user_of
from engine.errors import EngineError

TOKEN = "x-lightbox-token"
NEVER = "no-store"
KEPT = "private, max-age=3600"
FOREVER = "private, max-age=31536000, immutable"
STATUSES = {422: 400, 507: 503}
EXPIRED = "This page has expired; please load it again."
UNREADABLE = "What was sent cannot be read; please try again."

Handler = Callable[[Request], Awaitable[Response]]


class Rooms:
    """The handlers.

    Args:
        services: Know who is asking, and hold the readings.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._key = services.settings.signing_key()

    @property
    def _reading(self) -> ReadingRoom:
        return self._services.reading

    async def page(self, request: Request) -> Response:
        """The list of one's studies, or the room of one of them."""
        user = check(self._user(request), Role.READER)
        bound, is_new = begin_form(request.scope)
        code = request.path_params.get("code", "")
        shown = await to_thread.run_sync(
            lambda: reading_page(user, form_token(self._key, bound), code)
        )
        if is_new:
            keep_form(shown, request.scope, bound)
        return shown

    async def script(self, request: Request) -> Response:
        """JavaScript of viewer and room; the same for everybody."""
        return await _asset(request, room_script, "text/javascript")

    async def style(self, request: Request) -> Response:
        """Style sheet of viewer and room."""
        return await _asset(request, room_style, "text/css")

    async def token(self, request: Request) -> Response:
        """A fresh token for a page whose login was renewed, and whose login that is."""
        user = check(self._user(request), Role.READER)
        token = form_token(self._key, form_session(request.scope))
        return _json({"token": token, "user": user.name})

    async def studies(self, request: Request) -> Response:
        """Studies that the user reads in."""
        return await self._told(request, self._reading.studies)

    async def room(self, request: Request) -> Response:
        """One study and where to go on."""
        code = request.path_params["code"]
        return await self._told(request, lambda user: self._reading.room(user, code))

    async def item(self, request: Request) -> Response:
        """One reading, blind."""
        at = request.path_params["token"]
        return await self._told(request, lambda user: self._reading.item(user, at))

    async def draft(self, request: Request) -> Response:
        """Keep a draft."""
        at, sent = request.path_params["token"], await self._sent(request)
        sequence, answers = _whole(sent, "sequence"), _table(sent, "answers")
        tab, comment = _text(sent, "tab"), _text(sent, "comment")
        keep = self._reading.save_draft
        return await self._told(
            request, lambda user: keep(user, at, sequence, answers, tab, comment)
        )

    async def submit(self, request: Request) -> Response:
        """Hand a reading in; once more under the same key changes nothing."""
        at, sent = request.path_params["token"], await self._sent(request)
        given: dict[str, Any] = {
            "key": _text(sent, "key"),
            "answers": _table(sent, "answers"),
            "comment": _text(sent, "comment"),
            "timing": _table(sent, "timing"),
            "revision": _whole(sent, "revision"),
            "reason": _text(sent, "reason"),
        }
        return await self._told(request, lambda user: self._reading.submit(user, at, **given))

    async def shown(self, request: Request) -> Response:
        """A reading is on the screen."""
        at = request.path_params["token"]
        await self._sent(request)
        return await self._told(request, lambda user: self._reading.event(user, at, "shown"))

    async def take_break(self, request: Request) -> Response:
        """Begin a break."""
        code = request.path_params["code"]
        await self._sent(request)
        return await self._told(request, lambda user: self._reading.take_break(user, code))

    async def resume(self, request: Request) -> Response:
        """End a break."""
        code = request.path_params["code"]
        await self._sent(request)
        return await self._told(request, lambda user: self._reading.resume(user, code))

    async def image(self, request: Request) -> Response:
        """Pixels of one frame of a reading."""
        at = request.path_params
        return await self._pixels(
            request,
            lambda user: self._reading.image(user, at["token"], at["number"], at["frame"]),
        )

    async def heat(self, request: Request) -> Response:
        """Codes of one map of a reading."""
        at = request.path_params
        return await self._pixels(
            request, lambda user: self._reading.heat(user, at["token"], at["number"])
        )

    def _user(self, request: Request) -> User | None:
        return user_of(request, self._services)

    async def _told(self, request: Request, ask: Callable[[User | None], Any]) -> Response:
        """What a service says, as JSON that nothing stores."""
        return _json(await to_thread.run_sync(ask, self._user(request)))

    async def _sent(self, request: Request) -> dict[str, Any]:
        """The JSON object of a request that changes something.

        Raises:
            Expired: Its token is not of this login. InvalidInput: It is no JSON object.
        """
        stated = request.headers.get(TOKEN, "")
        bound = form_session(request.scope)
        if not bound or not is_form_token(self._key, bound, stated):
            raise Expired(EXPIRED)
        body = await request.body()
        try:
            found = json.loads(body or b"{}", parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise InvalidInput(UNREADABLE) from None
        if not isinstance(found, dict):
            raise InvalidInput(UNREADABLE)
        return found

    async def _pixels(self, request: Request, get: Callable[[User | None], Layer]) -> Response:
        """Raw values for this reader only; the digest tells nothing to another one."""
        found = await to_thread.run_sync(get, self._user(request))
        salted = hashlib.sha256(f"{request.url.path} {found.etag}".encode())
        headers = {"cache-control": KEPT, "vary": "Cookie", "etag": f'"{salted.hexdigest()[:32]}"'}
        return Response(found.data, media_type="application/octet-stream", headers=headers)


class Expired(InvalidInput):
    """The page's token is not, or no longer, of this login."""


def reading_routes(services: Services) -> APIRouter:
    """Routes below /reading; the services check the user themselves.

    Args:
        services: Know who is asking, and hold the readings.
    """
    rooms, router = Rooms(services), APIRouter()
    item, study = "/reading/api/items/{token}", "/reading/api/studies/{code}"
    pixels = "/reading/items/{token}"
    table: tuple[tuple[str, str, Handler], ...] = (
        ("GET", "/reading/assets/room.js", rooms.script),
        ("GET", "/reading/assets/room.css", rooms.style),
        ("GET", "/reading/api/token", rooms.token),
        ("GET", "/reading/api/studies", rooms.studies),
        ("GET", study, rooms.room),
        ("POST", study + "/break", rooms.take_break),
        ("POST", study + "/resume", rooms.resume),
        ("GET", item, rooms.item),
        ("PUT", item + "/draft", rooms.draft),
        ("POST", item + "/submit", rooms.submit),
        ("POST", item + "/shown", rooms.shown),
        ("GET", pixels + "/image/{number:int}/{frame:int}.raw", rooms.image),
        ("GET", pixels + "/heat/{number:int}.raw", rooms.heat),
    )
    for method, path, handler in table:
        router.add_route(path, _plain(handler), methods=[method])
    for path in ("/reading", "/reading/", "/reading/{code}"):
        router.add_route(path, rooms.page, methods=["GET"])
    return router


def _plain(handler: Handler) -> Handler:
    """The handler, whose errors leave as one sentence in JSON."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Expired as error:
            return _json({"error": str(error), "expired": True}, 403)
        except (AppError, EngineError) as error:  # anything else becomes a sentence at the gate
            status = status_of(error)
            return _json({"error": str(error)}, STATUSES.get(status, status))

    return answer


def _json(value: Any, status: int = 200) -> Response:
    return JSONResponse({} if value is None else value, status, {"cache-control": NEVER})


async def _asset(request: Request, make: Callable[[], str], kind: str) -> Response:
    text = await to_thread.run_sync(make)
    kept = FOREVER if "v" in request.query_params else "private, no-cache"
    return Response(text, media_type=kind, headers={"cache-control": kept})


def _refuse(constant: str) -> None:
    """JSON knows no such number."""
    raise ValueError(constant)


def _text(sent: dict[str, Any], name: str) -> str:
    return _of(sent, name, str, "")


def _table(sent: dict[str, Any], name: str) -> dict[str, Any]:
    return _of(sent, name, dict, {})


def _whole(sent: dict[str, Any], name: str) -> int:
    return _of(sent, name, int, 0)


def _of(sent: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    """A field of the request.

    Raises:
        InvalidInput: It is of another kind.
    """
    value = sent.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidInput(UNREADABLE)
    return value
