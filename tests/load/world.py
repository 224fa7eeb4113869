"""A study for many readers, in a workspace and database that servers can be started on."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from app.auth import Account, Role, User
from engine.study.records import Arm, ArmKind, StudyQuestion
from tests.app import study_world as studies

QUESTIONS = tuple(StudyQuestion(f"q{n}", f"Question {n}?") for n in range(4))


@dataclass(frozen=True)
class World:
    """A study in progress.

    Args:
        folder: The workspace. database: URL. code: Of the study. number: Of the study.
        logins: Reader to the token of an open login.
    """

    folder: Path
    database: str
    code: str
    number: int
    logins: dict[str, str]


def reader_names(count: int) -> list[str]:
    return [f"reader{n:03d}" for n in range(count)]


def make(folder: Path, database: str, readers: int, cases: int, arms: int) -> World:
    """A study with `cases` x `arms` readings for each reader, open, and everybody signed in.

    Only images are shown: what is under load is reading and answering, not explaining.
    """
    shown = tuple(Arm(f"arm{n}", f"Arm {n}", ArmKind.IMAGE) for n in range(arms))
    people = [User(name, name.title(), Role.READER) for name in reader_names(readers)]
    with studies.study_world(folder, cases, database=database) as world:
        for who in people:
            world.services.store.add_account(
                Account(who.name, who.display, who.role, "!", True, datetime.now(UTC), False)
            )
        design = studies.protocol(
            world.cases, arms=shown, readers=people, questions=QUESTIONS,
            session_readings=10**6, session_minutes=10**6,
        )  # fmt: skip
        number, code = world.opened(design)
        world.services.settings.signing_key()
        logins = {who.name: world.services.accounts.open_session(who) for who in people}
    return World(folder, database, code, number, logins)


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{(folder / 'lightbox.sqlite3').as_posix()}"


@contextmanager
def own_schema(server: str) -> Iterator[str]:
    """A database URL for a fresh schema, which is dropped at the end."""
    url = make_url(server).set(drivername="postgresql+psycopg")
    schema = f"load_{secrets.token_hex(6)}"
    admin = create_engine(url)
    with admin.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    try:
        own = url.update_query_dict({"options": f"-csearch_path={schema}"})
        yield own.render_as_string(hide_password=False)
    finally:
        with admin.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        admin.dispose()
