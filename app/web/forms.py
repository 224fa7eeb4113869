"""Forms of the pages around signing in: how one is shown, and how what it sends is read."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from app.auth import form_token, is_form_token
from app.web import markup
from app.web.markup import TOKEN, Form
from app.web.session import begin_form, form_session, keep_form

EXPIRED = "This form has expired; please try again."


@dataclass(frozen=True)
class Again:
    """What a form shows after an attempt that failed.

    Args:
        problem: What was wrong; empty when nothing was. status: HTTP status.
        values: Texts to be shown in fields again; never passwords.
    """

    problem: str = ""
    status: int = 200
    values: dict[str, str] | None = None


def form_page(
    scope: Scope,
    key: bytes,
    form: Form,
    again: Again | None = None,
    onward: str = "",
    links: tuple[tuple[str, str], ...] = (),
) -> Response:
    """A page with a form that only the browser it is sent to can send back.

    Args:
        scope: The request. key: Signs form tokens. form: What it asks.
        again: What the last attempt led to. onward: Address that travels with the form.
        links: Address and text of links below the form.
    """
    bound, is_new = begin_form(scope)
    state = again or Again()
    response = markup.page(
        form,
        form_token(key, bound),
        problem=state.problem,
        values=state.values,
        hidden={"next": onward} if onward else None,
        status=state.status,
        links=links,
    )
    if is_new:
        keep_form(response, scope, bound)
    return response


async def fields_of(request: Request) -> FormData:
    """What a form sent; no files, and little of it."""
    return await request.form(max_files=0, max_fields=12, max_part_size=10_000)


def value_of(form: FormData, name: str) -> str:
    """Text of a field, empty when it is absent."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def is_ours(scope: Scope, key: bytes, form: FormData) -> bool:
    """True when the form was shown to this browser, by us, not long ago."""
    bound = form_session(scope)
    return bool(bound) and is_form_token(key, bound, value_of(form, TOKEN))


def onward_address(address: str) -> str:
    """Where to go afterwards: an address of ours, else the worklist."""
    doors = ("//", "/login", "/logout", "/lock", "/unlock", "/session")
    is_within = address.startswith("/") and not address.startswith(doors)
    is_plain = address.isascii() and address.isprintable() and "\\" not in address
    return address if is_within and is_plain else "/"
