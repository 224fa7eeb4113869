"""The HTML of the sign-in pages: plain forms that work without JavaScript."""

from __future__ import annotations

import html
from dataclasses import dataclass

from starlette.responses import HTMLResponse

from app.web.exchange import PAGE_POLICY

TOKEN = "form_token"


@dataclass(frozen=True)
class Field:
    """One labelled input.

    Args:
        name: Name in the form.
        label: Text beside it.
        completion: Value of `autocomplete`, so that password managers understand the form.
        is_secret: Whether what is typed is hidden.
        hint: A sentence below it.
        is_required: Whether the browser insists on a value.
    """

    name: str
    label: str
    completion: str
    is_secret: bool = False
    hint: str = ""
    is_required: bool = True


@dataclass(frozen=True)
class Form:
    """One page with one form.

    Args:
        title: Heading.
        action: Address it is posted to.
        button: Text of its button.
        fields: Its inputs; the first required one that is empty has the focus.
        lead: A sentence above it.
    """

    title: str
    action: str
    button: str
    fields: tuple[Field, ...] = ()
    lead: str = ""


def page(
    form: Form,
    token: str,
    *,
    problem: str = "",
    values: dict[str, str] | None = None,
    hidden: dict[str, str] | None = None,
    status: int = 200,
    links: tuple[tuple[str, str], ...] = (),
) -> HTMLResponse:
    """The page of a form.

    Args:
        form: What it asks.
        token: Form token against cross-site requests.
        problem: What was wrong with the last attempt; empty when nothing was.
        values: Texts to be shown in fields again; never passwords.
        hidden: Further values that travel with the form.
        status: HTTP status.
        links: Address and text of links below the form.
    """
    known = values or {}
    empty = [field.name for field in form.fields if field.is_required and not known.get(field.name)]
    inputs = "".join(
        _input(
            field,
            known.get(field.name, ""),
            has_focus=field.name in empty[:1],
            is_wrong=bool(problem),
        )
        for field in form.fields
    )
    carried = "".join(
        f'<input type="hidden" name="{_text(name)}" value="{_text(value)}">'
        for name, value in {TOKEN: token, **(hidden or {})}.items()
    )
    body = _PAGE.format(
        title=_text(form.title),
        action=_text(form.action),
        button=_text(form.button),
        focus="" if form.fields else " autofocus",
        lead=f"<p>{_text(form.lead)}</p>" if form.lead else "",
        problem=f'<p id="problem" role="alert">{_text(problem)}</p>' if problem else "",
        inputs=inputs,
        carried=carried,
        links="".join(f'<p><a href="{_text(to)}">{_text(text)}</a></p>' for to, text in links),
    )
    return HTMLResponse(body, status, {"content-security-policy": PAGE_POLICY})


def _input(field: Field, value: str, *, has_focus: bool, is_wrong: bool) -> str:
    described = [f"{field.name}-hint"] if field.hint else []
    described += ["problem"] if is_wrong else []
    attributes = {
        "id": field.name,
        "name": field.name,
        "type": "password" if field.is_secret else "text",
        "autocomplete": field.completion,
        "maxlength": "256",
        "aria-describedby": " ".join(described),
        "value": "" if field.is_secret else value,
    }
    stated = "".join(f' {name}="{_text(text)}"' for name, text in attributes.items() if text)
    stated += " required" if field.is_required else ""
    stated += ' autocapitalize="none" spellcheck="false"'
    stated += " autofocus" if has_focus else ""
    hint = f'<p class="hint" id="{field.name}-hint">{_text(field.hint)}</p>' if field.hint else ""
    return f'<label for="{field.name}">{_text(field.label)}</label><input{stated}>{hint}'


def _text(value: str) -> str:
    return html.escape(value, quote=True)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="dark">
<title>{title} - Lightbox</title>
<link rel="stylesheet" href="/static/pages.css"><link rel="icon" href="/favicon.ico">
</head><body><main>
<p class="brand">Lightbox</p>
<h1>{title}</h1>
{lead}{problem}
<form method="post" action="{action}">{carried}{inputs}
<button type="submit"{focus}>{button}</button></form>
{links}</main></body></html>"""
