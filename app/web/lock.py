"""What a browser may ask about its own login: how long it lasts, to lock it, and to unlock it.

The addresses answer a page's script with JSON, and a person without script with small pages.
"""

from __future__ import annotations

import json
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Scope

from app.auth import Standing
from app.auth.sessions import NOT_RIGHT
from app.errors import AppError, InvalidInput, NotAllowed
from app.web.failures import refusal, status_of
from app.web.forms import (
    EXPIRED,
    Again,
    fields_of,
    form_page,
    is_ours,
    onward_address,
    value_of,
)
from app.web.markup import Field, Form
from app.web.oidc_routes import BUTTON, UNLOCK
from app.web.origins import address_of
from app.web.ports import Services
from app.web.session import forget_login, token_of

LOCK = Form("Lock the screen", "/lock", "Lock")
UNLOCKING = Form(
    "The screen is locked",
    "/unlock",
    "Unlock",
    (Field("password", "Password", "current-password", is_secret=True),),
)
ELSEWHERE = Form("The screen is locked", "/logout", "Sign out")
LOCKED = 423
SENTENCE = "The screen is locked; please unlock it first."
SIGN_IN = "Please sign in first."
OPEN = "The open demonstration has no password, so that it cannot be locked."
WARNING_S = (20.0, 120.0)
REASONS = ("idle", "too long")
HASHING_AT_ONCE = 2


