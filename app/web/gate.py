"""The one gate before every route: host, origin, sign-in, role, size of the body, headers.

Pure ASGI, so that long event streams pass through unbuffered.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth import Role, User
from app.web import surface
from app.web.exchange import BodyTooLarge, Exchange
from app.web.failures import failed, is_navigation, refusal
from app.web.lock import Locks
from app.web.origins import KnownHosts, is_own
from app.web.ports import Services
from app.web.session import USER, once_more, token_of, user_of

EVENT_BYTES = 2_000_000
UPLOAD = "/upload"
UPLOAD_OVERHEAD_BYTES = 4_000_000

UNKNOWN_HOST = "Lightbox is not known under this host name."
FOREIGN = "This request comes from another web page, so it was refused."
NOTHING = "There is nothing at this address."
SIGN_IN = "Please sign in first."
CHANGE = "Please change your password first."
PAGES = (
    ("/admin", Role.ADMINISTRATOR, "Only administrators may open this page."),
    ("/study", Role.ORGANISER, "Only organisers of reader studies may open this page."),
)
"""Pages that need more than to be signed in; the pages and services check again."""
TOO_LARGE = "This is larger than Lightbox accepts at once."
TOO_MUCH = "The upload is larger than {} MB; please send less."


class Gate:
    """Lets a request through to `app`, or answers in its place.

    The signed-in user, or None, is put into `scope["lightbox.user"]` and `request.state.user`.

    Args:
        app: What lies behind.
        services: Accounts, guest and settings.
        hosts: Further host names of this server, such as that of a reverse proxy.
    """

    def __init__(self, app: ASGIApp, services: Services, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._services = services
        self._hosts = KnownHosts(services.settings, hosts)
        self._locks = Locks(services)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; lifespan messages pass, web sockets are not spoken."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._exchange(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._limit(scope["path"]))
        answer: Response | None = None
        try:
            answer = await self._refusal(scope)
            if answer is None and not exchange.is_too_large:
                await self._app(scope, exchange.receive, exchange.send)
        except BodyTooLarge:
            pass
        except Exception as error:  # the outermost edge: nothing may reach the server's own log
            answer = failed(scope, error)
        if answer is None and exchange.is_too_large:
            answer = refusal(scope, 413, self._too_large(scope["path"]))
        if answer is not None and not exchange.is_started:
            await answer(scope, receive, exchange.answer)

    def _limit(self, path: str) -> int:
        """Most bytes of a request's body."""
        if path == UPLOAD:
            return self._services.settings.max_upload_bytes + UPLOAD_OVERHEAD_BYTES
        return EVENT_BYTES

    def _too_large(self, path: str) -> str:
        """What is said when a body outgrew its limit."""
        megabytes = self._services.settings.max_upload_mb
        return TOO_MUCH.format(megabytes) if path == UPLOAD else TOO_LARGE

    async def _refusal(self, scope: Scope) -> Response | None:
        """Why a request does not pass, or None."""
        path = scope["path"]
        if not self._hosts.know(scope):
            return refusal(scope, 400, UNKNOWN_HOST)
        if not is_own(scope):
            return refusal(scope, 403, FOREIGN)
        if not surface.is_open(scope["method"], path):
            return refusal(scope, 404, NOTHING)
        if surface.is_asset(path) or surface.is_keeper(path):
            return None
        user = await to_thread.run_sync(user_of, scope, self._services)
        scope[USER] = user
        scope.setdefault("state", {})["user"] = user
        if surface.is_door(path):
            return None
        if user is None:
            return await self._locked(scope) or await self._sign_in(scope)
        return _role_refusal(scope, user)

    async def _locked(self, scope: Scope) -> Response | None:
        """What a login with a locked screen gets for all it asks; None for any other."""
        token = token_of(scope)
        if token is None:
            return None
        standing = await to_thread.run_sync(self._services.accounts.standing, token)
        if standing is None or not standing.locked:
            return None
        is_page = is_navigation(scope)
        return self._locks.refusal(scope, standing, _address(scope), is_page=is_page)

    async def _sign_in(self, scope: Scope) -> Response:
        """Send a person to the door, and a program away."""
        if not is_navigation(scope):
            return refusal(scope, 401, SIGN_IN)
        if _comes_from_elsewhere(scope):
            return once_more(_address(scope))
        if await to_thread.run_sync(self._services.needs_setup):
            return RedirectResponse("/setup", 303)
        return RedirectResponse(f"/login?next={quote(_address(scope), safe='')}", 303)


def _role_refusal(scope: Scope, user: User) -> Response | None:
    """Why this user may not open this address, or None."""
    path = scope["path"]
    if user.must_change and path != surface.PASSWORD:
        if is_navigation(scope):
            return RedirectResponse(surface.PASSWORD, 303)
        return refusal(scope, 403, CHANGE)
    for mount, role, sentence in PAGES:
        if surface.is_below(path, mount) and not user.role.covers(role):
            return refusal(scope, 403, sentence)
    return None


def _comes_from_elsewhere(scope: Scope) -> bool:
    """True when a link on another site was followed, so that the strict cookie stayed behind."""
    site = Headers(scope=scope).get("sec-fetch-site")
    return site in ("cross-site", "same-site") and token_of(scope) is None


def _address(scope: Scope) -> str:
    """Path and query of a request."""
    query = scope.get("query_string", b"").decode("latin-1")
    path = "/" + quote(scope["path"]).lstrip("/")
    return f"{path}?{query}" if query else path
