"""Cookies: the token of a login, and the one that a form is bound to before it."""

from __future__ import annotations

import html
from typing import Any
from urllib.parse import quote

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from app.auth import User, new_token
from app.web.ports import Services

SESSION = "lightbox-session"
FORM = "lightbox-form"
USER = "lightbox.user"


def user_of(connection: Any, services: Services) -> User | None:
    """Who sends a request: the owner of its cookie, else the guest, else None.

    Args:
        connection: A request of Starlette or Gradio, or an ASGI scope.
        services: Where logins are known.
    """
    scope = _scope(connection)
    if USER in scope:
        user: User | None = scope[USER]
        return user
    return services.accounts.user_of_session(token_of(scope)) or services.guest()


def token_of(scope: Scope) -> str | None:
    """Token of the login cookie, None without one."""
    return HTTPConnection(scope).cookies.get(SESSION) or None


def form_session(scope: Scope) -> str:
    """What the forms of this browser are bound to: its login, or its form cookie, or empty."""
    return token_of(scope) or HTTPConnection(scope).cookies.get(FORM, "")


def begin_form(scope: Scope) -> tuple[str, bool]:
    """What a form to be shown is bound to, and whether it is new and needs its cookie."""
    known = form_session(scope)
    return (known, False) if known else (new_token(), True)


def keep_form(response: Response, scope: Scope, value: str) -> None:
    """Set the cookie of forms that are shown before signing in."""
    _set(response, scope, FORM, value)


def keep_login(response: Response, scope: Scope, token: str) -> None:
    """Set the cookie of a login; the form cookie has done its work."""
    _set(response, scope, SESSION, token)
    _drop(response, scope, FORM)


def forget_login(response: Response, scope: Scope) -> None:
    """Remove both cookies."""
    _drop(response, scope, SESSION)
    _drop(response, scope, FORM)


def once_more(address: str) -> Response:
    """A page that opens an address of ours from our own site, so that the cookie comes along."""
    target = html.escape(quote(address, safe="/?&=%~"))
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Lightbox</title>'
        f'<meta http-equiv="refresh" content="0; url={target}"></head>'
        f'<body><a href="{target}">Open Lightbox</a></body></html>'
    )


def _scope(connection: Any) -> Scope:
    """The ASGI scope of a request; Gradio's request holds Starlette's within it."""
    if isinstance(connection, dict):
        return connection
    inner = getattr(connection, "request", None) or connection
    scope: Scope = inner.scope
    return scope


def _set(response: Response, scope: Scope, name: str, value: str) -> None:
    """A cookie that ends with the browser; the server ends logins by itself."""
    response.set_cookie(
        name, value, path="/", httponly=True, samesite="strict", secure=is_secure(scope)
    )


def _drop(response: Response, scope: Scope, name: str) -> None:
    response.delete_cookie(
        name, path="/", httponly=True, samesite="strict", secure=is_secure(scope)
    )


def is_secure(scope: Scope) -> bool:
    """True when the request came encrypted, so that its cookies may ask for that."""
    return bool(scope.get("scheme") == "https")
