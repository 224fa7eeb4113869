"""The administrators' application: accounts, models, audit trail."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.auth import MINIMUM_LENGTH, Role, User
from app.services import Services
from app.ui.header import header, header_value
from app.ui.model import card_text
from app.ui.shell import guarded

ACCOUNTS = ["Name", "Shown as", "Role", "Active", "Must change password"]
AUDIT = ["Time (UTC)", "Who", "Action", "Object", "Result"]
QUIET = {"show_progress": "hidden", "api_visibility": "private"}


def build(services: Services) -> gr.Blocks:
    """The application; the gate lets administrators in only, and so does every handler."""
    with gr.Blocks(title="Lightbox administration", analytics_enabled=False) as demo:
        top = header()
        with gr.Tabs():
            with gr.Tab("Accounts"):
                table = gr.Dataframe(headers=ACCOUNTS, datatype="str", interactive=False)
                with gr.Row():
                    name = gr.Textbox(label="Login name", max_length=64)
                    shown = gr.Textbox(label="Shown as", max_length=120)
                    role = gr.Dropdown([str(r) for r in Role], value="reader", label="Role")
                    password = gr.Textbox(
                        label=f"First password (at least {MINIMUM_LENGTH} characters)",
                        type="password",
                    )
                with gr.Row():
                    add = gr.Button("Add account", variant="primary")
                    reset = gr.Button("Set this password for this name")
                    stop = gr.Button("Deactivate this name", variant="stop")
            with gr.Tab("Models"):
                cards = gr.Markdown()
            with gr.Tab("Audit trail") as audit_tab:
                intact = gr.Markdown()
                audit = gr.Dataframe(headers=AUDIT, datatype="str", interactive=False)
        page, guard = _Page(services), guarded(services, Role.ADMINISTRATOR)
        demo.load(guard(page.start), None, [top, table, cards], **QUIET)
        fields = [table, name, shown, password]
        add.click(guard(page.add), [name, shown, role, password], fields, **QUIET)
        reset.click(guard(page.reset), [name, password], fields, **QUIET)
        stop.click(guard(page.deactivate), [name], fields, **QUIET)
        audit_tab.select(guard(page.audit), None, [intact, audit], **QUIET)
    return demo


class _Page:
    """Handlers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def start(self, user: User) -> tuple[Any, ...]:
        """Header, accounts, model cards."""
        cards = [card_text(card) for card in self._services.administration.cards(user)]
        top = header_value(self._services, user)
        return top, self._table(user), "\n\n---\n\n".join(cards)

    def add(self, user: User, name: str, shown: str, role: str, password: str) -> tuple[Any, ...]:
        """Create an account whose owner must change the password."""
        self._services.accounts.create_user(user, name, password, Role(role), shown)
        return self._done(user, "The account was added.")

    def reset(self, user: User, name: str, password: str) -> tuple[Any, ...]:
        """Set a password that its owner must change."""
        self._services.accounts.reset_password(user, name, password)
        return self._done(user, "The password was set; its owner must change it.")

    def deactivate(self, user: User, name: str) -> tuple[Any, ...]:
        """End an account; its ratings stay."""
        self._services.accounts.deactivate(user, name)
        return self._done(user, "The account was deactivated.")

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

    def _done(self, user: User, sentence: str) -> tuple[Any, ...]:
        gr.Info(sentence)
        return self._table(user), "", "", ""

    def _table(self, user: User) -> list[list[str]]:
        return [
            [a.name, a.display, str(a.role), _yes(a.active), _yes(a.must_change)]
            for a in self._services.accounts.accounts(user)
        ]


def _yes(value: bool) -> str:
    return "yes" if value else "no"
