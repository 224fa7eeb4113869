"""The line above every page: brand, notice, account."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from app.auth import Role, User
from app.services import Services

WEB = Path(__file__).resolve().parents[2] / "assets" / "web"

_MOUNT = """
mountLightboxHeader(element, () => props.value);
watch('value', () => { if (element.lightboxHeader) element.lightboxHeader.update(); });
"""


def header() -> gr.HTML:
    """The component; its value comes from `header_value`."""
    return gr.HTML(
        value=None,
        html_template=(WEB / "header.html").read_text("utf-8"),
        css_template=(WEB / "header.css").read_text("utf-8"),
        js_on_load=(WEB / "header.js").read_text("utf-8") + _MOUNT,
        apply_default_css=False,
    )


def header_value(services: Services, user: User) -> dict[str, Any]:
    """Notice of the active model, and who is signed in."""
    return {
        "notice": services.notice(),
        "user": user.display or user.name,
        "open": services.guest() is not None,
        "administrator": user.role is Role.ADMINISTRATOR,
        "organiser": user.role.covers(Role.ORGANISER),
        "reader": user.role.covers(Role.READER) and services.guest() is None,
    }
