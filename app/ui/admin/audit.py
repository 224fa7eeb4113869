"""The audit trail: what was done, by whom, and whether the record of it is unbroken."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import gradio as gr

from app.auth import User
from app.services import Services
from app.services.audit_file import filter_of
from app.ui.admin.panel import QUIET

AUDIT = ["No.", "Time (UTC)", "Who", "Role", "Action", "Object", "Result", "Client"]
WIDTHS = ["8%", "18%", "13%", "11%", "15%", "17%", "8%", "10%"]
ANY = "(any)"
ROWS = 200


class AuditPage:
    """The tab and its handlers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def build(self, guard: Any) -> list[gr.components.Component]:
        """Add the contents of the tab; gives what `audit` fills."""
        intact = gr.Markdown()
        with gr.Row():
            who = gr.Dropdown([ANY], value=ANY, label="Who")
            action = gr.Dropdown([ANY], value=ANY, label="Action")
            since = gr.Textbox(label="From day (UTC)", placeholder="2026-01-31", max_length=40)
            until = gr.Textbox(label="Up to day (UTC)", placeholder="2026-12-31", max_length=40)
        with gr.Row():
            show = gr.Button("Show", variant="primary")
            older = gr.Button("Show older rows")
        table = gr.Dataframe(
            headers=AUDIT, datatype="str", interactive=False, wrap=True, column_widths=WIDTHS
        )
        links = gr.Markdown()
        asked = [who, action, since, until]
        show.click(guard(self.chosen), asked, [table, links], **QUIET)
        older.click(guard(self.older), [*asked, table], table, **QUIET)
        return [intact, table, links, *asked]

    def audit(self, user: User) -> tuple[Any, ...]:
        """The whole trail, newest first, and what may be chosen of it."""
        service = self._services.administration
        found = service.audit_check(user)
        verdict = (
            f"unbroken up to row {found.last}"
            if found.broken_at is None
            else f"BROKEN: row {found.broken_at} does not fit"
        )
        noted = f" Its newest row, to be noted elsewhere: `{found.last}:{found.digest}`."
        names, actions = service.audit_names(user)
        rows, links = self.chosen(user, ANY, ANY, "", "")
        return (
            f"The chain of the audit trail is {verdict}.{noted if found.last else ''}",
            rows,
            links,
            gr.Dropdown([ANY, *names], value=ANY),
            gr.Dropdown([ANY, *actions], value=ANY),
            "",
            "",
        )

    def chosen(
        self, user: User, who: str, action: str, since: str, until: str
    ) -> tuple[list[list[str]], str]:
        """The newest rows that fit, and where all of them can be downloaded."""
        rows = self._rows(user, who, action, since, until)
        asked = {"who": _any(who), "action": _any(action), "since": since, "until": until}
        query = urlencode({name: value for name, value in asked.items() if value})
        ending = f"?{query}" if query else ""
        links = [
            f"[Download these as {kind.upper()}](/exports/audit.{kind}{ending})"
            for kind in ("csv", "json")
        ]
        return rows, " · ".join(links)

    def older(
        self, user: User, who: str, action: str, since: str, until: str, shown: Any
    ) -> list[list[str]]:
        """The rows shown, and further ones below them."""
        known = [[str(cell) for cell in row] for row in getattr(shown, "values", shown)]
        before = int(known[-1][0]) if known and known[-1][0].isdigit() else None
        return known + self._rows(user, who, action, since, until, before)

    def _rows(
        self, user: User, who: str, action: str, since: str, until: str, before: int | None = None
    ) -> list[list[str]]:
        wanted = filter_of(_any(who), _any(action), "", since, until)
        found = self._services.administration.audit(user, ROWS, before=before, wanted=wanted)
        return [
            [str(entry.position), entry.created.isoformat(timespec="seconds"), entry.who,
             entry.role, entry.action, entry.object, entry.result, entry.client]
            for entry in found
        ]  # fmt: skip


def _any(value: str | None) -> str:
    """A choice as a filter; empty for any."""
    return "" if value in (None, ANY) else str(value)
