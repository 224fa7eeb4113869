"""Accounts, roles and logins; where they are kept is behind the protocol `AccountStore`."""

from app.auth.accounts import Accounts
from app.auth.passwords import MINIMUM_LENGTH, RULE, Passwords
from app.auth.records import Account, AccountStore, Identity, Login, Standing
from app.auth.roles import Role, User, check, requires
from app.auth.throttle import Throttle
from app.auth.tokens import form_token, is_form_token, new_token, token_digest

__all__ = [
    "MINIMUM_LENGTH",
    "RULE",
    "Account",
    "AccountStore",
    "Accounts",
    "Identity",
    "Login",
    "Passwords",
    "Role",
    "Standing",
    "Throttle",
    "User",
    "check",
    "form_token",
    "is_form_token",
    "new_token",
    "requires",
    "token_digest",
]
