"""Accounts: who may sign in, and as what."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.auth import MINIMUM_LENGTH, Role, User
from app.services import Services
from app.ui.admin.panel import QUIET

HEADERS = ["Name", "Shown as", "Role", "Active", "Must change password", "Organisation's sign-in"]
WIDTHS = ["20%", "26%", "16%", "10%", "14%", "14%"]


class AccountsPage:
    """The tab and its handlers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def build(self, guard: Any) -> gr.Dataframe:
        """Add the contents of the tab; its table is filled when the page opens."""
        table = gr.Dataframe(
            headers=HEADERS, datatype="str", interactive=False, wrap=True, column_widths=WIDTHS
        )
        with gr.Row():
            name = gr.Textbox(label="Login name", max_length=64)
            shown = gr.Textbox(label="Shown as", max_length=120)
            role = gr.Dropdown([str(r) for r in Role], value="reader", label="Role")
            password = gr.Textbox(
                label=f"First password (at least {MINIMUM_LENGTH} characters)", type="password"
            )
        with gr.Row():
            add = gr.Button("Add account", variant="primary")
            reset = gr.Button("Set this password for this name")
            change = gr.Button("Give this role to this name")
            stop = gr.Button("Deactivate this name", variant="stop")
        fields = [table, name, shown, password]
        add.click(guard(self.add), [name, shown, role, password], fields, **QUIET)
        reset.click(guard(self.reset), [name, password], fields, **QUIET)
        change.click(guard(self.change_role), [name, role], fields, **QUIET)
        stop.click(guard(self.deactivate), [name], fields, **QUIET)
        return table

    def table(self, user: User) -> list[list[str]]:
        """All accounts."""
        return [
            [a.name, a.display, str(a.role), _yes(a.active), _yes(a.must_change), _yes(a.subject)]
            for a in self._services.accounts.accounts(user)
        ]

    def add(self, user: User, name: str, shown: str, role: str, password: str) -> tuple[Any, ...]:
        """Create an account whose owner must change the password."""
        self._services.accounts.create_user(user, name, password, Role(role), shown)
        return self._done(user, "The account was added.")

    def reset(self, user: User, name: str, password: str) -> tuple[Any, ...]:
        """Set a password that its owner must change."""
        self._services.accounts.reset_password(user, name, password)
        return self._done(user, "The password was set; its owner must change it.")

    def change_role(self, user: User, name: str, role: str) -> tuple[Any, ...]:
        """Give another role."""
        self._services.accounts.change_role(user, name, Role(role))
        return self._done(user, "The role was changed.")

    def deactivate(self, user: User, name: str) -> tuple[Any, ...]:
        """End an account; its ratings stay."""
        self._services.accounts.deactivate(user, name)
        return self._done(user, "The account was deactivated.")

    def _done(self, user: User, sentence: str) -> tuple[Any, ...]:
        gr.Info(sentence)
        return self.table(user), "", "", ""


def _yes(value: object) -> str:
    return "yes" if value else "no"
