"""The audit trail: what was done, by whom, and whether the record of it is unbroken."""

from __future__ import annotations

import gradio as gr

from app.auth import User
from app.services import Services

AUDIT = ["Time (UTC)", "Who", "Action", "Object", "Result"]
WIDTHS = ["22%", "16%", "22%", "26%", "14%"]


class AuditPage:
    """The tab and its handler."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def build(self) -> list[gr.components.Component]:
        """Add the contents of the tab."""
        intact = gr.Markdown()
        table = gr.Dataframe(
            headers=AUDIT, datatype="str", interactive=False, wrap=True, column_widths=WIDTHS
        )
        return [intact, table]

    def audit(self, user: User) -> tuple[str, list[list[str]]]:
        """The trail, newest first."""
        service = self._services.administration
        rows = [
            [entry.created.isoformat(timespec="seconds"), entry.who, entry.action, entry.object,
             entry.result]
            for entry in service.audit(user)
        ]  # fmt: skip
        verdict = "unbroken" if service.audit_is_intact(user) else "BROKEN: rows were changed"
        return f"The chain of the audit trail is {verdict}.", rows
