"""How errors leave the server: one sentence and a status, never a path or an identifier."""

from __future__ import annotations

import html
import logging

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope

from app.errors import (
    AppError,
    NewerDatabase,
    NotAllowed,
    NotFound,
    StaleRecord,
    StorageFailed,
    unforeseen,
)
from engine.errors import EngineError, LimitExceeded

logger = logging.getLogger(__name__)

STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (NotAllowed, 403),
    (NotFound, 404),
    (StaleRecord, 409),
    (LimitExceeded, 413),
    (StorageFailed, 507),
    (NewerDatabase, 507),
)
UNACCEPTABLE = 422
SENTENCES = {
    400: "The request cannot be understood.",
    404: "There is nothing at this address.",
    405: "This address does not accept that kind of request.",
}


def status_of(error: Exception) -> int:
    """HTTP status of an error of one of our families."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), UNACCEPTABLE)


def refusal(scope: Scope, status: int, sentence: str) -> Response:
    """One sentence: a small page for somebody who navigates, JSON for a program."""
    if is_navigation(scope):
        return HTMLResponse(_PAGE.format(sentence=html.escape(sentence)), status)
    return JSONResponse({"error": sentence}, status)


def failed(scope: Scope, error: Exception) -> Response:
    """The answer to an error, foreseen or not."""
    if is_foreseen(error):
        return refusal(scope, status_of(error), str(error))
    return refusal(scope, 500, unforeseen(error, logger))


def is_foreseen(error: Exception) -> bool:
    """True for the errors whose message may be shown as it stands."""
    from reports.errors import ReportError  # late, since it brings the PDF library with it

    return isinstance(error, AppError | EngineError | ReportError)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Exception handler of the parent application for what Starlette itself refuses."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return refusal(request.scope, status, SENTENCES.get(status, "The request was refused."))


def is_navigation(scope: Scope) -> bool:
    """True when a person opened an address, so that a page is a better answer than JSON."""
    if scope["method"] not in ("GET", "HEAD"):
        return False
    headers = Headers(scope=scope)
    mode = headers.get("sec-fetch-mode", "navigate")
    return mode == "navigate" and "text/html" in headers.get("accept", "")


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Lightbox</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/static/pages.css"><link rel="icon" href="/favicon.ico"></head>
<body><main><h1>Lightbox</h1><p role="alert">{sentence}</p><p><a href="/">Back to the worklist</a>
</p></main></body></html>"""
