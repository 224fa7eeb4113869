"""The reading room's pages: plain HTML whose text holds no case, only who reads and in which study.

The script and the style sheet of the room are joined from the files of the viewer and of the room.
"""

from __future__ import annotations

import hashlib
import html
import re
from functools import cache
from pathlib import Path

from starlette.responses import HTMLResponse

from app.auth import User

BANNER = "Research reading, not for patient care. This is not a display for primary diagnosis."
WEB = Path(__file__).resolve().parents[2] / "assets" / "web"
SCRIPTS = (
    "reading_kit.js",
    "reading_store.js",
    "reading_send.js",
    "reading_draft.js",
    "reading_clock.js",
    "reading_tabs.js",
    "reading_answer.js",
    "reading_fields.js",
    "reading_form.js",
    "reading_marks.js",
    "reading_keys.js",
    "reading_screens.js",
    "reading.js",
)
MARKER = re.compile(r"\{(token|user|display|code|banner|version|viewer)\}")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Only our own files; no text of the page is ever run or used as a style."""


@cache
def room_script() -> str:
    """JavaScript of viewer and room."""
    from app.ui.viewer import viewer_script  # late: the page of a Gradio component brings Gradio

    return "\n".join([viewer_script(), *((WEB / name).read_text("utf-8") for name in SCRIPTS)])


@cache
def room_style() -> str:
    """Style sheet of theme, viewer and room."""
    names = ("theme.css", "viewer.css", "reading.css")
    return "\n".join((WEB / name).read_text("utf-8") for name in names)


@cache
def version() -> str:
    """Changes whenever the script or the style sheet does."""
    return hashlib.sha256((room_script() + room_style()).encode()).hexdigest()[:16]


def reading_page(user: User, token: str, code: str = "") -> HTMLResponse:
    """The list of a reader's studies, or the room of one.

    Args:
        user: Who reads. token: Form token bound to the login.
        code: Of the study; empty for the list.
    """
    from app.ui.viewer import viewer_markup

    body = (WEB / "reading.html").read_text("utf-8")
    known = {
        "token": token,
        "user": user.name,
        "display": user.display or user.name,
        "code": code,
        "banner": BANNER,
        "version": version(),
    }
    texts = {name: html.escape(value, quote=True) for name, value in known.items()}
    texts["viewer"] = viewer_markup() if code else ""
    body = MARKER.sub(lambda found: texts[found[1]], body)
    return HTMLResponse(body, headers={"content-security-policy": POLICY})
