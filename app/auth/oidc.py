"""An OpenID Connect provider: authorization code with PKCE, state and nonce, through Authlib.

Nothing is kept between requests, so that several processes serve one sign-in: the provider's own
description and keys are read each time, and what belongs to one attempt is a `Pending`.

Source: OpenID Connect Core 1.0 and Discovery 1.0; RFC 7636 (PKCE); RFC 9207 (issuer in the answer).
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlencode, urlsplit

from app.auth.identities import role_of
from app.auth.records import Identity
from app.errors import NotAllowed
from app.settings import LOOPBACK, Settings

logger = logging.getLogger(__name__)

SCOPE = "openid profile email"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
TIMEOUT_S = 10.0
LEEWAY_S = 60
LONGEST = 1_000_000
DESCRIPTION = "/.well-known/openid-configuration"
UNREACHABLE = "Your organisation's sign-in cannot be reached; please try again later."
REFUSED = "Your organisation's sign-in did not let you in."
DOUBTFUL = "The answer of your organisation's sign-in could not be verified, so it was refused."


@dataclass(frozen=True)
class Pending:
    """One attempt that went to the provider and has not come back.

    Args:
        state: Ties the answer to this browser. nonce: Ties the identity token to this attempt.
        verifier: PKCE's secret; without it a stolen code is of no use.
    """

    state: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


class Provider:
    """Speaks to the provider that the settings name.

    Args:
        settings: Issuer, client and claims.
        transport: How requests travel (httpx); over the network when None.
    """

    def __init__(self, settings: Settings, transport: Any = None) -> None:
        self._settings = settings
        self._transport = transport

    def begin(self, redirect: str) -> tuple[str, Pending]:
        """The address to send the browser to, and what must be kept until it comes back.

        Args:
            redirect: Address to which the provider sends the browser back.

        Raises:
            NotAllowed: The provider cannot be reached, or describes itself wrongly.
        """
        state, nonce = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        pending = Pending(state, nonce, secrets.token_urlsafe(48))
        with self._client(redirect) as client, _plain_errors():
            known = self._description(client)
            address, _ = client.create_authorization_url(
                _endpoint(known, "authorization_endpoint"),
                state=pending.state,
                nonce=pending.nonce,
                code_verifier=pending.verifier,
            )
        return str(address), pending

    def finish(self, pending: Pending, answered: Mapping[str, str], redirect: str) -> Identity:
        """Who signed in, by the provider's verified word.

        Args:
            pending: What `begin` gave for this browser. answered: Query of the address to which
                the provider sent it back. redirect: As given to `begin`.

        Raises:
            NotAllowed: The provider refused, cannot be reached, or what it says does not hold.
        """
        stated = answered.get("state", "")
        if not secrets.compare_digest(stated.encode(), pending.state.encode()):
            raise NotAllowed(DOUBTFUL)
        if answered.get("iss", self._settings.oidc_issuer) != self._settings.oidc_issuer:
            raise NotAllowed(DOUBTFUL)
        if "error" in answered or not answered.get("code"):
            raise NotAllowed(REFUSED)
        with self._client(redirect) as client, _plain_errors():
            known = self._description(client)
            token = client.fetch_token(
                _endpoint(known, "token_endpoint"),
                authorization_response=f"{redirect}?{urlencode(dict(answered))}",
                state=pending.state,
                code_verifier=pending.verifier,
            )
            keys = _read(client, _endpoint(known, "jwks_uri"))
            claims = self._verified(token, keys, pending.nonce)
        return self._identity(claims)

    def _client(self, redirect: str) -> Any:
        from authlib.integrations.httpx_client import OAuth2Client

        secret = self._settings.oidc_client_secret.reveal()
        return OAuth2Client(
            client_id=self._settings.oidc_client_id,
            client_secret=secret or None,
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
            scope=SCOPE,
            redirect_uri=redirect,
            code_challenge_method="S256",
            timeout=TIMEOUT_S,
            follow_redirects=False,
            **({} if self._transport is None else {"transport": self._transport}),
        )

    def _description(self, client: Any) -> Mapping[str, Any]:
        """What the provider says of itself; it must name itself as we do."""
        issuer = self._settings.oidc_issuer
        found = _read(client, issuer.rstrip("/") + DESCRIPTION)
        if found.get("issuer") != issuer:
            raise NotAllowed(DOUBTFUL)
        return found

    def _verified(self, token: Mapping[str, Any], keys: Any, nonce: str) -> Mapping[str, Any]:
        """Claims of the identity token: signed by the provider, for us, for this attempt, now."""
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.jwk import KeySet

        settings = self._settings
        decoded = jwt.decode(
            str(token["id_token"]), KeySet.import_key_set(keys), algorithms=list(ALGORITHMS)
        )
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            options={
                "iss": {"essential": True, "value": settings.oidc_issuer},
                "aud": {"essential": True, "value": settings.oidc_client_id},
            },
            params={
                "nonce": nonce,
                "client_id": settings.oidc_client_id,
                "access_token": token.get("access_token"),
            },
        )
        claims.validate(leeway=LEEWAY_S)
        return dict(claims)

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise NotAllowed(DOUBTFUL)
        named = (claims.get("preferred_username"), claims.get("email"))
        return Identity(
            issuer=self._settings.oidc_issuer,
            subject=subject,
            name=next((each for each in named if isinstance(each, str) and each), ""),
            display=str(claims.get("name") or ""),
            role=role_of(claims, self._settings.oidc_role_claim),
        )


class _plain_errors:  # noqa: N801  reads as a statement: with _plain_errors()
    """Turns what may go wrong with the provider into a sentence; its own words reach nobody."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        if kind is None or issubclass(kind, NotAllowed):
            return
        from authlib.common.errors import AuthlibBaseError
        from joserfc.errors import JoseError

        away, malformed = _network_errors()
        foreseen = (*away, *malformed, AuthlibBaseError, JoseError)
        if not issubclass(kind, (*foreseen, ValueError, KeyError, TypeError)):
            return
        is_away = issubclass(kind, away)
        logger.warning("the identity provider failed: %s", kind.__name__)
        raise NotAllowed(UNREACHABLE if is_away else DOUBTFUL) from None


def _network_errors() -> tuple[tuple[type[Exception], ...], tuple[type[Exception], ...]]:
    """Errors of a provider that is away, and of an address that is none.

    Authlib speaks through httpx2 where that is installed, and else through httpx.
    """
    found = [import_module(name) for name in ("httpx", "httpx2") if find_spec(name)]
    return (
        tuple(module.HTTPError for module in found),
        tuple(module.InvalidURL for module in found),
    )


def _read(client: Any, address: str) -> Mapping[str, Any]:
    """A JSON object at an address of the provider, asked for without a token."""
    answer = client.request("GET", address, withhold_token=True)
    answer.raise_for_status()
    found = json.loads(answer.content) if len(answer.content) <= LONGEST else None
    if not isinstance(found, dict):
        raise NotAllowed(DOUBTFUL)
    return found


def _endpoint(known: Mapping[str, Any], name: str) -> str:
    """An address that the provider names; encrypted unless it stays on this machine."""
    address = str(known.get(name) or "")
    parts = urlsplit(address)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return address
    raise NotAllowed(DOUBTFUL)
