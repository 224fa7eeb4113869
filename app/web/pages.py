"""The pages around signing in: /login, /logout, /setup and /password."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.auth import RULE, User
from app.auth.accounts import WRONG
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
from app.web.oidc_routes import BUTTON, LINK, LINK_BUTTON, login_link
from app.web.origins import address_of, is_on_this_machine
from app.web.ports import Services
from app.web.session import forget_login, keep_login, token_of, user_of

T = TypeVar("T")

LOGIN = Form(
    "Sign in",
    "/login",
    "Sign in",
    (
        Field("name", "Name", "username"),
        Field("password", "Password", "current-password", is_secret=True),
    ),
)
SETUP = Form(
    "Create the first administrator",
    "/setup",
    "Create and sign in",
    (
        Field("name", "Name", "username", hint="Letters, digits, dots, hyphens or underscores."),
        Field("display", "Name shown to others", "name", is_required=False),
        Field("password", "Password", "new-password", is_secret=True, hint=RULE),
        Field("again", "The same password again", "new-password", is_secret=True),
    ),
    "This workspace has no accounts yet.",
)
PASSWORD = Form(
    "Change your password",
    "/password",
    "Change password",
    (
        Field("old", "Present password", "current-password", is_secret=True),
        Field("password", "New password", "new-password", is_secret=True, hint=RULE),
        Field("again", "The new password again", "new-password", is_secret=True),
    ),
)
MUST_CHANGE = replace(
    PASSWORD, lead="Your password was set by somebody else. Please choose your own to go on."
)
LOGOUT = Form("Sign out", "/logout", "Sign out")

DIFFER = "The two new passwords differ."
ELSEWHERE = "The first administrator can only be created on the machine that runs Lightbox."
HASHING_AT_ONCE = 2


class Pages:
    """The handlers of the sign-in pages.

    Args:
        services: Accounts and settings.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._key = services.settings.signing_key()
        self._hashing = CapacityLimiter(HASHING_AT_ONCE)

    async def show_login(self, request: Request) -> Response:
        """The login page; whoever is signed in already, or needs not be, goes on."""
        if user_of(request, self._services) is not None:
            return RedirectResponse(onward_address(request.query_params.get("next", "")), 303)
        if await to_thread.run_sync(self._services.needs_setup):
            return RedirectResponse("/setup", 303)
        return self._page(
            request, LOGIN, onward=onward_address(request.query_params.get("next", ""))
        )

    async def login(self, request: Request) -> Response:
        """Sign in; the login gets a fresh token and an old one ends."""
        form = await fields_of(request)
        name, onward = value_of(form, "name"), onward_address(value_of(form, "next"))
        again = Again(EXPIRED, 403, {"name": name})
        if self._is_ours(request, form):
            password = value_of(form, "password")
            address = address_of(request.scope)
            try:
                accounts = self._services.accounts
                user = await self._slow(lambda: accounts.authenticate(name, password, address))
            except AppError as error:
                again = Again(str(error), _login_status(error), {"name": name})
            else:
                return await self._enter(request, user, onward)
        return self._page(request, LOGIN, again, onward)

    async def show_logout(self, request: Request) -> Response:
        """A page with one button, for whoever comes by a link."""
        if token_of(request.scope) is None:
            return RedirectResponse("/", 303)
        return self._page(request, LOGOUT)

    async def logout(self, request: Request) -> Response:
        """Sign out; the browser forgets its cookies and the pictures it kept."""
        form = await fields_of(request)
        if not self._is_ours(request, form):
            return self._page(request, LOGOUT, Again(EXPIRED, 403))
        token, client = token_of(request.scope), address_of(request.scope)
        accounts = self._services.accounts
        await to_thread.run_sync(lambda: accounts.sign_out(token, client=client))
        response = RedirectResponse("/login", 303, {"clear-site-data": '"cache"'})
        forget_login(response, request.scope)
        return response

    async def show_setup(self, request: Request) -> Response:
        """The page that creates the first administrator."""
        return await self._setup_refusal(request) or self._page(request, SETUP)

    async def setup(self, request: Request) -> Response:
        """Create the first administrator, and sign in."""
        refused = await self._setup_refusal(request)
        if refused is not None:
            return refused
        form = await fields_of(request)
        values = {name: value_of(form, name) for name in ("name", "display")}
        again = Again(EXPIRED, 403, values)
        if self._is_ours(request, form):
            try:
                password = _new_password(form)
                create = self._services.accounts.create_first_administrator
                user = await self._slow(lambda: create(values["name"], password, values["display"]))
            except AppError as error:
                again = Again(str(error), status_of(error), values)
            else:
                return await self._enter(request, user, "/")
        return self._page(request, SETUP, again)

    async def show_password(self, request: Request) -> Response:
        """The page that changes the own password; a guest has none."""
        user = user_of(request, self._services)
        if user is None or token_of(request.scope) is None:
            return RedirectResponse("/", 303)
        return self._page(request, MUST_CHANGE if user.must_change else PASSWORD)

    async def password(self, request: Request) -> Response:
        """Change the own password; every other login ends, and this one gets a fresh token."""
        form, user = await fields_of(request), user_of(request, self._services)
        again = Again(EXPIRED, 403)
        if user is not None and self._is_ours(request, form):
            old, token = value_of(form, "old"), token_of(request.scope) or ""
            accounts, address = self._services.accounts, address_of(request.scope)
            try:
                new = _new_password(form)
                await self._slow(
                    lambda: accounts.change_password(user, old, new, address=address, token=token)
                )
            except AppError as error:
                again = Again(str(error), status_of(error))
            else:
                return await self._enter(request, user, "/")
        shown = MUST_CHANGE if user is not None and user.must_change else PASSWORD
        return self._page(request, shown, again)

    async def _setup_refusal(self, request: Request) -> Response | None:
        if not await to_thread.run_sync(self._services.needs_setup):
            return RedirectResponse("/login", 303)
        if not is_on_this_machine(request.scope):
            return refusal(request.scope, 403, ELSEWHERE)
        return None

    async def _enter(self, request: Request, user: User, onward: str) -> Response:
        """A fresh login in place of the old one."""
        accounts = self._services.accounts
        await to_thread.run_sync(accounts.close_session, token_of(request.scope))
        client = address_of(request.scope)
        token = await to_thread.run_sync(lambda: accounts.open_session(user, client=client))
        response = RedirectResponse(onward, 303)
        keep_login(response, request.scope, token)
        return response

    async def _slow(self, work: Callable[[], T]) -> T:
        """Hash or verify a password beside the event loop, a few at a time."""
        return await to_thread.run_sync(work, limiter=self._hashing)

    def _is_ours(self, request: Request, form: FormData) -> bool:
        return is_ours(request.scope, self._key, form)

    def _page(
        self, request: Request, form: Form, again: Again | None = None, onward: str = ""
    ) -> Response:
        links: tuple[tuple[str, str], ...] = ()
        if self._services.settings.has_provider:
            own = {LOGIN: (login_link(onward or "/"), BUTTON), PASSWORD: (LINK, LINK_BUTTON)}
            links = (own[form],) if form in own else ()
        return form_page(request.scope, self._key, form, again, onward, links)


def sign_in_routes(services: Services) -> APIRouter:
    """Routes of the sign-in pages."""
    pages, router = Pages(services), APIRouter()
    for path, show, post in (
        ("/login", pages.show_login, pages.login),
        ("/logout", pages.show_logout, pages.logout),
        ("/setup", pages.show_setup, pages.setup),
        ("/password", pages.show_password, pages.password),
    ):
        router.add_route(path, show, methods=["GET", "HEAD"])
        router.add_route(path, post, methods=["POST"])
    return router


def _new_password(form: FormData) -> str:
    """The new password, typed twice alike.

    Raises:
        InvalidInput: The two differ.
    """
    if value_of(form, "password") != value_of(form, "again"):
        raise InvalidInput(DIFFER)
    return value_of(form, "password")


def _login_status(error: AppError) -> int:
    """401 for a wrong name or password, 429 for too many attempts."""
    if isinstance(error, NotAllowed):
        return 401 if str(error) == WRONG else 429
    return status_of(error)
