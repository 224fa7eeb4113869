"""A tiny OpenID Connect provider on this machine, which can be made to lie."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "lightbox", "a secret of the client"


@cache
def _keys() -> tuple[RSAKey, RSAKey]:
    """The provider's key, and somebody else's; they take a while to make."""
    made = [RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}) for _ in range(2)]
    return made[0], made[1]


class Provider:
    """What the provider knows; a test changes it to see what happens.

    Args:
        issuer: Its address.
    """

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.key, self.other = _keys()
        self.person: dict[str, Any] = {"sub": "s-1", "preferred_username": "Carol@Clinic.Example"}
        self.lies: dict[str, Any] = {}
        self.description: dict[str, Any] = {}
        self.signer = self.key
        self.algorithm = "RS256"
        self.codes: dict[str, dict[str, str]] = {}
        self.requests: list[str] = []

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the browser is sent back to, with a code."""
        assert asked["response_type"] == "code" and asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256" and "openid" in asked["scope"]
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """The answer of the token endpoint; a code serves once, and needs its verifier."""
        known = self.codes.pop(form.get("code", ""), None)
        proof = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(proof).decode().rstrip("=")
        named = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if authorization != f"Basic {named}":
            return 401, {"error": "invalid_client"}
        if known is None or known["code_challenge"] != challenge:
            return 400, {"error": "invalid_grant"}
        assert form["redirect_uri"] == known["redirect_uri"]
        return 200, {
            "access_token": "t", "token_type": "Bearer", "id_token": self._signed(known["nonce"]),
        }  # fmt: skip

    def _signed(self, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce,
            **self.person, **self.lies,
        }  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": self.algorithm, "kid": "one"}
        return str(jwt.encode(header, claims, self.signer, algorithms=[self.algorithm]))

    def describe(self) -> dict[str, Any]:
        """What it says of itself."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            **self.description,
        }


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider that answers on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    known = Provider(f"http://127.0.0.1:{server.server_address[1]}")
    _Handler.known = known
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    known: Provider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.known.requests.append(parts.path)
        if parts.path == "/authorize":
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self.send_response(302)
            self.send_header("location", self.known.authorize(asked))
            self.end_headers()
        elif parts.path == "/keys":
            self._answer(200, {"keys": [self.known.key.as_dict(private=False)]})
        else:
            self._answer(200, self.known.describe())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self._answer(*self.known.token(form, self.headers.get("authorization", "")))

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing on the terminal."""
