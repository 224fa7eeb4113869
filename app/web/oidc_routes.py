"""Signing in through an identity provider: there and back, and who it was."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from anyio import to_thread
from fastapi import APIRouter
from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.auth import Role, token_digest
from app.auth.oidc import Pending, Provider
from app.errors import AppError
from app.web.exchange import PAGE_POLICY
from app.web.failures import refusal, status_of
from app.web.forms import onward_address
from app.web.origins import address_of
from app.web.ports import Services
from app.web.session import is_secure, keep_login, once_more, token_of

START = "/login/oidc"
CALLBACK = "/login/oidc/callback"
BUTTON = "Sign in through your organisation"
LINK_BUTTON = "Link this account to your organisation's sign-in"
UNLOCK, LINK = f"{START}?for=unlock", f"{START}?for=link"
COOKIE = "lightbox-oidc"
MINUTES = 10
ABSENT = "There is nothing at this address."
SIGN_IN = "Please sign in first."
STALE = "This sign-in took too long or began in another browser; please try again."
UNLOCKED = "The screen is unlocked; you can close this page."
LINKED = "Your account is linked to your organisation's sign-in."


class OidcPages:
    """The handlers; where no provider is set up there is nothing at their addresses.

    Args:
        services: Accounts and settings.
        provider: Speaks to the provider; made from the settings when None.
    """

    def __init__(self, services: Services, provider: Provider | None = None) -> None:
        self._services = services
        self._provider = provider or Provider(services.settings)
        self._serializer = URLSafeTimedSerializer(
            services.settings.signing_key(), salt="lightbox.oidc"
        )

    async def start(self, request: Request) -> Response:
        """Send the browser to the provider.

        The query's `for` says what for: to sign in (without it), to `unlock` this browser's login,
        or to `link` the account that is signed in.
        """
        if not self._services.settings.has_provider:
            return refusal(request.scope, 404, ABSENT)
        purpose, token = request.query_params.get("for", ""), token_of(request.scope)
        accounts = self._services.accounts
        standing = await to_thread.run_sync(accounts.standing, token)
        if purpose in ("unlock", "link") and (
            standing is None or (purpose == "link" and standing.locked)
        ):
            return refusal(request.scope, 401, SIGN_IN)
        back = self._callback(request)
        address, pending = await to_thread.run_sync(lambda: self._provider.begin(back))
        kept = {
            "state": pending.state,
            "nonce": pending.nonce,
            "verifier": pending.verifier,
            "next": onward_address(request.query_params.get("next", "")),
            "for": purpose if purpose in ("unlock", "link") else "",
            "login": token_digest(token) if token and purpose else "",
        }
        response = RedirectResponse(address, 303, {"cache-control": "no-store"})
        response.set_cookie(
            COOKIE, self._serializer.dumps(kept), max_age=60 * MINUTES, path=START,
            httponly=True, samesite="lax", secure=is_secure(request.scope),
        )  # fmt: skip
        return response

    async def back(self, request: Request) -> Response:
        """The provider sent the browser back: find out who it is, and let them in."""
        if not self._services.settings.has_provider:
            return refusal(request.scope, 404, ABSENT)
        kept = self._kept(request)
        if kept is None:
            return self._leave(request, refusal(request.scope, 403, STALE))
        pending = Pending(kept["state"], kept["nonce"], kept["verifier"])
        answered, where = dict(request.query_params), self._callback(request)
        try:
            identity = await to_thread.run_sync(
                lambda: self._provider.finish(pending, answered, where)
            )
            done = await to_thread.run_sync(lambda: self._entered(request, identity, kept))
        except AppError as error:
            done = refusal(request.scope, status_of(error), str(error))
        return self._leave(request, done)

    def _entered(self, request: Request, identity: Any, kept: dict[str, str]) -> Response:
        """What follows once it is known who it was."""
        accounts, client = self._services.accounts, address_of(request.scope)
        if kept["for"] == "link":
            owner = accounts.owner_of(kept["login"])
            accounts.link_identity(owner, identity, client=client)
            return _told(LINKED)
        stated = self._services.settings.oidc_default_role
        default = None if stated == "none" else Role(stated)
        user = accounts.authenticate_identity(identity, default, client=client)
        if kept["for"] == "unlock":
            accounts.unlock_by_identity(kept["login"], user, client=client)
            return _told(UNLOCKED)
        accounts.close_session(token_of(request.scope))
        token = accounts.open_session(user, client=client, by="oidc")
        response = once_more(kept["next"])
        keep_login(response, request.scope, token)
        return response

    def _kept(self, request: Request) -> dict[str, str] | None:
        """What was noted when this browser left for the provider."""
        try:
            kept = self._serializer.loads(request.cookies.get(COOKIE, ""), max_age=60 * MINUTES)
        except BadData:
            return None
        return kept if isinstance(kept, dict) else None

    def _leave(self, request: Request, response: Response) -> Response:
        """The answer, and an end to what was noted: it serves once."""
        response.delete_cookie(
            COOKIE, path=START, httponly=True, samesite="lax", secure=is_secure(request.scope)
        )
        return response

    def _callback(self, request: Request) -> str:
        """Address to which the provider sends the browser back."""
        stated = self._services.settings.public_url.rstrip("/")
        base = stated or f"{request.url.scheme}://{request.headers.get('host', '')}"
        return base + CALLBACK


def login_link(onward: str) -> str:
    """Address that begins signing in at the provider, and goes on to `onward`."""
    return f"{START}?{urlencode({'next': onward})}"


def oidc_routes(services: Services, provider: Provider | None = None) -> APIRouter:
    """Routes of signing in elsewhere."""
    pages, router = OidcPages(services, provider), APIRouter()
    router.add_route(START, pages.start, methods=["GET"])
    router.add_route(CALLBACK, pages.back, methods=["GET"])
    return router


def _told(sentence: str) -> Response:
    """A page with one sentence, all of whose text is ours."""
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Lightbox</title>'
        '<link rel="stylesheet" href="/static/pages.css"></head><body><main><h1>Lightbox</h1>'
        f'<p role="status">{sentence}</p><p><a href="/">To the worklist</a></p></main>'
        "</body></html>",
        headers={"content-security-policy": PAGE_POLICY},
    )