class Locks:
    """The handlers.

    Args:
        services: Accounts and settings.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._key = services.settings.signing_key()
        self._hashing = CapacityLimiter(HASHING_AT_ONCE)

    async def session(self, request: Request) -> Response:
        """How long the login lasts; asking is no use of it."""
        standing = await to_thread.run_sync(
            self._services.accounts.standing, token_of(request.scope)
        )
        return self._told(request, standing)

    async def stay(self, request: Request) -> Response:
        """Go on: the user is there."""
        standing = await to_thread.run_sync(self._services.accounts.stay, token_of(request.scope))
        return self._told(request, standing)

    async def end(self, request: Request) -> Response:
        """Sign out, because nobody was there or the time is over."""
        asked = (await _json(request)).get("reason")
        reason, token = (asked if asked in REASONS else ""), token_of(request.scope)
        client, accounts = address_of(request.scope), self._services.accounts
        await to_thread.run_sync(lambda: accounts.sign_out(token, client=client, reason=reason))
        response = JSONResponse({}, headers={"clear-site-data": '"cache"'})
        forget_login(response, request.scope)
        return response

    async def show_lock(self, request: Request) -> Response:
        """A page with one button, for whoever comes by a link without script."""
        if await self._standing(request) is None:
            return RedirectResponse("/", 303)
        return form_page(request.scope, self._key, LOCK)

    async def lock(self, request: Request) -> Response:
        """Lock the screen of this login."""
        if not _is_json(request):
            form = await fields_of(request)
            if not is_ours(request.scope, self._key, form):
                return form_page(request.scope, self._key, LOCK, Again(EXPIRED, 403))
        token, client = token_of(request.scope), address_of(request.scope)
        accounts = self._services.accounts
        if token is None and self._services.guest() is not None:
            return refusal(request.scope, 403, OPEN)
        await to_thread.run_sync(lambda: accounts.lock(token, client=client))
        if not _is_json(request):
            return RedirectResponse("/unlock", 303)
        return self._told(request, await self._standing(request))

    async def show_unlock(self, request: Request) -> Response:
        """The page that asks for the password again."""
        onward = onward_address(request.query_params.get("next", ""))
        standing = await self._standing(request)
        if standing is None or not standing.locked:
            return RedirectResponse(onward, 303)
        return self.page(request.scope, standing, onward)

    async def unlock(self, request: Request) -> Response:
        """Unlock the screen by the password of its owner."""
        is_script, client = _is_json(request), address_of(request.scope)
        form: Any = await (_json(request) if is_script else fields_of(request))
        onward = "/" if is_script else onward_address(value_of(form, "next"))
        standing = await self._standing(request)
        if standing is None:
            return self._told(request, None) if is_script else RedirectResponse("/login", 303)
        if not is_script and not is_ours(request.scope, self._key, form):
            return self.page(request.scope, standing, onward, Again(EXPIRED, 403))
        password, token = str(form.get("password") or "")[:1024], token_of(request.scope)
        unlock = self._services.accounts.unlock
        try:
            await to_thread.run_sync(
                lambda: unlock(token, password, client=client), limiter=self._hashing
            )
        except AppError as error:
            if is_script:
                return JSONResponse({"error": str(error)}, _status(error))
            return self.page(request.scope, standing, onward, Again(str(error), _status(error)))
        if is_script:
            return self._told(request, await self._standing(request))
        return RedirectResponse(onward, 303)

    def page(
        self, scope: Scope, standing: Standing, onward: str, again: Again | None = None
    ) -> Response:
        """The page of a locked login; an account without a password unlocks at its provider."""
        form = UNLOCKING if standing.has_password else ELSEWHERE
        by_provider = ((UNLOCK, BUTTON),) if self._services.settings.has_provider else ()
        state = again or Again("", LOCKED)
        links = (*by_provider, *((("/logout", "Sign out"),) if standing.has_password else ()))
        return form_page(scope, self._key, form, state, onward, links)

    def refusal(self, scope: Scope, standing: Standing, address: str, *, is_page: bool) -> Response:
        """The answer of the gate to all else that a locked login asks for."""
        if is_page:
            return self.page(scope, standing, onward_address(address))
        return refusal(scope, LOCKED, SENTENCE)

    async def _standing(self, request: Request) -> Standing | None:
        accounts = self._services.accounts
        return await to_thread.run_sync(accounts.standing, token_of(request.scope))

    def _told(self, request: Request, standing: Standing | None) -> Response:
        if standing is None:
            if self._services.guest() is not None:
                return JSONResponse({"open": True, "locked": False})
            return refusal(request.scope, 401, SIGN_IN)
        provider = self._services.settings.has_provider
        low, high = WARNING_S
        return JSONResponse(
            {
                "open": False,
                "name": standing.user.name,
                "user": standing.user.display,
                "locked": standing.locked,
                "idle_left_s": round(standing.idle_left_s, 1),
                "absolute_left_s": round(standing.absolute_left_s, 1),
                "idle_s": standing.idle_s,
                "warn_s": max(low, min(high, standing.idle_s / 4)),
                "has_password": standing.has_password,
                "provider": UNLOCK if provider else None,
            }
        )


def lock_routes(services: Services) -> APIRouter:
    """Routes of a browser's own login."""
    locks, router = Locks(services), APIRouter()
    for path, show, post in (
        ("/session", locks.session, None),
        ("/session/stay", None, locks.stay),
        ("/session/end", None, locks.end),
        ("/lock", locks.show_lock, locks.lock),
        ("/unlock", locks.show_unlock, locks.unlock),
    ):
        if show is not None:
            router.add_route(path, show, methods=["GET", "HEAD"])
        if post is not None:
            router.add_route(path, post, methods=["POST"])
    return router


def _is_json(request: Request) -> bool:
    """True for a script's request; another site's page cannot send this kind unasked."""
    return request.headers.get("content-type", "").partition(";")[0] == "application/json"


async def _json(request: Request) -> dict[str, Any]:
    """The object that a script sent; an empty one when there is none.

    Raises:
        InvalidInput: It is no JSON object, or too large for one.
    """
    if not _is_json(request):
        return {}
    body = await request.body()
    try:
        found = json.loads(body or b"{}") if len(body) <= 10_000 else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidInput("The request cannot be understood.")
    return found


def _status(error: AppError) -> int:
    """403 for a wrong password, 429 for too many attempts."""
    if isinstance(error, NotAllowed) and str(error).startswith("Too many"):
        return 429
    return 403 if str(error) == NOT_RIGHT else status_of(error)
