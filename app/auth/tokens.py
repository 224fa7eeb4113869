"""Random session tokens, their digests, and signed form tokens against cross-site requests."""

from __future__ import annotations

import hashlib
import secrets

from itsdangerous import BadData, URLSafeTimedSerializer

FORM_SECONDS = 8 * 3600


def new_token() -> str:
    """A session token of 256 random bits, safe in a cookie."""
    return secrets.token_urlsafe(32)


def token_digest(token: str) -> str:
    """SHA-256 of a token, hexadecimal; the database holds this, never the token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def form_token(key: bytes, session: str) -> str:
    """A signed, dated token that is good for the forms of one session only."""
    return _serializer(key).dumps(token_digest(session))


def is_form_token(key: bytes, session: str, token: str, seconds: int = FORM_SECONDS) -> bool:
    """True when `token` was made by `form_token` for this session within the last `seconds`."""
    try:
        bound = _serializer(key).loads(token, max_age=seconds)
    except BadData:
        return False
    return isinstance(bound, str) and secrets.compare_digest(bound, token_digest(session))


def _serializer(key: bytes) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(
        key, salt="lightbox.form", signer_kwargs={"digest_method": hashlib.sha256}
    )
