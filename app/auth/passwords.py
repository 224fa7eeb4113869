"""Passwords: the rule they follow, and their argon2id hashes."""

from __future__ import annotations

import unicodedata
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import InvalidInput

MINIMUM_LENGTH = 10
MAXIMUM_LENGTH = 256
RULE = f"A password needs at least {MINIMUM_LENGTH} characters and differs from the account's name."


class Passwords:
    """Hashes and verifies; an unknown user costs as much time as a wrong password.

    Args:
        hasher: argon2 hasher; the library's own (RFC 9106 low-memory) parameters when None.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()

    def hash(self, password: str) -> str:
        """The argon2id hash, with its salt and parameters in one text."""
        return self._hasher.hash(_normal(password))

    def verify(self, stored: str | None, password: str) -> bool:
        """True when the password is the one hashed.

        Without a hash, as for an unknown name or an account of an identity provider, no password
        is right, but it takes as long.
        """
        try:
            matches = self._hasher.verify(stored or self._dummy, _normal(password))
        except (VerificationError, InvalidHashError):
            return False
        return matches and bool(stored)

    def is_outdated(self, stored: str) -> bool:
        """True when the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    @cached_property
    def _dummy(self) -> str:
        return self._hasher.hash("no account has this password")


def check_rule(password: str, name: str) -> None:
    """Refuse a password that breaks the rule.

    Raises:
        InvalidInput: It is too short, too long, or the account's name.
    """
    text = _normal(password)
    if len(text) > MAXIMUM_LENGTH:
        raise InvalidInput(f"A password has at most {MAXIMUM_LENGTH} characters.")
    if len(text) < MINIMUM_LENGTH or text.casefold() == name.casefold():
        raise InvalidInput(RULE)


def _normal(password: str) -> str:
    """One form for texts that look alike, whatever keyboard wrote them (Unicode NFKC)."""
    return (
        unicodedata.normalize("NFKC", password[: 4 * MAXIMUM_LENGTH])
        .encode("utf-8", "replace")
        .decode("utf-8")
    )
