"""Who may do what: roles, signed-in users, and the guard of the services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from app.errors import NotAllowed

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class Role(StrEnum):
    """What a user may do; a higher role may do all that a lower one may.

    An observer looks at shared cases and changes nothing; a reader uploads, rates and reports; an
    organiser runs reader studies; an administrator looks after accounts, models and the trail.
    """

    OBSERVER = "observer"
    READER = "reader"
    ORGANISER = "organiser"
    ADMINISTRATOR = "administrator"

    @property
    def rank(self) -> int:
        """Place in the order, 0 for the lowest."""
        return list(Role).index(self)

    def covers(self, needed: Role) -> bool:
        """True when this role may do what `needed` may."""
        return self.rank >= needed.rank


@dataclass(frozen=True)
class User:
    """Somebody who is signed in.

    Args:
        name: Login name; also the reader's pseudonym in ratings.
        display: Name shown on the page.
        role: What the user may do.
        must_change: True when the password was set by somebody else and must be changed.
    """

    name: str
    display: str
    role: Role
    must_change: bool = False


Guarded = Callable[Concatenate[S, User | None, P], R]


def requires(role: Role) -> Callable[[Guarded[S, P, R]], Guarded[S, P, R]]:
    """Guard a service method whose first argument after self is `user: User | None`.

    The guarded method carries `required_role`, so that a test can list what is unguarded.

    Raises:
        NotAllowed: Nobody is signed in, or the user's role is too low.
    """

    def guard(method: Guarded[S, P, R]) -> Guarded[S, P, R]:
        @wraps(method)
        def guarded(self: S, user: User | None, /, *args: P.args, **kwargs: P.kwargs) -> R:
            check(user, role)
            return method(self, user, *args, **kwargs)

        marked: Any = guarded
        marked.required_role = role
        return guarded

    return guard


def check(user: User | None, role: Role) -> User:
    """The user, when signed in with a role that covers `role`.

    Raises:
        NotAllowed: Otherwise.
    """
    if not isinstance(user, User):
        raise NotAllowed("Please sign in first.")
    if not user.role.covers(role):
        raise NotAllowed(f"Only an account with the role “{role}” may do this.")
    return user
