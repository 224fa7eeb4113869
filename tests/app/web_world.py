"""A small world for the tests of the web layer: real accounts, invented services."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from starlette.testclient import TestClient

from app.auth import Accounts, Passwords, Role, User, requires
from app.errors import NotFound
from app.settings import Settings
from app.store import Store

HOME = "http://127.0.0.1:7860"
GOOD, OTHER = "correct horse battery", "another long password"
PAGE = {"accept": "text/html,application/xhtml+xml"}
GUEST = User("guest", "Open reader", Role.READER)


@dataclass(frozen=True)
class Bytes:
    """What a service gives."""

    data: bytes
    media_type: str = "application/octet-stream"
    etag: str = "abc"


class Parts:
    """All service parts in one, each guarded like the real ones."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls: list[tuple[Any, ...]] = []
        self.received: dict[str, bytes] = {}
        self.folder: Path | None = None
        self.mode = 0

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error

    @requires(Role.READER)
    def layer(self, user: User | None, case: str, position: int, frame: int) -> Bytes:
        self._note("layer", case, position, frame)
        if case == "none":
            raise NotFound("There is no such case.")
        return Bytes(b"\x01\x02")

    @requires(Role.READER)
    def thumbnail(self, user: User | None, case: str) -> Bytes:
        self._note("thumbnail", case)
        return Bytes(b"png", "image/png")

    @requires(Role.READER)
    def heat(self, user: User | None, explanation: str, number: int) -> Bytes:
        self._note("heat", explanation, number)
        return Bytes(b"\x03\x04")

    @requires(Role.READER)
    def preview(
        self, user: User | None, case: str, target: str | None, method: str | None
    ) -> dict[str, Any]:
        self._note("preview", case, target, method)
        if case == "none":
            raise NotFound("There is no such case.")
        return {"case": case, "images": [], "layers": []}

    @requires(Role.READER)
    def case_pdf(self, user: User | None, case: str, target: str | None) -> Bytes:
        self._note("pdf", case, target)
        return Bytes(b"%PDF", "application/pdf")

    @requires(Role.ADMINISTRATOR)
    def export_csv(self, user: User | None) -> Bytes:
        self._note("csv")
        return Bytes(b"a,b\r\n", "text/csv")

    @requires(Role.READER)
    def receive(self, user: User | None, folder: Path) -> list[dict[str, Any]]:
        self.folder, self.mode = folder, folder.stat().st_mode & 0o777
        self.received = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        self._note("receive")
        return [{"case": "c1", "problem": "", "position": 1, "title": "", "warnings": []}]


@dataclass
class World:
    """Services of the contract, over a fresh store."""

    settings: Settings
    store: Store
    accounts: Accounts
    is_demonstration: bool = False
    parts: Parts = field(default_factory=Parts)

    @property
    def cases(self) -> Parts:
        return self.parts

    review = evidence = probe = intake = reports = ratings = cases

    def guest(self) -> User | None:
        return GUEST if self.is_demonstration and self.needs_setup() else None

    def needs_setup(self) -> bool:
        return not self.accounts.has_accounts()


def world(folder: Path, **settings: Any) -> World:
    """Services over a fresh workspace."""
    known = Settings(workspace=folder, secret_file=folder / "session.key", **settings)
    store = Store(folder)
    light = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    return World(known, store, Accounts(store, passwords=light))


def with_people(made: World) -> World:
    """Ann is the administrator, bob a reader."""
    ann = made.accounts.create_first_administrator("ann", GOOD)
    made.accounts.create_user(ann, "bob", OTHER, Role.READER)
    bob = made.accounts.authenticate("bob", OTHER, "")
    made.accounts.change_password(bob, OTHER, GOOD)
    return made


def browser(app: Any, client: tuple[str, int] = ("127.0.0.1", 50000), base: str = HOME) -> Any:
    """A browser without cookies that does not follow redirects."""
    return TestClient(app, base_url=base, client=client, follow_redirects=False)


def form_of(page: str) -> dict[str, str]:
    """Hidden values of the form of a page."""
    pairs = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', page)
    return dict(pairs)


def post_form(client: Any, path: str, **values: str) -> Any:
    """Open the page of a form, fill it in and send it."""
    shown = client.get(path, headers=PAGE)
    return client.post(path, data={**form_of(shown.text), **values})


def sign_in(client: Any, name: str, password: str = GOOD) -> Any:
    """The answer to a filled-in login form."""
    return post_form(client, "/login", name=name, password=password)
